import MartletTestSupport
import Testing

@testable import MartletGroups

/// Queues in order by key, and parked records, under random operations against a model that knows the
/// key of each record; with crashes in between, also in the middle of what a command writes.
@Suite struct OrderedQueueModelTests {
    @Test(arguments: [UInt64(41), 42, 43, 44, 45, 46, 47, 48])
    func `one record of a key is out at a time, in order, and the accounts are exact`(
        _ seed: UInt64
    ) {
        var model = OrderedQueueModel(seed: seed)
        for number in 0..<1_000 where !model.isBroken {
            model.step()
            model.check()
            if number % 50 == 0 { model.checkReplay() }
        }
        guard !model.isBroken else { return }
        model.drain()
        model.check()
        model.checkReplay()
        let counts = model.counts
        for (what, least) in [
            ("handed out", 400), ("of the hot key", 20), ("again", 20), ("acked", 100),
            ("parked", 15), ("released", 5), ("crashes", 10), ("read", 1_000),
            ("abandoned", 1), ("resets", 4),
        ] { #expect(counts[what] ?? 0 >= least, "\(what)") }
        print("in order: \(counts.sorted { $0.key < $1.key }), seed \(seed)")
    }
}

/// What else holds of queues in order, and of parking.
@Suite struct OrderedQueueRuleTests {
    private typealias Settlement = Coordinator.Settlement

    private let queue = QueueID.flow(TopicPartition(TopicShape("orders", 1).id, 0))
    private let id = MemberID(1)

