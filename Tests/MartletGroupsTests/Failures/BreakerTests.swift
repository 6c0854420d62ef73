import MartletFormat
import MartletTestSupport
import Testing

@testable import MartletGroups

/// The breaker of a group: when it opens, what it holds back, and how it closes again.
@Suite struct BreakerTests {
    private typealias Settlement = Coordinator.Settlement

    private let orders = TopicShape("orders", 1)
    private let key = TopicPartition(TopicShape("orders", 1).id, 0)
    private let id = MemberID(1)

    private static var policy: FailurePolicy {
        var policy = FailurePolicy()
        policy.breaker.window = 20
        policy.breaker.probes = 4
        policy.breaker.openMilliseconds = 1_000
        policy.backoffMilliseconds = 1
        policy.backoffMaxMilliseconds = 1
        return policy
    }

    private func queue(_ policy: FailurePolicy = policy) throws -> GroupHarness {
        var harness = GroupHarness()
        harness.topics([orders, TopicShape("g.dlq", 1)])
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest), at: harness.now))
        harness.take(try harness.coordinator.setPolicy("g", policy))
        return harness
    }

    private func receive(_ harness: inout GroupHarness, _ records: Int) throws -> [QueueGrant] {
        let wanted = Coordinator.Wanted(records: records, leaseMilliseconds: 60_000)
        harness.take(try harness.coordinator.receive("g", id, wanted) { _ in 0..<100_000 })
        return try harness.coordinator.lease(
            "g", id, wanted, bounds: { _ in 0..<100_000 }, at: harness.now)
    }

    private func settle(_ harness: inout GroupHarness, _ words: [Settlement]) throws {
        let dying = harness.coordinator.dying("g", words, at: harness.now)
        let contents = Dictionary(
            uniqueKeysWithValues: dying.map {
                ($0, Coordinator.DeadContent.record([1], first: nil))
            })
        let outcome = try harness.coordinator.settle(
            "g", words, contents: contents, at: harness.now)
        #expect(outcome.refusals.isEmpty)
        harness.take(outcome.records)
        harness.coordinator.follow("g", words, at: harness.now)
    }

    /// Every record by itself, as handlers say it.
    private func settle(
        _ harness: inout GroupHarness, _ grants: [QueueGrant],
        _ verb: (Int64) -> Settlement.Verb
    ) throws {
        for grant in grants {
            for offset in grant.range {
                try settle(
                    &harness,
                    [
                        Settlement(
                            queue: grant.queue, range: offset..<(offset + 1),
                            number: grant.number, verb: verb(offset))
                    ])
            }
        }
    }

    private func failed(
        _ severity: HandlerFailure.Severity = .transient
    ) -> Settlement.Verb {
        .fail(HandlerFailure(severity, kind: "Down", text: "no answer", at: 1))
    }

    private func fail(_ harness: inout GroupHarness, _ grants: [QueueGrant]) throws {
        try settle(&harness, grants) { _ in failed() }
    }

    private func ack(_ harness: inout GroupHarness, _ grants: [QueueGrant]) throws {
        for grant in grants {
            try settle(
                &harness,
                [
                    Settlement(
                        queue: grant.queue, range: grant.range, number: grant.number,
                        verb: .ack)
                ])
        }
    }

    private func state(_ harness: GroupHarness) -> BreakerState? {
        harness.coordinator.groups["g"]?.state.breaker
    }

    private func isOpen(_ harness: GroupHarness) -> Bool { state(harness)?.isOpen == true }

    private func letters(_ harness: GroupHarness) -> Int {
        harness.coordinator.groups["g"]?.state.letters.letters.count ?? -1
    }

    private func checkReplay(_ harness: GroupHarness) {
        let state = harness.coordinator.groups["g"]?.state
        var replayed = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.log { replayed.replay(record) }
        #expect(replayed.groups["g"]?.state == state)
        var restored = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.coordinator.snapshot() { restored.replay(record) }
        #expect(restored.groups["g"]?.state == state)
    }

    private func broken() throws -> GroupHarness {
        var harness = try queue()
        try fail(&harness, try receive(&harness, 20))
        #expect(isOpen(harness))
        return harness
    }

    // MARK: - When it opens

    @Test func `it opens at its share of the newest outcomes, and not before there are enough`()
        throws
    {
        var harness = try queue()
        try fail(&harness, try receive(&harness, 19))
        #expect(state(harness) == .closed)
        try fail(&harness, try receive(&harness, 1))
        let until = harness.now.wall + 1_000
        #expect(state(harness) == .open(since: harness.now.wall, until: until))
        checkReplay(harness)
    }

    @Test func `what went well keeps it closed until it is outweighed by what is newer`() throws {
        var harness = try queue()
        try ack(&harness, try receive(&harness, 10_000))
        try fail(&harness, try receive(&harness, 9))
        #expect(state(harness) == .closed)
        try fail(&harness, try receive(&harness, 1))
        #expect(isOpen(harness))
    }

    @Test(arguments: [HandlerFailure.Severity.permanent, .rejected])
    func `who says never had what it takes to say so`(
        _ severity: HandlerFailure.Severity
    ) throws {
        var harness = try queue()
        try settle(&harness, try receive(&harness, 40)) { _ in failed(severity) }
        #expect(state(harness) == .closed && letters(harness) == 40)
    }

    @Test func `acks of what is settled already, and given back records, count for nothing`()
        throws
    {
        var harness = try queue()
        let first = try receive(&harness, 1)
        for _ in 0..<40 { try ack(&harness, first) }
        let second = try receive(&harness, 5)
        try settle(&harness, second) { _ in .nack(delayMilliseconds: 60_000) }
        #expect(try harness.coordinator.describe("g").breaker.outcomes == 1)
    }

    @Test func `without a breaker nothing opens, and to switch it off closes it`() throws {
        var policy = Self.policy
        policy.breaker = .off
        var harness = try queue(policy)
        try fail(&harness, try receive(&harness, 100))
        #expect(state(harness) == .closed)
        harness = try broken()
        harness.take(try harness.coordinator.setPolicy("g", policy))
        #expect(state(harness) == .closed)
        #expect(try !receive(&harness, 1).isEmpty)
        checkReplay(harness)
    }

    // MARK: - What it holds back

    @Test func `while it is open nobody is handed anything, and what is out may be finished`()
        throws
    {
        var harness = try queue()
        let held = try receive(&harness, 3)
        try fail(&harness, try receive(&harness, 20))
        #expect(isOpen(harness))
        #expect(try receive(&harness, 10).isEmpty)
        try ack(&harness, held)
        #expect(harness.coordinator.groups["g"]?.state.queues[.flow(key)]?.acked == 3)
        #expect(isOpen(harness))
    }

    @Test func `an outage uses up no attempts once it is seen`() throws {
        var harness = try queue()
        let held = try receive(&harness, 5)
        try fail(&harness, try receive(&harness, 20))
        try fail(&harness, held)
        for _ in 0..<10 {
            harness.heartbeat(id)
            harness.advance(milliseconds: 1_000)
            harness.expire()
            #expect(state(harness)?.isHalfOpen == true)
            try fail(&harness, try receive(&harness, 100))
            #expect(isOpen(harness))
        }
        #expect(letters(harness) == 0)
        let attempts = harness.coordinator.groups["g"]?.state.queues[.flow(key)]?.attempts ?? [:]
        #expect(attempts.values.allSatisfy { $0 == 1 })
        checkReplay(harness)
    }

    @Test func `half open it hands out no more records at once than it is to try`() throws {
        var harness = try broken()
        harness.advance(milliseconds: 999)
        harness.expire()
        #expect(isOpen(harness))
        harness.advance(milliseconds: 1)
        harness.expire()
        #expect(state(harness) == .halfOpen(since: harness.now.wall))
        #expect(harness.coordinator.takeReadyQueues() == ["g"])
        let grants = try receive(&harness, 3) + receive(&harness, 3) + receive(&harness, 3)
        #expect(grants.reduce(0) { $0 + $1.range.count } == 4)
        // One that is done makes room for another, and who waits hears of it.
        try settle(&harness, [grants[0]]) { offset in
            offset == grants[0].range.lowerBound ? .ack : .begin
        }
        #expect(harness.coordinator.takeReadyQueues() == ["g"])
        #expect(try receive(&harness, 9).reduce(0) { $0 + $1.range.count } == 1)
    }

    @Test func `records of members that die while it is half open are tried by others`() throws {
        var harness = try broken()
        harness.advance(milliseconds: 1_000)
        harness.expire()
        #expect(try receive(&harness, 9).reduce(0) { $0 + $1.range.count } == 4)
        harness.advance(milliseconds: 60_000)
        harness.heartbeat(id)
        harness.expire()
        harness.heartbeat(id)
        harness.join(id, .wanting())
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest), at: harness.now))
        #expect(try receive(&harness, 9).reduce(0) { $0 + $1.range.count } == 4)
    }

    @Test func `enough good ones close it, and then it counts anew`() throws {
        var harness = try broken()
        harness.advance(milliseconds: 1_000)
        harness.expire()
        try ack(&harness, try receive(&harness, 3))
        #expect(state(harness)?.isHalfOpen == true)
        try ack(&harness, try receive(&harness, 3))
        #expect(state(harness) == .closed)
        #expect(try harness.coordinator.describe("g").breaker.outcomes == 0)
        #expect(try receive(&harness, 500).reduce(0) { $0 + $1.range.count } == 500)
        checkReplay(harness)
    }

    @Test func `two of four that fail open it again`() throws {
        var harness = try broken()
        harness.advance(milliseconds: 1_000)
        harness.expire()
        let grants = try receive(&harness, 4)
        try settle(&harness, grants) { $0 % 2 == 0 ? .ack : failed() }
        #expect(isOpen(harness))
        #expect(try harness.coordinator.describe("g").breaker.openings == 2)
    }

    // MARK: - Restarts and clocks

    @Test func `a restart while it is open goes on with the rest of its time`() throws {
        var harness = try broken()
        harness.advance(milliseconds: 600)
        harness.restart([orders])
        harness.expire()
        #expect(isOpen(harness))
        harness.advance(milliseconds: 399)
        harness.expire()
        #expect(isOpen(harness))
        harness.advance(milliseconds: 1)
        harness.expire()
        #expect(state(harness)?.isHalfOpen == true)
        harness.restart([orders])
        harness.expire()
        #expect(state(harness)?.isHalfOpen == true)
        harness.heartbeat(id)
        #expect(try receive(&harness, 9).reduce(0) { $0 + $1.range.count } == 4)
    }

    @Test(arguments: [-86_400_000, 86_400_000, .min / 2] as [Int64])
    func `a clock that is set while the broker is down makes it no longer`(_ jump: Int64) throws {
        var harness = try broken()
        harness.now = Now(
            wall: harness.now.wall + jump, monotonic: harness.now.monotonic)
        harness.restart([orders])
        harness.expire()
        harness.advance(milliseconds: 1_000)
        harness.expire()
        #expect(state(harness)?.isHalfOpen == true)
    }

    @Test func `a clock that is set while it runs changes nothing`() throws {
        var harness = try broken()
        harness.now = Now(
            wall: harness.now.wall + 86_400_000, monotonic: harness.now.monotonic + 999_000_000)
        harness.expire()
        #expect(isOpen(harness))
    }

    @Test func `what failed before a restart says nothing of now`() throws {
        var harness = try queue()
        try fail(&harness, try receive(&harness, 19))
        harness.restart([orders])
        harness.expire()
        harness.heartbeat(id)
        #expect(try harness.coordinator.describe("g").breaker.outcomes == 0)
    }

    @Test func `a group that is gone has no breaker, and one of its name begins closed`() throws {
        var harness = try broken()
        harness.leave(id)
        harness.take(try harness.coordinator.delete("g"))
        harness.advance(milliseconds: 5_000)
        #expect(harness.expire().records.isEmpty)
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest), at: harness.now))
        #expect(state(harness) == .closed)
    }

    @Test func `a damaged record neither traps nor stops a group for ever`() throws {
        var harness = try queue()
        for (since, until) in [(0, .max), (.min, .min), (.max, .min)] as [(Int64, Int64)] {
            harness.take([.breaker(group: "g", .open(since: since, until: until))])
            harness.restart([orders])
            harness.expire()
            harness.advance(milliseconds: 1_000)
            harness.expire()
            #expect(state(harness)?.isHalfOpen == true)
        }
        var policy = FailurePolicy()
        policy.breaker.sharePercent = .max
        (policy.breaker.window, policy.breaker.probes) = (.min, .max)
        policy.breaker.openMilliseconds = .min
        harness.take([.policy(group: "g", policy), .breaker(group: "g", .closed)])
        harness.heartbeat(id)
        try fail(&harness, try receive(&harness, 2))
        #expect(isOpen(harness))
        #expect(throws: GroupRefusal.self) { try harness.coordinator.setPolicy("g", policy) }
    }

    // MARK: - By hand

    @Test func `it is opened and closed by hand`() throws {
        var harness = try queue()
        harness.take(try harness.coordinator.setBreaker("g", .open, at: harness.now))
        #expect(isOpen(harness))
        #expect(try receive(&harness, 1).isEmpty)
        harness.take(try harness.coordinator.setBreaker("g", .close, at: harness.now))
        #expect(try receive(&harness, 1).count == 1)
        #expect(try harness.coordinator.setBreaker("g", .close, at: harness.now).isEmpty)
        var policy = Self.policy
        policy.breaker = .off
        harness.take(try harness.coordinator.setPolicy("g", policy))
        #expect(throws: GroupRefusal.self) {
            try harness.coordinator.setBreaker("g", .open, at: harness.now)
        }
        checkReplay(harness)
    }

    // MARK: - Streams

    private func stream() throws -> GroupHarness {
        var harness = GroupHarness()
        harness.topics([orders])
        harness.join(id, .wanting())
        harness.take(try harness.coordinator.setPolicy("g", Self.policy))
        return harness
    }

    private func epoch(_ harness: GroupHarness) -> Int32 {
        harness.coordinator.groups["g"]?.state.partitions[key]?.epoch ?? -1
    }

    @discardableResult
    private func fail(
        _ harness: inout GroupHarness, at offset: Int64,
        _ severity: HandlerFailure.Severity = .transient
    ) throws -> Coordinator.FailureAnswer {
        let failed = Coordinator.FailedRecord(
            OwnedRecord(key, epoch: epoch(harness), offset),
            HandlerFailure(severity, kind: "Down", text: "", at: 1))
        let isDying = harness.coordinator.isDying("g", failed, at: harness.now)
        let outcome = try harness.coordinator.fail(
            "g", id, failed, isDying ? .record([1], first: nil) : nil, at: harness.now)
        harness.take(outcome.records)
        return outcome.answer
    }

    @Test func `a stream stands still, goes on to be tried, and closes with its commits`() throws {
        var harness = try stream()
        _ = harness.owned(id)
        for offset in 0..<20 as Range<Int64> { try fail(&harness, at: offset) }
        #expect(isOpen(harness) && letters(harness) == 0)
        // Its owner is asked for the partition, and nobody is given it.
        #expect(harness.owned(id).isEmpty)
        let before = epoch(harness)
        harness.heartbeat(id, released: [(key, before)])
        #expect(harness.owned(id).isEmpty)
        harness.advance(milliseconds: 1_000)
        harness.expire()
        #expect(harness.owned(id) == [key: before + 1])
        #expect(try fail(&harness, at: 0) != .dead)
        #expect(harness.commit(id, key, epoch: before + 1, 3) == nil)
        #expect(state(harness)?.isHalfOpen == true)
        #expect(harness.commit(id, key, epoch: before + 1, 9) == nil)
        #expect(state(harness) == .closed)
        checkReplay(harness)
    }

    @Test func `commits that pass dead letters are no success`() throws {
        var policy = Self.policy
        policy.attemptsMax = 1
        policy.breaker.sharePercent = 100
        var harness = try stream()
        harness.take(try harness.coordinator.setPolicy("g", policy))
        _ = harness.owned(id)
        for offset in 0..<20 as Range<Int64> {
            #expect(!isOpen(harness))
            #expect(try fail(&harness, at: offset) == .dead)
            #expect(harness.commit(id, key, epoch: epoch(harness), offset + 1) == nil)
        }
        #expect(isOpen(harness) && letters(harness) == 20)
    }

    @Test func `what a person commits for a group is nobody's work`() throws {
        var harness = GroupHarness()
        harness.topics([orders])
        harness.take(try harness.coordinator.create("g", at: harness.now))
        #expect(harness.commit(nil, key, epoch: 0, 500) == nil)
        #expect(try harness.coordinator.describe("g").breaker.outcomes == 0)
    }

    // MARK: - The window

    @Test func `the window has the same as one that keeps every outcome`() {
        var random = SeededRandom(seed: 5)
        for most in [1, 2, 7, 100, 10_000] {
            var window = OutcomeWindow()
            var plain: [Bool] = []
            for _ in 0..<2_000 {
                let isFailure = Bool.random(using: &random)
                let records = Int.random(in: 0...4, using: &random) == 0 ? 25_000 : 1
                window.add(records, isFailure: isFailure, max: most)
                plain += Array(repeating: isFailure, count: min(records, most))
                plain = plain.suffix(most)
                #expect(window.count == plain.count)
                #expect(window.failures == plain.count(where: { $0 }))
            }
        }
    }
}
