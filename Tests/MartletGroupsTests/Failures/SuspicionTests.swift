import Testing

@testable import MartletGroups

/// Which records may be why an owner was lost, and who is told of them.
@Suite struct SuspicionTests {
    private let orders = TopicShape("orders", 1)
    private let key = TopicPartition(TopicShape("orders", 1).id, 0)
    private let first = MemberID(1)
    private let second = MemberID(2)

    /// The first member owns the partition, and was served up to there.
    private func harness(
        served: Int64 = 50, _ member: Member = .wanting(),
        _ change: (inout GroupLimits) -> Void = { _ in }
    ) -> GroupHarness {
        var limits = GroupLimits()
        change(&limits)
        var harness = GroupHarness(limits: limits)
        harness.topics([orders])
        harness.join(first, member)
        _ = harness.owned(first)
        if served > 0 { serve(&harness, first, 0..<served) }
        return harness
    }

    private func state(_ harness: GroupHarness) -> PartitionState {
        harness.coordinator.groups["g"]?.state.partitions[key] ?? PartitionState()
    }

    private func serve(_ harness: inout GroupHarness, _ id: MemberID, _ range: Range<Int64>) {
        harness.coordinator.served("g", id, key, epoch: state(harness).epoch, range)
    }

    /// What the member is told of the partition.
    private func told(_ harness: GroupHarness, _ id: MemberID) throws -> Int64 {
        let view = try harness.coordinator.view("g", id)
        return try #require(view.owned.first).suspectBelow
    }

    private func end(_ harness: inout GroupHarness) {
        harness.advance(milliseconds: 10_001)
        harness.expire()
    }

    private func checkReplay(_ harness: GroupHarness) {
        let state = harness.coordinator.groups["g"]?.state
        var replayed = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.log { replayed.replay(record) }
        #expect(replayed.groups["g"]?.state == state)
        var restored = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.coordinator.snapshot() { restored.replay(record) }
        #expect(restored.groups["g"]?.state == state)
    }

    // MARK: - Ways to be lost

    @Test func `a member whose session ended leaves behind what it was served`() throws {
        var harness = harness()
        #expect(harness.commit(first, key, epoch: 1, 20) == nil)
        end(&harness)
        harness.join(second, .wanting())
        #expect(try told(harness, second) == 50)
        checkReplay(harness)
        // Who was served less does not take it back.
        serve(&harness, second, 20..<30)
        end(&harness)
        #expect(state(harness).suspectBelow == 50)
    }

    @Test func `a member that is stuck leaves it behind too`() {
        var harness = harness(.wanting(progress: 4_000))
        for _ in 0..<3 {
            harness.advance(milliseconds: 2_000)
            harness.heartbeat(first)
            harness.expire()
        }
        #expect(harness.coordinator.groups["g"]?.state.members.isEmpty == true)
        #expect(state(harness).suspectBelow == 50)
    }

    @Test func `a process that takes the place of another is told at once`() throws {
        var harness = harness(.wanting(instance: "a"))
        harness.join(second, .wanting(instance: "a"))
        #expect(try told(harness, second) == 50)
        checkReplay(harness)
        // It was served nothing itself.
        harness.commit(second, key, epoch: 2, 50)
        harness.join(MemberID(3), .wanting(instance: "a"))
        #expect(try told(harness, MemberID(3)) == 0)
    }

    @Test func `a partition that is not given up in time is suspect, and its owner stays`() {
        var harness = harness()
        harness.pause([PausePlace(key)])
        harness.advance(milliseconds: 5_001)
        harness.heartbeat(first)
        harness.expire()
        #expect(state(harness).owner == nil && state(harness).suspectBelow == 50)
        #expect(harness.coordinator.groups["g"]?.state.members.count == 1)
        checkReplay(harness)
    }

    @Test func `who leaves or gives up leaves nothing behind`() {
        var left = harness()
        left.leave(first)
        #expect(state(left).suspectBelow == 0)
        var gaveUp = harness()
        gaveUp.pause([PausePlace(key)])
        gaveUp.heartbeat(first, released: [(key, 1)])
        #expect(state(gaveUp).owner == nil && state(gaveUp).suspectBelow == 0)
    }