    private func harness(
        _ limits: GroupLimits = GroupLimits(), order: QueueOrder = .byKey,
        last: FailurePolicy.Last = .deadLetter
    ) throws -> GroupHarness {
        var harness = GroupHarness(limits: limits)
        harness.topics([TopicShape("orders", 1)])
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest, order: order), at: harness.now))
        var policy = FailurePolicy()
        policy.last = last
        harness.take(try harness.coordinator.setPolicy("g", policy))
        return harness
    }

    /// Receives once the broker has read what was asked for. `keys`: by offset; nil: none.
    private func receive(
        _ harness: inout GroupHarness, _ records: Int, keys: [UInt64?], member: MemberID? = nil
    ) throws -> [Int64] {
        let end = Int64(keys.count)
        let wanted = Coordinator.Wanted(records: records, leaseMilliseconds: 60_000)
        while true {
            let member = member ?? id
            harness.take(try harness.coordinator.receive("g", member, wanted) { _ in 0..<end })
            let found = try harness.coordinator.lease(
                "g", member, wanted, bounds: { _ in 0..<end }, at: harness.now)
            let wants = harness.coordinator.takeKeyWants()
            for want in wants {
                let range = want.from..<min(want.from + Int64(want.records), end)
                var chunk = KeyChunk(range: range)
                chunk.keys = range.compactMap { offset in
                    keys[Int(offset)].map { KeyChunk.Keyed(offset, $0) }
                }
                harness.coordinator.offer("g", want.queue, chunk)
            }
            if !found.isEmpty || wants.isEmpty { return found.flatMap { Array($0.range) } }
        }
    }

    private func settle(
        _ harness: inout GroupHarness, _ offset: Int64, _ verb: Settlement.Verb
    ) throws {
        let number = harness.coordinator.deliveries
        // Whichever delivery has it.
        for number in stride(from: number, to: number - 200, by: -1) {
            let word = Settlement(
                queue: queue, range: offset..<(offset + 1), number: number, verb: verb)
            let contents = Dictionary(
                harness.coordinator.dying("g", [word], at: harness.now).map {
                    ($0, Coordinator.DeadContent.record([1], first: nil))
                }, uniquingKeysWith: { first, _ in first })
            let outcome = try harness.coordinator.settle(
                "g", [word], contents: contents, at: harness.now)
            guard outcome.refusals.isEmpty else { continue }
            harness.take(outcome.records)
            harness.coordinator.follow("g", [word], at: harness.now)
            return
        }
        Issue.record("\(offset) is with nobody")
    }

    private var broken: Settlement.Verb {
        .fail(HandlerFailure(.permanent, kind: "Broken", text: "it is", at: 1))
    }

    private func release(_ harness: inout GroupHarness, _ offsets: [Int64]) throws {
        let outcome = try harness.coordinator.release(
            "g", offsets.map { RecordPlace(queue, $0) })
        #expect(outcome.refusals.isEmpty)
        harness.take(outcome.records)
    }

    // MARK: - Order

    @Test func `a record that dies frees its key, and so does one that is parked by itself`() throws
    {
        for last in [FailurePolicy.Last.deadLetter, .parkRecord] {
            var harness = try harness(last: last)
            let keys: [UInt64?] = [7, 7, nil, 8]
            #expect(try receive(&harness, 9, keys: keys) == [0, 2, 3])
            #expect(try receive(&harness, 9, keys: keys).isEmpty)
            try settle(&harness, 0, broken)
            #expect(try receive(&harness, 9, keys: keys) == [1])
        }
    }

    @Test func `a key waits for what was given back, and records without a key for nothing`() throws
    {
        var harness = try harness()
        let keys: [UInt64?] = [7, 7, nil, nil]
        #expect(try receive(&harness, 9, keys: keys) == [0, 2, 3])
        try settle(&harness, 2, .nack(delayMilliseconds: 1_000))
        try settle(&harness, 0, .nack(delayMilliseconds: 2_000))
        #expect(try receive(&harness, 9, keys: keys).isEmpty)
        harness.advance(milliseconds: 1_000)
        #expect(try receive(&harness, 9, keys: keys) == [2])
        harness.restart([TopicShape("orders", 1)])
        harness.expire()
        harness.heartbeat(id)
        #expect(try receive(&harness, 9, keys: keys) == [2, 3])
        harness.advance(milliseconds: 1_000)
        #expect(try receive(&harness, 9, keys: keys) == [0])
        try settle(&harness, 0, .ack)
        #expect(harness.coordinator.takeReadyQueues() == ["g"])
        #expect(try receive(&harness, 9, keys: keys) == [1])
    }

    @Test func `a released record goes before its key, and not while a later one is out`() throws {
        var harness = try harness(last: .parkRecord)
        let keys: [UInt64?] = [7, 7, 7, 7]
        #expect(try receive(&harness, 9, keys: keys) == [0])
        try settle(&harness, 0, broken)
        #expect(try receive(&harness, 9, keys: keys) == [1])
        try settle(&harness, 1, broken)
        #expect(try receive(&harness, 9, keys: keys) == [2])
        try release(&harness, [0, 1])
        #expect(try receive(&harness, 9, keys: keys).isEmpty)
        try settle(&harness, 2, .nack(delayMilliseconds: 0))
        for offset: Int64 in 0..<4 {
            #expect(try receive(&harness, 9, keys: keys) == [offset])
            try settle(&harness, offset, .ack)
        }
    }

    @Test func `who lets a lease run out cannot extend it while another of its key is out`() throws
    {
        var harness = try harness(last: .parkRecord)
        let keys: [UInt64?] = [7, 7]
        #expect(try receive(&harness, 9, keys: keys) == [0])
        try settle(&harness, 0, broken)
        #expect(try receive(&harness, 9, keys: keys) == [1])
        let number = harness.coordinator.deliveries
        harness.advance(milliseconds: 60_000)
        harness.expire()
        #expect(harness.join(id, .wanting(), order: .byKey) == nil)
        try release(&harness, [0])
        #expect(try receive(&harness, 9, keys: keys) == [0])
        let word = Settlement(
            queue: queue, range: 1..<2, number: number, verb: .extend(milliseconds: 1_000))
        let outcome = try harness.coordinator.settle("g", [word], at: harness.now)
        #expect(outcome.refusals == [0: .leaseLost])
    }

    @Test func `nobody gets less order than he asks for`() throws {
        let free = try harness(order: .free)
        let ordered = GroupKind.queue(from: .earliest, order: .byKey)
        #expect(throws: GroupRefusal.self) {
            try free.coordinator.create("g", ordered, at: free.now)
        }
        var other = free
        #expect(other.join(MemberID(2), .wanting(), order: .byKey) != nil)
        #expect(other.join(MemberID(2), .wanting(), order: .free) == nil)
        var strict = try harness()
        #expect(strict.join(MemberID(2), .wanting(), order: .free) == nil)
    }

    /// With steps that look at all that waits this takes minutes.
    @Test func `records of one key are acked one by one, however many wait`() throws {
        var harness = try harness()
        let keys = Array(repeating: UInt64?(7), count: 40_000)
        for offset: Int64 in 0..<20_000 {
            #expect(try receive(&harness, 9, keys: keys) == [offset])
            let number = harness.coordinator.deliveries
            let word = Settlement(
                queue: queue, range: offset..<(offset + 1), number: number, verb: .ack)
            harness.take(try harness.coordinator.settle("g", [word], at: harness.now).records)
        }
        let window = harness.coordinator.groups["g"]?.activity.queues[queue]?.window
        #expect(try #require(window).count <= GroupLimits().windowKeysMax)
    }

    @Test func `windows know no more than they may, and a small one always gets on`() throws {
        var limits = GroupLimits()
        (limits.keysReadMax, limits.windowKeysMax, limits.keysMax) = (10, 50, 60)
        var harness = GroupHarness(limits: limits)
        harness.topics([TopicShape("orders", 4)])
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest, order: .byKey), at: harness.now))
        // All of one key: what waits behind the first is known, and nobody can have it.
        let keys = Array(repeating: UInt64?(7), count: 1_000)
        for _ in 0..<50 { _ = try receive(&harness, 1, keys: keys) }
        let windows =
            harness.coordinator.groups["g"]?.activity.queues.values
            .compactMap { $0.window?.count } ?? []
        #expect(windows.count == 4 && windows.allSatisfy { 1...50 ~= $0 })
        #expect(windows.reduce(0, +) <= 60 + 4 * 10)
    }

    // MARK: - Parking

    @Test func `a parked key waits, others go on, and released all come in order`() throws {
        var harness = try harness(last: .parkKey)
        let keys: [UInt64?] = [7, 8, 7, 8, 7, nil]
        #expect(try receive(&harness, 9, keys: keys) == [0, 1, 5])
        try settle(&harness, 0, broken)
        // Without a key it is parked by itself.
        try settle(&harness, 5, broken)
        try settle(&harness, 1, .ack)
        #expect(try receive(&harness, 9, keys: keys) == [3])
        try settle(&harness, 3, .ack)
        let counts = try #require(try harness.coordinator.describe("g").queues.first)
        #expect(counts.parked == 2 && counts.acked == 2 && counts.ready(below: 6) == 2)
        let listed = try harness.coordinator.parked(of: "g", after: nil, max: 1)
        #expect(listed.hasMore && listed.lines.map(\.place.offset) == [0])
        #expect(listed.lines[0].attempts == 1 && listed.lines[0].trail?.last.kind == "Broken")
        let rest = try harness.coordinator.parked(
            of: "g", after: RecordPlace(queue, 0), max: 1)
        #expect(!rest.hasMore && rest.lines.map(\.place.offset) == [5])
        harness.restart([TopicShape("orders", 1)])
        harness.expire()
        harness.heartbeat(id)
        #expect(try receive(&harness, 9, keys: keys).isEmpty)
        let all = try harness.coordinator.releaseAll("g")
        #expect(all.count == 2)
        harness.take(all.records)
        #expect(try receive(&harness, 9, keys: keys) == [0, 5])
        let state = harness.coordinator.groups["g"]?.state.queues[queue]
        #expect(state?.attempts.isEmpty == true && state?.failures.isEmpty == true)
        for offset: Int64 in [0, 2] {
            try settle(&harness, offset, .ack)
            _ = try receive(&harness, 9, keys: keys)
        }
        try settle(&harness, 4, .ack)
    }

    @Test func `records that wait behind a parked key take no room from others`() throws {
        var limits = GroupLimits()
        (limits.keysReadMax, limits.windowKeysMax) = (50, 200)
        var harness = try harness(limits, last: .parkKey)
        var keys = Array(repeating: UInt64?(7), count: 5_000)
        keys.append(8)
        #expect(try receive(&harness, 1, keys: keys) == [0])
        try settle(&harness, 0, broken)
        #expect(try receive(&harness, 1, keys: keys) == [5_000])
        harness.take(try harness.coordinator.releaseAll("g").records)
        for offset: Int64 in 0..<300 {
            #expect(try receive(&harness, 1, keys: keys) == [offset])
            try settle(&harness, offset, .ack)
        }
    }

    @Test func `of a queue without order records are parked where they are`() throws {
        var harness = try harness(order: .free, last: .parkRecord)
        let keys: [UInt64?] = [7, 7, 7]
        #expect(try receive(&harness, 9, keys: keys) == [0, 1, 2])
        try settle(&harness, 1, broken)
        try settle(&harness, 2, .ack)
        #expect(harness.coordinator.lowMark(queue.partition)?.offset == 0)
        harness.restart([TopicShape("orders", 1)])
        harness.expire()
        harness.heartbeat(id)
        #expect(try receive(&harness, 9, keys: keys) == [0])
        try settle(&harness, 0, .ack)
        // It is kept for as long as it is parked.
        #expect(harness.coordinator.lowMark(queue.partition)?.offset == 1)
        try release(&harness, [1])
        #expect(try receive(&harness, 9, keys: keys) == [1])
        #expect(try harness.coordinator.release("g", [RecordPlace(queue, 1)]).refusals.count == 1)
    }

    @Test func `what retention takes is parked no more, and frees its key`() throws {
        var harness = try harness(last: .parkKey)
        let keys: [UInt64?] = [7, 7]
        #expect(try receive(&harness, 9, keys: keys) == [0])
        try settle(&harness, 0, broken)
        #expect(try receive(&harness, 9, keys: keys).isEmpty)
        harness.take([.queue(group: "g", queue, .expired(below: 1))])
        #expect(try receive(&harness, 9, keys: keys) == [1])
        let counts = try #require(try harness.coordinator.describe("g").queues.first)
        #expect(counts.parked == 0 && counts.expired == 1)
    }

    @Test func `when too much is parked the group stands still there, and nothing is lost`() throws
    {
        var limits = GroupLimits()
        limits.parkedRecordsMax = 2
        for order in [QueueOrder.free, .byKey] {
            var harness = try harness(limits, order: order, last: .parkRecord)
            let keys: [UInt64?] = [1, 2, 3, 4]
            #expect(try receive(&harness, 9, keys: keys) == [0, 1, 2, 3])
            for offset: Int64 in 0..<3 { try settle(&harness, offset, broken) }
            let state = try #require(harness.coordinator.groups["g"]?.state)
            #expect(state.paused.count == 1 && state.queues[queue]?.parked.count == 2)
            #expect(state.letters.letters.isEmpty)
            harness.take(try harness.coordinator.releaseAll("g").records)
            harness.resume([PausePlace(queue.partition)])
            #expect(try receive(&harness, 9, keys: keys) == [0, 1, 2])
        }
    }

    @Test func `keys are not parked where nothing is in order`() throws {
        var policy = FailurePolicy()
        policy.last = .parkKey
        let free = try harness(order: .free)
        #expect(throws: GroupRefusal.self) { try free.coordinator.setPolicy("g", policy) }
        var stream = GroupHarness()
        stream.topics([TopicShape("orders", 1)])
        stream.join(id, .wanting())
        #expect(try stream.coordinator.setPolicy("g", policy).count == 1)
    }

    @Test func `records of parking that no broker writes trap nowhere`() throws {
        var harness = try harness()
        for change in [
            QueueChange.parked(.max - 1, ParkedRecord(at: .min, isKey: true)),
            .parked(0, ParkedRecord(at: .max, isKey: false)), .released([0..<Int64.max]),
            .parked(3, ParkedRecord(at: 0, isKey: true)),
        ] { harness.take([.queue(group: "g", queue, change)]) }
        _ = try receive(&harness, 10, keys: [1, 1, 1, 1])
        harness.take([.queue(group: "g", queue, .released([0..<Int64.max]))])
        _ = try harness.coordinator.describe("g")
        _ = harness.coordinator.snapshot()
    }
}

extension GroupHarness {
    fileprivate mutating func join(
        _ id: MemberID, _ member: Member, order: QueueOrder
    ) -> GroupRefusal? {
        do throws(GroupRefusal) {
            take(
                try coordinator.join(
                    "g", id, member, .queue(from: .earliest, order: order), at: now))
            return nil
        } catch {
            return error
        }
    }
}
