import MartletFormat
import Testing

@testable import MartletGroups

/// What members are told of their group beside their partitions.
@Suite struct NewsTests {
    private static let orders = TopicShape("orders", 1)
    private let key = TopicPartition(Self.orders.id, 0)
    private let id = MemberID(1)

    private func harness() throws -> GroupHarness {
        var harness = GroupHarness()
        harness.topics([Self.orders])
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest), at: harness.now))
        try receive(&harness, from: 0)
        return harness
    }

    /// Takes two records of a log of ten that begins at `start`, and settles none.
    private func receive(_ harness: inout GroupHarness, from start: Int64) throws {
        let wanted = Coordinator.Wanted(records: 2, leaseMilliseconds: 10_000)
        harness.take(
            try harness.coordinator.receive("g", id, wanted) { $0 == key ? start..<10 : nil })
        _ = try harness.coordinator.lease(
            "g", id, wanted, bounds: { $0 == key ? start..<10 : nil }, at: harness.now)
    }

    private func standing(_ harness: GroupHarness) throws -> GroupStanding {
        try #require(harness.coordinator.standing(of: "g"))
    }

    /// Whether a step was news, under a number of its own.
    private func isNews(
        _ harness: inout GroupHarness, _ step: (inout GroupHarness) throws -> Void
    ) throws -> Bool {
        _ = harness.coordinator.takeNews()
        let before = try standing(harness).number
        try step(&harness)
        let isNews = try standing(harness).number != before
        #expect(harness.coordinator.takeNews() == (isNews ? ["g"] : []))
        return isNews
    }

    @Test func `what stands still, the breaker and what expired are news, and nothing else is`()
        throws
    {
        var harness = try harness()
        #expect(try standing(harness).number > 1)
        let place = PausePlace(key)
        #expect(try isNews(&harness) { _ = $0.pause([place]) })
        #expect(try standing(harness).paused == [place])
        #expect(try isNews(&harness) { _ = $0.resume([place]) })
        #expect(try standing(harness).paused.isEmpty)
        let open = BreakerState.open(since: harness.now.wall, until: harness.now.wall + 60_000)
        #expect(try isNews(&harness) { $0.take([.breaker(group: "g", open)]) })
        #expect(try standing(harness).breaker == open)
        #expect(try isNews(&harness) { $0.take([.breaker(group: "g", .closed)]) })
        #expect(try isNews(&harness) { try receive(&$0, from: 3) })
        #expect(try standing(harness).expired == 3)
        #expect(try !isNews(&harness) { try receive(&$0, from: 3) })
        // What was done is not lost.
        #expect(
            try !isNews(&harness) { $0.take([.queue(group: "g", .flow(key), .acked([3..<6]))]) })
        #expect(try !isNews(&harness) { try receive(&$0, from: 6) })
        #expect(try !isNews(&harness) { _ = $0.join(MemberID(2), .wanting()) })
        #expect(try standing(harness).expired == 3)
    }

    @Test func `what expired is counted over resets, snapshots, restarts and topics that go`()
        throws
    {
        var harness = try harness()
        try receive(&harness, from: 3)
        #expect(harness.reset(key, 1, isForced: true) == nil)
        try receive(&harness, from: 3)
        #expect(try standing(harness).expired == 5)
        #expect(try harness.coordinator.describe("g").queues.map(\.expired) == [2])
        // What was sent again counts, too.
        harness.take([
            .queue(group: "g", .replay(key), .reopened([3..<7])),
            .queue(group: "g", .replay(key), .expired(below: 5)),
        ])
        #expect(try standing(harness).expired == 7)
        let number = try standing(harness).number
        harness.restart([Self.orders])
        #expect(try standing(harness).expired == 7 && standing(harness).number != number)
        harness.take([.forgotten(group: "g", key)])
        #expect(try standing(harness).expired == 7)
        var restored = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.coordinator.snapshot() { restored.replay(record) }
        #expect(restored.groups["g"]?.state == harness.coordinator.groups["g"]?.state)
        #expect(restored.standing(of: "g")?.expired == 7)
    }

    @Test func `a group that is made again is news to who knew the other one`() throws {
        var harness = try harness()
        harness.take([.paused(group: "g", .group, at: 1), .deleted(group: "g")])
        let numbers = try (0..<2).map { _ in
            harness.take([.created(group: "g", at: 2)])
            let standing = try standing(harness)
            #expect(standing.paused.isEmpty && standing.expired == 0)
            harness.take([.deleted(group: "g")])
            return standing.number
        }
        #expect(numbers[0] != numbers[1])
    }
}
