/// Queue groups: records are handed to members for a time, each to one at once, and settled one by
/// one. Handing out is memory; what is settled is recorded.
extension Coordinator {
    /// What a member asks for.
    package struct Wanted: Sendable {
        package let records: Int
        package let leaseMilliseconds: Int32

        package init(records: Int, leaseMilliseconds: Int32) {
            self.records = records
            self.leaseMilliseconds = leaseMilliseconds
        }
    }

    /// The offsets that a partition has for readers: from its log start to its high watermark.
    package typealias Bounds = (TopicPartition) -> Range<Int64>?

    /// Offsets of a partition that no record has, or that nobody can read: in order, apart from each
    /// other.
    package typealias Gaps = (TopicPartition) -> [Range<Int64>]

    /// What has to be recorded before a member may be handed something: where the group begins in
    /// partitions that it has not seen, what no record has, and what retention has taken from it.
    package func receive(
        _ name: String, _ id: MemberID, _ wanted: Wanted, bounds: Bounds,
        gaps: Gaps = { _ in [] }
    ) throws(GroupRefusal) -> [GroupRecord] {
        let kind = try group(name).state.kind
        guard (1...limits.leaseRecordsMax).contains(wanted.records) else {
            throw .invalid(
                field: "maxRecords",
                reason: "\(wanted.records) is not from 1 to \(limits.leaseRecordsMax)")
        }
        try limits.check(lease: wanted.leaseMilliseconds, field: "leaseMilliseconds")
        var records: [GroupRecord] = []
        for key in try queues(of: name, id) {
            guard let bounds = bounds(key.partition) else { continue }
            if let progress = groups[name]?.state.queues[key] {
                records += vacating(name, key, progress, gaps, below: bounds.upperBound)
                guard bounds.lowerBound > progress.floor else { continue }
                records.append(.queue(group: name, key, .expired(below: bounds.lowerBound)))
            } else if case .queue(let start, _) = kind {
                let first = start == .earliest ? bounds.lowerBound : bounds.upperBound
                records.append(.queue(group: name, key, .began(at: first)))
                let progress = QueueProgress(start: first)
                records += vacating(name, key, progress, gaps, below: bounds.upperBound)
            }
        }
        return records
    }

    /// Hands records to a member; to be called once what `receive` said is recorded. Empty when
    /// there is nothing for it now. Nobody is handed what is `damaged`.
    package mutating func lease(
        _ name: String, _ id: MemberID, _ wanted: Wanted, bounds: Bounds,
        gaps: Gaps = { _ in [] }, damaged: Gaps = { _ in [] }, at now: Now
    ) throws(GroupRefusal) -> [QueueGrant] {
        let keys = try queues(of: name, id)
        guard !keys.isEmpty else { return [] }
        let isOrdered = groups[name]?.state.kind.isOrdered == true
        let held = groups[name]?.activity.queues.values.reduce(0) { $0 + $1.held(by: id) } ?? 0
        var left = min(wanted.records, limits.heldRecordsMax - Int(clamping: held))
        if let probes = probesLeft(name) { left = min(left, probes) }
        var isFull = left <= 0
        var grants: [QueueGrant] = []
        let attemptsMax = groups[name]?.state.policy.attemptsMax ?? 0
        // Each receive begins at another partition, so that none starves the others.
        let turn = nextTurn(name, keys.count)
        for key in keys[turn...] + keys[..<turn] {
            guard let end = bounds(key.partition)?.upperBound,
                let progress = groups[name]?.state.queues[key]
            else { continue }
            var leases =
                groups[name]?.activity.queues[key]
                ?? QueueLeases(
                    progress, inOrder: isOrdered && key.lane == .flow, gaps: gaps(key.partition),
                    at: now)
            groups[name]?.activity.queues[key] = nil
            _ = leases.expire(at: now.monotonic)
            let damaged = limits.plantedBug == .handOutDamage ? [] : damaged(key.partition)
            while left > 0, grants.count < limits.grantsMax,
                let range = leases.nextReady(
                    progress, below: end, wanted: left,
                    fresh: limits.openRecordsMax - leases.open(progress),
                    attemptsMax: attemptsMax, damaged: damaged)
            {
                if progress.isSpent(range.lowerBound, attemptsMax),
                    limits.plantedBug != .retryForEver
                {
                    guard abandoned.count < Self.abandonedMax else { break }
                    abandon(name, RecordPlace(key, range.lowerBound), &leases, at: now)
                    continue
                }
                let isSuspect = leases.suspects.contains(range.lowerBound)
                let lease = QueueLease(
                    range: range, member: id, number: nextDelivery(),
                    deadline: now.plus(milliseconds: wanted.leaseMilliseconds))
                if limits.plantedBug != .leaseTwice { leases.lease(range, lease) }
                expect(lease.deadline)
                left -= range.count
                grants.append(
                    QueueGrant(
                        queue: key, range: range, number: lease.number,
                        attempts: progress.attempts[range.lowerBound] ?? 0,
                        isSuspect: isSuspect))
            }
            if let deadline = leases.nextDeadline { expect(deadline) }
            let mayRead = wantKeys(
                name, key, &leases, progress, below: end, isHungry: left > 0)
            isFull = isFull || !mayRead || leases.open(progress) >= limits.openRecordsMax
            groups[name]?.activity.queues[key] = leases
            if left <= 0 { break }
        }
        if grants.isEmpty, isFull { groups[name]?.activity.isFull = true }
        return grants
    }

