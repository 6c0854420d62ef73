import Testing

@testable import MartletGroups

/// Records of stream groups whose handlers begin and never say what became of them.
@Suite struct StreamStartTests {
    private typealias Answer = Coordinator.StartAnswer

    private let orders = TopicShape("orders", 1)
    private let key = TopicPartition(TopicShape("orders", 1).id, 0)

    private func harness(_ change: (inout FailurePolicy) -> Void = { _ in }) -> GroupHarness {
        var harness = GroupHarness()
        harness.topics([orders])
        harness.join(MemberID(1), .wanting())
        var policy = FailurePolicy()
        change(&policy)
        harness.take([.policy(group: "g", policy)])
        return harness
    }

    private func state(_ harness: GroupHarness) throws -> GroupState {
        try #require(harness.coordinator.groups["g"]).state
    }

    private func progress(_ harness: GroupHarness) throws -> QueueProgress? {
        try state(harness).queues[.flow(key)]
    }

    private func start(
        _ harness: inout GroupHarness, _ offset: Int64, number: UInt64 = 0, isAlone: Bool = true,
        content: Coordinator.DeadContent = .record([1], first: nil)
    ) throws -> Answer {
        let partition = try #require(try state(harness).partitions[key])
        let started = Coordinator.StartedRecord(
            OwnedRecord(key, epoch: partition.epoch, offset), number: number, isAlone: isAlone)
        let owner = partition.owner ?? .nobody
        let isDying = harness.coordinator.isDying("g", started, at: harness.now)
        let outcome = try harness.coordinator.start(
            "g", owner, started, isDying ? content : nil, at: harness.now)
        harness.take(outcome.records)
        if outcome.answer == .go { harness.coordinator.began("g", owner, started) }
        return outcome.answer
    }

    private func fail(
        _ harness: inout GroupHarness, _ offset: Int64
    ) throws -> Coordinator.FailureAnswer {
        let partition = try #require(try state(harness).partitions[key])
        let failed = Coordinator.FailedRecord(
            OwnedRecord(key, epoch: partition.epoch, offset),
            HandlerFailure(.transient, kind: "Broken", text: "it is", at: 1))
        let isDying = harness.coordinator.isDying("g", failed, at: harness.now)
        let outcome = try harness.coordinator.fail(
            "g", partition.owner ?? .nobody, failed, isDying ? .record([1], first: nil) : nil,
            at: harness.now)
        harness.take(outcome.records)
        return outcome.answer
    }

