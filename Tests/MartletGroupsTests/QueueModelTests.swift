import MartletTestSupport
import Testing

@testable import MartletGroups

/// Queue groups under random operations against a model that keeps each record by itself, with
/// crashes in between.
@Suite struct QueueModelTests {
    @Test(arguments: [UInt64(91), 92, 93, 94, 95, 96, 97, 98])
    func `no record is with two members, none is lost, and the accounts are exact`(
        _ seed: UInt64
    ) {
        var model = QueueModel(seed: seed)
        for number in 0..<1_000 {
            model.step()
            model.check()
            if number % 50 == 0 { model.checkReplay() }
        }
        model.drain()
        model.check()
        model.checkReplay()
        #expect(model.granted > 2_000 && model.taken > 200 && model.refused > 20)
        #expect(model.again > 50 && model.crashes > 20)
        print(
            "queue: \(model.granted) handed out, \(model.again) of them again, \(model.taken) "
                + "settlements, \(model.refused) refused, \(model.crashes) crashes, seed \(seed)")
    }
}

/// What else holds of queues.
@Suite struct QueueRuleTests {
    private let key = TopicPartition(TopicShape("orders", 1).id, 0)

    private func harness(settled: [Range<Int64>]) -> GroupHarness {
        var harness = GroupHarness()
        harness.topics([TopicShape("orders", 1)])
        harness.take([
            .created(group: "g", at: 1, .queue(from: .earliest)),
            .queue(group: "g", key, .began(at: 0)),
            .queue(group: "g", key, .acked(settled)),
        ])
        return harness
    }

    @Test func `retention waits for the oldest record that is not settled`() {
        #expect(harness(settled: [0..<5, 7..<9]).coordinator.lowMark(key)?.offset == 5)
        #expect(harness(settled: [1..<9]).coordinator.lowMark(key)?.offset == 0)
    }

    /// A million delivered records of which ten thousand are open.
    @Test func `settled records take memory by ranges, and a snapshot is as small`() {
        let settled = (0..<10_000).map { Int64($0 * 100)..<Int64($0 * 100 + 99) }
        let harness = harness(settled: settled)
        let progress = harness.coordinator.groups["g"]?.state.queues[key]
        #expect(progress?.settled.ranges.count == 10_000)
        #expect(progress?.acked == 990_000)
        #expect(harness.coordinator.snapshot().count < 20)
    }

    @Test func `what stands still is not handed out, and what goes on is`() throws {
        var harness = harness(settled: [0..<5])
        let id = MemberID(1)
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest), at: harness.now))
        let wanted = Coordinator.Wanted(records: 10, leaseMilliseconds: 1_000)
        func lease(_ harness: inout GroupHarness) throws -> [Range<Int64>] {
            try harness.coordinator.lease(
                "g", id, wanted, bounds: { _ in 0..<9 }, at: harness.now
            ).map(\.range)
        }
        harness.take([.paused(group: "g", .group, at: 1)])
        #expect(try lease(&harness).isEmpty)
        harness.take([.resumed(group: "g", .group)])
        #expect(harness.coordinator.takeReadyQueues() == ["g"])
        #expect(try lease(&harness) == [5..<9])
    }
}

/// What a queue owes, record by record.
private struct QueueModel {
    struct Entry {
        var isSettled = false
        var isAcked = false
        /// The newest delivery, and until when its member has it alone.
        var number: UInt64?
        var heldUntil: Int64 = 0
        var member: MemberID?
        var hasBegun = false
        var attempts: UInt16 = 0
        var delayedUntil: Int64?
    }

    typealias Settlement = Coordinator.Settlement

