import Testing

@testable import MartletGroups

/// What holds of records that are sent to a group again, at the edges.
@Suite struct ReplayRuleTests {
    private typealias Replay = Coordinator.Replay

    private let orders = TopicShape("orders", 1)
    private let letters = TopicShape("g.dlq", 1)
    private let key = TopicPartition(TopicShape("orders", 1).id, 0)
    private let id = MemberID(1)
    private var lane: QueueID { .replay(key) }

    private func harness(
        _ kind: GroupKind = .stream, _ limits: GroupLimits = GroupLimits(),
        wanting: [String] = ["orders"]
    ) throws -> GroupHarness {
        var harness = GroupHarness(limits: limits)
        harness.topics([orders, letters])
        harness.take(
            try harness.coordinator.join("g", id, .wanting(wanting), kind, at: harness.now))
        return harness
    }

    @discardableResult
    private func replay(
        _ harness: inout GroupHarness, _ ranges: [Range<Int64>], of key: TopicPartition? = nil
    ) throws(GroupRefusal) -> Int64 {
        let outcome = try harness.coordinator.replayRecords(
            "g", [Replay(key ?? self.key, ranges)], bounds: { _ in 0..<1_000 })
        harness.take(outcome.records)
        return outcome.count
    }

    private func receive(
        _ harness: inout GroupHarness, _ records: Int = 1_000, by id: MemberID? = nil,
        from start: Int64 = 0
    ) throws -> [QueueGrant] {
        let wanted = Coordinator.Wanted(records: records, leaseMilliseconds: 60_000)
        let bounds: Coordinator.Bounds = { _ in start..<1_000 }
        harness.take(
            try harness.coordinator.receive("g", id ?? self.id, wanted, bounds: bounds))
        return try harness.coordinator.lease(
            "g", id ?? self.id, wanted, bounds: bounds, at: harness.now)
    }

    private func counts(_ harness: GroupHarness) throws -> ReplayCounts {
        try #require(try harness.coordinator.describe("g").replays.first)
    }

    @Test func `no more ranges are with a group than it is allowed`() throws {
        var limits = GroupLimits()
        limits.replayRangesMax = 3
        var harness = try harness(.stream, limits)
        #expect(try replay(&harness, [0..<1, 2..<3]) == 2)
        #expect(throws: GroupRefusal.self) { try replay(&harness, [10..<11, 12..<13]) }
        #expect(try replay(&harness, [10..<11]) == 1)
        #expect(throws: GroupRefusal.self) { try replay(&harness, [20..<21]) }
        harness.take(try harness.coordinator.cancelReplays("g", []).records)
        #expect(try replay(&harness, [20..<21, 22..<23, 24..<25]) == 3)
    }

