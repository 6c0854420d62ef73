import Testing

@testable import MartletGroups

/// Records of stream groups that are set aside in their place.
@Suite struct StreamParkingTests {
    private let shapes = [TopicShape("orders", 1)]
    private let key = TopicPartition(TopicShape("orders", 1).id, 0)
    private let member = MemberID(1)

    private func harness(
        _ last: FailurePolicy.Last = .parkKey, _ limits: GroupLimits = GroupLimits()
    ) throws -> GroupHarness {
        var harness = GroupHarness(limits: limits)
        harness.topics(shapes)
        harness.join(member, .wanting())
        var policy = FailurePolicy()
        (policy.last, policy.breaker.sharePercent) = (last, 0)
        harness.take(try harness.coordinator.setPolicy("g", policy))
        _ = try harness.coordinator.tell("g", member)
        return harness
    }

    private func epoch(_ harness: GroupHarness) -> Int32 {
        harness.coordinator.groups["g"]?.state.partitions[key]?.epoch ?? -1
    }

    private func fail(
        _ harness: inout GroupHarness, _ offset: Int64, hasKey: Bool = true
    ) throws(GroupRefusal) -> Coordinator.FailureAnswer {
        let failed = Coordinator.FailedRecord(
            OwnedRecord(key, epoch: epoch(harness), offset, hasKey: hasKey),
            HandlerFailure(.permanent, kind: "Broken", text: "it is", at: 1))
        #expect(!harness.coordinator.isDying("g", failed, at: harness.now))
        let outcome = try harness.coordinator.fail("g", member, failed, nil, at: harness.now)
        harness.take(outcome.records)
        return outcome.answer
    }

    private func release(_ harness: inout GroupHarness, _ offsets: [Int64]) throws {
        let places = offsets.map { RecordPlace(.flow(key), $0) }
        let outcome = try harness.coordinator.release("g", places)
        #expect(outcome.refusals.isEmpty)
        harness.take(outcome.records)
    }

    private func told(_ harness: inout GroupHarness) throws -> [MemberView.Owned] {
        try harness.coordinator.tell("g", member).owned
    }

    private func parked(_ harness: GroupHarness) throws -> [Int64] {
        try harness.coordinator.parked(of: "g", after: nil, max: 100).lines.map(\.place.offset)
    }

    private func checkReplay(_ harness: GroupHarness) {
        let state = harness.coordinator.groups["g"]?.state
        #expect(state != nil)
        var replayed = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.log { replayed.replay(record) }
        #expect(replayed.groups["g"]?.state == state)
        var restored = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.coordinator.snapshot() { restored.replay(record) }
        #expect(restored.groups["g"]?.state == state)
    }

