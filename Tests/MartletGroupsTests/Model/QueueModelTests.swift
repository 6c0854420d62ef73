import MartletTestSupport
import Testing

@testable import MartletGroups

/// Queue groups under random operations against a model that keeps each record by itself, with
/// crashes in between.
@Suite struct QueueModelTests {
    @Test(arguments: [UInt64(91), 99, 93, 94, 95, 96, 97, 98])
    func `no record is with two members, none is lost, and the accounts are exact`(
        _ seed: UInt64
    ) {
        let model = run(seed, .queue(from: .earliest))
        #expect(model.granted > 2_000 && model.taken > 200 && model.refused > 20)
        #expect(model.again > 50 && model.crashes > 20)
        #expect(model.resets > 8 && model.keptDead > 0 && model.refusedDead > 5)
    }

    @Test(arguments: [UInt64(101), 102, 103, 104])
    func `what is sent to a stream group again has accounts of its own, and moves no offset`(
        _ seed: UInt64
    ) {
        let model = run(seed, .stream)
        #expect(model.granted > 500 && model.taken > 200 && !model.committed.isEmpty)
    }

    private func run(_ seed: UInt64, _ kind: GroupKind) -> QueueModel {
        var model = QueueModel(seed: seed, kind)
        for number in 0..<1_300 where !model.isBroken {
            model.step()
            model.check()
            if number % 25 == 0 { model.checkRecords() }
            if number % 50 == 0 { model.checkReplay() }
        }
        guard !model.isBroken else { return model }
        model.drain()
        model.check()
        model.checkReplay()
        #expect(model.died > 20 && model.diedAgain > 0 && model.handledLetters > 20)
        #expect(model.abandoned > 5)
        #expect(model.sentAgain > 200 && model.takenBack > 20)
        print(
            "queue: \(model.granted) handed out, \(model.again) of them again, \(model.taken) "
                + "settlements, \(model.refused) refused, \(model.refusedDead) as dead, \(model.crashes) crashes, "
                + "\(model.died) died, \(model.diedAgain) again, \(model.handledLetters) "
                + "handled after, \(model.abandoned) by the broker, \(model.sentAgain) sent again, "
                + "\(model.takenBack) taken back, \(model.resets) resets with \(model.keptDead) dead, "
                + "seed \(seed)")
        return model
    }
}

/// What else holds of queues.
@Suite struct QueueRuleTests {
    private let key = TopicPartition(TopicShape("orders", 1).id, 0)

    private func harness(settled: [Range<Int64>]) -> GroupHarness {
        var harness = GroupHarness()
        harness.topics([TopicShape("orders", 1)])
        harness.take([
            .created(group: "g", at: 1, .queue(from: .earliest)),
            .queue(group: "g", .flow(key), .began(at: 0)),
            .queue(group: "g", .flow(key), .acked(settled)),
        ])
        return harness
    }

    @Test func `retention waits for the oldest record that is not settled`() {
        #expect(harness(settled: [0..<5, 7..<9]).coordinator.lowMark(key)?.offset == 5)
        #expect(harness(settled: [1..<9]).coordinator.lowMark(key)?.offset == 0)
    }

    /// A million delivered records of which ten thousand are open.
    @Test func `settled records take memory by ranges, and a snapshot is as small`() {
        let settled = (0..<10_000).map { Int64($0 * 100)..<Int64($0 * 100 + 99) }
        let harness = harness(settled: settled)
        let progress = harness.coordinator.groups["g"]?.state.queues[.flow(key)]
        #expect(progress?.settled.ranges.count == 10_000)
        #expect(progress?.acked == 990_000)
        #expect(harness.coordinator.snapshot().count < 20)
    }

    @Test func `what stands still is not handed out, and what goes on is`() throws {
        var harness = harness(settled: [0..<5])
        let id = MemberID(1)
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest), at: harness.now))
        let wanted = Coordinator.Wanted(records: 10, leaseMilliseconds: 1_000)
        func lease(_ harness: inout GroupHarness) throws -> [Range<Int64>] {
            try harness.coordinator.lease(
                "g", id, wanted, bounds: { _ in 0..<9 }, at: harness.now
            ).map(\.range)
        }
        harness.take([.paused(group: "g", .group, at: 1)])
        #expect(try lease(&harness).isEmpty)
        harness.take([.resumed(group: "g", .group)])
        #expect(harness.coordinator.takeReadyQueues() == ["g"])
        #expect(try lease(&harness) == [5..<9])
    }
}
