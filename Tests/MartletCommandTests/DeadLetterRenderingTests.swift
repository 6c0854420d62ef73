import MartletConfiguration
import MartletJSON
import Testing

@testable import MartletClient
@testable import martlet

/// How dead letters and failure policies are counted and shown.
@Suite struct DeadLetterRenderingTests {
    private static let hour: Int64 = 3_600_000

    private static func facts(
        _ number: UInt64, _ reason: DeadLetterReason = .attempts, died: Int64 = 0,
        replays: Int = 0, isReplaying: Bool = false, place: Int64? = 0, type: String? = "a"
    ) -> LetterFacts {
        LetterFacts(view(number, reason, died, replays, isReplaying, place), type)
    }

    private static func view(
        _ number: UInt64, _ reason: DeadLetterReason, _ died: Int64, _ replays: Int,
        _ isReplaying: Bool, _ place: Int64?
    ) -> LetterView {
        LetterView(
            letter: DeadLetter(
                number: number, partition: TopicPartition("t", 1), offset: 41, reason: reason,
                attempts: 3, deaths: 1, replays: replays, diedAt: died, isReplaying: isReplaying,
                place: place, lastPlace: place, assignee: nil, remarks: 0), newest: nil, died: nil)
    }

    @Test func `counts by each axis, the most frequent first, ages from the youngest on`() {
        let now = 1_000 * Self.hour
        var counts = LetterCounts(now: now)
        counts.add(Self.facts(1, .attempts, died: now - 2 * Self.hour))
        counts.add(Self.facts(2, .permanent, died: now - 400 * Self.hour))
        counts.add(Self.facts(3, .permanent, died: now - 5, isReplaying: true, type: nil))
        #expect(counts.dead == 2 && counts.replaying == 1)
        #expect(counts.sum == "2 dead letters, and 1 with the group again")
        #expect(counts.sorted(.reason).map(\.value) == ["permanent", "attempts"])
        #expect(counts.sorted(.reason).first?.oldest == now - 400 * Self.hour)
        #expect(counts.sorted(.age).map(\.value) == ["under 1h", "1h to 1d", "over 7d"])
        #expect(counts.sorted(.type).map(\.count) == [2, 1])
        #expect(counts.json("g")["error"]?[0]?["value"]?.stringValue == "?")
    }

    @Test(arguments: [
        ("no answer in 1,500 ms", "no answer in <n> ms"),
        ("no answer in 12.5ms after 3 tries", "no answer in <n>ms after <n> tries"),
        ("10.0.0.7:9092 refused", "<n>:<n> refused"),
        ("order 6F9619FF-8B86-D011-B42D-00CF4FC964FF is gone.", "order <uuid> is gone."),
        (
            "order 6F9619FF-8B86-D011-B42D-00CF4FC964FFx",
            "order <hex>-<n>B<n>-D<n>-B<n>D-<n>CF<n>FC<n>FFx"
        ),
        (
            "at 0x7fff5fbff8a0, commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
            "at <hex>, commit <hex>"
        ),
        ("decade defaced 12345678 times", "decade defaced <n> times"),
        ("row42 of table7b", "row<n> of table<n>b"), ("Straße 5, Zürich", "Straße <n>, Zürich"),
        ("12,", "<n>,"), ("1..2", "<n>..<n>"), ("-", "-"), ("", ""), ("0x", "<n>x"),
    ])
    func `what differs in numbers alone has one cause`(_ text: String, _ cause: String) {
        #expect(ErrorFingerprint.text(text) == cause)
    }

    @Test func `ten thousand errors of one cause are one line`() throws {
        var counts = LetterCounts(now: 0)
        for number in 0..<10_000 {
            let failure = try Self.failure(
                "Timeout", "no answer of 10.0.0.\(number) in \(number) ms")
            counts.add(
                LetterFacts(
                    letter: Self.facts(1).letter, topic: "t", eventType: nil,
                    errorKind: failure.kind, cause: ErrorFingerprint.text(failure)))
        }
        let lines = counts.sorted(.cause)
        #expect(lines.map(\.value) == ["Timeout: no answer of <n> in <n> ms"])
        #expect(lines.map(\.count) == [10_000])
        #expect(counts.table([.cause]).rows.count == 1)
        #expect(counts.json("g", [.cause])["error"] == nil)
        let long = try Self.failure("E", String(repeating: "long ", count: 200))
        #expect(ErrorFingerprint.text(long).count == 201)
        #expect(ErrorFingerprint.text(try Self.failure("E", "")) == "E")
    }

    private static func failure(_ kind: String, _ text: String) throws -> HandlerFailure {
        try #require(
            HandlerFailure([
                "severity": "transient", "kind": .string(kind), "text": .string(text), "at": 0,
            ]))
    }

    @Test func `a replay takes the first ones, and says what it leaves`() {
        var plan = ReplayPlan(replaysMax: 2, most: 2)
        plan.add(Self.facts(9))
        plan.add(Self.facts(3))
        plan.add(Self.facts(5, replays: 1))
        plan.add(Self.facts(1, replays: 2))
        plan.add(Self.facts(2, isReplaying: true))
        plan.add(Self.facts(4, place: nil))
        plan.settle()
        #expect(plan.sent == [3, 5] && plan.left == 1 && plan.counts.dead == 2)
        #expect(plan.quarantined == [1] && plan.replaying == [2] && plan.notStored == [4])
        #expect(plan.remarks.count == 4 && plan.error?.exitCode == .conflict)
        let json = plan.json("g", isExecuted: false)
        #expect(json["sent"] == [3, 5] && json["quarantined"] == [1])
        var forced = ReplayPlan(replaysMax: nil, most: .max)
        forced.add(Self.facts(1, replays: 200))
        forced.settle()
        #expect(forced.sent == [1] && forced.error == nil && forced.remarks.isEmpty)
    }

    @Test func `a letter whose entry is not in its topic is shown all the same`() {
        let view = Self.view(7, .rejected, 0, 0, false, nil)
        let text = DeadLetterShowCommand.text(view, [], "g")
        #expect(text.contains("dead letter:  7 of group g\n"))
        #expect(text.contains("from:         t:1 @41\n"))
        #expect(text.contains("record:       not in topic g.dlq\n"))
        let json = LetterJSON.whole(view, "g")
        #expect(json["place"] == .null && json["lastFailure"] == .null && json["value"] == nil)
    }

    @Test func `a policy in words and in JSON`() {
        #expect(
            GroupPolicyCommand.text(FailurePolicy())
                == "3 tries, pauses of 2s x 2 up to 5m (shortened by up to 20%), then a dead letter"
        )
        let patient = FailurePolicy(attempts: 0, factor: 1.5, last: .pause)
        #expect(
            GroupPolicyCommand.text(patient).hasPrefix("any number of tries, pauses of 2s x 1.50"))
        #expect(GroupPolicyCommand.json(patient)["then"] == "pause")
    }
}

extension LetterFacts {
    fileprivate init(_ view: LetterView, _ type: String?) {
        self.init(
            letter: view.letter, topic: view.partition.topic, eventType: type, errorKind: nil,
            cause: nil)
    }
}