    private mutating func nextTurn(_ name: String, _ count: Int) -> Int {
        let turn = groups[name]?.activity.turn ?? 0
        groups[name]?.activity.turn = turn &+ 1
        return Int(turn % UInt(count))
    }

    mutating func nextDelivery() -> UInt64 {
        deliveries &+= 1
        return deliveries
    }

    /// Whether members must not be handed records before it is durable. A settlement only takes work
    /// away, and a crash that forgets it gives the work back, so nobody waits for it; but in order by
    /// key it lets the next record of its key go.
    package func carriesDeliveries(_ record: GroupRecord) -> Bool {
        guard case .queue(let group, _, let change) = record else { return true }
        switch change {
        case .acked, .delayed, .attempted, .failed:
            return groups[group]?.state.kind.isOrdered == true
        case .began, .parked, .released, .expired, .vacant, .reopened, .takenBack, .restored:
            return true
        }
    }

    // MARK: - Settling

    /// What a member says of records that it was handed.
    package struct Settlement: Sendable {
        package enum Verb: Equatable, Sendable {
            /// Handled: nobody gets them again.
            case ack
            /// Not handled: ready again after a while.
            case nack(delayMilliseconds: Int64)
            /// Still at work: the lease runs from now on for so long.
            case extend(milliseconds: Int32)
            /// The handler begins.
            case begin
            /// The handler failed, with one record: the group's policy decides.
            case fail(HandlerFailure)
            /// The broker's own, of one record: its last handler never said what became of it. With
            /// who had it, if that is known.
            case abandoned(HandlerFailure, holder: MemberID?)

            /// Whether it is wrong of a dead letter. What wants the record away from its member, or to
            /// die, finds it so.
            var isOfLiving: Bool {
                switch self {
                case .ack, .begin, .extend: true
                case .nack, .fail, .abandoned: false
                }
            }
        }

        package let queue: QueueID
        package let range: Range<Int64>
        package let number: UInt64
        package let verb: Verb

        /// Of its first record, or its only one.
        package var place: RecordPlace { RecordPlace(queue, range.lowerBound) }

        package init(queue: QueueID, range: Range<Int64>, number: UInt64, verb: Verb) {
            self.queue = queue
            self.range = range
            self.number = number
            self.verb = verb
        }
    }

