import Testing

@testable import MartletGroups

/// What is said of a record that has become a dead letter meanwhile.
@Suite struct LateAckTests {
    private typealias Settlement = Coordinator.Settlement
    private typealias Verb = Coordinator.Settlement.Verb

    private let shapes = [TopicShape("orders", 1), TopicShape("g.dlq", 1)]
    private let key = TopicPartition(TopicShape("orders", 1).id, 0)
    private let lane = QueueID.replay(TopicPartition(TopicShape("g.dlq", 1).id, 0))
    private let id = MemberID(1)
    private var flow: QueueID { .flow(key) }

    private func harness() throws -> GroupHarness {
        var harness = GroupHarness()
        harness.topics(shapes)
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(["orders"]), .queue(from: .earliest), at: harness.now))
        return harness
    }

    /// With ten records in the flow.
    private func receive(_ harness: inout GroupHarness, _ records: Int = 10) throws -> QueueGrant {
        let wanted = Coordinator.Wanted(records: records, leaseMilliseconds: 1_000)
        harness.take(try harness.coordinator.receive("g", id, wanted) { _ in 0..<10 })
        let grants = try harness.coordinator.lease(
            "g", id, wanted, bounds: { _ in 0..<10 }, at: harness.now)
        return try #require(grants.first)
    }

    /// nil: it was taken.
    @discardableResult
    private func say(
        _ harness: inout GroupHarness, _ grant: QueueGrant, _ range: Range<Int64>, _ verb: Verb
    ) throws -> GroupRefusal? {
        let word = Settlement(queue: grant.queue, range: range, number: grant.number, verb: verb)
        let dying = harness.coordinator.dying("g", [word], at: harness.now)
        let contents = Dictionary(
            uniqueKeysWithValues: dying.map {
                ($0, Coordinator.DeadContent.record([1], first: nil))
            })
        let outcome = try harness.coordinator.settle(
            "g", [word], contents: contents, at: harness.now)
        harness.take(outcome.records)
        if outcome.refusals.isEmpty { harness.coordinator.follow("g", [word], at: harness.now) }
        return outcome.refusals[0]
    }

    private var failed: Verb {
        .fail(HandlerFailure(.permanent, kind: "Broken", text: "it is", at: 1))
    }

    private func at(_ offset: Int64) -> Range<Int64> { offset..<(offset + 1) }

    private func state(_ harness: GroupHarness) throws -> GroupState {
        try #require(harness.coordinator.groups["g"]).state
    }

    private func resolve(_ harness: inout GroupHarness, _ letter: UInt64) throws {
        let resolved = try harness.coordinator.resolveLetters(
            "g", [letter], author: "ann", note: "", at: harness.now)
        #expect(resolved.refusals.isEmpty)
        harness.take(resolved.records)
    }

    /// What waits is in the topic, one place behind the other; and with the group again.
    private func sendAgain(_ harness: inout GroupHarness, _ letter: UInt64) throws -> QueueGrant {
        let waiting = try #require(harness.coordinator.waitingEntries(of: "g", bytesMax: 1 << 30))
        let places = waiting.entries.enumerated().map { index, entry in
            (number: entry.number, place: waiting.lastPlace + 1 + Int64(index))
        }
        harness.take(harness.coordinator.store("g", places, in: lane.partition))
        let sent = try harness.coordinator.replayLetters("g", [letter], replaysMax: 0)
        #expect(sent.refusals.isEmpty)
        harness.take(sent.records)
        let grants = try harness.coordinator.lease(
            "g", id, Coordinator.Wanted(records: 100, leaseMilliseconds: 1_000),
            bounds: { $0 == lane.partition ? 0..<1_000 : 0..<10 }, at: harness.now)
        return try #require(grants.first { $0.queue == lane })
    }

    /// The same state from nothing, by all records and by a snapshot.
    private func checkReplay(_ harness: GroupHarness) throws {
        let state = try state(harness)
        for records in [harness.log, harness.coordinator.snapshot()] {
            var replayed = Coordinator(limits: GroupLimits(), incarnation: 9)
            for record in records { replayed.replay(record) }
            #expect(replayed.groups["g"]?.state == state)
        }
    }

    @Test func `a late ack of a dead letter is refused, until it is resolved`() throws {
        var harness = try harness()
        let late = try receive(&harness)
        harness.advance(milliseconds: 2_000)
        harness.expire()
        let next = try receive(&harness)
        #expect(try say(&harness, next, at(3), failed) == nil)
        for isAnew in [false, true] {
            if isAnew { harness.restart(shapes) }
            for grant in [late, next] {
                for verb in [Verb.ack, .begin, .extend(milliseconds: 500)] {
                    #expect(
                        try say(&harness, grant, at(3), verb) == .deadLetter(offset: 3),
                        "\(verb), anew: \(isAnew)")
                }
                // They wanted it away, or dead: so it is.
                for verb in [Verb.nack(delayMilliseconds: 0), .nack(delayMilliseconds: 9), failed] {
                    #expect(try say(&harness, grant, at(3), verb) == nil)
                }
            }
            try checkReplay(harness)
        }
        let counts = try #require(try harness.coordinator.describe("g").queues.first)
        #expect(counts.dead == 1 && counts.acked == 0)
        try resolve(&harness, 1)
        #expect(try say(&harness, late, at(3), .ack) == nil)
        try checkReplay(harness)
    }

    @Test func `an ack of a range with a dead letter in it is refused as a whole`() throws {
        var harness = try harness()
        let grant = try receive(&harness)
        #expect(try say(&harness, grant, at(7), failed) == nil)
        #expect(try say(&harness, grant, at(4), failed) == nil)
        #expect(try say(&harness, grant, 0..<10, .ack) == .deadLetter(offset: 4))
        #expect(try say(&harness, grant, 5..<10, .ack) == .deadLetter(offset: 7))
        #expect(try state(harness).queues[flow]?.acked == 0)
        for range in [Int64(0)..<4, 5..<7, 8..<10] {
            #expect(try say(&harness, grant, range, .ack) == nil)
        }
        let counts = try #require(try harness.coordinator.describe("g").queues.first)
        #expect(counts.acked == 8 && counts.dead == 2 && counts.inFlight == 0)
        // What is acked stays so, however often it is said.
        #expect(try say(&harness, grant, 0..<4, .ack) == nil)
        #expect(try say(&harness, grant, 0..<5, .ack) == .deadLetter(offset: 4))
    }

    @Test func `an ack of what retention has copied is refused, of what it took it is not`() throws
    {
        var harness = try harness()
        let grant = try receive(&harness)
        #expect(try say(&harness, grant, at(1), .begin) == nil)
        let body = [(offset: Int64(1), body: [UInt8(7)])]
        harness.take(harness.coordinator.rescue("g", key, body, at: harness.now).records)
        harness.take([.queue(group: "g", flow, .expired(below: 3))])
        #expect(try say(&harness, grant, at(1), .ack) == .deadLetter(offset: 1))
        #expect(try say(&harness, grant, at(0), .ack) == nil)
        #expect(try say(&harness, grant, at(2), .ack) == nil)
        let counts = try #require(try harness.coordinator.describe("g").queues.first)
        #expect(counts.dead == 1 && counts.expired == 2 && counts.acked == 0)
    }

    @Test func `of a letter that died again no delivery of before is acked`() throws {
        var harness = try harness()
        let grant = try receive(&harness)
        #expect(try say(&harness, grant, at(0), failed) == nil)
        var before: [QueueGrant] = []
        for _ in 0..<20 {
            let again = try sendAgain(&harness, 1)
            #expect(try say(&harness, again, again.range, failed) == nil)
            before.append(again)
        }
        let last = try sendAgain(&harness, 1)
        // So many places of a letter are known.
        for again in before.suffix(Letter.lanePlacesMax) {
            let offset = again.range.lowerBound
            #expect(try say(&harness, again, again.range, .ack) == .deadLetter(offset: offset))
        }
        #expect(try state(harness).letters.letters[1]?.diedOnLane.count == Letter.lanePlacesMax)
        #expect(try say(&harness, grant, at(0), .ack) == .deadLetter(offset: 0))
        try checkReplay(harness)
        // It is with a member now, who may.
        #expect(try say(&harness, last, last.range, .begin) == nil)
        #expect(try say(&harness, last, last.range, .ack) == nil)
        for again in before + [grant] {
            #expect(try say(&harness, again, at(again.range.lowerBound), .ack) == nil)
        }
        #expect(try state(harness).letters.places == DeadPlaces())
        let counts = try #require(try harness.coordinator.describe("g").queues.first)
        #expect(counts.dead == 0 && counts.acked == 1)
        try checkReplay(harness)
    }

    @Test func `an ack of a record that was sent again beside its dead letter is repeated`() throws
    {
        var harness = try harness()
        let key = key
        func replay() throws -> QueueGrant {
            let outcome = try harness.coordinator.replayRecords(
                "g", [Coordinator.Replay(key, [5..<6])], bounds: { _ in 0..<10 })
            harness.take(outcome.records)
            let grants = try harness.coordinator.lease(
                "g", id, Coordinator.Wanted(records: 100, leaseMilliseconds: 1_000),
                bounds: { _ in 0..<10 }, at: harness.now)
            return try #require(grants.first { $0.queue == .replay(key) })
        }
        let first = try replay()
        #expect(try say(&harness, first, at(5), failed) == nil)
        #expect(try say(&harness, first, at(5), .ack) == .deadLetter(offset: 5))
        let second = try replay()
        #expect(try say(&harness, first, at(5), .ack) == .leaseLost)
        #expect(try say(&harness, second, at(5), .ack) == nil)
        try checkReplay(harness)
        harness.restart(shapes)
        #expect(try say(&harness, second, at(5), .ack) == nil)
        // It dies once more: of the same record there are two.
        let third = try replay()
        #expect(try say(&harness, third, at(5), failed) == nil)
        #expect(try say(&harness, third, at(5), .ack) == .deadLetter(offset: 5))
        try resolve(&harness, 1)
        #expect(try say(&harness, third, at(5), .ack) == .deadLetter(offset: 5))
        try resolve(&harness, 2)
        #expect(try say(&harness, third, at(5), .ack) == nil)
        try checkReplay(harness)
    }

    @Test func `after a reset what is dead is still not acked`() throws {
        var harness = try harness()
        let grant = try receive(&harness)
        #expect(try say(&harness, grant, at(6), failed) == nil)
        #expect(harness.reset(key, 2, isForced: true) == nil)
        #expect(try say(&harness, grant, at(6), .ack) == .deadLetter(offset: 6))
        #expect(try say(&harness, grant, at(5), .ack) == .leaseLost)
        try checkReplay(harness)
    }

    @Test func `a dead letter topic that was made anew has no places of the one before`() throws {
        var harness = try harness()
        let grant = try receive(&harness)
        #expect(try say(&harness, grant, at(0), failed) == nil)
        let again = try sendAgain(&harness, 1)
        #expect(try say(&harness, again, again.range, failed) == nil)
        let other = TopicPartition(TopicShape("other", 1).id, 0)
        harness.take(harness.coordinator.store("g", [(number: 2, place: 0)], in: other))
        let letters = try state(harness).letters
        #expect(letters.letters[1]?.diedOnLane == [])
        var rest = DeadPlaces()
        rest.insert(RecordPlace(flow, 0), of: 1)
        #expect(letters.places == rest)
        try checkReplay(harness)
    }
}
