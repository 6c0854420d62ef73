import MartletTestSupport
import Testing

@testable import MartletGroups

/// What a queue owes, record by record.
struct QueueModel {
    struct Entry {
        var isSettled = false
        var isAcked = false
        /// Of the dead letter that is sent again by it.
        var letter: UInt64?
        /// The dead letter that it became.
        var grave: UInt64?
        /// The newest delivery, and until when its member has it alone.
        var number: UInt64?
        var heldUntil: Int64 = 0
        var member: MemberID?
        var hasBegun = false
        var attempts: UInt16 = 0
        /// The last handler that began said nothing since.
        var isUnanswered = false
        var delayedUntil: Int64?

        /// Nobody gets it again: three handlers began, and the last one said nothing.
        var isSpent: Bool { isUnanswered && attempts >= 3 }
    }

    /// A record that died, and was not handled or resolved since.
    struct Dead {
        let origin: RecordPlace
        var place: Int64?
        var isReplaying = false
        /// The number of its last entry with a record.
        var newest: UInt64
        var assignee = ""
        var remarks: UInt16 = 0
    }

    typealias Settlement = Coordinator.Settlement

    /// Where dead letters come back from.
    static let lane = QueueID.replay(TopicPartition(TopicShape("g.dlq", 1).id, 0))
    static let keys = (0..<2).map {
        QueueID.flow(TopicPartition(TopicShape("orders", 2).id, Int32($0)))
    }
    /// Where their records come back from that somebody sent again.
    static let replays = keys.map { QueueID.replay($0.partition) }
    static let all = keys + replays + [lane]
    static let start: Int64 = 100
    let kind: GroupKind
    let shapes = [TopicShape("orders", 2)]
    var random: SeededRandom
    var harness = GroupHarness()
    var entries: [QueueID: [Int64: Entry]] = [:]
    var bounds: [TopicPartition: Range<Int64>] = [:]
    var grants: [QueueGrant] = []
    var members: [MemberID] = []
    var nextMember: UInt64 = 1
    var granted = 0
    var again = 0
    var taken = 0
    var refused = 0
    /// Of dead letters.
    var refusedDead = 0
    var crashes = 0
    var letters: [UInt64: Dead] = [:]
    /// The numbers of entries that the dead letter topic has, by place.
    var stored: [UInt64] = []
    var lastNumber: UInt64 = 0
    var died = 0
    var diedAgain = 0
    /// Records that were decided in place of their handlers.
    var abandoned = 0
    private var isDraining = false
    var handledLetters = 0
    /// What happened on replay lanes.
    struct Account: Equatable {
        var sent: Int64 = 0
        var acked: Int64 = 0
        var expired: Int64 = 0
    }
    var accounts: [QueueID: Account] = [:]
    /// Of a stream group.
    var committed: [TopicPartition: Int64] = [:]
    var resets = 0
    /// Records that were dead letters at a reset, and are owed no second time.
    var keptDead = 0
    var sentAgain = 0
    var takenBack: Int64 = 0

    init(seed: UInt64, _ kind: GroupKind) {
        random = SeededRandom(seed: seed)
        self.kind = kind
        for key in Self.keys { bounds[key.partition] = Self.start..<Self.start }
        harness.topics(shapes)
        join()
    }

    /// Something does not hold: what comes after would only say so again.
    private(set) var isBroken = false

    private mutating func hold(_ holds: Bool, _ what: String) {
        guard !holds else { return }
        isBroken = true
        Issue.record("\(what)")
    }

    // MARK: - Steps

