/// A breaker for each group. What handlers make of records is counted from the records of `$groups`
/// that tell of it; when too much of it fails, the group stands still for a while, then a few
/// records are tried.
///
/// Only transient failures count against it: a handler that says "never" had what it needed to say
/// so. While it is not closed, such failures take no attempt and make no dead letter.
extension Coordinator {
    // MARK: - What people do

    package enum BreakerOrder: Equatable, Sendable {
        case close
        /// For as long as if it had opened by itself.
        case open
    }

    package func setBreaker(
        _ name: String, _ order: BreakerOrder, at now: Now
    ) throws(GroupRefusal) -> [GroupRecord] {
        let state = try group(name).state
        guard !state.policy.breaker.isOff else {
            throw .invalid(
                field: "group",
                reason: "it has no breaker: set one with its failure policy, or pause the group")
        }
        switch order {
        case .close: return state.breaker == .closed ? [] : [.breaker(group: name, .closed)]
        case .open: return [opening(name, at: now)]
        }
    }

    // MARK: - What is counted

    /// Takes account of a record that holds now. `before`: how far the group was in its partition.
    mutating func count(_ record: GroupRecord, before: Int64?) {
        switch record {
        case .queue(let name, let key, .acked):
            guard let before, let after = groups[name]?.state.queues[key]?.acked else { return }
            count(name, after &- before, isFailure: false)
        case .queue(let name, _, .failed(_, let trail)):
            let isFailure = trail.last.severity == .transient
            // What a stream passes counts with its commit.
            if isFailure || groups[name]?.state.kind != .stream {
                count(name, 1, isFailure: isFailure)
            }
        case .letter(let name, .entry(let entry))
        where entry.kind == .died && entry.reason != .retention:
            // The owner passes it; what was sent again nobody does.
            let isPassed = entry.origin.queue.lane == .flow && entry.deaths == 1
            if isPassed, groups[name]?.state.kind == .stream {
                if entry.reason == .attempts { groups[name]?.activity.breaker.passing += 1 }
            } else {
                count(name, 1, isFailure: entry.trail.last.severity == .transient)
            }
        case .committed(let name, let key, _):
            guard let after = groups[name]?.state.handled(key),
                groups[name]?.state.members.isEmpty == false
            else { return }
            let passed = before.map { after &- $0 } ?? min(after, 1)
            let dead = min(groups[name]?.activity.breaker.passing ?? 0, max(passed, 0))
            groups[name]?.activity.breaker.passing -= dead
            count(name, passed &- dead, isFailure: false)
        case .created, .deleted, .joined, .left, .departed, .granted, .freed, .forgotten, .paused,
            .resumed,
            .reset, .queue, .policy, .letter, .breaker, .suspected, .restarted, .expired:
            break
        }
    }

    /// What `count` has to know of the time before the record held.
    func handledBefore(_ record: GroupRecord) -> Int64? {
        switch record {
        case .queue(let name, let key, .acked): groups[name]?.state.queues[key]?.acked ?? 0
        case .committed(let name, let key, _): groups[name]?.state.handled(key)
        case .created, .deleted, .joined, .left, .departed, .granted, .freed, .forgotten, .paused,
            .resumed,
            .reset, .queue, .policy, .letter, .breaker, .suspected, .restarted, .expired:
            nil
        }
    }

    private mutating func count(_ name: String, _ records: Int64, isFailure: Bool) {
        guard records > 0, let policy = groups[name]?.state.policy.breaker, !policy.isOff,
            let state = groups[name]?.state.breaker
        else { return }
        let most: Int
        switch state {
        // What was in flight when it opened says nothing new.
        case .open: return
        case .halfOpen:
            most = policy.soundProbes
            // One less is out: another may be tried.
            readyQueues.insert(name)
        case .closed: most = policy.soundWindow
        }
        groups[name]?.activity.breaker.outcomes.add(
            Int(clamping: records), isFailure: isFailure, max: most)
        if verdict(name) != nil { unsettled.insert(name) }
    }

    /// What was seen while a start read what there was: handlers of that time say nothing of now,
    /// and what members have of their partitions was not seen.
    package mutating func forgetOutcomes() {
        // Their names alone are held meanwhile: groups that somebody else has are copied.
        for name in Array(groups.keys) {
            groups[name]?.activity.breaker = BreakerActivity()
            groups[name]?.activity.served = [:]
        }
    }

    // MARK: - What follows

    private enum Verdict {
        case open
        case close
    }

