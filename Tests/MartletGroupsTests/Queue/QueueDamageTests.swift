import MartletFormat
import Testing

@testable import MartletGroups

/// Records that nobody can read stay with nobody, and hold nobody up.
@Suite struct QueueDamageTests {
    private typealias Settlement = Coordinator.Settlement

    private static let orders = TopicShape("orders", 1)
    private static let id = MemberID(1)
    private static let end: Int64 = 100

    private struct Queue {
        var harness = GroupHarness()
        var damaged: [Range<Int64>] = []

        init() throws {
            harness.topics([QueueDamageTests.orders])
            harness.take(
                try harness.coordinator.join(
                    "g", QueueDamageTests.id, .wanting(), .queue(from: .earliest), at: harness.now))
        }

        mutating func receive(_ records: Int) throws -> [QueueGrant] {
            let wanted = Coordinator.Wanted(records: records, leaseMilliseconds: 60_000)
            let bounds: Coordinator.Bounds = { _ in 0..<QueueDamageTests.end }
            harness.take(
                try harness.coordinator.receive("g", QueueDamageTests.id, wanted, bounds: bounds))
            let damaged = damaged
            return try harness.coordinator.lease(
                "g", QueueDamageTests.id, wanted, bounds: bounds, damaged: { _ in damaged },
                at: harness.now)
        }

        mutating func settle(_ grants: [QueueGrant], _ verb: Settlement.Verb) throws {
            let settlements = grants.map {
                Settlement(queue: $0.queue, range: $0.range, number: $0.number, verb: verb)
            }
            harness.take(try harness.coordinator.settle("g", settlements, at: harness.now).records)
            harness.coordinator.follow("g", settlements, at: harness.now)
        }
    }

    private static func offsets(_ grants: [QueueGrant]) -> [Int64] {
        grants.flatMap { Array($0.range) }.sorted()
    }

    @Test func `what is damaged is handed to nobody, and all around it is`() throws {
        var queue = try Queue()
        queue.damaged = [0..<3, 40..<60, 99..<100]
        var seen: [Int64] = []
        while true {
            let grants = try queue.receive(7)
            if grants.isEmpty { break }
            seen += Self.offsets(grants)
            try queue.settle(grants, .ack)
        }
        let sound = Array(3..<40) + Array(60..<99) as [Int64]
        #expect(seen == sound)
        let counts = try #require(try queue.harness.coordinator.describe("g").queues.first)
        #expect(counts.acked == Int64(sound.count) && counts.ready(below: Self.end) == 24)
        // Readable again, or passed by a person, who is told so by gaps.
        queue.damaged = [40..<60]
        #expect(Self.offsets(try queue.receive(100)) == [0, 1, 2, 99])
    }

    @Test func `what is found damaged when it was handed out already comes back to nobody`() throws
    {
        var queue = try Queue()
        let grants = try queue.receive(20)
        queue.damaged = [5..<8]
        try queue.settle(grants, .nack(delayMilliseconds: 0))
        #expect(Self.offsets(try queue.receive(20)) == Array(0..<5) + Array(8..<23))
        #expect(Self.offsets(try queue.receive(200)) == Array(23..<100))
        #expect(try queue.receive(200).isEmpty)
    }
}