    @Test func `a group's own dead letters are sent again by their numbers alone`() throws {
        var harness = try harness(.stream, wanting: ["*"])
        let own = TopicPartition(letters.id, 0)
        #expect(throws: GroupRefusal.self) { try replay(&harness, [0..<1], of: own) }
        let nowhere = TopicPartition(TopicShape("other", 1).id, 0)
        #expect(throws: GroupRefusal.unknownTopic) { try replay(&harness, [0..<1], of: nowhere) }
        #expect(throws: GroupRefusal.unknownPartition) {
            try replay(&harness, [0..<1], of: TopicPartition(orders.id, 5))
        }
    }

    @Test func `who does not want the topic is handed nothing of it`() throws {
        var harness = try harness()
        let other = MemberID(2)
        harness.take(
            try harness.coordinator.join("g", other, .wanting(["else"]), at: harness.now))
        try replay(&harness, [3..<5])
        #expect(try receive(&harness, by: other).isEmpty)
        #expect(try receive(&harness).map(\.range) == [3..<5])
    }

    @Test func `retention that waits for groups keeps what was sent again`() throws {
        for kind in [GroupKind.stream, .queue(from: .earliest)] {
            var harness = try harness(kind)
            harness.take([.committed(group: "g", key, CommittedOffset(offset: 900, at: 1))])
            harness.take([
                .queue(group: "g", .flow(key), .began(at: 0)),
                .queue(group: "g", .flow(key), .acked([0..<900])),
            ])
            #expect(harness.coordinator.lowMark(key)?.offset == 900)
            try replay(&harness, [40..<42, 60..<61])
            #expect(harness.coordinator.lowMark(key)?.offset == 40)
            harness.take([.queue(group: "g", lane, .acked([40..<42]))])
            #expect(harness.coordinator.lowMark(key)?.offset == 60)
            harness.take(try harness.coordinator.cancelReplays("g", [key]).records)
            #expect(harness.coordinator.lowMark(key)?.offset == 900)
        }
    }

    @Test func `what retention took counts as expired, and the rest comes`() throws {
        var harness = try harness()
        try replay(&harness, [3..<9])
        #expect(try receive(&harness, from: 7).map(\.range) == [7..<9])
        let found = try counts(harness)
        #expect(found.expired == 4 && found.inFlight == 2 && found.sent == 6 && found.ready == 0)
    }

    @Test func `a failure stops no flow, whatever the policy, and the group's own does`() throws {
        var harness = try harness()
        var policy = FailurePolicy()
        policy.last = .pause
        harness.take([.policy(group: "g", policy)])
        try replay(&harness, [3..<4])
        let grant = try #require(try receive(&harness).first)
        let failure = HandlerFailure(.permanent, kind: "Broken", text: "it is", at: 1)
        let word = Coordinator.Settlement(
            queue: grant.queue, range: grant.range, number: grant.number, verb: .fail(failure))
        let dying = harness.coordinator.dying("g", [word], at: harness.now)
        #expect(dying == [RecordPlace(lane, 3)])
        let outcome = try harness.coordinator.settle(
            "g", [word], contents: [dying[0]: .record([1], first: nil)], at: harness.now)
        harness.take(outcome.records)
        harness.coordinator.follow("g", [word], at: harness.now)
        let state = try #require(harness.coordinator.groups["g"]).state
        #expect(state.paused.isEmpty && state.letters.letters[1]?.origin.queue == lane)
        #expect(try counts(harness).dead == 1 && state.queues[.flow(key)] == nil)
    }

    /// No commit of a stream passes it, so none may be counted less for it.
    @Test func `what dies on the way counts as a failure for the breaker`() throws {
        var harness = try harness()
        var policy = FailurePolicy()
        policy.attemptsMax = 1
        harness.take([.policy(group: "g", policy)])
        try replay(&harness, [3..<6])
        let grant = try #require(try receive(&harness).first)
        let failure = HandlerFailure(.transient, kind: "Timeout", text: "no answer", at: 1)
        let words = grant.range.map { offset in
            Coordinator.Settlement(
                queue: grant.queue, range: offset..<(offset + 1), number: grant.number,
                verb: .fail(failure))
        }
        let dying = harness.coordinator.dying("g", words, at: harness.now)
        let contents = Dictionary(
            uniqueKeysWithValues: dying.map {
                ($0, Coordinator.DeadContent.record([1], first: nil))
            })
        let outcome = try harness.coordinator.settle(
            "g", words, contents: contents, at: harness.now)
        harness.take(outcome.records)
        let group = try #require(harness.coordinator.groups["g"])
        #expect(group.state.letters.letters.count == 3)
        #expect(group.activity.breaker.passing == 0)
        #expect(group.activity.breaker.outcomes.failures == 3)
    }

    @Test func `what stands still is not sent again before it goes on`() throws {
        var harness = try harness()
        try replay(&harness, [3..<4])
        harness.pause()
        #expect(try receive(&harness).isEmpty)
        harness.resume()
        #expect(harness.coordinator.takeReadyQueues().contains("g"))
        #expect(try receive(&harness).map(\.range) == [3..<4])
    }

    @Test func `so many are with members at most, and nothing of the flow is theirs to settle`()
        throws
    {
        var limits = GroupLimits()
        limits.openRecordsMax = 10
        var harness = try harness(.stream, limits)
        try replay(&harness, [0..<100])
        #expect(try receive(&harness).map(\.range) == [0..<10])
        #expect(try receive(&harness).isEmpty)
        let word = Coordinator.Settlement(
            queue: .flow(key), range: 0..<1, number: 1, verb: .ack)
        let outcome = try harness.coordinator.settle("g", [word], at: harness.now)
        #expect(outcome.records.isEmpty && outcome.refusals == [0: .leaseLost])
    }

    @Test func `records of a lane that no broker writes trap nowhere`() throws {
        var harness = try harness()
        let all: Range<Int64> = 0..<Int64.max
        harness.take([
            .queue(group: "g", lane, .reopened([all])),
            .queue(group: "g", lane, .restored([], acked: .max, expired: .max, sent: .max)),
            .queue(group: "g", lane, .takenBack([5..<9])),
            .queue(group: "g", lane, .reopened([7..<Int64.max])),
            .queue(group: "g", lane, .began(at: 700)),
        ])
        _ = try receive(&harness)
        _ = try harness.coordinator.describe("g")
        var again = GroupHarness()
        again.take(harness.coordinator.snapshot())
        #expect(
            again.coordinator.groups["g"]?.state.queues[lane]
                == harness.coordinator.groups["g"]?.state.queues[lane])
        harness.take(try harness.coordinator.cancelReplays("g", []).records)
        #expect(try receive(&harness).isEmpty)
    }

    @Test func `a topic that goes takes what was sent again with it`() throws {
        var harness = try harness()
        try replay(&harness, [3..<4])
        harness.topics([letters])
        harness.take(harness.coordinator.forget(orders.id))
        #expect(try receive(&harness).isEmpty)
        #expect(try harness.coordinator.describe("g").replays.isEmpty)
        #expect(harness.coordinator.knownTopics.isEmpty)
    }
}
