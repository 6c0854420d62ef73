import MartletTestSupport
import Testing

@testable import MartletGroups

/// A queue in order by key, with records that are parked and released: who has what is kept record by
/// record, and what is settled or parked is what the log says.
struct OrderedQueueModel {
    typealias Settlement = Coordinator.Settlement

    private struct Held {
        let number: UInt64
        let member: MemberID
        var until: Int64
    }

    static let queues = (0..<2).map {
        QueueID.flow(TopicPartition(TopicShape("orders", 2).id, Int32($0)))
    }
    private let shapes = [TopicShape("orders", 2)]
    private var random: SeededRandom
    private var harness: GroupHarness
    /// Keys of records, by offset; nil: it has none, or is not there.
    private var keys: [QueueID: [UInt64?]] = [:]
    private var damaged: [QueueID: Set<Int64>] = [:]
    private var starts: [QueueID: Int64] = [:]
    private var held: [RecordPlace: Held] = [:]
    private var grants: [QueueGrant] = []
    private var members: [MemberID] = []
    private var wants: [Coordinator.KeyWant] = []
    private var nextMember: UInt64 = 1
    /// So little is read at once that not everything ready is known.
    private let isNarrow: Bool
    private var isDraining = false

    private(set) var isBroken = false
    private(set) var counts: [String: Int] = [:]

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        isNarrow = seed % 2 == 0
        var limits = GroupLimits()
        limits.parkedRecordsMax = 25
        if isNarrow {
            (limits.keysReadMax, limits.windowKeysMax, limits.keysMax) = (7, 30, 50)
        }
        harness = GroupHarness(limits: limits)
        for queue in Self.queues { (keys[queue], starts[queue], damaged[queue]) = ([], 0, []) }
        harness.topics(shapes)
        join()
        var policy = FailurePolicy()
        (policy.last, policy.attemptsMax) = (.parkKey, 2)
        harness.take((try? harness.coordinator.setPolicy("g", policy)) ?? [])
    }

    private mutating func hold(_ holds: Bool, _ what: @autoclosure () -> String) {
        guard !holds, !isBroken else { return }
        isBroken = true
        Issue.record("\(what())")
    }

    private mutating func count(_ what: String, _ more: Int = 1) {
        counts[what, default: 0] += more
    }

    // MARK: - Steps

    mutating func step() {
        switch random.below(31) {
        case 0: join()
        case 1: leave()
        case 2...4: append()
        case 5...10: receive(random.below(20) + 1)
        case 11...18: settle(isCut: random.chance(1, in: 15))
        case 19: if random.chance(1, in: 2) { crash() }
        case 20: retain()
        case 21: setPolicy()
        case 22: release()
        case 23...27: read()
        case 28: if random.chance(1, in: 2) { reset() }
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
                "g", id, .wanting(), .queue(from: .earliest, order: .byKey), at: harness.now))
                ?? [])
    }

    /// Also the last one.
    private mutating func leave() {
        guard members.count > 1 || random.chance(1, in: 4), !members.isEmpty else { return }
        let id = members.remove(at: random.below(members.count))
        harness.leave(id)
        held = held.filter { $0.value.member != id }
        guard members.isEmpty else { return }
        held = [:]
        count("left alone")
    }

    private mutating func append() {
        let queue = Self.queues[random.below(2)]
        for _ in 0..<random.below(30) {
            if random.chance(1, in: 40) {
                damaged[queue]?.insert(Int64(keys[queue]?.count ?? 0))
            }
            // One key is hot, and some records have none.
            let key: UInt64? =
                switch random.below(8) {
                case 0: nil
                case 1...3: 1
                default: UInt64(random.below(6)) + 2
                }
            keys[queue]?.append(key)
        }
    }

    private mutating func retain() {
        let queue = Self.queues[random.below(2)]
        let start = (starts[queue] ?? 0) + Int64(random.below(8))
        starts[queue] = min(start, Int64(keys[queue]?.count ?? 0))
    }

    /// Keys that are being read just then belong to what was before.
    private mutating func reset() {
        let queue = Self.queues[random.below(2)]
        let offset = Int64(random.below((keys[queue]?.count ?? 0) + 1))
        let isForced = random.chance(2, in: 3)
        let isInUse = !isPaused(queue) && held.keys.contains { $0.queue == queue && isOut($0) }
        let refusal = harness.reset(queue.partition, offset, isForced: isForced)
        hold((refusal == nil) == (isForced || !isInUse), "\(String(describing: refusal))")
        guard refusal == nil else { return }
        count("resets")
        held = held.filter { $0.key.queue != queue }
    }

    private mutating func crash() {
        count("crashes")
        harness.restart(shapes)
        held = [:]
        wants = []
    }

    private mutating func pass(milliseconds: Int64) {
        harness.advance(milliseconds: milliseconds)
        for id in members { harness.heartbeat(id) }
        harness.expire()
    }

    private mutating func setPolicy() {
        var policy = FailurePolicy()
        policy.last = [.deadLetter, .parkRecord, .parkKey, .parkKey][random.below(4)]
        policy.attemptsMax = UInt16(random.below(3) + 1)
        harness.take((try? harness.coordinator.setPolicy("g", policy)) ?? [])
    }

    // MARK: - Reading keys

    /// The broker has read something: what was asked for, in any order, or less, or it failed.
    private mutating func read() {
        wants += harness.coordinator.takeKeyWants()
        guard let index = wants.indices.randomElement(using: &random) else { return }
        let want = wants.remove(at: index)
        guard !random.chance(1, in: 10) else {
            harness.coordinator.readNothing("g", want.queue)
            return
        }
        let end = Int64(keys[want.queue]?.count ?? 0)
        let most = random.chance(1, in: 3) ? random.below(want.records) + 1 : want.records
        let range = want.from..<max(want.from, min(want.from + Int64(most), end))
        var chunk = KeyChunk(range: range)
        for offset in range {
            if damaged[want.queue]?.contains(offset) == true {
                chunk.unreadable.append(offset..<(offset + 1))
            } else if let key = keys[want.queue]?[Int(offset)] {
                chunk.keys.append(KeyChunk.Keyed(offset, key))
            }
        }
        harness.coordinator.offer("g", want.queue, chunk)
        count("read", range.count)
    }

    private mutating func readAll() {
        for _ in 0..<200 {
            read()
            if wants.isEmpty { return }
        }
    }

    // MARK: - Handing out

    private func progress(_ queue: QueueID) -> QueueProgress? {
        harness.coordinator.groups["g"]?.state.queues[queue]
    }

    private func isSettled(_ place: RecordPlace) -> Bool {
        guard let progress = progress(place.queue) else { return false }
        // What lies before its beginning is not owed.
        return place.offset < progress.start
            || progress.isSettled(place.offset..<(place.offset + 1))
    }

    /// Neither handled nor resolved since it died.
    private func isDead(_ place: RecordPlace) -> Bool {
        let letters = harness.coordinator.groups["g"]?.state.letters.letters ?? [:]
        return letters.values.contains { $0.origin == place }
    }

    private func isOut(_ place: RecordPlace) -> Bool {
        held[place].map { $0.until > harness.now.monotonic } == true && !isSettled(place)
            && progress(place.queue)?.parked[place.offset] == nil
    }

    /// Why it may not be handed out now; nil: it may.
    private func obstacle(_ place: RecordPlace) -> String? {
        let (queue, offset) = (place.queue, place.offset)
        guard let progress = progress(queue), let all = keys[queue] else { return "unknown" }
        if offset >= all.count || damaged[queue]?.contains(offset) == true { return "not readable" }
        if isSettled(place) { return "settled" }
        if isOut(place) { return "with a member" }
        if progress.parked[offset] != nil { return "parked" }
        if (progress.delays[offset] ?? 0) > harness.now.wall { return "delayed" }
        guard let key = all[Int(offset)] else { return nil }
        for (index, other) in all.enumerated()
        where other == key && index != Int(offset) && damaged[queue]?.contains(Int64(index)) != true
        {
            let place = RecordPlace(queue, Int64(index))
            if isOut(place) { return "\(index) of its key is with a member" }
            let isAside = progress.parked[place.offset].map { !$0.isKey } == true
            if index < Int(offset), !isSettled(place), !isAside {
                return "\(index) of its key is not settled"
            }
        }
        return nil
    }

    private var bounds: Coordinator.Bounds {
        let (starts, keys) = (starts, keys)
        return { partition in
            let queue = QueueID.flow(partition)
            return (starts[queue] ?? 0)..<Int64(keys[queue]?.count ?? 0)
        }
    }

    private mutating func ask(_ id: MemberID, _ wanted: Coordinator.Wanted) -> [QueueGrant] {
        let bounds = bounds
        do throws(GroupRefusal) {
            harness.take(try harness.coordinator.receive("g", id, wanted, bounds: bounds))
            let found = try harness.coordinator.lease(
                "g", id, wanted, bounds: bounds, at: harness.now)
            while let item = harness.coordinator.nextAbandoned() { abandon(item.settlement) }
            return found
        } catch {
            hold(false, "refused: \(error)")
            return []
        }
    }

    private mutating func receive(_ records: Int) {
        guard let id = members.randomElement(using: &random) else { return }
        let milliseconds = Int32(100 + random.below(3_000))
        let wanted = Coordinator.Wanted(records: records, leaseMilliseconds: milliseconds)
        let until = harness.now.plus(milliseconds: milliseconds)
        var found = take(ask(id, wanted), id, until)
        guard found == 0, random.chance(1, in: 4) else { return }
        // Once all is read that may be.
        for _ in 0..<60 where found == 0 {
            readAll()
            found = take(ask(id, wanted), id, until)
            wants += harness.coordinator.takeKeyWants()
            if wants.isEmpty { break }
        }
        guard found == 0, !isNarrow else { return }
        count("in vain")
        for queue in Self.queues where !isPaused(queue) {
            for offset in keys[queue]?.indices ?? 0..<0 {
                let place = RecordPlace(queue, Int64(offset))
                hold(obstacle(place) != nil, "\(offset) of \(queue) is ready, and nobody gets it")
            }
        }
    }

    private func isSpent(_ place: RecordPlace) -> Bool {
        let attemptsMax = harness.coordinator.groups["g"]?.state.policy.attemptsMax ?? 0
        return progress(place.queue)?.isSpent(place.offset, attemptsMax) == true
    }

    /// The broker decides of what ended each of its handlers; or is too slow.
    private mutating func abandon(_ word: Settlement) {
        let place = RecordPlace(word.queue, word.range.lowerBound)
        let reason = obstacle(place)
        hold(reason == nil, "the broker took \(place), and \(reason ?? "")")
        hold(isSpent(place), "\(place) is not the broker's")
        held[place] = Held(
            number: word.number, member: .nobody, until: harness.now.plus(milliseconds: 60_000))
        count("abandoned")
        if isDraining || random.chance(3, in: 4) { settle([word], isCut: false) }
    }

    private func isPaused(_ queue: QueueID) -> Bool {
        harness.coordinator.groups["g"]?.state.isPaused(queue.partition) == true
    }

    private mutating func take(_ found: [QueueGrant], _ id: MemberID, _ until: Int64) -> Int {
        for grant in found {
            for offset in grant.range {
                let place = RecordPlace(grant.queue, offset)
                let reason = obstacle(place)
                hold(reason == nil, "\(offset) was handed out, and \(reason ?? "")")
                hold(!isSpent(place), "\(offset) was handed out once more")
                if held[place] != nil { count("again") }
                held[place] = Held(number: grant.number, member: id, until: until)
                count("handed out")
                if keys[grant.queue]?[Int(offset)] == 1 { count("of the hot key") }
            }
        }
        grants += found
        return found.count
    }

    // MARK: - Settling

    private mutating func settlement() -> Settlement {
        let newest = max(0, grants.count - (random.chance(1, in: 4) ? grants.count : 6))
        let index = newest + random.below(grants.count - newest)
        let grant = grants[index]
        let low = grant.range.lowerBound + Int64(random.below(grant.range.count))
        var high = low + 1 + Int64(random.below(Int(grant.range.upperBound - low)))
        let verb: Settlement.Verb =
            switch random.below(16) {
            case 0...4: .ack
            case 5: .nack(delayMilliseconds: 0)
            case 6: .nack(delayMilliseconds: Int64(random.below(3_000)) + 1)
            case 7: .extend(milliseconds: 2_000)
            case 8: .begin
            case 9: .fail(failure(.transient))
            case 14, 15: .begin
            default: .fail(failure(.permanent))
            }
        if case .fail = verb { high = low + 1 }
        return Settlement(
            queue: grant.queue, range: low..<high, number: grant.number, verb: verb)
    }

    private func failure(_ severity: HandlerFailure.Severity) -> HandlerFailure {
        HandlerFailure(severity, kind: "Broken", text: "it is", at: harness.now.wall)
    }

    /// `isCut`: the broker dies when some of it is written.
    private mutating func settle(isCut: Bool) {
        guard !grants.isEmpty else { return }
        settle((0...random.below(3)).map { _ in settlement() }, isCut: isCut)
    }

    private mutating func settle(_ words: [Settlement], isCut: Bool) {
        let dying = harness.coordinator.dying("g", words, at: harness.now)
        let contents = Dictionary(
            dying.map { ($0, Coordinator.DeadContent.record([1], first: nil)) },
            uniquingKeysWith: { first, _ in first })
        do throws(GroupRefusal) {
            let outcome = try harness.coordinator.settle(
                "g", words, contents: contents, at: harness.now)
            if isCut {
                harness.take(Array(outcome.records.prefix(random.below(outcome.records.count + 1))))
                return crash()
            }
            harness.take(outcome.records)
            let taken = words.indices.filter { outcome.refusals[$0] == nil }.map { words[$0] }
            harness.coordinator.follow("g", taken, at: harness.now)
            for word in taken { apply(word) }
        } catch {
            hold(false, "refused: \(error)")
        }
    }

    private mutating func apply(_ word: Settlement) {
        for offset in word.range {
            let place = RecordPlace(word.queue, offset)
            switch word.verb {
            case .ack:
                hold(isSettled(place), "\(offset) was acked")
                hold(
                    place.offset >= progress(place.queue)?.start ?? 0,
                    "\(offset) lies before a reset")
                hold(!isDead(place), "\(offset) is a dead letter")
                count("acked")
            case .begin: break
            case .nack, .fail, .abandoned:
                if !isSettled(place) { held[place] = nil }
                if progress(word.queue)?.parked[offset] != nil { count("parked") }
            case .extend(let milliseconds):
                held[place]?.until = harness.now.plus(milliseconds: milliseconds)
            }
        }
    }

    private mutating func release() {
        // What was paused because too much is parked goes on.
        harness.resume(harness.coordinator.groups["g"].map { Array($0.state.paused.keys) } ?? [])
        var places: [RecordPlace] = []
        for queue in Self.queues {
            for offset in (progress(queue)?.parked ?? [:]).keys.sorted()
            where random.chance(1, in: 3) { places.append(RecordPlace(queue, offset)) }
        }
        places.append(RecordPlace(Self.queues[0], 1_000_000))
        guard let outcome = try? harness.coordinator.release("g", places) else { return }
        hold(outcome.refusals == [places.count - 1: .notParked], "\(outcome.refusals)")
        harness.take(outcome.records)
        count("released", places.count - 1)
    }

    // MARK: - Checks

    mutating func check() {
        guard let description = try? harness.coordinator.describe("g") else { return }
        for counts in description.queues {
            let queue = QueueID.flow(counts.partition)
            let end = Int64(keys[queue]?.count ?? 0)
            let out = held.keys.count { $0.queue == queue && isOut($0) }
            hold(counts.inFlight == Int64(out), "\(out) are out: \(counts)")
            hold(Int(counts.parked) == progress(queue)?.parked.count, "parked: \(counts)")
            let open = (progress(queue)?.open(in: counts.start..<max(counts.start, end)) ?? [])
                .reduce(0) { $0 + $1.count }
            let waiting =
                counts.inFlight + counts.delayed + counts.parked + counts.ready(below: end)
            hold(waiting == Int64(open), "\(open) are open: \(counts)")
            let all = waiting + counts.acked + counts.expired + counts.dead
            hold(all == end - counts.start, "the accounts: \(counts), to \(end)")
        }
    }

    /// A crash at this very moment, and one that finds a snapshot.
    mutating func checkReplay() {
        let state = harness.coordinator.groups["g"]?.state
        var replayed = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.log { replayed.replay(record) }
        hold(replayed.groups["g"]?.state == state, "a crash changes what holds")
        var restored = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.coordinator.snapshot() { restored.replay(record) }
        hold(restored.groups["g"]?.state == state, "a snapshot changes what holds")
    }

    /// Everything is released, handed out and acked in the end, but what nobody can read.
    mutating func drain() {
        isDraining = true
        while members.isEmpty { join() }
        pass(milliseconds: 600_000)
        for _ in 0..<10_000 {
            harness.resume(
                harness.coordinator.groups["g"].map { Array($0.state.paused.keys) } ?? [])
            harness.take((try? harness.coordinator.releaseAll("g"))?.records ?? [])
            grants = []
            receive(1_000)
            if grants.isEmpty {
                readAll()
                receive(1_000)
            }
            let acks = grants.map {
                Settlement(queue: $0.queue, range: $0.range, number: $0.number, verb: .ack)
            }
            let outcome = try? harness.coordinator.settle("g", acks, at: harness.now)
            harness.take(outcome?.records ?? [])
            for ack in acks { apply(ack) }
            if Self.queues.allSatisfy({ leftOver($0) == 0 }) { return }
        }
        let left = Self.queues.map { leftOver($0) }
        hold(false, "left over: \(left)")
    }

    private func leftOver(_ queue: QueueID) -> Int {
        (keys[queue]?.indices ?? 0..<0).count { offset in
            !isSettled(RecordPlace(queue, Int64(offset)))
                && damaged[queue]?.contains(Int64(offset)) != true
        }
    }
}
