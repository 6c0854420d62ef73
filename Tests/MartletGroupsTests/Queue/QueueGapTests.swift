import MartletFormat
import MartletTestSupport
import Testing

@testable import MartletGroups

/// Offsets that no record has are not ready for anybody: the accounts leave them out.
@Suite struct QueueGapTests {
    private typealias Settlement = Coordinator.Settlement

    private static let orders = TopicShape("orders", 1)
    private static let key = TopicPartition(orders.id, 0)
    private static let id = MemberID(1)
    private static let end: Int64 = 200

    /// Where an offset is, as who receives and settles knows it.
    private enum Place { case ready, out, acked, delayed }

    /// A queue, and beside it what became of each offset.
    private struct Life {
        var harness = GroupHarness()
        var random: SeededRandom
        let gaps: [Range<Int64>]
        var places = [Place](repeating: .ready, count: Int(QueueGapTests.end))
        var deliveries: [(range: Range<Int64>, number: UInt64)] = []

        init(seed: UInt64) throws {
            random = SeededRandom(seed: seed)
            var gaps: [Range<Int64>] = []
            for _ in 0...random.below(4) {
                let start = Int64(random.below(Int(QueueGapTests.end)))
                gaps.append(start..<min(QueueGapTests.end, start + 1 + Int64(random.below(60))))
            }
            // Beyond what can be read, and joined to another.
            gaps.append(QueueGapTests.end - 5..<QueueGapTests.end + 50)
            self.gaps = gaps
            harness.topics([QueueGapTests.orders])
            try join()
        }

        private mutating func join() throws {
            harness.take(
                try harness.coordinator.join(
                    "g", QueueGapTests.id, .wanting(), .queue(from: .earliest), at: harness.now))
        }

        mutating func step() throws {
            switch random.below(6) {
            case 0, 1: try receive()
            case 2, 3: try settle(.ack, .acked)
            case 4: try settle(.nack(delayMilliseconds: 3_600_000), .delayed)
            default: try restart()
            }
        }

        private mutating func receive() throws {
            let wanted = Coordinator.Wanted(
                records: 1 + random.below(40), leaseMilliseconds: 3_600_000)
            let bounds: Coordinator.Bounds = { _ in 0..<QueueGapTests.end }
            let id = QueueGapTests.id
            harness.take(try harness.coordinator.receive("g", id, wanted, bounds: bounds))
            let grants = try harness.coordinator.lease(
                "g", id, wanted, bounds: bounds, at: harness.now)
            for grant in grants {
                deliveries.append((grant.range, grant.number))
                set(grant.range, .out)
            }
        }

        private mutating func settle(_ verb: Settlement.Verb, _ place: Place) throws {
            guard !deliveries.isEmpty else { return }
            let delivery = deliveries.remove(at: random.below(deliveries.count))
            // A part of it; the rest stays with the member.
            let size = 1 + random.below(delivery.range.count)
            let range = delivery.range.lowerBound..<(delivery.range.lowerBound + Int64(size))
            if range.upperBound < delivery.range.upperBound {
                deliveries.append((range.upperBound..<delivery.range.upperBound, delivery.number))
            }
            let settlement = Settlement(
                queue: .flow(QueueGapTests.key), range: range, number: delivery.number, verb: verb)
            let outcome = try harness.coordinator.settle("g", [settlement], at: harness.now)
            #expect(outcome.refusals.isEmpty)
            harness.take(outcome.records)
            harness.coordinator.follow("g", [settlement], at: harness.now)
            set(range, place)
        }

        /// Leases are memory.
        private mutating func restart() throws {
            guard random.below(4) == 0 else { return }
            var other = Coordinator(limits: GroupLimits(), incarnation: 9)
            other.topicsChanged([QueueGapTests.orders])
            for record in harness.coordinator.snapshot() { other.replay(record) }
            harness.coordinator = other
            try join()
            deliveries = []
            for index in places.indices where places[index] == .out { places[index] = .ready }
        }

        private mutating func set(_ range: Range<Int64>, _ place: Place) {
            for offset in range { places[Int(offset)] = place }
        }

        func check() throws {
            let gaps = gaps
            let counts = try #require(
                try harness.coordinator.describe("g", gaps: { _ in gaps }).queues.first)
            func count(_ place: Place) -> Int64 { Int64(places.count { $0 == place }) }
            let ready = places.indices.count { index in
                places[index] == .ready && !gaps.contains { $0.contains(Int64(index)) }
            }
            #expect(counts.acked == count(.acked) && counts.inFlight == count(.out))
            #expect(counts.delayed == count(.delayed))
            #expect(counts.ready(below: QueueGapTests.end) == Int64(ready), "\(gaps)")
            let waiting = Int64(ready) + count(.out) + count(.delayed)
            #expect(counts.waiting(below: QueueGapTests.end) == waiting)
        }
    }

    @Test(arguments: UInt64(1)...40)
    func `offsets without records are not ready, at any time`(seed: UInt64) throws {
        var life = try Life(seed: seed)
        for _ in 0..<60 {
            try life.step()
            guard life.harness.coordinator.groups["g"]?.state.queues.isEmpty == false else {
                continue
            }
            try life.check()
        }
    }
}