    static let keys = (0..<2).map { TopicPartition(TopicShape("orders", 2).id, Int32($0)) }
    static let start: Int64 = 100
    let shapes = [TopicShape("orders", 2)]
    var random: SeededRandom
    var harness = GroupHarness()
    var entries: [TopicPartition: [Int64: Entry]] = [:]
    var bounds: [TopicPartition: Range<Int64>] = [:]
    var grants: [QueueGrant] = []
    var members: [MemberID] = []
    var nextMember: UInt64 = 1
    var granted = 0
    var again = 0
    var taken = 0
    var refused = 0
    var crashes = 0

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        for key in Self.keys { bounds[key] = Self.start..<Self.start }
        harness.topics(shapes)
        join()
    }

    // MARK: - Steps

    mutating func step() {
        switch random.below(24) {
        case 0: join()
        case 1: leave()
        case 2...4: append()
        case 5...11: receive(random.below(30) + 1)
        case 12...18: settle()
        case 19: crash()
        case 20: retain()
        default: pass(milliseconds: Int64(random.below(2_000)))
        }
    }

    private mutating func join() {
        guard members.count < 4 else { return }
        let id = MemberID(nextMember)
        nextMember += 1
        members.append(id)
        harness.take(
            (try? harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest), at: harness.now)) ?? [])
    }

    private mutating func leave() {
        guard members.count > 1 else { return }
        let id = members.remove(at: random.below(members.count))
        harness.leave(id)
        release { $0.member == id }
    }

    private mutating func append() {
        let key = Self.keys[random.below(2)]
        let range = bounds[key] ?? 0..<0
        let end = range.upperBound + Int64(random.below(40))
        for offset in range.upperBound..<end { entries[key, default: [:]][offset] = Entry() }
        bounds[key] = range.lowerBound..<end
    }

    /// Retention takes the oldest.
    private mutating func retain() {
        let key = Self.keys[random.below(2)]
        let range = bounds[key] ?? 0..<0
        bounds[key] =
            min(range.lowerBound + Int64(random.below(10)), range.upperBound)..<range.upperBound
    }

    private mutating func crash() {
        crashes += 1
        harness.restart(shapes)
        release { _ in true }
        for key in Self.keys {
            for offset in (entries[key] ?? [:]).keys {
                entries[key]?[offset]?.number = nil
                entries[key]?[offset]?.hasBegun = false
            }
        }
    }

    private mutating func pass(milliseconds: Int64) {
        harness.advance(milliseconds: milliseconds)
        // Members stay alive; their leases do not.
        for id in members { harness.heartbeat(id) }
        harness.expire()
    }

    /// Whoever held them holds them no more.
    private mutating func release(_ isGone: (Entry) -> Bool) {
        for key in Self.keys {
            for (offset, entry) in entries[key] ?? [:] where isGone(entry) {
                entries[key]?[offset]?.heldUntil = 0
            }
        }
    }

    mutating func receive(_ wanted: Int) {
        let id = members[random.below(members.count)]
        let wanted = Coordinator.Wanted(
            records: wanted, leaseMilliseconds: Int32(100 + random.below(3_000)))
        let found: [QueueGrant]
        do throws(GroupRefusal) {
            harness.take(
                try harness.coordinator.receive("g", id, wanted) { bounds[$0] })
            expireBelowStart()
            found = try harness.coordinator.lease(
                "g", id, wanted, bounds: { bounds[$0] }, at: harness.now)
        } catch {
            Issue.record("refused: \(error)")
            return
        }
        #expect(found.reduce(0) { $0 + $1.range.count } <= wanted.records)
        let deadline = harness.now.plus(milliseconds: wanted.leaseMilliseconds)
        for grant in found { take(grant, id, until: deadline) }
        if found.isEmpty {
            let ready = Self.keys.contains { key in
                (entries[key] ?? [:]).values.contains(where: isReady)
            }
            #expect(!ready, "something is ready, and nobody gets it")
        }
        grants += found
    }

    private mutating func take(_ grant: QueueGrant, _ id: MemberID, until deadline: Int64) {
        for offset in grant.range {
            guard var entry = entries[grant.partition]?[offset] else {
                Issue.record("\(offset) is not there")
                continue
            }
            #expect(isReady(entry), "\(offset) is not ready: \(entry)")
            #expect(entry.attempts == grant.attempts)
            granted += 1
            if entry.number != nil { again += 1 }
            entry.number = grant.number
            entry.member = id
            entry.heldUntil = deadline
            entry.hasBegun = false
            entry.delayedUntil = nil
            entries[grant.partition]?[offset] = entry
        }
    }

    private func isReady(_ entry: Entry) -> Bool {
        !entry.isSettled && entry.heldUntil <= harness.now.monotonic
            && (entry.delayedUntil ?? 0) <= harness.now.monotonic
    }

    private mutating func expireBelowStart() {
        for key in Self.keys {
            for (offset, entry) in entries[key] ?? [:]
            where offset < (bounds[key]?.lowerBound ?? 0) && !entry.isSettled {
                entries[key]?[offset]?.isSettled = true
            }
        }
    }

    // MARK: - Settling

    private mutating func settle() {
        guard !grants.isEmpty else { return }
        let settlements = (0...random.below(3)).map { _ in settlement() }
        var outcome: (records: [GroupRecord], refusals: [Int: GroupRefusal])
        do throws(GroupRefusal) {
            outcome = try harness.coordinator.settle("g", settlements, at: harness.now)
        } catch {
            Issue.record("refused: \(error)")
            return
        }
        var decided: [TopicPartition: Set<Int64>] = [:]
        let expected = settlements.map { settlement in
            guard isNewest(settlement) else { return false }
            if settlement.verb == .begin { return true }
            let offsets = Set(settlement.range)
            guard decided[settlement.partition, default: []].isDisjoint(with: offsets) else {
                return false
            }
            decided[settlement.partition, default: []].formUnion(offsets)
            return true
        }
        var begun: [TopicPartition: Set<Int64>] = [:]
        for (index, settlement) in settlements.enumerated() {
            #expect((outcome.refusals[index] == nil) == expected[index], "\(settlement)")
            if expected[index] {
                taken += 1
                apply(settlement, &begun)
            } else {
                refused += 1
            }
        }
        harness.take(outcome.records)
        let accepted = settlements.indices.filter { outcome.refusals[$0] == nil }
            .map { settlements[$0] }
        harness.coordinator.follow("g", accepted, at: harness.now)
    }

    private mutating func settlement() -> Settlement {
        let index = random.below(grants.count)
        let grant = grants[index]
        let low = grant.range.lowerBound + Int64(random.below(grant.range.count))
        let high = low + 1 + Int64(random.below(Int(grant.range.upperBound - low)))
        if random.chance(1, in: 4) { grants.remove(at: index) }
        let verb: Settlement.Verb =
            switch random.below(8) {
            case 0...3: .ack
            case 4: .nack(delayMilliseconds: 0)
            case 5: .nack(delayMilliseconds: Int64(random.below(3_000)) + 1)
            case 6: .extend(milliseconds: 2_000)
            default: .begin
            }
        if grants.isEmpty { grants = [grant] }
        return Settlement(
            partition: grant.partition, range: low..<high, number: grant.number, verb: verb)
    }

    private func isNewest(_ settlement: Settlement) -> Bool {
        settlement.range.allSatisfy { offset in
            guard let entry = entries[settlement.partition]?[offset] else { return false }
            if entry.isSettled { return true }
            if case .extend = settlement.verb, entry.member.map(members.contains) != true {
                return false
            }
            return entry.number == settlement.number
        }
    }

    private mutating func apply(
        _ settlement: Settlement, _ begun: inout [TopicPartition: Set<Int64>]
    ) {
        let key = settlement.partition
        let now = harness.now
        for offset in settlement.range {
            guard var entry = entries[key]?[offset] else { continue }
            switch settlement.verb {
            case .ack:
                if !entry.isSettled { entry.isAcked = true }
                entry.isSettled = true
            case .begin, .nack:
                let isNew = begun[key, default: []].insert(offset).inserted
                // Of what is settled nobody counts any more.
                if !entry.isSettled, !entry.hasBegun, isNew, entry.number != nil {
                    entry.attempts += 1
                }
                entry.hasBegun = true
                guard case .nack(let delay) = settlement.verb, !entry.isSettled else { break }
                entry.heldUntil = 0
                entry.number = nil
                entry.delayedUntil = delay == 0 ? nil : now.monotonic + delay * 1_000_000
            case .extend(let milliseconds):
                guard entry.number == settlement.number, !entry.isSettled else { break }
                entry.heldUntil = now.plus(milliseconds: milliseconds)
            }
            entries[key]?[offset] = entry
        }
    }

    /// Everything is handed out and acked in the end.
    mutating func drain() {
        pass(milliseconds: 60_000)
        for _ in 0..<10_000 {
            grants = []
            receive(1_000)
            guard !grants.isEmpty else { break }
            let acks = grants.map {
                Settlement(partition: $0.partition, range: $0.range, number: $0.number, verb: .ack)
            }
            let outcome = try? harness.coordinator.settle("g", acks, at: harness.now)
            #expect(outcome?.refusals.isEmpty == true)
            var begun: [TopicPartition: Set<Int64>] = [:]
            for ack in acks { apply(ack, &begun) }
            harness.take(outcome?.records ?? [])
        }
        for key in Self.keys {
            let left = (entries[key] ?? [:]).values.count { !$0.isSettled }
            #expect(left == 0, "something is left over")
        }
    }

    // MARK: - Checks

    func check() {
        guard let description = try? harness.coordinator.describe("g"),
            let state = harness.coordinator.groups["g"]?.state
        else { return }
        for counts in description.queues {
            let all = (entries[counts.partition] ?? [:])
            let end = bounds[counts.partition]?.upperBound ?? 0
            let acked = Int64(all.values.count(where: \.isAcked))
            let expired = Int64(all.values.count { $0.isSettled && !$0.isAcked })
            #expect(counts.acked == acked && counts.expired == expired)
            let ready = counts.ready(below: end)
            #expect(
                counts.acked + counts.expired + counts.inFlight + counts.delayed + ready
                    == end - counts.start)
            let attempts = state.queues[counts.partition]?.attempts ?? [:]
            for (offset, entry) in all where !entry.isSettled {
                #expect((attempts[offset] ?? 0) == entry.attempts, "attempts of \(offset)")
            }
            #expect(attempts.keys.allSatisfy { all[$0]?.isSettled == false })
        }
    }

    /// A crash at this very moment, and one that finds a snapshot.
    func checkReplay() {
        let state = harness.coordinator.groups["g"]?.state
        var replayed = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.log { replayed.replay(record) }
        #expect(replayed.groups["g"]?.state == state)
        var restored = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.coordinator.snapshot() { restored.replay(record) }
        #expect(restored.groups["g"]?.state == state)
    }
}
