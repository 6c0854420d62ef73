import MartletFormat
import Testing

@testable import MartletGroups

/// Accounts of a queue between a start and the first receive, when nobody waits for what is delayed.
@Suite struct DelayedLookTests {
    private static let orders = TopicShape("orders", 1)
    private let key = QueueID.flow(TopicPartition(Self.orders.id, 0))
    private let id = MemberID(1)

    @Test func `after a restart a pause that is over is not counted as one`() throws {
        var harness = GroupHarness()
        harness.topics([Self.orders])
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest), at: harness.now))
        let wanted = Coordinator.Wanted(records: 5, leaseMilliseconds: 10_000)
        let bounds: Coordinator.Bounds = { _ in 0..<5 }
        harness.take(try harness.coordinator.receive("g", id, wanted, bounds: bounds))
        let grants = try harness.coordinator.lease(
            "g", id, wanted, bounds: bounds, at: harness.now)
        let grant = try #require(grants.first)
        for (offset, pause) in [(Int64(0), Int64(1_000)), (1, 60_000)] {
            let nack = Coordinator.Settlement(
                queue: key, range: offset..<(offset + 1), number: grant.number,
                verb: .nack(delayMilliseconds: pause))
            let outcome = try harness.coordinator.settle("g", [nack], at: harness.now)
            #expect(outcome.refusals.isEmpty)
            harness.take(outcome.records)
        }

        harness.restart([Self.orders])
        #expect(try counts(harness) == [2, 3])
        harness.advance(milliseconds: 999)
        #expect(try counts(harness) == [2, 3])
        harness.advance(milliseconds: 1)
        #expect(try counts(harness) == [1, 4], "nobody has asked for records since the start")
        harness.advance(milliseconds: 60_000)
        #expect(try counts(harness) == [0, 5])
    }

    /// Delayed, and ready.
    private func counts(_ harness: GroupHarness) throws -> [Int64] {
        let group = try harness.coordinator.describe("g", at: harness.now)
        let queue = try #require(group.queues.first)
        return [queue.delayed, queue.ready(below: 5)]
    }
}
