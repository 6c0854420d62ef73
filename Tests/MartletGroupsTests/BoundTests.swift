import MartletFormat
import MartletTestSupport
import Testing

@testable import MartletGroups

/// What holds a group within bounds of memory and time.
@Suite struct BoundTests {
    private let member = MemberID(1)

    private func harness(_ limits: GroupLimits = GroupLimits()) -> GroupHarness {
        var harness = GroupHarness(limits: limits)
        harness.topics([TopicShape("orders", 2)])
        return harness
    }

    @Test func `what members say of themselves is bounded for all of them together`() {
        var limits = GroupLimits()
        limits.memberBytesMax = 1_000
        var harness = harness(limits)
        let long = Member.wanting([String(repeating: "a", count: 400)])
        #expect(harness.join(MemberID(1), long) == nil)
        #expect(harness.join(MemberID(2), long) == nil)
        guard case .limitReached = harness.join(MemberID(3), long) else {
            Issue.record("not refused")
            return
        }
        // Who says something else instead of what it said takes no more.
        #expect(harness.join(MemberID(2), .wanting([String(repeating: "b", count: 400)])) == nil)
    }

    @Test func `a member names so many patterns at most`() {
        var limits = GroupLimits()
        limits.patternsMax = 2
        var harness = harness(limits)
        #expect(harness.join(member, .wanting(["a*", "b*", "c", "d"])) == nil)
        #expect(harness.join(member, .wanting(["a*", "b*", "c*"])) != nil)
    }

    @Test func `no view of a member has the number of an earlier one`() throws {
        var harness = harness()
        var seen = Set<UInt64>()
        for _ in 0..<5 {
            #expect(harness.join(member, .wanting()) == nil)
            let revision = try harness.coordinator.view("g", member).revision
            #expect(seen.insert(revision).inserted)
            #expect(harness.leave(member) == nil)
        }
    }

    @Test func `a commit that comes late does not count`() throws {
        var harness = harness()
        #expect(harness.join(member, .wanting()) == nil)
        try harness.coordinator.takeCommit("g", member, number: 5)
        try harness.coordinator.takeCommit("g", member, number: 5)
        try harness.coordinator.takeCommit("g", member, number: 7)
        try harness.coordinator.takeCommit("g", member, number: 0)
        #expect(throws: GroupRefusal.self) {
            try harness.coordinator.takeCommit("g", member, number: 6)
        }
    }

    @Test func `what commits say is bounded for the whole group`() throws {
        var limits = GroupLimits()
        limits.commitBytesMax = 100
        var harness = harness(limits)
        #expect(harness.join(member, .wanting()) == nil)
        let owned = harness.owned(member).sorted { $0.key < $1.key }
        func commit(_ index: Int, _ bytes: Int) throws -> [GroupRecord] {
            let committed = CommittedOffset(
                offset: 1, metadata: String(repeating: "m", count: bytes), at: 0)
            let commit = Coordinator.Commit(
                partition: owned[index].key, epoch: owned[index].value, committed: committed,
                end: nil)
            return [try harness.coordinator.commit("g", member, commit)]
        }
        harness.take(try commit(0, 60))
        #expect(throws: GroupRefusal.self) { try commit(1, 50) }
        // Instead of what was said before it takes no more.
        harness.take(try commit(0, 90))
        harness.take(try commit(0, 10))
        harness.take(try commit(1, 50))
        harness.take([.forgotten(group: "g", owned[1].key)])
        #expect(harness.coordinator.groups["g"]?.state.detailBytes == 10)
    }

    @Test func `a broker that stood still takes nobody for dead for it`() {
        var limits = GroupLimits()
        limits.standstillMilliseconds = 999
        var harness = harness(limits)
        #expect(harness.join(member, .wanting()) == nil)
        harness.advance(milliseconds: 60_000)
        #expect(harness.expire().ended.isEmpty)
        #expect(harness.owned(member).count == 2)
        // From here on it has its session time, and no more.
        harness.advance(milliseconds: 10_001)
        #expect(harness.expire().ended.map(\.member) == [member])
    }

    @Test func `the thousandth member takes from as many as it gets, and nobody else hears of it`()
        throws
    {
        var harness = harness()
        harness.topics([TopicShape("orders", 3_000)])
        for number in 1...999 { harness.join(MemberID(UInt64(number)), .wanting()) }
        let others = (1...999).map { MemberID(UInt64($0)) }
        // Everybody knows what it owns: nothing of it can be taken away in silence.
        for id in others { _ = harness.owned(id) }
        harness.take([])
        let before = try others.map { try harness.coordinator.view("g", $0) }
        let last = MemberID(1_000)
        #expect(harness.join(last, .wanting()) == nil)
        let handovers = try #require(harness.coordinator.groups["g"]).activity.handovers
        #expect(handovers.count == 3)
        let state = try #require(harness.coordinator.groups["g"]).state
        let donors = Set(handovers.keys.compactMap { state.partitions[$0]?.owner })
        #expect(Set(harness.changed.map(\.member)).isSubset(of: donors.union([last])))
        for (index, id) in others.enumerated() where !donors.contains(id) {
            let view = try harness.coordinator.view("g", id)
            #expect(view == before[index])
            for owned in view.owned {
                try harness.coordinator.checkOwner("g", id, owned.partition, epoch: owned.epoch)
            }
        }
        for (key, _) in handovers {
            let partition = try #require(state.partitions[key])
            harness.heartbeat(
                try #require(partition.owner), released: [(key, partition.epoch)])
        }
        #expect(harness.owned(last).count == 3)
        // All want the same, and have the same.
        var loads: [MemberID: Int] = [:]
        for owner in harness.coordinator.groups["g"]?.activity.target.values.map(\.self) ?? [] {
            loads[owner, default: 0] += 1
        }
        #expect(loads.count == 1_000 && loads.values.allSatisfy { $0 == 3 })
    }
}