    /// The owner ends, and another one comes.
    private func kill(_ harness: inout GroupHarness) throws {
        let number = try state(harness).members.count + harness.log.count
        harness.advance(milliseconds: 10_001)
        harness.expire()
        harness.join(MemberID(UInt64(number)), .wanting())
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

    @Test func `a record that ends each owner of its partition becomes a dead letter`() throws {
        var harness = harness()
        for _ in 0..<3 {
            #expect(try start(&harness, 7) == .go)
            checkReplay(harness)
            try kill(&harness)
        }
        let last = try #require(try state(harness).partitions[key]?.owner)
        #expect(try start(&harness, 7) == .passed)
        let entry = try #require(try state(harness).letters.waiting[1])
        #expect(entry.attempts == 3 && entry.reason == .attempts && entry.deaths == 1)
        #expect(entry.trail.last.kind == "MemberGone" && entry.member != last)
        #expect(entry.member != .nobody && entry.origin == RecordPlace(.flow(key), 7))
        // Asked again, also by the next owner.
        #expect(try start(&harness, 7) == .passed)
        try kill(&harness)
        #expect(try start(&harness, 7) == .passed && fail(&harness, 7) == .dead)
        #expect(try state(harness).letters.letters.count == 1)
        #expect(try start(&harness, 8) == .go)
        checkReplay(harness)
    }

    @Test func `starts are counted over restarts of the broker`() throws {
        var harness = harness()
        for _ in 0..<3 {
            #expect(try start(&harness, 7, number: 5) == .go)
            try kill(&harness)
            harness.restart([orders])
            harness.expire()
        }
        #expect(try start(&harness, 7) == .passed)
        #expect(try state(harness).letters.waiting[1]?.trail.last.kind == "NoOutcome")
        #expect(try state(harness).letters.waiting[1]?.attempts == 3)
    }

    @Test func `a start and its failure are one attempt`() throws {
        var harness = harness()
        for attempt in 1...2 as ClosedRange<UInt16> {
            #expect(try start(&harness, 7) == .go)
            guard case .again = try fail(&harness, 7) else {
                Issue.record("it is not tried again")
                return
            }
            #expect(try progress(harness)?.attempts == [7: attempt])
        }
        // Its end without a word is the third.
        #expect(try start(&harness, 7) == .go)
        try kill(&harness)
        #expect(try start(&harness, 7) == .passed)
        #expect(try state(harness).letters.waiting[1]?.trail.first.kind == "Broken")
        var failing = self.harness()
        for _ in 0..<2 { _ = try (start(&failing, 7), fail(&failing, 7)) }
        #expect(try start(&failing, 7) == .go && fail(&failing, 7) == .dead)
        #expect(try state(failing).letters.letters[1]?.attempts == 3)
    }

    @Test func `the same start asked for twice is one, and only what was not answered is alone`()
        throws
    {
        var harness = harness()
        for _ in 0..<5 { #expect(try start(&harness, 7, number: 1, isAlone: false) == .go) }
        #expect(try progress(harness)?.attempts == [7: 1])
        #expect(try start(&harness, 7, number: 2, isAlone: false) == .alone)
        #expect(try start(&harness, 8, number: 3, isAlone: false) == .go)
        #expect(try progress(harness)?.attempts == [7: 1, 8: 1])
        try kill(&harness)
        // The number of another owner says nothing.
        #expect(try start(&harness, 7, number: 1, isAlone: false) == .alone)
        #expect(try start(&harness, 7, number: 1, isAlone: true) == .go)
        #expect(try progress(harness)?.attempts == [7: 2, 8: 1])
        _ = try fail(&harness, 7)
        #expect(try start(&harness, 7, number: 4, isAlone: false) == .go)
    }

    @Test func `an owner that begins again without a word is held to the policy too`() throws {
        var harness = harness()
        for number in 1...3 as ClosedRange<UInt64> {
            #expect(try start(&harness, 7, number: number) == .go)
        }
        #expect(try start(&harness, 7, number: 3, isAlone: false) == .go)
        #expect(try start(&harness, 7, number: 4, isAlone: false) == .passed)
        #expect(try state(harness).letters.letters.count == 1)
        checkReplay(harness)
    }

    @Test func `what a member that leaves had begun is given back, and what others had is not`()
        throws
    {
        var harness = harness()
        _ = try (start(&harness, 7), start(&harness, 9), start(&harness, 8))
        try kill(&harness)
        let owner = try #require(try state(harness).partitions[key]?.owner)
        #expect(try start(&harness, 7) == .go && start(&harness, 9) == .go)
        _ = try fail(&harness, 9)
        harness.leave(owner)
        #expect(try progress(harness)?.unanswered.ranges == RangeSet(8..<9).ranges)
        #expect(try progress(harness)?.attempts == [7: 2, 8: 1, 9: 2])
        checkReplay(harness)
        // However often it is.
        for number in 50...55 as ClosedRange<UInt64> {
            harness.join(MemberID(number), .wanting())
            #expect(try start(&harness, 7, isAlone: false) == .go)
            harness.leave(MemberID(number))
        }
    }

    @Test func `what is committed is forgotten, and so are starts before a reset`() throws {
        var harness = harness()
        _ = try (start(&harness, 7), start(&harness, 9))
        harness.commit(MemberID(1), key, epoch: 1, 8)
        #expect(try progress(harness)?.attempts == [9: 1])
        harness.reset(key, 9, isForced: true)
        #expect(try progress(harness)?.unanswered.ranges.isEmpty == true)
        checkReplay(harness)
        _ = try fail(&harness, 9)
        #expect(try progress(harness)?.attempts == [9: 2])
    }

    @Test func `the policy decides: the group stands still, and one more try follows`() throws {
        var harness = harness { ($0.last, $0.attemptsMax) = (.pause, 1) }
        #expect(try start(&harness, 7) == .go)
        try kill(&harness)
        #expect(try start(&harness, 7) == .paused)
        #expect(try state(harness).paused.count == 1 && state(harness).letters.letters.isEmpty)
        let owner = try #require(try state(harness).partitions[key]?.owner)
        harness.heartbeat(owner, released: [(key, 2)])
        harness.resume([PausePlace(key)])
        #expect(try start(&harness, 7) == .go)
        try kill(&harness)
        #expect(try start(&harness, 7) == .paused)
        checkReplay(harness)
    }

    @Test func `without a most number of attempts it is tried for ever`() throws {
        var harness = harness { $0.attemptsMax = 0 }
        for _ in 0..<10 {
            #expect(try start(&harness, 7) == .go)
            try kill(&harness)
        }
        #expect(try progress(harness)?.attempts == [7: 10])
    }

    @Test func `starts under a breaker that is open are not counted, and the end is decided`()
        throws
    {
        var harness = harness { $0.attemptsMax = 2 }
        for _ in 0..<2 {
            _ = try start(&harness, 7)
            try kill(&harness)
        }
        harness.take(try harness.coordinator.setBreaker("g", .open, at: harness.now))
        harness.advance(milliseconds: 1)
        // The owner drains meanwhile.
        #expect(try start(&harness, 8) == .go)
        #expect(try progress(harness)?.attempts == [7: 2])
        #expect(try start(&harness, 7) == .passed)
    }

    @Test func `what cannot be kept as a dead letter waits, and what is gone is passed`() throws {
        var harness = harness { $0.attemptsMax = 1 }
        _ = try start(&harness, 7)
        try kill(&harness)
        guard case .later(let milliseconds) = try start(&harness, 7, content: .unreadable) else {
            Issue.record("it does not wait")
            return
        }
        #expect(milliseconds > 0)
        #expect(try start(&harness, 7) == .go, "one more try")
        try kill(&harness)
        #expect(try start(&harness, 7, content: .gone) == .passed)
        #expect(try state(harness).letters.letters.isEmpty)
    }

    @Test func `what is remembered of starts is bounded, whatever is committed`() throws {
        var harness = harness()
        harness.take([])
        for round in 0..<4 as Range<Int64> {
            for offset in (round * 2_000)..<(round * 2_000 + 2_000) {
                #expect(try start(&harness, offset, number: UInt64(offset) + 1) == .go)
            }
            harness.commit(MemberID(1), key, epoch: 1, round * 2_000 + 2_000)
            harness.commit(MemberID(1), key, epoch: 1, 0)
        }
        let starts = try #require(harness.coordinator.groups["g"]?.activity.started[key])
        #expect(starts.numbers.count < 5_000)
        #expect(try progress(harness)?.attempts.isEmpty == true)
    }

    @Test func `who does not own the partition is not heard, nor what is no offset`() throws {
        var harness = harness()
        for offset in [Int64.min, -1, .max] {
            #expect(throws: GroupRefusal.self) { try start(&harness, offset) }
        }
        for (id, epoch) in [(MemberID(9), Int32(1)), (MemberID(1), 0), (MemberID(1), 2)] {
            let started = Coordinator.StartedRecord(
                OwnedRecord(key, epoch: epoch, 7), number: 1, isAlone: true)
            #expect(throws: GroupRefusal.self) {
                try harness.coordinator.start("g", id, started, nil, at: harness.now)
            }
        }
        #expect(try state(harness).queues.isEmpty)
        #expect(try start(&harness, .max - 1) == .go)
        checkReplay(harness)
    }
}