    private func verdict(_ name: String) -> Verdict? {
        guard let group = groups[name], limits.plantedBug != .deafBreaker else { return nil }
        let (policy, outcomes) = (group.state.policy.breaker, group.activity.breaker.outcomes)
        if policy.isOff { return nil }
        switch group.state.breaker {
        case .open: return nil
        case .closed:
            guard outcomes.count >= policy.soundWindow else { return nil }
            return policy.isTooMuch(outcomes.failures, of: outcomes.count) ? .open : nil
        case .halfOpen:
            if policy.isTooMuch(outcomes.failures, of: policy.soundProbes) { return .open }
            return outcomes.count >= policy.soundProbes ? .close : nil
        }
    }

    /// What the outcomes so far make of the breaker.
    func breakerRecords(_ name: String, at now: Now) -> [GroupRecord] {
        switch verdict(name) {
        case .open: [opening(name, at: now)]
        case .close: [.breaker(group: name, .closed)]
        case nil: []
        }
    }

    private func opening(_ name: String, at now: Now) -> GroupRecord {
        let policy = groups[name]?.state.policy.breaker ?? BreakerPolicy()
        let until = now.wall.adding(policy.soundOpenMilliseconds)
        return .breaker(group: name, .open(since: now.wall, until: until))
    }

    /// Makes memory agree with a breaker that is so now.
    mutating func follow(_ name: String, _ state: BreakerState) {
        guard groups[name] != nil else { return }
        groups[name]?.activity.breaker.outcomes = OutcomeWindow()
        groups[name]?.activity.breaker.deadline = nil
        groups[name]?.activity.isTargetStale = true
        unsettled.insert(name)
        switch state {
        case .open:
            groups[name]?.activity.breaker.openings += 1
            openBreakers.insert(name)
        case .closed, .halfOpen:
            openBreakers.remove(name)
            readyQueues.insert(name)
        }
    }

    /// Breakers that were open for long enough. After a restart, the rest of their time counts; a
    /// clock that was set makes it no longer than the policy says.
    mutating func expireBreakers(at now: Now) -> [GroupRecord] {
        var records: [GroupRecord] = []
        for name in openBreakers {
            guard case .open(_, let until) = groups[name]?.state.breaker else { continue }
            let deadline = groups[name]?.activity.breaker.deadline ?? deadline(name, until, now)
            groups[name]?.activity.breaker.deadline = deadline
            if deadline <= now.monotonic {
                records.append(.breaker(group: name, .halfOpen(since: now.wall)))
            } else {
                expect(deadline)
            }
        }
        return records
    }

    /// Breakers that opened just now are looked at when their time has come.
    mutating func timeBreaker(_ name: String, at now: Now) {
        guard case .open(_, let until) = groups[name]?.state.breaker,
            groups[name]?.activity.breaker.deadline == nil
        else { return }
        let deadline = deadline(name, until, now)
        groups[name]?.activity.breaker.deadline = deadline
        expect(deadline)
    }

    private func deadline(_ name: String, _ until: Int64, _ now: Now) -> Int64 {
        let longest = groups[name]?.state.policy.breaker.soundOpenMilliseconds ?? 1
        let (left, overflow) = until.subtractingReportingOverflow(now.wall)
        let wait = overflow ? longest : min(max(left, 0), longest)
        return now.monotonic.adding(wait * 1_000_000)
    }

    // MARK: - What it holds back

    /// Whether a handler that begins counts as an attempt: an outage must not use them up.
    func takesAttempts(_ name: String) -> Bool {
        groups[name]?.state.breakerNow ?? .closed == .closed
    }

    /// How many records a queue may still hand out; nil: it does not matter.
    func probesLeft(_ name: String) -> Int? {
        guard let group = groups[name], group.state.breakerNow.isHalfOpen else { return nil }
        let out = group.activity.queues.values.reduce(0) { $0 + $1.inFlight }
        return max(0, group.state.policy.breaker.soundProbes - Int(clamping: out))
    }
}

extension GroupState {
    /// Without a policy there is none, whatever is left of it.
    var breakerNow: BreakerState { policy.breaker.isOff ? .closed : breaker }

    /// Whether nobody gets anything of the partition.
    func standsStill(_ key: TopicPartition) -> Bool { breakerNow.isOpen || isPaused(key) }

    /// How many records of a partition a stream group has handled, from any place on.
    func handled(_ key: TopicPartition) -> Int64? {
        guard let committed = partitions[key]?.committed else { return nil }
        return committed.finished.reduce(committed.offset) { $0 &+ Int64($1.count) }
    }
}

extension BreakerState {
    var isOpen: Bool {
        switch self {
        case .open: true
        case .closed, .halfOpen: false
        }
    }

    var isHalfOpen: Bool {
        switch self {
        case .halfOpen: true
        case .closed, .open: false
        }
    }
}
