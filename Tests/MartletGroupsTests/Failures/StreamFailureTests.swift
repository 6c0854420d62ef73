import Testing

@testable import MartletGroups

/// Records of stream groups whose handlers fail.
@Suite struct StreamFailureTests {
    private let key = TopicPartition(TopicShape("orders", 1).id, 0)
    private let member = MemberID(1)

    private func harness(_ policy: FailurePolicy = FailurePolicy()) throws -> GroupHarness {
        var harness = GroupHarness()
        harness.topics([TopicShape("orders", 1)])
        harness.join(member, .wanting())
        harness.take(try harness.coordinator.setPolicy("g", policy))
        return harness
    }

    private func epoch(_ harness: GroupHarness) -> Int32 {
        harness.coordinator.groups["g"]?.state.partitions[key]?.epoch ?? -1
    }

    private func fail(
        _ harness: inout GroupHarness, _ offset: Int64,
        _ severity: HandlerFailure.Severity = .transient, epoch: Int32? = nil
    ) throws(GroupRefusal) -> Coordinator.FailureAnswer {
        let failure = HandlerFailure(severity, kind: "Broken", text: "it is", at: 1)
        let failed = Coordinator.FailedRecord(
            OwnedRecord(key, epoch: epoch ?? self.epoch(harness), offset), failure)
        let isDying = harness.coordinator.isDying("g", failed, at: harness.now)
        let outcome = try harness.coordinator.fail(
            "g", member, failed, isDying ? .record([1], first: nil) : nil, at: harness.now)
        harness.take(outcome.records)
        return outcome.answer
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

    @Test func `what failed is told until it is done or dead, over a restart too`() throws {
        func failing(_ harness: GroupHarness) throws -> Int64? {
            try harness.coordinator.describe("g").partitions.first?.failing
        }
        var harness = try harness()
        #expect(try failing(harness) == 0)
        for offset in [7, 8, 9] as [Int64] { _ = try fail(&harness, offset) }
        #expect(try failing(harness) == 3)
        harness.restart([TopicShape("orders", 1)])
        #expect(try failing(harness) == 3)
        #expect(try fail(&harness, 9, .permanent) == .dead)
        #expect(try failing(harness) == 2)
        // Done above the commit.
        harness.take([
            .committed(
                group: "g", key, CommittedOffset(offset: 7, finished: [8..<9], at: 1))
        ])
        #expect(try failing(harness) == 1)
        harness.take([.committed(group: "g", key, CommittedOffset(offset: 10, at: 1))])
        #expect(try failing(harness) == 0)
    }

    @Test func `attempts are counted until they are used up, and the record dies once`() throws {
        var harness = try harness()
        for longest in [2_000, 4_000] as [Int64] {
            let answer = try fail(&harness, 7)
            guard case .again(let pause) = answer else {
                Issue.record("\(answer)")
                return
            }
            #expect((longest * 4 / 5...longest).contains(pause))
            harness.restart([TopicShape("orders", 1)])
        }
        #expect(try fail(&harness, 7) == .dead)
        // Asked again, as after a lost reply.
        #expect(try fail(&harness, 7) == .dead)
        let letters = harness.coordinator.groups["g"]?.state.letters
        #expect(letters?.letters.count == 1 && letters?.letters[1]?.attempts == 3)
        checkReplay(harness)
        // Not one of the group's partitions as a queue has them.
        #expect(try harness.coordinator.describe("g").queues.isEmpty)
    }

    @Test func `who does not own the partition is not heard`() throws {
        var harness = try harness()
        let stale = epoch(harness) - 1
        #expect(throws: GroupRefusal.staleEpoch) { try fail(&harness, 7, epoch: stale) }
        #expect(throws: GroupRefusal.self) { try fail(&harness, -1) }
        #expect(throws: GroupRefusal.self) { try fail(&harness, .max) }
        #expect(harness.coordinator.groups["g"]?.state.queues.isEmpty == true)
    }

    @Test func `a commit that passes a record forgets how often it failed`() throws {
        var harness = try harness()
        _ = try fail(&harness, 7)
        _ = try fail(&harness, 9)
        #expect(harness.commit(member, key, epoch: epoch(harness), 8) == nil)
        let progress = harness.coordinator.groups["g"]?.state.queues[.flow(key)]
        #expect(progress?.attempts == [9: 1] && progress?.failures.count == 1)
        checkReplay(harness)
    }

    @Test func `a group that is to stand still says so once`() throws {
        var policy = FailurePolicy()
        policy.last = .pause
        var harness = try harness(policy)
        #expect(try fail(&harness, 7, .permanent) == .paused)
        let since = harness.coordinator.groups["g"]?.state.paused
        harness.advance(milliseconds: 10)
        #expect(try fail(&harness, 8, .permanent) == .paused)
        #expect(harness.coordinator.groups["g"]?.state.paused == since && since?.count == 1)
        checkReplay(harness)
    }
}