    @Test func `what fails for good is set aside in its place, once, and over a restart`() throws {
        var harness = try harness()
        #expect(try fail(&harness, 3) == .parked(isKey: true))
        // Null keys are alone.
        #expect(try fail(&harness, 5, hasKey: false) == .parked(isKey: false))
        let count = harness.log.count
        // Asked again, as after a lost reply.
        #expect(try fail(&harness, 3) == .parked(isKey: true))
        #expect(harness.log.count == count)
        for _ in 0..<2 {
            let line = try harness.coordinator.describe("g").partitions[0]
            #expect(line.parked == 2 && line.failing == 0)
            #expect(try parked(harness) == [3, 5])
            let state = harness.coordinator.groups["g"]?.state
            #expect(state?.letters.letters.isEmpty == true && state?.paused.isEmpty == true)
            checkReplay(harness)
            harness.restart(shapes)
        }
        #expect(
            try told(&harness)[0].parked == [
                MemberView.ParkedPlace(offset: 3, isKey: true),
                MemberView.ParkedPlace(offset: 5, isKey: false),
            ])
    }

    @Test func `a record that ends each of its owners is parked as well`() throws {
        var harness = try harness()
        var answers: [Coordinator.StartAnswer] = []
        for number in 1...5 as ClosedRange<UInt64> {
            let started = Coordinator.StartedRecord(
                OwnedRecord(key, epoch: epoch(harness), 3, hasKey: true), number: number,
                isAlone: true)
            #expect(!harness.coordinator.isDying("g", started, at: harness.now))
            let outcome = try harness.coordinator.start("g", member, started, nil, at: harness.now)
            harness.take(outcome.records)
            if outcome.answer == .go { harness.coordinator.began("g", member, started) }
            answers.append(outcome.answer)
        }
        #expect(answers == [.go, .go, .go, .parked(isKey: true), .parked(isKey: true)])
        #expect(try parked(harness) == [3])
        checkReplay(harness)
    }

    @Test
    func `an owner that is lost far behind a parked record leaves behind what it had in hand`()
        throws
    {
        var harness = try harness()
        _ = try fail(&harness, 3)
        let end: Int64 = 1_000_000
        harness.coordinator.served("g", member, key, epoch: epoch(harness), 0..<end + 50)
        harness.take([
            .committed(group: "g", key, CommittedOffset(offset: 3, finished: [4..<end], at: 1))
        ])
        harness.advance(milliseconds: 400_000)
        harness.expire()
        let partition = harness.coordinator.groups["g"]?.state.partitions[key]
        #expect(partition?.owner == nil && partition?.suspectBelow == end + 50)
        checkReplay(harness)
    }

    @Test func `with the record alone no key is parked`() throws {
        var harness = try harness(.parkRecord)
        #expect(try fail(&harness, 3) == .parked(isKey: false))
        checkReplay(harness)
    }

    @Test func `a commit around parked records leaves them, and one that covers them does not`()
        throws
    {
        var harness = try harness()
        for offset in [3, 5, 9] as [Int64] { _ = try fail(&harness, offset) }
        let around = CommittedOffset(offset: 3, finished: [4..<5, 6..<9], at: 1)
        harness.take([.committed(group: "g", key, around)])
        #expect(try parked(harness) == [3, 5, 9])
        checkReplay(harness)
        // Of a reader that takes no notice.
        let over = CommittedOffset(offset: 4, finished: [5..<9], at: 1)
        harness.take([.committed(group: "g", key, over)])
        #expect(try parked(harness) == [9])
        #expect(try fail(&harness, 6) == .dead)
        #expect(try fail(&harness, 2) == .dead)
        #expect(try parked(harness) == [9])
        checkReplay(harness)
        // By hand the group begins anew.
        harness.reset(key, 2, isForced: true)
        #expect(try parked(harness) == [])
        checkReplay(harness)
    }

    @Test func `at the limit the group stands still there`() throws {
        for total in [false, true] {
            var limits = GroupLimits()
            if total { limits.groupParkedMax = 2 } else { limits.streamParkedMax = 2 }
            var harness = try harness(.parkKey, limits)
            for offset in [3, 5] as [Int64] {
                #expect(try fail(&harness, offset) == .parked(isKey: true))
            }
            #expect(try fail(&harness, 7) == .paused)
            #expect(try parked(harness) == [3, 5])
            #expect(try harness.coordinator.describe("g").pauses.count == 1)
            checkReplay(harness)
        }
    }

    @Test func `what its owner cannot commit around lets the group stand still there, once`()
        throws
    {
        var harness = try harness()
        let records = try harness.coordinator.stop("g", key, at: harness.now)
        #expect(records.count == 1)
        harness.take(records)
        #expect(try harness.coordinator.stop("g", key, at: harness.now).isEmpty)
        #expect(try told(&harness).isEmpty)
    }

    @Test func `for what is released the owner gives the partition up and gets it again`() throws {
        var harness = try harness()
        for offset in [3, 5] as [Int64] { _ = try fail(&harness, offset) }
        let first = epoch(harness)
        try release(&harness, [3])
        #expect(try told(&harness).isEmpty)
        #expect(try harness.coordinator.describe("g").partitions[0].isLeaving)
        checkReplay(harness)
        // Another one while it is on its way.
        try release(&harness, [5])
        #expect(try told(&harness).isEmpty)
        // What it has in hand may fail, and is committed.
        #expect(try fail(&harness, 8) == .parked(isKey: true))
        #expect(harness.commit(member, key, epoch: first, 2) == nil)
        harness.heartbeat(member, released: [(key, first)])
        let owned = try told(&harness)[0]
        #expect(owned.epoch == first + 1 && owned.committed?.offset == 2)
        #expect(owned.parked.map(\.offset) == [8])
        checkReplay(harness)
        // As if nobody had tried it.
        #expect(harness.coordinator.groups["g"]?.state.queues[.flow(key)]?.failures[3] == nil)
    }

    @Test func `what was released is read again over restarts, and by whoever comes`() throws {
        var harness = try harness()
        _ = try fail(&harness, 3)
        let first = epoch(harness)
        try release(&harness, [3])
        harness.restart(shapes)
        // Who may not know what it has hears it first.
        #expect(try told(&harness).map(\.epoch) == [first])
        harness.take([])
        #expect(try told(&harness).isEmpty)
        checkReplay(harness)
        harness.leave(member)
        checkReplay(harness)
        harness.join(MemberID(2), .wanting())
        let owned = try harness.coordinator.tell("g", MemberID(2)).owned
        #expect(owned.map(\.epoch) == [first + 1] && owned[0].parked.isEmpty)
        checkReplay(harness)
    }

    @Test func `nobody need give up what nobody owns, or what its owner never heard of`() throws {
        var harness = try harness()
        _ = try fail(&harness, 3)
        let first = epoch(harness)
        harness.heartbeat(member, released: [(key, first)])
        // Granted again, and not told yet.
        #expect(epoch(harness) == first + 1)
        try release(&harness, [3])
        #expect(try told(&harness).map(\.epoch) == [first + 2])
        _ = try fail(&harness, 3)
        harness.leave(member)
        try release(&harness, [3])
        checkReplay(harness)
        #expect(harness.coordinator.groups["g"]?.state.partitions[key]?.isReturning == false)
    }

    @Test func `what retention takes of them has expired`() throws {
        var harness = try harness()
        for offset in [3, 5, 9] as [Int64] { _ = try fail(&harness, offset) }
        #expect(!harness.coordinator.isOwed(key, below: 3))
        #expect(harness.coordinator.isOwed(key, below: 6))
        let lost = harness.coordinator.expiring(key, below: 6)
        #expect(lost.map(\.count) == [2])
        harness.take(lost.map(\.record))
        #expect(try parked(harness) == [9])
        #expect(harness.coordinator.groups["g"]?.state.queues[.flow(key)]?.expired == 2)
        #expect(harness.coordinator.expiring(key, below: 6).isEmpty)
        checkReplay(harness)
    }

    @Test func `a group that has something set aside does not expire`() throws {
        var limits = GroupLimits()
        limits.groupExpiryMilliseconds = 1_000
        var harness = try harness(.parkKey, limits)
        _ = try fail(&harness, 3)
        harness.take(try harness.coordinator.setPolicy("g", FailurePolicy()))
        harness.leave(member)
        harness.advance(milliseconds: 70_000)
        harness.expire()
        #expect(harness.coordinator.groups["g"] != nil)
        try release(&harness, [3])
        harness.advance(milliseconds: 70_000)
        harness.expire()
        #expect(harness.coordinator.groups["g"] == nil)
    }

    @Test func `records of parking that no broker writes trap nowhere`() throws {
        var harness = try harness()
        for change in [
            QueueChange.parked(.max - 1, ParkedRecord(at: .min, isKey: true)),
            .parked(0, ParkedRecord(at: .max, isKey: false)), .released([0..<Int64.max]),
            .parked(.min, ParkedRecord(at: 0, isKey: true)),
            .parked(3, ParkedRecord(at: 0, isKey: true)), .expired(below: .min),
            .expired(below: .max), .released([]),
        ] { harness.take([.queue(group: "g", .flow(key), change)]) }
        harness.take([
            .queue(
                group: "g", .flow(key), .parked(4, ParkedRecord(at: .max, isKey: true))),
            .committed(
                group: "g", key,
                CommittedOffset(offset: .min, finished: [0..<4, 2..<Int64.max], at: .min)),
        ])
        _ = try harness.coordinator.describe("g")
        _ = try told(&harness)
        checkReplay(harness)
    }
}
