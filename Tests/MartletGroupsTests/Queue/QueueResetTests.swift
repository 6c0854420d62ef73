import MartletFormat
import Testing

@testable import MartletGroups

/// A person sets how far a queue group is.
@Suite struct QueueResetTests {
    private typealias Settlement = Coordinator.Settlement

    private static let orders = TopicShape("orders", 2)
    private static let lane = QueueID.replay(TopicPartition(TopicShape("g.dlq", 1).id, 0))
    private let key = TopicPartition(Self.orders.id, 0)
    private let id = MemberID(1)

    /// A queue with ten records in partition 0, of which its one member has the first five.
    private func harness() throws -> (GroupHarness, QueueGrant) {
        var harness = GroupHarness()
        harness.topics([Self.orders])
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest), at: harness.now))
        let grant = try #require(try receive(&harness, 5).first)
        #expect(grant.range == 0..<5)
        return (harness, grant)
    }

    private func receive(_ harness: inout GroupHarness, _ records: Int) throws -> [QueueGrant] {
        let wanted = Coordinator.Wanted(records: records, leaseMilliseconds: 10_000)
        let bounds: Coordinator.Bounds = {
            $0 == key ? 0..<10 : $0 == Self.lane.partition ? 0..<100 : nil
        }
        harness.take(try harness.coordinator.receive("g", id, wanted, bounds: bounds))
        return try harness.coordinator.lease("g", id, wanted, bounds: bounds, at: harness.now)
    }

    private func settle(
        _ harness: inout GroupHarness, _ grant: QueueGrant, _ range: Range<Int64>,
        _ verb: Settlement.Verb
    ) throws -> GroupRefusal? {
        let settlement = Settlement(
            queue: grant.queue, range: range, number: grant.number, verb: verb)
        var contents: Coordinator.DeadContents = [:]
        for place in harness.coordinator.dying("g", [settlement], at: harness.now) {
            contents[place] = .record([1], first: nil)
        }
        let outcome = try harness.coordinator.settle(
            "g", [settlement], contents: contents, at: harness.now)
        harness.take(outcome.records)
        if outcome.refusals.isEmpty {
            harness.coordinator.follow("g", [settlement], at: harness.now)
        }
        return outcome.refusals[0]
    }

    private func counts(_ harness: GroupHarness) throws -> QueueCounts {
        let all = try harness.coordinator.describe("g").queues
        return try #require(all.first { $0.partition == key })
    }

    /// Each visible record since the start is somewhere, and a crash or a snapshot changes nothing.
    private func check(_ harness: GroupHarness) throws {
        let counts = try counts(harness)
        let all =
            counts.acked + counts.expired + counts.dead + counts.inFlight + counts.delayed
            + counts.parked + counts.ready(below: 10)
        #expect(all == 10 - counts.start, "\(counts)")
        let state = harness.coordinator.groups["g"]?.state
        for records in [harness.log, harness.coordinator.snapshot()] {
            var other = Coordinator(limits: GroupLimits(), incarnation: 9)
            for record in records { other.replay(record) }
            #expect(other.groups["g"]?.state == state)
        }
    }

    private func failure(_ harness: GroupHarness) -> HandlerFailure {
        HandlerFailure(.permanent, kind: "Broken", text: "it is", at: harness.now.wall)
    }

    @Test func `a queue that is reset owes all from there on, and no late answer counts`() throws {
        var (harness, grant) = try harness()
        #expect(try settle(&harness, grant, 0..<3, .ack) == nil)
        #expect(try settle(&harness, grant, 4..<5, .nack(delayMilliseconds: 60_000)) == nil)
        #expect(harness.reset(key, 2, isForced: true) == nil)
        try check(harness)
        let begun = try counts(harness)
        #expect(begun.start == 2 && begun.floor == 2 && begun.acked == 0 && begun.delayed == 0)
        #expect(begun.ready(below: 10) == 8)
        for verb in [Settlement.Verb.ack, .begin, .extend(milliseconds: 500)] {
            #expect(try settle(&harness, grant, 3..<4, verb) == .leaseLost)
            #expect(try settle(&harness, grant, 0..<1, verb) == .leaseLost)
        }
        let again = try receive(&harness, 100)
        #expect(again.map(\.range) == [2..<10] && again.map(\.attempts) == [0])
        #expect(try settle(&harness, grant, 3..<4, .ack) == .leaseLost)
        #expect(try settle(&harness, again[0], 2..<10, .ack) == nil)
        #expect(try counts(harness).floor == 10)
        #expect(harness.reset(key, 10) == nil)
        #expect(try counts(harness).waiting(below: 10) == 0)
        try check(harness)
    }

    @Test func `a queue is not reset under its members, nor by a plan that is out of date`() throws
    {
        var (harness, grant) = try harness()
        #expect(harness.reset(key, 7) == .partitionInUse("partition 0 of orders"))
        #expect(try settle(&harness, grant, 0..<3, .ack) == nil)
        #expect(harness.pause([PausePlace(key)]) == nil)
        guard case .resetOutdated = harness.reset(key, expected: 0, 7) else {
            Issue.record("not refused")
            return
        }
        // All or none.
        let other = TopicPartition(Self.orders.id, 1)
        let resets = [(other, Int64(-1)), (key, 2)].map {
            Coordinator.Reset(partition: $0, expected: $1, offset: 1)
        }
        #expect(throws: GroupRefusal.self) {
            try harness.coordinator.reset("g", resets, isForced: false, at: harness.now)
        }
        #expect(harness.coordinator.groups["g"]?.state.queues[.flow(other)] == nil)
        #expect(harness.reset(key, expected: 3, 7) == nil)
        #expect(harness.reset(other, expected: -1, 4) == nil)
        #expect(try counts(harness).start == 7)
        #expect(harness.resume() == nil)
        #expect(try receive(&harness, 100).map(\.range) == [7..<10])
        #expect(harness.reset(TopicPartition(Self.orders.id, 2), 1) == .unknownPartition)
        #expect(harness.reset(key, -1, isForced: true) != nil)
        #expect(harness.reset(key, expected: 3, 7, isForced: true) == nil)
        harness.restart([Self.orders])
        #expect(try counts(harness).start == 7)
        try check(harness)
    }

    @Test func `who waits for records is woken by a reset`() throws {
        var (harness, grant) = try harness()
        #expect(try settle(&harness, grant, 0..<5, .ack) == nil)
        _ = harness.coordinator.takeReadyQueues()
        #expect(harness.reset(key, 0) == nil)
        #expect(harness.coordinator.takeReadyQueues() == ["g"])
    }

    @Test func `what is dead stays a dead letter, and is not owed as well`() throws {
        var (harness, grant) = try harness()
        #expect(try settle(&harness, grant, 3..<4, .fail(failure(harness))) == nil)
        #expect(try settle(&harness, grant, 1..<2, .fail(failure(harness))) == nil)
        harness.take(harness.coordinator.store("g", [(1, 0), (2, 1)], in: Self.lane.partition))
        #expect(harness.reset(key, 2, isForced: true) == nil)
        try check(harness)
        // The one below is a dead letter still; it counts here no more.
        #expect(try counts(harness).dead == 1)
        #expect(try receive(&harness, 100).map(\.range) == [2..<3, 4..<10])
        harness.take(try harness.coordinator.replayLetters("g", [1, 2], replaysMax: 0).records)
        #expect(try counts(harness).inFlight == 8)
        try check(harness)
        #expect(harness.reset(key, 2, isForced: true) == nil)
        #expect(try counts(harness).inFlight == 1)
        try check(harness)
        let letters = try receive(&harness, 100).filter { $0.queue == Self.lane }
        #expect(letters.map(\.range) == [0..<2])
        #expect(try settle(&harness, letters[0], 0..<2, .ack) == nil)
        #expect(try counts(harness).acked == 1)
        try check(harness)
        // Handled, it is a record like any other.
        #expect(harness.reset(key, 0, isForced: true) == nil)
        #expect(try counts(harness).ready(below: 10) == 10)
        try check(harness)
    }

    @Test func `dead letters that a reset left behind count again when it goes back`() throws {
        var (harness, grant) = try harness()
        for offset: Int64 in 1..<4 {
            let failure = failure(harness)
            #expect(try settle(&harness, grant, offset..<(offset + 1), .fail(failure)) == nil)
        }
        #expect(harness.reset(key, 9, isForced: true) == nil)
        #expect(try counts(harness).dead == 0)
        let resolved = try harness.coordinator.resolveLetters(
            "g", [1], author: "ann", note: "", at: harness.now)
        harness.take(resolved.records)
        try check(harness)
        #expect(harness.reset(key, 0) == nil)
        let counts = try counts(harness)
        #expect(counts.dead == 2 && counts.ready(below: 10) == 8)
        try check(harness)
    }

    @Test func `retention copies nothing that a reset left behind`() throws {
        var (harness, grant) = try harness()
        #expect(try settle(&harness, grant, 0..<5, .begin) == nil)
        #expect(
            harness.coordinator.endangered(key, below: 5, max: 9).map(\.offsets) == [
                [0, 1, 2, 3, 4]
            ])
        #expect(harness.reset(key, 4, isForced: true) == nil)
        let bodies = (0..<5).map { (offset: Int64($0), body: [UInt8(1)]) }
        let rescue = harness.coordinator.rescue("g", key, bodies, at: harness.now)
        #expect(rescue.records.count == 1)
        #expect(harness.coordinator.endangered(key, below: 5, max: 9).isEmpty)
    }

    @Test func `a group's own dead letters are not reset`() throws {
        var (harness, _) = try harness()
        let letters = TopicShape("g.dlq", 1)
        harness.topics([Self.orders, letters])
        let refusal = harness.reset(TopicPartition(letters.id, 0), 0, isForced: true)
        guard case .invalid(field: "entries", _) = refusal else {
            Issue.record("\(String(describing: refusal))")
            return
        }
    }

    @Test(arguments: [Int64.max, Int64.max - 1]) func `no offset traps`(_ offset: Int64) throws {
        var (harness, _) = try harness()
        #expect(harness.reset(key, offset, isForced: true) == nil)
        #expect(try receive(&harness, 10).isEmpty)
        #expect(try counts(harness).waiting(below: 10) == 0)
        #expect(harness.coordinator.expiring(key, below: 5).isEmpty)
        #expect(harness.reset(key, 0, isForced: true) == nil)
        #expect(try receive(&harness, 10).map(\.range) == [0..<10])
    }
}
