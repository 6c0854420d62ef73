import Testing

@testable import MartletGroups

/// Dead letters at the edges: what hostile members, full memory and odd records do to them.
@Suite struct DeadLetterRuleTests {
    private typealias Settlement = Coordinator.Settlement

    private let orders = TopicShape("orders", 1)
    private let letters = TopicShape("g.dlq", 1)
    private let key = QueueID.flow(TopicPartition(TopicShape("orders", 1).id, 0))
    private let lane = QueueID.replay(TopicPartition(TopicShape("g.dlq", 1).id, 0))
    private let id = MemberID(1)

    private func harness(
        _ limits: GroupLimits = GroupLimits(), wanting: [String] = ["orders"]
    ) throws -> GroupHarness {
        var harness = GroupHarness(limits: limits)
        harness.topics([orders, letters, TopicShape("h.dlq", 1)])
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(wanting), .queue(from: .earliest), at: harness.now))
        return harness
    }

    private func receive(
        _ harness: inout GroupHarness, _ records: Int = 100, from start: Int64 = 0, end: Int64
    ) throws -> [QueueGrant] {
        let wanted = Coordinator.Wanted(records: records, leaseMilliseconds: 60_000)
        harness.take(try harness.coordinator.receive("g", id, wanted) { _ in start..<end })
        return try harness.coordinator.lease(
            "g", id, wanted, bounds: { _ in start..<end }, at: harness.now)
    }

    private func failure(
        _ severity: HandlerFailure.Severity = .permanent, text: String = "it is"
    ) -> HandlerFailure {
        HandlerFailure(severity, kind: "Broken", text: text, at: 1)
    }

    /// Settles as the broker does: what dies has this content.
    @discardableResult
    private func settle(
        _ harness: inout GroupHarness, _ words: [Settlement],
        _ content: Coordinator.DeadContent = .record([1, 2, 3], first: nil)
    ) throws -> [GroupRecord] {
        let dying = harness.coordinator.dying("g", words, at: harness.now)
        let contents = Dictionary(uniqueKeysWithValues: dying.map { ($0, content) })
        let outcome = try harness.coordinator.settle(
            "g", words, contents: contents, at: harness.now)
        #expect(outcome.refusals.isEmpty)
        harness.take(outcome.records)
        harness.coordinator.follow("g", words, at: harness.now)
        return outcome.records
    }

    private func fails(
        _ grant: QueueGrant, _ severity: HandlerFailure.Severity = .permanent
    ) -> [Settlement] {
        grant.range.map { offset in
            Settlement(
                queue: grant.queue, range: offset..<(offset + 1), number: grant.number,
                verb: .fail(failure(severity)))
        }
    }

    /// What waits is in the topic, one place behind the other.
    private func store(_ harness: inout GroupHarness) throws {
        let waiting = try #require(
            harness.coordinator.waitingEntries(of: "g", bytesMax: 1 << 30))
        let places = waiting.entries.enumerated().map { index, entry in
            (number: entry.number, place: waiting.lastPlace + 1 + Int64(index))
        }
        harness.take(harness.coordinator.store("g", places, in: lane.partition))
    }

    private func state(_ harness: GroupHarness) throws -> GroupState {
        try #require(harness.coordinator.groups["g"]).state
    }

    @Test func `a group's own dead letters are no part of what it reads`() throws {
        let queue = try harness(wanting: ["g.dlq", "*.dlq"])
        let keys = try queue.coordinator.queues(of: "g", id)
        #expect(keys.map(\.partition.topic) == [TopicShape("h.dlq", 1).id])
        var stream = GroupHarness()
        stream.topics([letters, TopicShape("h.dlq", 1)])
        stream.join(id, .wanting(["g.dlq", "*.dlq"]))
        #expect(stream.owned(id).keys.map(\.topic) == [TopicShape("h.dlq", 1).id])
    }

    @Test func `what died again waits, too, when there is no room for more`() throws {
        var limits = GroupLimits()
        limits.waitingLetterBytesMax = 1_000
        var harness = try harness(limits)
        let body = Coordinator.DeadContent.record(Array(repeating: 7, count: 900), first: nil)
        for _ in 0..<3 {
            let grant = try #require(try receive(&harness, 1, end: 3).first)
            try settle(&harness, fails(grant), body)
            try store(&harness)
        }
        let sent = try harness.coordinator.replayLetters("g", [1, 2, 3], replaysMax: 0)
        harness.take(sent.records)
        for grant in try receive(&harness, end: 3) {
            for word in fails(grant) { try settle(&harness, [word], body) }
        }
        let left = try state(harness).letters
        #expect(left.waiting.count == 1 && left.waitingBytes < 2_000)
        #expect(left.letters.count == 3 && left.letters.values.count(where: \.isReplaying) == 2)
        #expect(try state(harness).queues[lane]?.delays.count == 2)
    }

    @Test func `a group is not deleted while its topic lacks what became of a dead letter`() throws
    {
        var harness = try harness()
        try settle(&harness, fails(try #require(try receive(&harness, 1, end: 3).first)))
        harness.leave(id)
        #expect(throws: GroupRefusal.lettersLeft(1)) { try harness.coordinator.delete("g") }
        let resolved = try harness.coordinator.resolveLetters(
            "g", [1], author: "ann", note: "", at: harness.now)
        harness.take(resolved.records)
        // Nobody is to look for a dead letter that is resolved.
        #expect(throws: GroupRefusal.entriesLeft(2)) { try harness.coordinator.delete("g") }
        try store(&harness)
        harness.take(try harness.coordinator.delete("g"))
    }

    @Test func `what retention took before it could be kept counts as expired`() throws {
        var harness = try harness()
        let grant = try #require(try receive(&harness, 1, end: 3).first)
        try settle(&harness, fails(grant), .gone)
        #expect(try state(harness).queues[key]?.acked == 0)
        _ = try receive(&harness, from: 1, end: 3)
        #expect(try state(harness).queues[key]?.expired == 1)
        #expect(try state(harness).letters.letters.isEmpty)
    }

    @Test func `a partition is paused once, and no group in more places than one may`() throws {
        var limits = GroupLimits()
        var policy = FailurePolicy()
        policy.last = .pause
        var harness = try harness(limits)
        harness.take([.policy(group: "g", policy)])
        let grant = try #require(try receive(&harness, 2, end: 2).first)
        try settle(&harness, [fails(grant)[0]])
        let since = try state(harness).paused
        #expect(since.count == 1)
        harness.advance(milliseconds: 10)
        try settle(&harness, [fails(grant)[1]])
        #expect(try state(harness).paused == since)
        limits.pausesMax = 0
        harness = try self.harness(limits)
        harness.take([.policy(group: "g", policy)])
        let other = try #require(try receive(&harness, 1, end: 2).first)
        try settle(&harness, fails(other))
        #expect(try state(harness).paused.isEmpty)
        #expect(try state(harness).queues[key]?.delays.count == 1)
    }

    /// A member of the queue `g` that has two dead letters of `h`.
    private func reader(
        _ last: FailurePolicy.Last, parkedMax: Int = 10
    ) throws -> (GroupHarness, QueueGrant) {
        var limits = GroupLimits()
        limits.parkedRecordsMax = parkedMax
        var harness = try harness(limits, wanting: ["h.dlq"])
        var policy = FailurePolicy()
        policy.last = last
        harness.take([.policy(group: "g", policy)])
        let grant = try #require(try receive(&harness, 2, end: 2).first)
        #expect(grant.queue.partition.topic == TopicShape("h.dlq", 1).id)
        return (harness, grant)
    }

    @Test(
        arguments: [FailurePolicy.Last.deadLetter, .pause],
        [HandlerFailure.Severity.permanent, .rejected])
    func `a group that reads dead letters of others stops, and has none of its own`(
        _ last: FailurePolicy.Last, _ severity: HandlerFailure.Severity
    ) throws {
        var (harness, grant) = try reader(last)
        let key = grant.queue.partition
        try settle(&harness, [fails(grant, severity)[0]])
        #expect(try state(harness).paused.keys.map(\.self) == [PausePlace(key)])
        #expect(try state(harness).letters.letters.isEmpty)
        #expect(try receive(&harness, end: 2).isEmpty)
        // Somebody looks, and it is tried again.
        harness.resume([PausePlace(key)])
        #expect(try receive(&harness, end: 2).map(\.range) == [0..<1])
    }

    @Test func `a stream group that reads dead letters of others stops as well, or parks`() throws {
        var harness = GroupHarness()
        harness.topics([TopicShape("h.dlq", 1)])
        harness.join(id, .wanting(["h.dlq"]))
        let (key, epoch) = try #require(harness.owned(id).first)
        for last in [FailurePolicy.Last.deadLetter, .parkRecord] {
            var policy = FailurePolicy()
            policy.last = last
            harness.take([.policy(group: "g", policy)])
            let failed = Coordinator.FailedRecord(
                OwnedRecord(key, epoch: epoch, 4), failure())
            #expect(!harness.coordinator.isDying("g", failed, at: harness.now))
            let outcome = try harness.coordinator.fail("g", id, failed, nil, at: harness.now)
            #expect(outcome.answer == (last == .parkRecord ? .parked(isKey: false) : .paused))
            let entries = outcome.records.filter(\.isLetterEntry)
            #expect(entries.isEmpty)
        }
    }

    @Test
    func `among dead letters of others a record may be parked, and the group stops with the last`()
        throws
    {
        var (harness, grant) = try reader(.parkRecord, parkedMax: 1)
        try settle(&harness, [fails(grant)[0]])
        #expect(try state(harness).queues[grant.queue]?.parked.keys.sorted() == [0])
        #expect(try state(harness).paused.isEmpty)
        try settle(&harness, [fails(grant)[1]])
        #expect(try state(harness).paused.count == 1 && state(harness).letters.letters.isEmpty)
    }

    @Test func `nothing is read for who does not hold the record`() throws {
        var harness = try harness()
        let grant = try #require(try receive(&harness, 1, end: 1).first)
        let stranger = Settlement(
            queue: key, range: 0..<1, number: grant.number + 1, verb: .fail(failure()))
        #expect(harness.coordinator.dying("g", [stranger], at: harness.now).isEmpty)
        #expect(harness.coordinator.dying("g", fails(grant), at: harness.now).count == 1)
    }

    @Test func `retention that waits for groups keeps dead letters`() throws {
        var harness = try harness()
        let grant = try #require(try receive(&harness, 2, end: 2).first)
        try settle(&harness, fails(grant))
        try store(&harness)
        let sent = try harness.coordinator.replayLetters("g", [1], replaysMax: 0)
        harness.take(sent.records)
        #expect(harness.coordinator.lowMark(lane.partition)?.offset == 0)
        let again = try #require(try receive(&harness, end: 2).first)
        harness.take([.queue(group: "g", lane, .acked([again.range]))])
        #expect(harness.coordinator.lowMark(lane.partition)?.offset == 0)
        let done = try harness.coordinator.resolveLetters(
            "g", [2], author: "ann", note: "", at: harness.now)
        harness.take(done.records)
        try store(&harness)
        #expect(try #require(harness.coordinator.lowMark(lane.partition)).offset > 1)
    }

    /// With steps that look at all failures this takes minutes.
    @Test func `a hundred thousand records that failed are acked one by one`() throws {
        var harness = try harness()
        let grant = try #require(try receive(&harness, 100_000, end: 100_000).first)
        let trail = FailureTrail(first: failure(text: "a"), last: failure(text: "b"))
        harness.take(grant.range.map { .queue(group: "g", key, .failed($0, trail)) })
        harness.take(
            (0..<50_000).map { .queue(group: "g", key, .acked([Int64($0)..<(Int64($0) + 1)])) })
        #expect(try state(harness).queues[key]?.failures.count == 50_000)
        harness.take([.queue(group: "g", key, .acked([0..<100_000]))])
        #expect(try state(harness).queues[key]?.failures.isEmpty == true)
    }

    @Test func `failures are remembered of so many records at most`() throws {
        var harness = try harness()
        let trail = FailureTrail(first: failure(text: "a"), last: failure(text: "b"))
        harness.take(
            (0..<100_010).map { .queue(group: "g", key, .failed(Int64($0), trail)) })
        #expect(try state(harness).queues[key]?.failures.count == 100_000)
        let last = FailureTrail(first: failure(text: "a"), last: failure(text: "c"))
        harness.take([.queue(group: "g", key, .failed(7, last))])
        #expect(try state(harness).queues[key]?.failures[7] == last)
    }

    @Test func `policies that nobody could set trap nowhere`() {
        for extreme in [Int64.min, -1, 0, 1, .max] {
            for percent in [Int32.min, -101, 0, 100, .max] {
                var policy = FailurePolicy()
                (policy.backoffMilliseconds, policy.backoffMaxMilliseconds) = (extreme, extreme)
                (policy.backoffFactorPercent, policy.jitterPercent) = (percent, percent)
                for noise in [0, UInt64.max] {
                    #expect(policy.pauseMilliseconds(after: .max, noise: noise) >= 0)
                }
            }
        }
    }

    @Test func `accounts that no broker writes trap nowhere`() throws {
        var harness = try harness()
        let grant = try #require(try receive(&harness, 1, end: 1).first)
        try settle(&harness, fails(grant))
        try store(&harness)
        harness.take([.queue(group: "g", key, .restored([], acked: .max, expired: 0, sent: 0))])
        var letter = try #require(try state(harness).letters.letters[1])
        (letter.attempts, letter.deaths) = (.max, .max)
        harness.take([.letter(group: "g", .restored(letter))])
        let sent = try harness.coordinator.replayLetters("g", [1], replaysMax: 0)
        harness.take(sent.records)
        try settle(&harness, fails(try #require(try receive(&harness, end: 1).first)))
        #expect(try state(harness).letters.letters[1]?.attempts == .max)
        let done = try harness.coordinator.resolveLetters(
            "g", [1], author: "", note: "", at: harness.now)
        harness.take(done.records)
        _ = try harness.coordinator.describe("g")
        _ = harness.coordinator.snapshot()
    }
}