    mutating func step() {
        switch random.below(37) {
        case 0: join()
        case 1: leave()
        case 2...4: append()
        case 5...11: receive(random.below(30) + 1)
        case 12...18: settle()
        case 19: crash()
        case 20: retain()
        case 21, 22: remark()
        case 23: edit()
        case 24: store()
        case 25, 26: replayLetters()
        case 27: resolve()
        case 28...30: replayRecords()
        case 31: cancel()
        case 32: commit()
        case 33, 34: hang()
        case 35: if kind != .stream { reset() }
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
                "g", id, .wanting(), kind, at: harness.now)) ?? [])
    }

    private mutating func leave() {
        guard members.count > 1 else { return }
        let id = members.remove(at: random.below(members.count))
        harness.leave(id)
        release { $0.member == id }
    }

    private mutating func append() {
        let key = Self.keys[random.below(2)]
        let range = bounds[key.partition] ?? 0..<0
        let end = range.upperBound + Int64(random.below(40))
        for offset in range.upperBound..<end where kind != .stream {
            entries[key, default: [:]][offset] = Entry()
        }
        bounds[key.partition] = range.lowerBound..<end
    }

    /// Retention takes the oldest.
    private mutating func retain() {
        let key = Self.keys[random.below(2)]
        let range = bounds[key.partition] ?? 0..<0
        bounds[key.partition] =
            min(range.lowerBound + Int64(random.below(10)), range.upperBound)..<range.upperBound
    }

    /// A person sets how far the queue is: the others, and lanes, know nothing of it.
    private mutating func reset() {
        let key = Self.keys[random.below(2)]
        let end = bounds[key.partition]?.upperBound ?? Self.start
        let offset = Self.start + Int64(random.below(Int(end - Self.start) + 1))
        let floor = harness.coordinator.groups["g"]?.state.queues[key]?.floor ?? -1
        let expected = random.chance(1, in: 5) ? floor + 1 : floor
        let isForced = random.chance(1, in: 2)
        let isInUse = (entries[key] ?? [:]).values.contains {
            !$0.isSettled && $0.heldUntil > harness.now.monotonic
        }
        let refusal = harness.reset(
            key.partition, expected: expected, offset, isForced: isForced)
        let isTaken = isForced || (!isInUse && expected == floor)
        hold((refusal == nil) == isTaken, "\(String(describing: refusal)), in use: \(isInUse)")
        guard isTaken else { return }
        resets += 1
        let dead = Set(letters.values.map(\.origin))
        entries[key] = [:]
        for offset in offset..<end {
            let isDead = dead.contains(RecordPlace(key, offset))
            let letter = letters.first { $0.value.origin == RecordPlace(key, offset) }
            entries[key]?[offset] = Entry(isSettled: isDead, grave: letter?.key)
            if isDead { keptDead += 1 }
        }
    }

    private mutating func crash() {
        crashes += 1
        harness.restart(shapes)
        release { _ in true }
        for key in Self.all {
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
        for key in Self.all {
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
        bounds[Self.lane.partition] = 0..<Int64(stored.count)
        defer { bounds[Self.lane.partition] = nil }
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
        while let item = harness.coordinator.nextAbandoned() { abandon(item.settlement) }
        if found.isEmpty {
            let ready = Self.all.contains { key in
                (entries[key] ?? [:]).values.contains(where: isReady)
            }
            #expect(!ready, "something is ready, and nobody gets it")
        }
        grants += found
    }

    private mutating func take(_ grant: QueueGrant, _ id: MemberID, until deadline: Int64) {
        for offset in grant.range {
            guard var entry = entries[grant.queue]?[offset] else {
                Issue.record("\(offset) is not there")
                continue
            }
            hold(isReady(entry), "\(offset) is not ready: \(entry)")
            hold(!entry.isSpent, "\(offset) has ended each of its handlers: \(entry)")
            hold(entry.attempts == grant.attempts, "attempts of \(offset)")
            granted += 1
            if entry.number != nil { again += 1 }
            entry.number = grant.number
            entry.member = id
            entry.heldUntil = deadline
            entry.hasBegun = false
            entry.delayedUntil = nil
            entries[grant.queue]?[offset] = entry
        }
    }

    private func isReady(_ entry: Entry) -> Bool {
        !entry.isSettled && entry.heldUntil <= harness.now.monotonic
            && (entry.delayedUntil ?? 0) <= harness.now.monotonic
    }

    /// The broker has it, and decides; or is too slow.
    private mutating func abandon(_ settlement: Settlement) {
        let (key, offset) = (settlement.queue, settlement.range.lowerBound)
        guard var entry = entries[key]?[offset] else { return hold(false, "\(offset)?") }
        hold(entry.isSpent && isReady(entry), "\(offset) is not the broker's: \(entry)")
        (entry.number, entry.member, entry.hasBegun) = (settlement.number, nil, true)
        entry.heldUntil = harness.now.plus(milliseconds: 60_000)
        entries[key]?[offset] = entry
        guard isDraining || random.chance(3, in: 4) else { return }
        let contents = read(harness.coordinator.dying("g", [settlement], at: harness.now))
        let outcome = try? harness.coordinator.settle(
            "g", [settlement], contents: contents, at: harness.now)
        hold(outcome?.refusals.isEmpty == true, "the broker may not decide of \(offset)")
        harness.take(outcome?.records ?? [])
        harness.coordinator.follow("g", [settlement], at: harness.now)
        abandoned += 1
        fail(RecordPlace(key, offset), &entry, failure(.transient), contents)
        entries[key]?[offset] = entry
    }

    private mutating func expireBelowStart() {
        for key in Self.keys + Self.replays {
            for (offset, entry) in entries[key] ?? [:]
            where offset < (bounds[key.partition]?.lowerBound ?? 0) && !entry.isSettled {
                entries[key]?[offset]?.isSettled = true
                if key.lane == .replay { accounts[key, default: Account()].expired += 1 }
            }
        }
    }

    // MARK: - Settling

    private mutating func settle() {
        guard !grants.isEmpty else { return }
        settle((0...random.below(3)).map { _ in settlement() })
    }

    private mutating func settle(_ settlements: [Settlement]) {
        let contents = read(harness.coordinator.dying("g", settlements, at: harness.now))
        var outcome: (records: [GroupRecord], refusals: [Int: GroupRefusal])
        do throws(GroupRefusal) {
            outcome = try harness.coordinator.settle(
                "g", settlements, contents: contents, at: harness.now)
        } catch {
            Issue.record("refused: \(error)")
            return
        }
        var decided: [QueueID: Set<Int64>] = [:]
        let expected = settlements.map { settlement in
            guard isNewest(settlement) else { return false }
            if settlement.verb == .begin { return true }
            let offsets = Set(settlement.range)
            guard decided[settlement.queue, default: []].isDisjoint(with: offsets) else {
                return false
            }
            decided[settlement.queue, default: []].formUnion(offsets)
            return true
        }
        var begun: [QueueID: Set<Int64>] = [:]
        harness.take(outcome.records)
        let accepted = settlements.indices.filter { outcome.refusals[$0] == nil }
            .map { settlements[$0] }
        harness.coordinator.follow("g", accepted, at: harness.now)
        for (index, settlement) in settlements.enumerated() {
            #expect((outcome.refusals[index] == nil) == expected[index], "\(settlement)")
            if expected[index] {
                taken += 1
                apply(settlement, &begun, contents)
            } else {
                refused += 1
                if case .deadLetter = outcome.refusals[index] { refusedDead += 1 }
            }
        }
    }

    /// Handlers begin, and nothing is heard of them: some records come to the end of their attempts.
    private mutating func hang() {
        for _ in 0..<(2 + random.below(3)) {
            let before = grants.count
            receive(3)
            settle(
                grants[before...].map {
                    Settlement(queue: $0.queue, range: $0.range, number: $0.number, verb: .begin)
                })
            pass(milliseconds: 3_100)
        }
    }

    private mutating func read(_ places: [RecordPlace]) -> Coordinator.DeadContents {
        var contents: Coordinator.DeadContents = [:]
        for place in places {
            contents[place] =
                !isDraining && random.chance(1, in: 8)
                ? .unreadable : .record([1, 2, 3], first: nil)
        }
        return contents
    }

    private mutating func settlement() -> Settlement {
        // The newest are most often still somebody's.
        let newest = max(0, grants.count - (random.chance(1, in: 4) ? grants.count : 8))
        let lanes = random.chance(1, in: 2) ? [Self.lane] : Self.replays
        let onLane =
            random.chance(2, in: 3) ? grants.lastIndex { lanes.contains($0.queue) } : nil
        let index = onLane ?? newest + random.below(grants.count - newest)
        let grant = grants[index]
        let low = grant.range.lowerBound + Int64(random.below(grant.range.count))
        var high = low + 1 + Int64(random.below(Int(grant.range.upperBound - low)))
        if random.chance(1, in: 4) { grants.remove(at: index) }
        let verb: Settlement.Verb =
            switch random.below(grant.queue == Self.lane ? 16 : 12) {
            case 0...3: .ack
            case 4: .nack(delayMilliseconds: 0)
            case 5: .nack(delayMilliseconds: Int64(random.below(3_000)) + 1)
            case 6: .extend(milliseconds: 2_000)
            case 7: .begin
            case 8, 9, 12...15: .fail(failure(.permanent))
            default: .fail(failure(.transient))
            }
        if case .fail = verb { high = low + 1 }
        if grants.isEmpty { grants = [grant] }
        return Settlement(
            queue: grant.queue, range: low..<high, number: grant.number, verb: verb)
    }

    private func failure(_ severity: HandlerFailure.Severity) -> HandlerFailure {
        HandlerFailure(severity, kind: "Broken", text: "it is", at: harness.now.wall)
    }

    private func isNewest(_ settlement: Settlement) -> Bool {
        settlement.range.allSatisfy { offset in
            guard let entry = entries[settlement.queue]?[offset] else { return false }
            if entry.isSettled { return !isDead(entry) || !settlement.verb.isOfLiving }
            if case .extend = settlement.verb, entry.member.map(members.contains) != true {
                return false
            }
            return entry.number == settlement.number
        }
    }

    /// Neither handled nor resolved since.
    private func isDead(_ entry: Entry) -> Bool {
        entry.grave.map { letters[$0] != nil } ?? false
    }

    private mutating func apply(
        _ settlement: Settlement, _ begun: inout [QueueID: Set<Int64>],
        _ contents: Coordinator.DeadContents = [:]
    ) {
        let key = settlement.queue
        let now = harness.now
        for offset in settlement.range {
            guard var entry = entries[key]?[offset] else { continue }
            switch settlement.verb {
            case .ack:
                if !entry.isSettled {
                    entry.isAcked = true
                    if key.lane == .replay { accounts[key, default: Account()].acked += 1 }
                    end(entry.letter, isAcked: true)
                }
                entry.isSettled = true
            case .begin, .nack, .fail:
                let isNew = begun[key, default: []].insert(offset).inserted
                // Of what is settled nobody counts any more.
                if !entry.isSettled, !entry.hasBegun, isNew, entry.number != nil {
                    entry.attempts += 1
                    entry.isUnanswered = true
                }
                entry.hasBegun = true
                if case .fail(let failure) = settlement.verb, !entry.isSettled {
                    fail(RecordPlace(key, offset), &entry, failure, contents)
                }
                guard case .nack(let delay) = settlement.verb, !entry.isSettled else { break }
                entry.isUnanswered = false
                entry.heldUntil = 0
                entry.number = nil
                entry.delayedUntil = delay == 0 ? nil : now.monotonic + delay * 1_000_000
            // Of its own the broker says nothing here.
            case .abandoned: break
            case .extend(let milliseconds):
                guard entry.number == settlement.number, !entry.isSettled else { break }
                entry.heldUntil = now.plus(milliseconds: milliseconds)
            }
            entries[key]?[offset] = entry
        }
    }

    // MARK: - Sent again

    private mutating func replayRecords() {
        let key = Self.keys[random.below(2)].partition
        let lane = QueueID.replay(key)
        let log = bounds[key] ?? 0..<0
        var ranges: [Range<Int64>] = []
        var at = log.lowerBound
        while at < log.upperBound, ranges.count < 4 {
            let from = at + Int64(random.below(30))
            let end = from + 1 + Int64(random.below(20))
            ranges.append(from..<end)
            at = end + Int64(random.below(2))
        }
        let isWithin = ranges.allSatisfy {
            log.contains($0.lowerBound) && $0.upperBound <= log.upperBound
        }
        let outcome = try? harness.coordinator.replayRecords(
            "g", [Coordinator.Replay(key, ranges)], bounds: { bounds[$0] })
        hold((outcome != nil) == isWithin, "\(ranges) of \(log)")
        guard let outcome else { return }
        var count: Int64 = 0
        for offset in ranges.joined() where entries[lane]?[offset]?.isSettled != false {
            entries[lane, default: [:]][offset] = Entry()
            count += 1
        }
        sentAgain += Int(count)
        accounts[lane, default: Account()].sent += count
        hold(outcome.count == count, "\(count) are sent again, not \(outcome.count)")
        harness.take(outcome.records)
    }

    private mutating func cancel() {
        guard random.chance(1, in: 4) else { return }
        let key = Self.keys[random.below(2)].partition
        guard let outcome = try? harness.coordinator.cancelReplays("g", [key]) else { return }
        let lane = QueueID.replay(key)
        var count: Int64 = 0
        for (offset, entry) in entries[lane] ?? [:] where !entry.isSettled {
            entries[lane]?[offset]?.isSettled = true
            count += 1
        }
        takenBack += count
        accounts[lane]?.sent -= count
        hold(outcome.count == count, "\(count) are taken back, not \(outcome.count)")
        harness.take(outcome.records)
    }

    /// How far a stream group is: nothing but a commit changes it.
    private mutating func commit() {
        let key = Self.keys[random.below(2)].partition
        guard kind == .stream, let end = bounds[key]?.upperBound else { return }
        let offset = (committed[key] ?? Self.start) + Int64(random.below(10))
        committed[key] = min(offset, end)
        harness.take([
            .committed(
                group: "g", key, CommittedOffset(offset: min(offset, end), at: harness.now.wall))
        ])
    }

    // MARK: - Dead letters

    private mutating func fail(
        _ place: RecordPlace, _ entry: inout Entry, _ failure: HandlerFailure,
        _ contents: Coordinator.DeadContents
    ) {
        let isDead = failure.severity == .permanent || entry.attempts >= 3
        entry.heldUntil = 0
        entry.number = nil
        entry.isUnanswered = false
        if isDead, case .record = contents[place] {
            entry.isSettled = true
            lastNumber += 1
            if let number = entry.letter {
                letters[number]?.isReplaying = false
                letters[number]?.place = nil
                letters[number]?.newest = lastNumber
                entry.grave = number
                diedAgain += 1
            } else {
                entry.grave = lastNumber
                letters[lastNumber] = Dead(origin: place, newest: lastNumber)
                died += 1
            }
            return
        }
        // 2 s, 4 s, shortened by up to a fifth; what cannot be copied waits for five minutes.
        let longest: Int64 = isDead ? 300_000 : entry.attempts < 2 ? 2_000 : 4_000
        let due = harness.coordinator.groups["g"]?.state.queues[place.queue]?
            .delays[place.offset]
        let pause = (due ?? 0) - harness.now.wall
        #expect((isDead ? longest : longest * 4 / 5)...longest ~= pause, "paused for \(pause)")
        entry.delayedUntil = harness.now.monotonic + pause * 1_000_000
    }

    private mutating func end(_ number: UInt64?, isAcked: Bool) {
        guard let number, let letter = letters.removeValue(forKey: number) else { return }
        handledLetters += 1
        let (key, offset) = (letter.origin.queue, letter.origin.offset)
        if key.lane == .replay {
            accounts[key, default: Account()].acked += 1
        } else {
            entries[key]?[offset]?.isAcked = isAcked
        }
    }

    /// The broker writes what waits to the dead letter topic, and says so; or dies in between.
    private mutating func store() {
        guard let waiting = harness.coordinator.waitingEntries(of: "g", bytesMax: 2_000) else {
            return
        }
        #expect(waiting.lastPlace == Int64(stored.count) - 1)
        var places: [(number: UInt64, place: Int64)] = []
        for entry in waiting.entries {
            let place = Int64(stored.count)
            stored.append(entry.number)
            places.append((entry.number, place))
            if letters[entry.letter]?.newest == entry.number {
                letters[entry.letter]?.place = place
            }
        }
        harness.take(harness.coordinator.store("g", places, in: Self.lane.partition))
    }

    private mutating func replayLetters() {
        let numbers = letters.keys.sorted().filter { _ in random.chance(1, in: 3) }
        guard
            let outcome = try? harness.coordinator.replayLetters("g", numbers, replaysMax: 0)
        else { return }
        for (index, number) in numbers.enumerated() {
            guard let letter = letters[number], !letter.isReplaying else { continue }
            #expect((outcome.refusals[index] == nil) == (letter.place != nil))
            guard let place = letter.place else { continue }
            letters[number]?.isReplaying = true
            entries[Self.lane, default: [:]][place] = Entry(letter: number)
        }
        harness.take(outcome.records)
    }

    private mutating func resolve() {
        guard let number = letters.keys.sorted().randomElement(using: &random) else { return }
        let outcome = try? harness.coordinator.resolveLetters(
            "g", [number], author: "ann", note: "fine", at: harness.now)
        #expect(outcome?.refusals.isEmpty == true)
        if let letter = letters[number], letter.isReplaying, let place = letter.place {
            entries[Self.lane]?[place]?.isSettled = true
        }
        lastNumber += 1
        end(number, isAcked: true)
        harness.take(outcome?.records ?? [])
    }

    /// Somebody says something about a letter, wherever it is.
    private mutating func remark() {
        guard let number = letters.keys.sorted().randomElement(using: &random),
            let letter = letters[number]
        else { return }
        let assignee = random.chance(1, in: 2) ? nil : ["ann", "bob", ""][random.below(3)]
        let coordinator = harness.coordinator
        let now = harness.now
        let outcome =
            if let assignee {
                try? coordinator.assignLetters(
                    "g", [number], to: assignee, author: "eve", at: now)
            } else {
                try? coordinator.commentLetters(
                    "g", [number], author: "eve", note: "odd", at: now)
            }
        let isNews = assignee == nil || assignee != letter.assignee
        #expect(outcome?.records.count == (isNews ? 1 : 0))
        harness.take(outcome?.records ?? [])
        guard isNews else { return }
        lastNumber += 1
        letters[number]?.assignee = assignee ?? letter.assignee
        letters[number]?.remarks += 1
    }

    private mutating func edit() {
        guard let number = letters.keys.sorted().randomElement(using: &random) else { return }
        let isReplaying = letters[number]?.isReplaying == true
        let records = try? harness.coordinator.editLetter(
            "g", number, body: [4], author: "ann", note: "fine", at: harness.now)
        #expect((records == nil) == isReplaying)
        guard let records else { return }
        lastNumber += 1
        letters[number]?.newest = lastNumber
        letters[number]?.place = nil
        harness.take(records)
    }

    /// Everything is handed out and acked in the end.
    mutating func drain() {
        isDraining = true
        pass(milliseconds: 600_000)
        for _ in 0..<10_000 {
            grants = []
            receive(1_000)
            guard !grants.isEmpty else { break }
            let acks = grants.map {
                Settlement(queue: $0.queue, range: $0.range, number: $0.number, verb: .ack)
            }
            let outcome = try? harness.coordinator.settle("g", acks, at: harness.now)
            #expect(outcome?.refusals.isEmpty == true)
            var begun: [QueueID: Set<Int64>] = [:]
            for ack in acks { apply(ack, &begun) }
            harness.take(outcome?.records ?? [])
        }
        for key in Self.all {
            let left = (entries[key] ?? [:]).values.count { !$0.isSettled }
            #expect(left == 0, "something is left over")
        }
    }

    // MARK: - Checks

    mutating func check() {
        guard let description = try? harness.coordinator.describe("g"),
            let state = harness.coordinator.groups["g"]?.state
        else { return }
        for counts in description.queues {
            let known = entries[.flow(counts.partition)] ?? [:]
            let end = bounds[counts.partition]?.upperBound ?? 0
            let acked = Int64(known.values.count(where: \.isAcked))
            // What a reset left behind counts no more.
            let dead = letters.values.filter {
                $0.origin.queue == .flow(counts.partition) && $0.origin.offset >= counts.start
            }
            let expired = Int64(known.values.count { $0.isSettled && !$0.isAcked })
            hold(counts.acked == acked, "\(acked) are acked: \(counts)")
            hold(counts.expired == expired - Int64(dead.count), "expired: \(counts)")
            hold(counts.dead == Int64(dead.count { !$0.isReplaying }), "dead: \(counts)")
            let ready = counts.ready(below: end)
            let all = counts.acked + counts.expired + counts.inFlight + counts.delayed + ready
            hold(all + counts.dead == end - counts.start, "the accounts: \(counts), to \(end)")
            let attempts = state.queues[.flow(counts.partition)]?.attempts ?? [:]
            for (offset, entry) in known where !entry.isSettled {
                hold((attempts[offset] ?? 0) == entry.attempts, "attempts of \(offset)")
            }
            let isOpen = attempts.keys.allSatisfy { known[$0]?.isSettled == false }
            hold(isOpen, "what is settled is counted")
        }
        checkReplays(description, state)
        for (number, letter) in letters {
            let found = state.letters.letters[number]
            hold(
                found?.assignee == letter.assignee && found?.remarks == letter.remarks
                    && found?.newest == letter.newest && found?.place == letter.place,
                "\(String(describing: found)), not \(letter)")
        }
    }

    private mutating func checkReplays(_ description: GroupDescription, _ state: GroupState) {
        for counts in description.replays {
            let lane = QueueID.replay(counts.partition)
            let known = entries[lane] ?? [:]
            let account = Account(sent: counts.sent, acked: counts.acked, expired: counts.expired)
            hold(account == accounts[lane] ?? Account(), "\(counts), not \(accounts)")
            let dead = letters.values.filter { $0.origin.queue == lane }
            hold(counts.dead == Int64(dead.count { !$0.isReplaying }), "dead: \(counts)")
            let open = known.values.count { !$0.isSettled } + dead.count(where: \.isReplaying)
            hold(counts.open == Int64(open), "\(open) are open: \(counts)")
            hold(
                counts.open == counts.ready + counts.inFlight + counts.delayed,
                "the accounts: \(counts)")
            let attempts = state.queues[lane]?.attempts ?? [:]
            for (offset, entry) in known where !entry.isSettled {
                hold((attempts[offset] ?? 0) == entry.attempts, "attempts of \(offset)")
            }
        }
        for (key, offset) in committed {
            let found = state.partitions[key]?.committed?.offset
            hold(found == offset, "\(String(describing: found)) is committed, not \(offset)")
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
}
