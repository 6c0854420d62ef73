import Testing

@testable import MartletGroups

/// Records whose handlers begin and never say what became of them.
@Suite struct AbandonedRuleTests {
    private typealias Settlement = Coordinator.Settlement

    private let orders = TopicShape("orders", 1)
    private let key = QueueID.flow(TopicPartition(TopicShape("orders", 1).id, 0))

    private func harness(_ change: (inout FailurePolicy) -> Void = { _ in }) throws -> GroupHarness
    {
        var harness = GroupHarness()
        harness.topics([orders])
        for number in 1...2 {
            harness.take(
                try harness.coordinator.join(
                    "g", MemberID(UInt64(number)), .wanting(), .queue(from: .earliest),
                    at: harness.now))
        }
        var policy = FailurePolicy()
        change(&policy)
        harness.take([.policy(group: "g", policy)])
        return harness
    }

    private func receive(
        _ harness: inout GroupHarness, _ records: Int = 100, by number: UInt64 = 1,
        lease: Int32 = 1_000, end: Int64 = 3
    ) throws -> [QueueGrant] {
        let wanted = Coordinator.Wanted(records: records, leaseMilliseconds: lease)
        let id = MemberID(number)
        harness.take(try harness.coordinator.receive("g", id, wanted) { _ in 0..<end })
        return try harness.coordinator.lease(
            "g", id, wanted, bounds: { _ in 0..<end }, at: harness.now)
    }

    private func say(
        _ harness: inout GroupHarness, _ grant: QueueGrant, _ range: Range<Int64>,
        _ verb: Settlement.Verb
    ) throws {
        try settle(
            &harness,
            Settlement(queue: grant.queue, range: range, number: grant.number, verb: verb))
    }

    private func settle(
        _ harness: inout GroupHarness, _ word: Settlement,
        _ content: Coordinator.DeadContent = .record([1, 2, 3], first: nil)
    ) throws {
        let dying = harness.coordinator.dying("g", [word], at: harness.now)
        let contents = Dictionary(uniqueKeysWithValues: dying.map { ($0, content) })
        let outcome = try harness.coordinator.settle(
            "g", [word], contents: contents, at: harness.now)
        #expect(outcome.refusals.isEmpty)
        harness.take(outcome.records)
        harness.coordinator.follow("g", [word], at: harness.now)
    }

    /// The handler of record 0 begins so often, and its lease runs out each time.
    private func hang(_ harness: inout GroupHarness, _ times: Int) throws {
        for _ in 0..<times {
            let grant = try #require(try receive(&harness, 1).first)
            #expect(grant.range == 0..<1)
            try say(&harness, grant, 0..<1, .begin)
            harness.advance(milliseconds: 1_001)
            for number in 1...2 { harness.heartbeat(MemberID(UInt64(number))) }
        }
    }

    /// Who asks gets the others; returns what the broker has to decide.
    private func next(_ harness: inout GroupHarness) throws -> Settlement? {
        #expect(try receive(&harness, lease: 600_000).map(\.range) == [1..<3])
        let word = pop(&harness)
        #expect(pop(&harness) == nil)
        return word
    }

    private func pop(_ harness: inout GroupHarness) -> Settlement? {
        harness.coordinator.nextAbandoned()?.settlement
    }

    private func state(_ harness: GroupHarness) throws -> GroupState {
        try #require(harness.coordinator.groups["g"]).state
    }

    @Test func `a record that hangs each of its handlers becomes a dead letter`() throws {
        var harness = try harness()
        try hang(&harness, 3)
        let word = try #require(try next(&harness))
        // It is in flight meanwhile, and another receive does not find it.
        #expect(try harness.coordinator.describe("g").queues.first?.inFlight == 3)
        #expect(try receive(&harness).isEmpty)
        #expect(pop(&harness) == nil)
        try settle(&harness, word)
        let entry = try #require(try state(harness).letters.waiting[1])
        #expect(entry.attempts == 3 && entry.reason == .attempts && entry.deaths == 1)
        #expect(entry.trail.last.kind == "LeaseRanOut" && entry.member == MemberID(1))
        #expect(entry.client == "test")
        #expect(try state(harness).queues[key]?.dead == 1)
        #expect(try harness.coordinator.describe("g").queues.first?.inFlight == 2)
        #expect(try harness.coordinator.describe("g").breaker.failures == 1)
    }