    /// What settlements record, and which of them are refused. Only the newest delivery of a record
    /// counts, whoever brings its number, and also late; what is settled already stays so, and of a
    /// dead letter nobody is told that it is handled. Changes nothing: that is for `follow`, once the
    /// records hold.
    /// `contents`: of what `dying` named.
    package func settle(
        _ name: String, _ settlements: [Settlement], contents: DeadContents = [:], at now: Now
    ) throws(GroupRefusal) -> (records: [GroupRecord], refusals: [Int: GroupRefusal]) {
        _ = try group(name)
        // Each look at a record is paid under a lock: no more of them than one may hold.
        let looks = settlements.reduce(0) {
            $0 + min(max($1.range.count, 0), limits.leaseRecordsMax)
        }
        guard looks <= limits.heldRecordsMax else {
            throw .invalid(
                field: "entries", reason: "\(looks) offsets are more than \(limits.heldRecordsMax)")
        }
        var records: [GroupRecord] = []
        var refusals: [Int: GroupRefusal] = [:]
        var letters: UInt64 = 0
        // Who begins and gives back in one request has begun once, and each record has one end.
        var counted: [QueueID: RangeSet<Int64>] = [:]
        var decided: [QueueID: RangeSet<Int64>] = [:]
        for (index, settlement) in settlements.enumerated() {
            let key = settlement.queue
            do throws(GroupRefusal) {
                let begins = try check(name, settlement)
                if settlement.verb != .begin {
                    try Self.decide(settlement.range, &decided[key, default: RangeSet()])
                }
                if begins {
                    guard !isLeaving(name, key, settlement.range, at: now) else {
                        throw .leaseLost
                    }
                    var new =
                        groups[name]?.activity.queues[key]?.notBegun(settlement.range) ?? RangeSet()
                    for range in counted[key]?.pieces(in: settlement.range) ?? [] {
                        new.remove(contentsOf: range)
                    }
                    counted[key, default: RangeSet()].insert(contentsOf: settlement.range)
                    if !new.isEmpty, takesAttempts(name) {
                        let ranges = Array(new.ranges)
                        records.append(.queue(group: name, key, .attempted(ranges, times: 1)))
                    }
                }
                switch settlement.verb {
                case .ack:
                    records.append(.queue(group: name, key, .acked([settlement.range])))
                case .nack(let delay) where delay > 0:
                    let due = now.wall + delay
                    records.append(
                        .queue(group: name, key, .delayed([settlement.range], due: due)))
                // What was begun and is given back is known not to have ended its member.
                case .nack:
                    records.append(
                        .queue(group: name, key, .delayed([settlement.range], due: 0)))
                case .fail(let failure), .abandoned(let failure, _):
                    let number = (groups[name]?.state.letters.lastNumber ?? 0) + 1 + letters
                    let failed = fail(
                        name, settlement, failure, contents, numbered: number, at: now)
                    letters += UInt64(failed.count(where: \.isLetterEntry))
                    records += failed
                case .begin, .extend: break
                }
            } catch {
                refusals[index] = error
            }
        }
        return (records, refusals)
    }

    private static func decide(
        _ range: Range<Int64>, _ decided: inout RangeSet<Int64>
    ) throws(GroupRefusal) {
        guard decided.isDisjoint(RangeSet(range)) else {
            throw .invalid(
                field: "from",
                reason: "of \(range.lowerBound) to \(range.upperBound) the request says more than "
                    + "one thing")
        }
        decided.insert(contentsOf: range)
    }

    /// Whether the handler has begun by this.
    func check(
        _ name: String, _ settlement: Settlement
    ) throws(GroupRefusal) -> Bool {
        let (key, range) = (settlement.queue, settlement.range)
        guard !range.isEmpty, range.lowerBound >= 0,
            range.upperBound - range.lowerBound <= Int64(limits.leaseRecordsMax)
        else {
            throw .invalid(
                field: "to",
                reason: "a range has from 1 to \(limits.leaseRecordsMax) offsets, not below 0")
        }
        // What is known of a stream's flow is nobody's to settle.
        guard let group = groups[name], key.lane == .replay || group.state.kind != .stream,
            let progress = group.state.queues[key],
            progress.isSettled(range)
                || groups[name]?.activity.queues[key]?.holds(range, settlement.number, progress)
                    == true
        else { throw .leaseLost }
        if settlement.verb.isOfLiving, let offset = firstDead(name, range, of: key, progress) {
            throw .deadLetter(offset: offset)
        }
        switch settlement.verb {
        case .ack: return false
        case .begin: return true
        case .extend(let milliseconds):
            try limits.check(lease: milliseconds, field: "milliseconds")
            // In order, another one of its key may be out since it ran out.
            guard groups[name]?.activity.queues[key]?.mayBeOut(range) != false else {
                throw .leaseLost
            }
            // What a member left behind when it went is ready for others, and stays so.
            let holders = groups[name]?.activity.queues[key]?.holders(of: range) ?? []
            guard holders.allSatisfy({ groups[name]?.state.members[$0] != nil }) else {
                throw .leaseLost
            }
            return false
        case .nack(let delay):
            guard (0...limits.delayMillisecondsMax).contains(delay) else {
                throw .invalid(
                    field: "milliseconds",
                    reason: "\(delay) is not from 0 to \(limits.delayMillisecondsMax)")
            }
            let delayed = groups[name]?.activity.queues[key]?.delayed ?? 0
            guard delay == 0 || delayed + range.count <= limits.delayedRecordsMax else {
                throw .limitReached(
                    "\(delayed) records of the partition are delayed: no more are taken")
            }
            // Who gives something back had begun with it.
            return true
        case .fail, .abandoned:
            guard range.count == 1 else {
                throw .invalid(field: "to", reason: "a failure is of one record")
            }
            return true
        }
    }