    @Test func `what was never served is not suspect, and neither is what is committed`() {
        var harness = harness(served: 0)
        end(&harness)
        #expect(state(harness).suspectBelow == 0)
        harness.join(second, .wanting())
        serve(&harness, second, 0..<50)
        harness.commit(second, key, epoch: state(harness).epoch, 50)
        end(&harness)
        #expect(state(harness).suspectBelow == 0)
    }

    @Test func `who ends well and keeps its place leaves nothing behind`() {
        var harness = harness(.wanting(instance: "a"))
        harness.coordinator.rest("g", second)
        harness.coordinator.rest("of nobody", first)
        harness.coordinator.rest("g", first)
        harness.join(second, .wanting(instance: "a"))
        #expect(state(harness).owner == second && state(harness).suspectBelow == 0)
        serve(&harness, second, 0..<50)
        end(&harness)
        #expect(state(harness).suspectBelow == 50)
    }

    // MARK: - How it ends

    @Test func `a commit that passes it ends it, and so does a reset`() throws {
        var harness = harness()
        end(&harness)
        harness.join(second, .wanting())
        harness.commit(second, key, epoch: 2, 49)
        #expect(state(harness).suspectBelow == 50)
        checkReplay(harness)
        harness.commit(second, key, epoch: 2, 50)
        #expect(state(harness).suspectBelow == 0)
        serve(&harness, second, 50..<60)
        end(&harness)
        #expect(state(harness).suspectBelow == 60)
        harness.reset(key, 0)
        #expect(state(harness).suspectBelow == 0)
        checkReplay(harness)
    }

    @Test func `it goes with its topic`() {
        var harness = harness()
        end(&harness)
        harness.take(harness.coordinator.forget(key.topic))
        #expect(harness.coordinator.groups["g"]?.state.partitions.isEmpty == true)
        checkReplay(harness)
    }

    // MARK: - Bounds

    @Test func `after a restart it is as much as an owner can have, until more is known`() throws {
        var harness = harness()
        harness.commit(first, key, epoch: 1, 20)
        harness.restart([orders])
        end(&harness)
        #expect(state(harness).suspectBelow == 100_020)
        checkReplay(harness)
        var known = self.harness()
        known.restart([orders])
        known.expire()
        serve(&known, first, 50..<70)
        end(&known)
        #expect(state(known).suspectBelow == 70)
    }

    @Test func `it is never more than the limit above what is committed`() {
        var harness = harness(served: 5_000) { $0.suspectRecordsMax = 100 }
        harness.commit(first, key, epoch: 1, 1_000)
        end(&harness)
        #expect(state(harness).suspectBelow == 1_100)
        // Where nothing is committed it begins where the owner did.
        var later = self.harness(served: 0) { $0.suspectRecordsMax = 100 }
        serve(&later, first, 7_000..<9_000)
        end(&later)
        #expect(state(later).suspectBelow == 7_100)
    }

    @Test func `extreme values trap nothing`() {
        var harness = harness(served: 0)
        for range in [Int64.min ..< -1, 0..<0, Int64.max - 1..<Int64.max, 5..<6] {
            serve(&harness, first, range)
        }
        harness.commit(first, key, epoch: 1, .max - 1)
        end(&harness)
        #expect(state(harness).suspectBelow == .max)
        harness.restart([orders])
        harness.join(second, .wanting())
        end(&harness)
        #expect(state(harness).suspectBelow == .max)
        for below in [Int64.min, -1, 0, 7] {
            harness.take([.suspected(group: "g", key, below: below)])
            harness.take([.suspected(group: "of nobody", key, below: below)])
        }
        #expect(state(harness).suspectBelow == .max)
        checkReplay(harness)
    }

    @Test func `who does not own the partition was served nothing`() {
        var harness = harness(served: 0)
        harness.coordinator.served("g", second, key, epoch: 1, 0..<50)
        harness.coordinator.served("g", first, key, epoch: 2, 0..<50)
        harness.coordinator.served("of nobody", first, key, epoch: 1, 0..<50)
        end(&harness)
        #expect(state(harness).suspectBelow == 0)
    }
}