    @Test func `a record that ends each of its members becomes a dead letter`() throws {
        var harness = try harness()
        for number in 3...5 {
            harness.take(
                try harness.coordinator.join(
                    "g", MemberID(UInt64(number)), .wanting(), .queue(from: .earliest),
                    at: harness.now))
            let grant = try #require(try receive(&harness, 1, by: UInt64(number)).first)
            #expect(grant.range == 0..<1 && grant.isSuspect == (number > 3))
            try say(&harness, grant, 0..<1, .begin)
            harness.leave(MemberID(UInt64(number)))
        }
        try settle(&harness, try #require(try next(&harness)))
        let entry = try #require(try state(harness).letters.waiting[1])
        #expect(entry.trail.last.kind == "MemberGone" && entry.member == MemberID(5))
    }

    @Test func `it is as dead after a restart, and is decided then`() throws {
        var harness = try harness()
        try hang(&harness, 3)
        harness.restart([orders])
        for number in 1...2 { harness.heartbeat(MemberID(UInt64(number))) }
        try settle(&harness, try #require(try next(&harness)))
        let entry = try #require(try state(harness).letters.waiting[1])
        #expect(entry.trail.last.kind == "NoOutcome" && entry.attempts == 3)
    }

    @Test func `below the most attempts, and never begun, it is ready again`() throws {
        var harness = try harness()
        try hang(&harness, 2)
        for _ in 0..<5 {
            let grants = try receive(&harness)
            #expect(grants.map(\.range) == [0..<1, 1..<3] || grants.map(\.range) == [0..<1])
            harness.advance(milliseconds: 1_001)
            for number in 1...2 { harness.heartbeat(MemberID(UInt64(number))) }
        }
        #expect(try state(harness).queues[key]?.attempts == [0: 2])
        #expect(pop(&harness) == nil)
    }

    @Test func `what a handler gave back is tried again, however often it was`() throws {
        var harness = try harness()
        for pause in [Int64(0), 0, 10, 0, 0, 10] {
            let grant = try #require(try receive(&harness, 1).first)
            #expect(grant.range == 0..<1)
            try say(&harness, grant, 0..<1, .nack(delayMilliseconds: pause))
            harness.advance(milliseconds: pause)
            harness.expire()
        }
        harness.restart([orders])
        for number in 1...2 { harness.heartbeat(MemberID(UInt64(number))) }
        let grant = try #require(try receive(&harness, 1).first)
        #expect(grant.range == 0..<1 && grant.attempts == 6)
        // Once more without a word is the end of it.
        try say(&harness, grant, 0..<1, .begin)
        harness.advance(milliseconds: 1_001)
        #expect(try next(&harness) != nil)
    }

    @Test func `a policy without a most number of attempts tries for ever`() throws {
        var harness = try harness { $0.attemptsMax = 0 }
        try hang(&harness, 20)
        #expect(try receive(&harness).first?.attempts == 20)
    }

    @Test func `the policy decides: a pause is resumed with one more try`() throws {
        var harness = try harness { $0.last = .pause }
        try hang(&harness, 3)
        try settle(&harness, try #require(try next(&harness)))
        #expect(try state(harness).paused.count == 1 && state(harness).letters.letters.isEmpty)
        harness.resume([PausePlace(key.partition)])
        let grant = try #require(try receive(&harness, 1).first)
        #expect(grant.range == 0..<1 && grant.attempts == 3)
        try say(&harness, grant, 0..<1, .begin)
        harness.advance(milliseconds: 1_001)
        harness.heartbeat(MemberID(1))
        _ = try receive(&harness, 1)
        try settle(&harness, try #require(pop(&harness)))
        #expect(try state(harness).paused.count == 1)
    }

    @Test func `the policy decides: it is parked in its place`() throws {
        var harness = try harness { $0.last = .parkRecord }
        try hang(&harness, 3)
        try settle(&harness, try #require(try next(&harness)))
        #expect(try state(harness).queues[key]?.parked.keys.sorted() == [0])
        let released = try harness.coordinator.release("g", [RecordPlace(key, 0)])
        harness.take(released.records)
        #expect(try receive(&harness, 1).first?.attempts == 0)
    }

    @Test func `what cannot be kept as a dead letter waits, and nothing is given up`() throws {
        var harness = try harness()
        try hang(&harness, 3)
        try settle(&harness, try #require(try next(&harness)), .unreadable)
        #expect(try state(harness).letters.letters.isEmpty)
        #expect(try state(harness).queues[key]?.delays.keys.sorted() == [0])
        #expect(try receive(&harness, 1).isEmpty)
    }

    @Test func `a broker that is too slow takes it up again`() throws {
        var harness = try harness()
        try hang(&harness, 3)
        let late = try #require(try next(&harness))
        harness.advance(milliseconds: 60_001)
        for number in 1...2 { harness.heartbeat(MemberID(UInt64(number))) }
        #expect(try receive(&harness).isEmpty)
        let word = try #require(pop(&harness))
        let refused = try harness.coordinator.settle("g", [late], at: harness.now)
        #expect(refused.refusals.count == 1 && refused.records.isEmpty)
        try settle(&harness, word)
        #expect(try state(harness).letters.letters.count == 1)
    }

    @Test func `an ack that comes late counts until the broker has the record`() throws {
        var harness = try harness()
        try hang(&harness, 2)
        let grant = try #require(try receive(&harness, 1).first)
        try say(&harness, grant, 0..<1, .begin)
        harness.advance(milliseconds: 1_001)
        harness.expire()
        try say(&harness, grant, 0..<1, .ack)
        #expect(try next(&harness) == nil)
        #expect(try state(harness).queues[key]?.acked == 1)
    }

    @Test func `of many only some are taken up at once, and all in the end`() throws {
        var harness = try harness { $0.breaker = .off }
        let ranges = [Range<Int64>](arrayLiteral: 0..<250)
        _ = try receive(&harness, 1, end: 250)
        harness.take([.queue(group: "g", key, .attempted(ranges, times: 3))])
        harness.restart([orders])
        for number in 1...2 { harness.heartbeat(MemberID(UInt64(number))) }
        var turns: [Int] = []
        while turns.count < 10 {
            #expect(try receive(&harness, end: 250).isEmpty)
            let before = try state(harness).letters.letters.count
            while let item = harness.coordinator.nextAbandoned() {
                try settle(&harness, item.settlement)
                #expect(harness.coordinator.takeReadyQueues() == ["g"])
            }
            turns.append(try state(harness).letters.letters.count - before)
            if turns.last == 0 { break }
        }
        #expect(turns == [100, 100, 50, 0])
    }
}