    /// What follows from settlements that were taken, in memory.
    package mutating func follow(_ name: String, _ settlements: [Settlement], at now: Now) {
        for settlement in settlements {
            let (key, range) = (settlement.queue, settlement.range)
            guard var leases = groups[name]?.activity.queues[key] else { continue }
            groups[name]?.activity.queues[key] = nil
            switch settlement.verb {
            case .ack: break  // With its record.
            case .begin: leases.begin(range)
            case .extend(let milliseconds):
                leases.extend(range, to: now.plus(milliseconds: milliseconds))
            case .nack(let delay) where delay > 0:
                let until = now.monotonic.adding(delay * 1_000_000)
                let open = groups[name]?.state.queues[key]?.open(in: range) ?? [range]
                for range in open { leases.delay(range, until: until) }
                wakeIfFull(name)
            case .nack:
                leases.giveBack(range)
                readyQueues.insert(name)
            case .fail:
                groups[name]?.activity.queues[key] = leases
                followFailure(name, settlement, at: now)
                continue
            case .abandoned:
                groups[name]?.activity.queues[key] = leases
                followFailure(name, settlement, at: now)
                // There may be more of them than were looked at.
                readyQueues.insert(name)
                continue
            }
            if let deadline = leases.nextDeadline { expect(deadline) }
            groups[name]?.activity.queues[key] = leases
        }
    }

    /// Makes memory agree with a record of a queue that holds now.
    mutating func follow(_ name: String, _ key: QueueID, _ change: QueueChange) {
        switch change {
        case .acked(let ranges), .vacant(let ranges):
            for range in ranges where groups[name]?.activity.queues[key]?.settle(range) == true {
                readyQueues.insert(name)
            }
            wakeIfFull(name)
        case .expired(let below):
            if groups[name]?.activity.queues[key]?.forget(below: below) == true {
                readyQueues.insert(name)
            }
            wakeIfFull(name)
        case .attempted(let ranges, _):
            // A request that is cut short is run again: what it counted is not counted anew.
            for range in ranges { groups[name]?.activity.queues[key]?.begin(range) }
        case .parked(let offset, let record):
            followParked(name, key, offset, isKey: record.isKey)
        case .reopened, .takenBack: followReplay(name, key, change)
        case .began, .delayed, .failed, .released, .restored: break
        }
    }

    mutating func wakeIfFull(_ name: String) {
        guard groups[name]?.activity.isFull == true else { return }
        groups[name]?.activity.isFull = false
        readyQueues.insert(name)
    }

    // MARK: - Time and members

    /// Leases and delays that are over.
    mutating func expireQueues(_ name: String, at now: Now) {
        guard let keys = groups[name]?.activity.queues.keys else { return }
        for key in Array(keys) {
            if groups[name]?.activity.queues[key]?.expire(at: now.monotonic) == true {
                readyQueues.insert(name)
            }
            if let deadline = groups[name]?.activity.queues[key]?.nextDeadline { expect(deadline) }
        }
    }

    /// What members held that are gone is ready for others, and with the last of them what the broker
    /// decides of: nothing is known of keys from then on.
    mutating func lapseQueues(_ name: String) {
        guard let group = groups[name] else { return }
        for key in group.activity.queues.keys {
            let hasLapsed = groups[name]?.activity.queues[key]?.lapse(of: {
                $0 == .nobody ? group.state.members.isEmpty : group.state.members[$0] == nil
            })
            if hasLapsed == true { readyQueues.insert(name) }
        }
        forgetKeys(name)
    }

    /// Groups in which records became ready that nobody has been told of.
    package mutating func takeReadyQueues() -> Set<String> {
        defer { readyQueues = [] }
        return readyQueues
    }

    /// What the member may be handed records of, in order: of a queue group all that it wants to
    /// read, and of any group what was sent again, whoever owns the partition.
    package func queues(
        of name: String, _ id: MemberID
    ) throws(GroupRefusal) -> [QueueID] {
        guard let group = groups[name] else { throw .unknownGroup }
        guard group.state.members[id] != nil, let session = group.activity.sessions[id] else {
            throw .fencedMember(reason: Self.gone)
        }
        var queues: [QueueID] = []
        switch group.state.kind {
        case .queue: queues = session.view.keys.sorted().map { .flow($0) }
        case .stream: break
        }
        queues += group.state.openLanes.filter { mayReplay(group.state, id, $0) }.sorted()
        let isDeaf = limits.plantedBug == .grantWhilePaused
        return queues.filter { isDeaf || !group.state.standsStill($0.partition) }
    }
}

extension GroupLimits {
    fileprivate func check(lease milliseconds: Int32, field: String) throws(GroupRefusal) {
        guard leaseMilliseconds.contains(milliseconds) else {
            throw .invalid(
                field: field,
                reason: "\(milliseconds) is not from \(leaseMilliseconds.lowerBound) to "
                    + "\(leaseMilliseconds.upperBound)")
        }
    }
}
