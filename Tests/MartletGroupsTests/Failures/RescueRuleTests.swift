import Testing

@testable import MartletGroups

/// What of a queue is copied before retention takes it, and what counts as lost.
@Suite struct RescueRuleTests {
    private let key = TopicPartition(TopicShape("orders", 1).id, 0)
    private let id = MemberID(1)

    /// Of ten records 0 and 1 failed, 2 was begun, 3 is acked, and 4 is with a member.
    private func harness(_ limits: GroupLimits = GroupLimits()) throws -> GroupHarness {
        var harness = GroupHarness(limits: limits)
        harness.topics([TopicShape("orders", 1)])
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest), at: harness.now))
        let wanted = Coordinator.Wanted(records: 5, leaseMilliseconds: 60_000)
        harness.take(try harness.coordinator.receive("g", id, wanted) { _ in 0..<10 })
        let grant = try #require(
            try harness.coordinator.lease(
                "g", id, wanted, bounds: { _ in 0..<10 }, at: harness.now
            ).first)
        let failure = HandlerFailure(.transient, kind: "Down", text: "no answer", at: 1)
        let verbs: [Coordinator.Settlement.Verb] = [.fail(failure), .fail(failure), .begin, .ack]
        let words = verbs.enumerated().map { index, verb in
            Coordinator.Settlement(
                queue: grant.queue, range: Int64(index)..<Int64(index + 1), number: grant.number,
                verb: verb)
        }
        harness.take(try harness.coordinator.settle("g", words, at: harness.now).records)
        harness.coordinator.follow("g", words, at: harness.now)
        return harness
    }

    private func progress(_ harness: GroupHarness) throws -> QueueProgress {
        try #require(harness.coordinator.groups["g"]?.state.queues[.flow(key)])
    }

    private func checkReplay(_ harness: GroupHarness) {
        let state = harness.coordinator.groups["g"]?.state
        var restored = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.coordinator.snapshot() { restored.replay(record) }
        #expect(restored.groups["g"]?.state == state)
    }

    @Test func `only what somebody began with is copied, and once`() throws {
        var harness = try harness()
        let found = harness.coordinator.endangered(key, below: 9, max: 10)
        #expect(found == [.init(group: "g", offsets: [0, 1, 2])])
        #expect(harness.coordinator.endangered(key, below: 2, max: 1).first?.offsets == [0])
        #expect(harness.coordinator.endangered(key, below: 9, max: 9, besides: ["g"]).isEmpty)
        let bodies = [0, 1, 2, 3].map { (offset: Int64($0), body: [UInt8(7)]) }
        let rescue = harness.coordinator.rescue("g", key, bodies, at: harness.now)
        #expect(rescue.records.count == 3 && !rescue.isFull && !rescue.isBusy)
        harness.take(rescue.records)
        #expect(harness.coordinator.rescue("g", key, bodies, at: harness.now).records.isEmpty)
        #expect(try progress(harness).dead == 3 && progress(harness).floor == 4)
        let letters = try #require(harness.coordinator.groups["g"]).state.letters.letters
        #expect(letters.values.allSatisfy { $0.reason == .retention && $0.rescuedBytes == 1 })
        // What retention takes says nothing of what handlers need.
        #expect(try harness.coordinator.describe("g").breaker.failures == 2)
        checkReplay(harness)
    }

    @Test func `while retention takes records, no handler begins with one that has no copy`() throws
    {
        var harness = try harness()
        let number: UInt64 = 1 << 32 | 1
        harness.coordinator.close(key, below: 5, until: harness.now.monotonic + 1_000_000)
        let next = try #require(try lease(&harness).last)
        let failure = HandlerFailure(.transient, kind: "Down", text: "no answer", at: 1)
        let begins: [Coordinator.Settlement.Verb] = [
            .begin, .nack(delayMilliseconds: 0), .nack(delayMilliseconds: 9), .fail(failure),
        ]
        for verb in begins {
            #expect(try say(&harness, 4, number, verb) == .leaseLost)
        }
        #expect(harness.coordinator.endangered(key, below: 5, max: 10).first?.offsets == [0, 1, 2])
        // Who had begun may say how it ended, and what stays is as ever.
        #expect(try say(&harness, 2, number, .nack(delayMilliseconds: 9)) == nil)
        #expect(try say(&harness, next.range.lowerBound, next.number, .begin) == nil)
        let bodies = [0, 1, 2].map { (offset: Int64($0), body: [UInt8(7)]) }
        harness.take(harness.coordinator.rescue("g", key, bodies, at: harness.now).records)
        #expect(harness.coordinator.endangered(key, below: 5, max: 10).isEmpty)
        #expect(try say(&harness, 2, number, .begin) == .deadLetter(offset: 2))
        // An ack of what goes is taken: who has not waited for the answer may have handled it.
        #expect(try say(&harness, 4, number, .ack) == nil)
    }

    @Test func `what retention did not take in time can be begun again`() throws {
        let number: UInt64 = 1 << 32 | 1
        for isSaid in [true, false] {
            var harness = try harness()
            harness.coordinator.close(key, below: 5, until: harness.now.monotonic + 1_000_000)
            #expect(try say(&harness, 4, number, .begin) == .leaseLost)
            if isSaid {
                harness.coordinator.keep(key)
            } else {
                harness.advance(milliseconds: 1)
            }
            #expect(try say(&harness, 4, number, .begin) == nil)
        }
    }

    private func lease(_ harness: inout GroupHarness) throws -> [QueueGrant] {
        let wanted = Coordinator.Wanted(records: 5, leaseMilliseconds: 60_000)
        return try harness.coordinator.lease(
            "g", id, wanted, bounds: { _ in 0..<10 }, at: harness.now)
    }

    /// nil: it was taken.
    private func say(
        _ harness: inout GroupHarness, _ offset: Int64, _ number: UInt64,
        _ verb: Coordinator.Settlement.Verb
    ) throws -> GroupRefusal? {
        let word = Coordinator.Settlement(
            queue: .flow(key), range: offset..<(offset + 1), number: number, verb: verb)
        let outcome = try harness.coordinator.settle("g", [word], at: harness.now)
        harness.take(outcome.records)
        if outcome.refusals.isEmpty { harness.coordinator.follow("g", [word], at: harness.now) }
        return outcome.refusals[0]
    }

    @Test func `what is lost is counted, for each group that owes it`() throws {
        var harness = try harness()
        #expect(harness.coordinator.isOwed(key, below: 1))
        let lost = harness.coordinator.expiring(key, below: 9)
        #expect(lost.map(\.count) == [8])
        harness.take(lost.map(\.record))
        #expect(try progress(harness).expired == 8 && progress(harness).acked == 1)
        #expect(harness.coordinator.expiring(key, below: 9).isEmpty)
        #expect(!harness.coordinator.isOwed(key, below: 9))
        #expect(harness.coordinator.endangered(key, below: 9, max: 10).isEmpty)
        checkReplay(harness)
    }

    @Test func `a bound ends it before it is passed`() throws {
        var limits = GroupLimits()
        limits.rescueBytesMax = 5
        var harness = try harness(limits)
        let bodies = [0, 1, 2].map { (offset: Int64($0), body: [UInt8](repeating: 7, count: 2)) }
        let rescue = harness.coordinator.rescue("g", key, bodies, at: harness.now)
        #expect(rescue.records.count == 2 && rescue.isFull)
        harness.take(rescue.records)
        let next = harness.coordinator.rescue("g", key, bodies, at: harness.now)
        #expect(next.records.isEmpty && next.isFull)
        let resolved = try harness.coordinator.resolveLetters(
            "g", [1], author: "ann", note: "", at: harness.now)
        harness.take(resolved.records)
        #expect(harness.coordinator.rescue("g", key, bodies, at: harness.now).records.count == 1)
        #expect(harness.coordinator.rescue("nobody", key, bodies, at: harness.now).records.isEmpty)
    }

    @Test func `dead letters of others are not copied before retention takes them`() throws {
        var harness = GroupHarness()
        let letters = TopicShape("h.dlq", 1)
        harness.topics([letters])
        let key = TopicPartition(letters.id, 0)
        harness.take([
            .created(group: "g", at: 1, .queue(from: .earliest)),
            .queue(group: "g", .flow(key), .began(at: 0)),
            .queue(group: "g", .flow(key), .attempted([0..<1], times: 1)),
        ])
        #expect(harness.coordinator.endangered(key, below: 9, max: 10).isEmpty)
        #expect(harness.coordinator.isOwed(key, below: 9))
        #expect(harness.coordinator.expiring(key, below: 9).map(\.count) == [9])
    }

    @Test func `a stream group owes retention nothing`() throws {
        var harness = GroupHarness()
        harness.topics([TopicShape("orders", 1)])
        harness.join(id, .wanting())
        let attempted = QueueChange.attempted([0..<1], times: 1)
        harness.take([.queue(group: "g", .flow(key), attempted)])
        #expect(harness.coordinator.endangered(key, below: 9, max: 10).isEmpty)
        #expect(!harness.coordinator.isOwed(key, below: 9))
        #expect(harness.coordinator.expiring(key, below: 9).isEmpty)
    }
}
