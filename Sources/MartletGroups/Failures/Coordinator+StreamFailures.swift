/// Records of stream groups whose handlers failed. Their owner waits and tries again by itself, in
/// its place in the order; the broker counts, over restarts and owners, and says when it is enough.
extension Coordinator {
    package struct FailedRecord: Sendable {
        package let owned: OwnedRecord
        package let failure: HandlerFailure

        package init(_ owned: OwnedRecord, _ failure: HandlerFailure) {
            self.owned = owned
            self.failure = failure
        }
    }

    /// What the owner does now.
    package enum FailureAnswer: Equatable, Sendable {
        case again(milliseconds: Int64)
        /// Goes on behind it: the record is a dead letter.
        case dead
        /// Gives the partition up: the group stands still there.
        case paused
        /// Goes on behind it, but for later records of its key with `isKey`. It is not done.
        case parked(isKey: Bool)
    }

    /// Whether the record would become a dead letter: then it has to be read first.
    package func isDying(_ name: String, _ failed: FailedRecord, at now: Now) -> Bool {
        let progress = groups[name]?.state.queues[.flow(failed.owned.partition)]
        if progress?.isSettled(at: failed.owned.offset) == true { return false }
        let count = attempts(progress, failed.owned.offset)
        guard case .dead = decide(name, failed.owned.place, failed.failure, count, at: now) else {
            return false
        }
        return true
    }

    /// Handlers that began with the record, with the one that failed: its start may be counted.
    private func attempts(_ progress: QueueProgress?, _ offset: Int64) -> UInt16 {
        let before = progress?.attempts[offset] ?? 0
        if progress?.unanswered.contains(offset) == true { return max(before, 1) }
        return before == .max ? .max : before + 1
    }

    package func fail(
        _ name: String, _ id: MemberID, _ failed: FailedRecord, _ content: DeadContent?,
        at now: Now
    ) throws(GroupRefusal) -> (records: [GroupRecord], answer: FailureAnswer) {
        if let answer = try decided(name, id, failed.owned) { return ([], answer) }
        let (key, offset) = (failed.owned.partition, failed.owned.offset)
        let progress = groups[name]?.state.queues[.flow(key)]
        guard (progress?.failures.count ?? 0) < limits.delayedRecordsMax else {
            throw .limitReached("\(limits.delayedRecordsMax) records of the partition fail")
        }
        var starts: [GroupRecord] = []
        if takesAttempts(name), progress?.unanswered.contains(offset) != true {
            let attempted = QueueChange.attempted([offset..<(offset + 1)], times: 1)
            starts = [.queue(group: name, .flow(key), attempted)]
        }
        let outcome = giveUp(
            name, id, failed, attempts(progress, offset), content, isAbandoned: false, at: now)
        return (outcome.records.isEmpty ? [] : starts + outcome.records, outcome.answer)
    }

    /// What follows when a handler failed with a record, or never said how it went. `holder`: whose.
    func giveUp(
        _ name: String, _ holder: MemberID?, _ failed: FailedRecord, _ count: UInt16,
        _ content: DeadContent?, isAbandoned: Bool, at now: Now
    ) -> (records: [GroupRecord], answer: FailureAnswer) {
        guard let state = groups[name]?.state else { return ([], .dead) }
        let (key, offset) = (failed.owned.partition, failed.owned.offset)
        let trail = FailureTrail(
            first: state.queues[.flow(key)]?.failures[offset]?.first ?? failed.failure,
            last: failed.failure)
        let counted: [GroupRecord] = [.queue(group: name, .flow(key), .failed(offset, trail))]
        let decision = decide(
            name, failed.owned.place, failed.failure, count, isAbandoned: isAbandoned, at: now)
        switch decision {
        case .again(let milliseconds): return (counted, .again(milliseconds: milliseconds))
        case .pause:
            if state.isPaused(key) { return (counted, .paused) }
            let place = PausePlace(key)
            return (counted + [.paused(group: name, place, at: now.wall)], .paused)
        case .park(let isKey):
            // What is done is not set aside.
            if state.partitions[key]?.committed?.covers(offset) == true { return ([], .dead) }
            let parked = ParkedRecord(at: now.wall, isKey: isKey && failed.owned.hasKey)
            return (
                counted + [.queue(group: name, .flow(key), .parked(offset, parked))],
                .parked(isKey: parked.isKey)
            )
        case .dead(let reason):
            switch content {
            case .record(let body, _):
                var entry = LetterEntry(
                    .died, number: state.letters.lastNumber + 1,
                    letter: state.letters.lastNumber + 1, origin: failed.owned.place, trail: trail,
                    at: now.wall)
                entry.topicName = topics[key.topic]?.name ?? ""
                if let holder {
                    (entry.member, entry.client) = (holder, state.members[holder]?.client ?? "")
                }
                (entry.attempts, entry.deaths, entry.reason) = (UInt32(count), 1, reason)
                entry.body = body
                // Without the account of the partition nobody would know that it is dead.
                return (counted + [.letter(group: name, .entry(entry))], .dead)
            case .gone: return ([], .dead)
            case .unreadable, nil:
                return (counted, .again(milliseconds: max(1, state.policy.backoffMaxMilliseconds)))
            }
        }
    }
}

extension QueueProgress {
    func isSettled(at offset: Int64) -> Bool {
        offset >= 0 && offset < .max && isSettled(offset..<(offset + 1))
    }
}
