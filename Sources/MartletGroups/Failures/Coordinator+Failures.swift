/// What becomes of a record whose handler failed: the group's policy decides, in one place and for
/// every kind of failure.
extension Coordinator {
    /// The record that is to become a dead letter.
    package enum DeadContent: Equatable, Sendable {
        /// A batch of one record; of a dead letter that dies again, what it failed with first.
        case record([UInt8], first: HandlerFailure?)
        /// Nobody can read it any more: retention or deletion took it.
        case gone
        /// It is there, and damaged or offline.
        case unreadable
    }

    package typealias DeadContents = [RecordPlace: DeadContent]

    enum FailureDecision: Equatable {
        case again(milliseconds: Int64)
        case dead(LetterEntry.Reason)
        /// Set aside in its place, with its key or without.
        case park(isKey: Bool)
        /// The group stands still in the partition.
        case pause
    }

    /// Which records would become dead letters by these settlements: what has to be read before
    /// they can be taken.
    package func dying(_ name: String, _ settlements: [Settlement], at now: Now) -> [RecordPlace] {
        settlements.compactMap { settlement in
            guard let failure = settlement.verb.failure, isHeld(name, settlement),
                let progress = groups[name]?.state.queues[settlement.queue],
                !progress.isSettled(settlement.range)
            else { return nil }
            let place = settlement.place
            let decision = decide(
                name, place, failure, attempts(name, settlement),
                isAbandoned: settlement.verb.isAbandoned, at: now)
            guard case .dead = decision else { return nil }
            return place
        }
    }

    /// What is refused anyway is not worth a read.
    private func isHeld(_ name: String, _ settlement: Settlement) -> Bool {
        do throws(GroupRefusal) {
            return try check(name, settlement)
        } catch {
            return false
        }
    }

    /// Handlers that began with the record, with the one that failed.
    private func attempts(_ name: String, _ settlement: Settlement) -> UInt16 {
        let (key, offset) = (settlement.queue, settlement.range.lowerBound)
        let before = groups[name]?.state.queues[key]?.attempts[offset] ?? 0
        let new = groups[name]?.activity.queues[key]?.notBegun(settlement.range)
        return new?.isEmpty == false && before < .max ? before + 1 : max(before, 1)
    }

    /// `isAbandoned`: its handlers began while that counted, and none said how it went.
    func decide(
        _ name: String, _ place: RecordPlace, _ failure: HandlerFailure, _ attempts: UInt16,
        isAbandoned: Bool = false, at now: Now
    ) -> FailureDecision {
        guard let state = groups[name]?.state else { return .again(milliseconds: 0) }
        let policy = state.policy
        let reason: LetterEntry.Reason
        switch failure.severity {
        case .permanent: reason = .permanent
        case .rejected: reason = .rejected
        case .transient:
            let isCounted = isAbandoned || takesAttempts(name)
            guard isCounted, policy.attemptsMax > 0, attempts >= policy.attemptsMax else {
                let noise =
                    UInt64(bitPattern: place.offset) &* 0x9E37_79B9_7F4A_7C15
                    ^ UInt64(bitPattern: now.monotonic) &* 0xBF58_476D_1CE4_E5B9
                return .again(
                    milliseconds: policy.pauseMilliseconds(after: attempts, noise: noise >> 11))
            }
            reason = .attempts
        }
        let isReplay = place.queue == state.letters.lane
        // What fails among dead letters of others has no further place to go. It may be parked where it
        // lies, which copies nothing.
        let isLetter = isLetterTopic(place.partition)
        let later = FailureDecision.again(milliseconds: policy.backoffMaxMilliseconds)
        let isFlow = place.queue.lane == .flow
        if isFlow, let isKey = policy.last.parksKey, mayPark(state, place.queue) {
            return .park(isKey: isKey)
        }
        // A replay never stops the flow. What cannot be parked any more must not be lost.
        let stops = isFlow && (policy.last == .pause || policy.last.parksKey != nil)
        if !isReplay, stops || isLetter {
            return state.paused.count < limits.pausesMax || state.isPaused(place.partition)
                ? .pause : later
        }
        guard state.letters.hasRoom(limits, isReplay: isReplay) else { return later }
        return .dead(reason)
    }

    /// Whether one more record of the partition may be set aside.
    private func mayPark(_ state: GroupState, _ queue: QueueID) -> Bool {
        let count = state.queues[queue]?.parked.count ?? 0
        guard state.kind == .stream else { return count < limits.parkedRecordsMax }
        // Members are told all of them.
        return count < limits.streamParkedMax
            && state.queues.values.reduce(0, { $0 + $1.parked.count }) < limits.groupParkedMax
    }

    package static let reservedSuffix = ".dlq"

    /// Whether dead letters of a group are in it. None is made of what lies there.
    func isLetterTopic(_ key: TopicPartition) -> Bool {
        topics[key.topic]?.name.hasSuffix(Self.reservedSuffix) == true
    }

