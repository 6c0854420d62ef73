import Testing

@testable import MartletGroups

/// What people say about dead letters: who looks after one, and what was found out.
@Suite struct LetterRemarkTests {
    private let key = QueueID.flow(TopicPartition(TopicShape("orders", 1).id, 0))
    private let topic = TopicPartition(TopicShape("g.dlq", 1).id, 0)
    private var lane: QueueID { .replay(topic) }
    private let nothing = HandlerFailure(.permanent, kind: "Broken", text: "", at: 1)

    /// So many letters of the queue `g`, numbers from 1, each at the place before its number.
    private func harness(
        _ letters: UInt64, _ limits: GroupLimits = GroupLimits()
    ) throws -> GroupHarness {
        var harness = GroupHarness(limits: limits)
        harness.topics([TopicShape("orders", 1), TopicShape("g.dlq", 1)])
        harness.take(
            try harness.coordinator.create("g", .queue(from: .earliest), at: harness.now))
        harness.take([.queue(group: "g", key, .began(at: 0))])
        for number in 1...letters {
            harness.take([
                .letter(group: "g", .entry(died(number, of: number))),
                .letter(group: "g", .stored(number, in: topic, at: Int64(number) - 1)),
            ])
        }
        return harness
    }

    private func died(_ number: UInt64, of letter: UInt64) -> LetterEntry {
        LetterEntry(
            .died, number: number, letter: letter, origin: RecordPlace(key, Int64(letter)),
            trail: FailureTrail(first: nothing, last: nothing), at: 7)
    }

    private func letter(_ harness: GroupHarness, _ number: UInt64 = 1) throws -> Letter {
        let state = try #require(harness.coordinator.groups["g"]).state
        return try #require(state.letters.letters[number])
    }

    private func assign(
        _ harness: inout GroupHarness, _ numbers: [UInt64] = [1], to name: String
    ) throws -> (records: Int, refusals: [Int: GroupRefusal]) {
        let outcome = try harness.coordinator.assignLetters(
            "g", numbers, to: name, author: "eve", at: harness.now)
        harness.take(outcome.records)
        return (outcome.records.count, outcome.refusals)
    }

    private func comment(
        _ harness: inout GroupHarness, _ numbers: [UInt64] = [1], _ note: String = "odd"
    ) throws -> [Int: GroupRefusal] {
        let outcome = try harness.coordinator.commentLetters(
            "g", numbers, author: "eve", note: note, at: harness.now)
        harness.take(outcome.records)
        return outcome.refusals
    }

    @Test func `an assignment is recorded once, with who and when, and can be taken back`() throws {
        var harness = try harness(2)
        #expect(try assign(&harness, [1, 9, 1], to: "ann") == (1, [1: .unknownLetter]))
        let waiting = try #require(harness.coordinator.waitingEntries(of: "g", bytesMax: 1 << 20))
        let entry = try #require(waiting.entries.first)
        #expect(entry.kind == .assigned && entry.number == 3 && entry.letter == 1)
        #expect(entry.author == "eve" && entry.assignee == "ann" && entry.at == harness.now.wall)
        #expect(entry.topicName == "orders" && entry.body.isEmpty)
        // What is so is not said again.
        #expect(try assign(&harness, to: "ann").records == 0)
        #expect(try assign(&harness, [1, 2], to: "").records == 1)
        #expect(try letter(harness).assignee.isEmpty && letter(harness).remarks == 2)
        #expect(try letter(harness, 2).remarks == 0)
    }

    @Test func `what is said moves no letter, and outlives its replay and its next death`() throws {
        var harness = try harness(1)
        #expect(try assign(&harness, to: "ann").records == 1)
        #expect(try letter(harness).place == 0 && letter(harness).newest == 1)
        harness.take([.letter(group: "g", .stored(2, in: topic, at: 1))])
        #expect(try letter(harness).place == 0 && letter(harness).lastPlace == 1)
        harness.take([.letter(group: "g", .replayed([1]))])
        #expect(try comment(&harness).isEmpty)
        let before = try #require(harness.coordinator.groups["g"]).state
        #expect(before.letters.onLane == [0: 1] && before.queues[lane]?.open(in: 0..<9) == [0..<1])
        harness.take([.letter(group: "g", .entry(died(4, of: 1)))])
        let again = try letter(harness)
        #expect(again.assignee == "ann" && again.remarks == 2 && again.replays == 1)
        #expect(again.newest == 4 && again.place == nil && again.lastPlace == 1)
        var restored = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.coordinator.snapshot() { restored.replay(record) }
        #expect(restored.groups["g"]?.state == harness.coordinator.groups["g"]?.state)
    }

    @Test func `what may be said about a letter, and wait for its topic, is bounded`() throws {
        var limits = GroupLimits()
        limits.letterRemarksMax = 2
        limits.waitingLetterBytesMax = 1_500
        var harness = try harness(3, limits)
        #expect(
            throws: GroupRefusal.invalid(
                field: "note", reason: "is empty: say what there is to know")
        ) {
            _ = try comment(&harness, [1], "")
        }
        #expect(try comment(&harness, [1]).isEmpty && comment(&harness, [1]).isEmpty)
        let full = GroupRefusal.limitReached(
            "it was assigned and commented 2 times: no more is kept")
        #expect(try comment(&harness, [1]) == [0: full])
        #expect(try assign(&harness, [1], to: "ann").refusals == [0: full])
        let long = String(repeating: "x", count: 1_000)
        let refusals = try comment(&harness, [2, 3], long)
        #expect(refusals.keys.sorted() == [1], "\(refusals)")
        #expect(try letter(harness, 2).remarks == 1 && letter(harness, 3).remarks == 0)
    }

    @Test func `records of letters that nobody knows, and counts at their end, trap nowhere`()
        throws
    {
        var harness = try harness(1)
        var entry = LetterEntry(.commented, number: 5, letter: try letter(harness), at: .max)
        entry.note = "odd"
        var known = try letter(harness)
        known.remarks = .max
        harness.take([.letter(group: "g", .restored(known)), .letter(group: "g", .entry(entry))])
        #expect(try letter(harness).remarks == .max)
        let gone = try harness.coordinator.resolveLetters(
            "g", [1], author: "", note: "", at: harness.now)
        harness.take(gone.records)
        harness.take([
            .letter(group: "g", .entry(entry)), .letter(group: "g", .stored(5, in: topic, at: 1)),
        ])
        #expect(try #require(harness.coordinator.groups["g"]).state.letters.letters.isEmpty)
    }
}
