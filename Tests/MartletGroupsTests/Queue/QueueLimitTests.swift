import MartletTestSupport
import Testing

@testable import MartletGroups

/// Many records by themselves, and what a queue keeps of them at most.
@Suite struct QueueLimitTests {
    private typealias Settlement = Coordinator.Settlement

    private let key = QueueID.flow(TopicPartition(TopicShape("orders", 1).id, 0))
    private let id = MemberID(1)

    private func harness(_ limits: GroupLimits = GroupLimits()) throws -> GroupHarness {
        var harness = GroupHarness(limits: limits)
        harness.topics([TopicShape("orders", 1)])
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest), at: harness.now))
        return harness
    }

    private func receive(
        _ harness: inout GroupHarness, _ records: Int, end: Int64
    ) throws -> [QueueGrant] {
        let wanted = Coordinator.Wanted(records: records, leaseMilliseconds: 60_000)
        harness.take(try harness.coordinator.receive("g", id, wanted) { _ in 0..<end })
        return try harness.coordinator.lease(
            "g", id, wanted, bounds: { _ in 0..<end }, at: harness.now)
    }

    private func settle(
        _ harness: inout GroupHarness, _ settlements: [Settlement]
    ) throws -> [Int: GroupRefusal] {
        let outcome = try harness.coordinator.settle("g", settlements, at: harness.now)
        harness.take(outcome.records)
        let taken = settlements.indices.filter { outcome.refusals[$0] == nil }
        harness.coordinator.follow("g", taken.map { settlements[$0] }, at: harness.now)
        return outcome.refusals
    }

    private func word(
        _ range: Range<Int64>, _ number: UInt64, _ verb: Settlement.Verb
    )
        -> Settlement
    {
        Settlement(queue: key, range: range, number: number, verb: verb)
    }

    private func counts(_ harness: GroupHarness) throws -> QueueCounts {
        try #require(try harness.coordinator.describe("g").queues.first)
    }

    /// With steps that look at all leases this takes minutes.
    @Test func `a hundred thousand leases of one record are settled in any order`() throws {
        var random = SeededRandom(seed: 71)
        var harness = try harness()
        let number = try #require(try receive(&harness, 100_000, end: 200_000).first).number
        let offsets = Array(Int64(0)..<100_000).shuffled(using: &random)
        let clock = ContinuousClock()
        var slowest: [String: Duration] = [:]
        for (name, verb) in [("begin", Settlement.Verb.begin), ("ack", .ack)] {
            for first in stride(from: 0, to: 100_000, by: 1_000) {
                // All begin, so that each is a lease by itself; some of them are enough to ack.
                if verb == .ack, first == 20_000 { break }
                let words = offsets[first..<(first + 1_000)].map {
                    word($0..<($0 + 1), number, verb)
                }
                let begun = clock.now
                #expect(try settle(&harness, words).isEmpty)
                slowest[name] = max(slowest[name] ?? .zero, clock.now - begun)
            }
        }
        #expect(try counts(harness).acked == 20_000 && counts(harness).inFlight == 80_000)
        print("1,000 of 100,000 leases at most: \(slowest), seed 71")
    }

    @Test func `a hundred thousand records are given back for a while at once`() throws {
        var harness = try harness()
        for _ in 0..<3 {
            let number = try #require(try receive(&harness, 100_000, end: 100_000).first).number
            // Those whose delay is over are not counted against the limit again.
            let refusals = try settle(
                &harness, [word(0..<100_000, number, .nack(delayMilliseconds: 50))])
            #expect(refusals.isEmpty)
            #expect(try counts(harness).delayed == 100_000)
            #expect(try receive(&harness, 1, end: 100_000).isEmpty)
            harness.advance(milliseconds: 50)
        }
        #expect(try receive(&harness, 100_000, end: 100_000).first?.attempts == 3)
    }

    @Test func `nothing new is handed out while too much is open`() throws {
        var limits = GroupLimits()
        limits.openRecordsMax = 10
        var harness = try harness(limits)
        let first = try #require(try receive(&harness, 8, end: 100).first)
        // Every other one is done: what is left counts.
        let acks = stride(from: Int64(1), to: 8, by: 2).map {
            word($0..<($0 + 1), first.number, .ack)
        }
        #expect(try settle(&harness, acks).isEmpty)
        #expect(try receive(&harness, 100, end: 100).map(\.range) == [8..<14])
        #expect(try receive(&harness, 100, end: 100).isEmpty)
        #expect(harness.coordinator.takeReadyQueues().isEmpty)
        #expect(try settle(&harness, [word(0..<1, first.number, .ack)]).isEmpty)
        #expect(harness.coordinator.takeReadyQueues() == ["g"])
        #expect(try receive(&harness, 100, end: 100).map(\.range) == [14..<15])
        // A restart forgets who has what, not the limit.
        harness.restart([TopicShape("orders", 1)])
        #expect(try receive(&harness, 100, end: 100).reduce(0) { $0 + $1.range.count } == 10)
    }

    @Test func `a request that is cut short and run again counts an attempt once`() throws {
        var harness = try harness()
        let number = try #require(try receive(&harness, 2, end: 2).first).number
        let words = [word(0..<1, number, .begin), word(1..<2, number, .begin)]
        let cut = try harness.coordinator.settle("g", words, at: harness.now)
        harness.take(Array(cut.records.prefix(1)))
        #expect(try settle(&harness, words).isEmpty)
        let progress = harness.coordinator.groups["g"]?.state.queues[key]
        #expect(progress?.attempts == [0: 1, 1: 1])
    }

    @Test func `no request makes the broker look at each record a thousand times`() throws {
        var harness = try harness()
        let number = try #require(try receive(&harness, 100_000, end: 100_000).first).number
        let words = Array(repeating: word(0..<100_000, number, .begin), count: 11)
        #expect(throws: GroupRefusal.self) {
            try harness.coordinator.settle("g", words, at: harness.now)
        }
        #expect(try settle(&harness, Array(words.prefix(10))).isEmpty)
    }

    @Test func `records that no broker writes trap nowhere`() throws {
        var harness = try harness()
        for change in [
            QueueChange.began(at: .min), .restored([], acked: .max, expired: .max, sent: .max),
            .delayed([Int64.max - 1..<Int64.max], due: .min), .attempted([0..<1], times: .max),
            .acked([1..<Int64.max - 1]), .expired(below: .min),
        ] { harness.take([.queue(group: "g", key, change)]) }
        _ = try receive(&harness, 10, end: .max)
        _ = try counts(harness).ready(below: .max)
        _ = harness.coordinator.snapshot()
    }

    @Test func `nothing is kept of a topic that is gone`() throws {
        var harness = try harness()
        _ = try receive(&harness, 2, end: 2)
        #expect(harness.coordinator.knownTopics == [key.partition.topic])
        harness.take(harness.coordinator.forget(key.partition.topic))
        #expect(harness.coordinator.knownTopics.isEmpty)
        #expect(harness.coordinator.groups["g"]?.activity.queues.isEmpty == true)
    }
}