    /// What a failed handler records. What cannot be copied now waits: it is not given up.
    func fail(
        _ name: String, _ settlement: Settlement, _ failure: HandlerFailure,
        _ contents: DeadContents, numbered number: UInt64, at now: Now
    ) -> [GroupRecord] {
        let (key, offset) = (settlement.queue, settlement.range.lowerBound)
        guard let state = groups[name]?.state, let progress = state.queues[key],
            !progress.isSettled(settlement.range)
        else { return [] }
        let place = RecordPlace(key, offset)
        let count = attempts(name, settlement)
        let trail = FailureTrail(
            first: progress.failures[offset]?.first ?? failure, last: failure)
        let failed = GroupRecord.queue(group: name, key, .failed(offset, trail))
        func again(_ milliseconds: Int64) -> [GroupRecord] {
            let delayed = groups[name]?.activity.queues[key]?.delayed ?? 0
            guard milliseconds > 0, delayed < limits.delayedRecordsMax else { return [failed] }
            let (due, overflow) = now.wall.addingReportingOverflow(milliseconds)
            let until = overflow ? Int64.max : due
            return [
                failed, .queue(group: name, key, .delayed([settlement.range], due: until)),
            ]
        }
        let decision = decide(
            name, place, failure, count, isAbandoned: settlement.verb.isAbandoned, at: now)
        switch decision {
        case .again(let milliseconds): return again(milliseconds)
        case .pause:
            if state.isPaused(key.partition) { return [failed] }
            let pause = PausePlace(key.partition)
            return [failed, .paused(group: name, pause, at: now.wall)]
        case .park(let isKey):
            let parked = ParkedRecord(at: now.wall, isKey: isKey)
            return [failed, .queue(group: name, key, .parked(offset, parked))]
        case .dead(let reason):
            switch contents[place] {
            case .record where limits.plantedBug == .dropDead:
                return [.queue(group: name, key, .acked([settlement.range]))]
            case .record(let body, let first):
                let whole = FailureTrail(first: first ?? trail.first, last: trail.last)
                var entry = entry(
                    name, settlement, reason, whole, attempts: count, number: number, at: now)
                entry.body = body
                return [.letter(group: name, .entry(entry))]
            // What retention took counts as expired with the next look at the log's start.
            case .gone, .unreadable, nil:
                return again(max(1, state.policy.backoffMaxMilliseconds))
            }
        }
    }

    private func entry(
        _ name: String, _ settlement: Settlement, _ reason: LetterEntry.Reason,
        _ trail: FailureTrail, attempts: UInt16, number: UInt64, at now: Now
    ) -> LetterEntry {
        let place = settlement.place
        let letters = groups[name]?.state.letters ?? DeadLetters()
        let former = letters.letter(onLaneAt: place)
        var entry = LetterEntry(
            .died, number: number, letter: former?.number ?? number,
            origin: former?.origin ?? place, trail: trail, at: now.wall)
        entry.topicName = topics[entry.origin.partition.topic]?.name ?? ""
        if let holder = holder(name, settlement) {
            entry.member = holder
            entry.client = groups[name]?.state.members[holder]?.client ?? ""
        }
        let (sum, overflow) = UInt32(attempts).addingReportingOverflow(former?.attempts ?? 0)
        entry.attempts = overflow ? .max : sum
        let deaths = former?.deaths ?? 0
        entry.deaths = deaths == .max ? .max : deaths + 1
        entry.reason = reason
        return entry
    }

    /// Who had it.
    private func holder(_ name: String, _ settlement: Settlement) -> MemberID? {
        if case .abandoned(_, let holder) = settlement.verb { return holder }
        let queue = groups[name]?.activity.queues[settlement.queue]
        return queue?.holders(of: settlement.range).min()
    }

    /// What follows, in memory, once that holds.
    mutating func followFailure(_ name: String, _ settlement: Settlement, at now: Now) {
        let (key, range) = (settlement.queue, settlement.range)
        guard let progress = groups[name]?.state.queues[key], !progress.isSettled(range),
            progress.parked[range.lowerBound] == nil
        else { return }
        guard let due = progress.delays[range.lowerBound] else {
            groups[name]?.activity.queues[key]?.giveBack(range)
            readyQueues.insert(name)
            return
        }
        let wait = max(0, due.subtracting(now.wall))
        let (nanoseconds, overflow) = wait.multipliedReportingOverflow(by: 1_000_000)
        groups[name]?.activity.queues[key]?.delay(
            range, until: overflow ? .max : now.monotonic.adding(nanoseconds))
        if let deadline = groups[name]?.activity.queues[key]?.nextDeadline { expect(deadline) }
    }
}

extension DeadLetters {
    /// Whether one more may die; one that is sent again is a letter already.
    func hasRoom(_ limits: GroupLimits, isReplay: Bool) -> Bool {
        (isReplay || letters.count < limits.lettersMax)
            && waitingBytes < limits.waitingLetterBytesMax
    }

    /// The letter that is at this place, if it is on the lane.
    func letter(onLaneAt place: RecordPlace) -> Letter? {
        guard place.queue == lane else { return nil }
        return onLane[place.offset].flatMap { letters[$0] }
    }
}

extension Int64 {
    /// As far as can be said when it overflows.
    fileprivate func subtracting(_ other: Int64) -> Int64 {
        let (difference, overflow) = subtractingReportingOverflow(other)
        return overflow ? (self < 0 ? .min : .max) : difference
    }
}
