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
            let gaps = Array(RangeSet(gaps).ranges)
            harness.take(
                try harness.coordinator.receive(
                    "g", id, wanted, bounds: bounds, gaps: { _ in gaps }))
            let grants = try harness.coordinator.lease(
                "g", id, wanted, bounds: bounds, gaps: { _ in gaps }, at: harness.now)
            for grant in grants {
                #expect(!gaps.contains { $0.overlaps(grant.range) }, "no record is there")
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

    /// A log of 300 records with a gap of a million in it, of which no more than 100 are out at a time.
    private struct FarGap {
        var harness = GroupHarness(limits: limits)
        static let gap: Range<Int64> = 200..<1_000_200
        static let end: Int64 = 1_000_300
        var handed: [Int64] = []

        static var limits: GroupLimits {
            var limits = GroupLimits()
            limits.openRecordsMax = 100
            return limits
        }

        init() throws {
            harness.topics([QueueGapTests.orders])
            try join()
        }

        mutating func join() throws {
            harness.take(
                try harness.coordinator.join(
                    "g", QueueGapTests.id, .wanting(), .queue(from: .earliest), at: harness.now))
        }

        mutating func receive() throws -> [QueueGrant] {
            let wanted = Coordinator.Wanted(records: 1_000, leaseMilliseconds: 3_600_000)
            let bounds: Coordinator.Bounds = { _ in 0..<Self.end }
            harness.take(
                try harness.coordinator.receive(
                    "g", QueueGapTests.id, wanted, bounds: bounds, gaps: { _ in [Self.gap] }))
            return try harness.coordinator.lease(
                "g", QueueGapTests.id, wanted, bounds: bounds, gaps: { _ in [Self.gap] },
                at: harness.now)
        }

        mutating func ack(_ grants: [QueueGrant]) throws {
            let acks = grants.map {
                Settlement(queue: $0.queue, range: $0.range, number: $0.number, verb: .ack)
            }
            harness.take(try harness.coordinator.settle("g", acks, at: harness.now).records)
            harness.coordinator.follow("g", acks, at: harness.now)
            handed += grants.flatMap { Array($0.range) }
        }

        mutating func restart() throws {
            var other = Coordinator(limits: Self.limits, incarnation: 9)
            other.topicsChanged([QueueGapTests.orders])
            for record in harness.coordinator.snapshot() { other.replay(record) }
            harness.coordinator = other
            try join()
        }
    }

    @Test func `a gap far ahead neither holds a queue up nor lifts its limit`() throws {
        var far = try FarGap()
        for round in 0..<3 {
            let grants = try far.receive()
            #expect(grants.reduce(0) { $0 + $1.range.count } == 100)
            #expect(try far.receive().isEmpty, "more than may be out")
            // The gap is settled by now, far above what was handed out.
            if round == 0 { try far.restart() } else { try far.ack(grants) }
        }
        #expect(far.handed == Array(0..<200))
        try far.ack(try far.receive())
        #expect(far.handed == Array(0..<200) + Array(FarGap.gap.upperBound..<FarGap.end))
        let counts = try #require(try far.harness.coordinator.describe("g").queues.first)
        #expect(counts.acked == 300 && counts.floor == FarGap.end)
        #expect(counts.ready(below: FarGap.end) == 0 && counts.waiting(below: FarGap.end) == 0)
    }

    @Test func `offsets without records do not expire`() throws {
        var far = try FarGap()
        try far.ack(try far.receive())
        let key = QueueGapTests.key
        let below = FarGap.end - 50
        // Nobody has received since a person let readers pass this.
        let gaps = [150..<160, FarGap.gap]
        far.harness.take(far.harness.coordinator.losing(0..<below, of: key, gaps: { _ in gaps }))
        let lost = far.harness.coordinator.expiring(key, below: below)
        #expect(lost.map(\.count) == [100 - 10 + 50])
        far.harness.take(lost.map(\.record))
        let counts = try #require(try far.harness.coordinator.describe("g").queues.first)
        #expect(counts.acked == 100 && counts.expired == 140 && counts.floor == below)
        #expect(counts.waiting(below: FarGap.end) == 50)
    }
}
