/// How members come, stay and go.
extension Coordinator {
    /// A member joins, or says anew what it wants. The first member makes the group.
    package mutating func join(
        _ name: String, _ id: MemberID, _ member: Member, _ kind: GroupKind = .stream, at now: Now
    ) throws(GroupRefusal) -> [GroupRecord] {
        try check(member)
        var records: [GroupRecord] = []
        if let group = groups[name] {
            try group.state.kind.check(kind)
        } else {
            records.append(try creation(of: name, kind, now))
        }
        let members = groups[name]?.state.members ?? [:]
        guard members[id] != member else { return records }
        var former = member.instance.flatMap { groups[name]?.state.holder(of: $0) }
        if former == id { former = nil }
        guard members[id] != nil || former != nil || members.count < limits.membersMax else {
            throw .limitReached("the group has \(members.count) members: no more are taken")
        }
        try checkRoom(for: member, beside: members.filter { $0.key != id && $0.key != former })
        if members[id] == nil { fresh = MemberKey(group: name, member: id) }
        if let former { records += suspicions(name, ofAllFrom: former) }
        records.append(.joined(group: name, id, member, replaces: former))
        return records
    }

    private func checkRoom(
        for member: Member, beside others: [MemberID: Member]
    ) throws(GroupRefusal) {
        let bytes = others.values.reduce(member.bytes) { $0 + $1.bytes }
        guard bytes <= limits.memberBytesMax else {
            throw .limitReached(
                "the names and patterns of the group's members take \(bytes) bytes, more than "
                    + "\(limits.memberBytesMax)")
        }
    }

    private func check(_ member: Member) throws(GroupRefusal) {
        guard limits.sessionMilliseconds.contains(member.sessionMilliseconds) else {
            throw .invalid(
                field: "sessionMilliseconds",
                reason: "\(member.sessionMilliseconds) is not from "
                    + "\(limits.sessionMilliseconds.lowerBound) to "
                    + "\(limits.sessionMilliseconds.upperBound)")
        }
        guard (0...limits.drainMillisecondsMax).contains(member.drainMilliseconds) else {
            throw .invalid(
                field: "drainMilliseconds",
                reason: "\(member.drainMilliseconds) is not from 0 to "
                    + "\(limits.drainMillisecondsMax)")
        }
        guard member.progressMilliseconds >= 0 else {
            throw .invalid(field: "progressMilliseconds", reason: "it is below 0")
        }
        guard !member.subscription.terms.isEmpty else {
            throw .invalid(field: "topics", reason: "a member wants at least one topic")
        }
        guard member.subscription.terms.count <= limits.termsMax else {
            throw .invalid(
                field: "topics",
                reason: "\(member.subscription.terms.count) are more than \(limits.termsMax)")
        }
        guard member.subscription.patternCount <= limits.patternsMax else {
            throw .invalid(
                field: "topics",
                reason: "\(member.subscription.patternCount) patterns are more than "
                    + "\(limits.patternsMax)")
        }
    }

    /// A member goes for good: what it owned is free at once, and what its handlers had begun with it
    /// gives back.
    package func leave(
        _ name: String, _ id: MemberID, at now: Now
    ) throws(GroupRefusal) -> [GroupRecord] {
        let group = try group(name)
        guard group.state.members[id] != nil else { return [] }
        return givenBack(name, by: id) + [.left(group: name, id, at: now.wall)]
    }

    /// A sign of life, with what the member has given up since. Extends its session at once.
    /// `revision` is that of the view that it knows; 0: none, whatever it has heard before.
    package mutating func heartbeat(
        _ name: String, _ id: MemberID, revision: UInt64, progress: UInt64,
        released: [(TopicPartition, Int32)], at now: Now
    ) throws(GroupRefusal) -> [GroupRecord] {
        // No copy of the group is kept: changing its sessions would copy all of them.
        guard let member = try group(name).state.members[id] else {
            throw .fencedMember(reason: Self.gone)
        }
        touch(name, id, member, progress: progress, now)
        if revision == 0, groups[name]?.activity.told[id]?.isEmpty == false {
            // It cannot be asked for what it does not know: it hears all that it has once more.
            groups[name]?.activity.told[id] = nil
            unsettled.insert(name)
        }
        let partitions = try group(name).state.partitions
        var records: [GroupRecord] = []
        var seen = Set<TopicPartition>()
        for (key, epoch) in released {
            guard let partition = partitions[key], partition.owner == id,
                partition.epoch == epoch, seen.insert(key).inserted
            else { continue }
            records.append(.freed(group: name, key))
        }
        return records
    }

    static let gone = "it is not in the group: join again"

    private mutating func touch(
        _ name: String, _ id: MemberID, _ member: Member, progress: UInt64, _ now: Now
    ) {
        guard var session = groups[name]?.activity.sessions[id] else {
            let session = newSession(member, progress: progress, now)
            groups[name]?.activity.sessions[id] = session
            return
        }
        session.deadline = now.plus(milliseconds: member.sessionMilliseconds)
        expect(session.deadline)
        if session.progress != progress {
            session.progress = progress
            session.progressDeadline = Self.progressDeadline(member, now)
        }
        groups[name]?.activity.sessions[id] = session
    }

    /// A session begins in full: when a member joins, and for each member when a broker starts.
    mutating func newSession(
        _ member: Member, progress: UInt64 = 0, _ now: Now
    ) -> GroupActivity.Session {
        let session = GroupActivity.Session(
            deadline: now.plus(milliseconds: member.sessionMilliseconds), progress: progress,
            progressDeadline: Self.progressDeadline(member, now), revision: newRevision())
        expect(min(session.deadline, session.progressDeadline))
        return session
    }

    /// Something is due by then.
    mutating func expect(_ deadline: Int64) {
        nextDeadline = min(nextDeadline ?? .max, deadline)
    }

    private static func progressDeadline(_ member: Member, _ now: Now) -> Int64 {
        member.progressMilliseconds == 0
            ? .max : now.plus(milliseconds: member.progressMilliseconds)
    }

    // MARK: - Time

    /// Who is taken for dead or stuck now, what is taken from members that did not give it up, and groups
    /// that nobody came back to. Begins the sessions that a restart has forgotten.
    package mutating func expire(at now: Now) -> [GroupRecord] {
        var records: [GroupRecord] = []
        if let due = nextDeadline,
            now.monotonic - due > limits.standstillMilliseconds * 1_000_000
        {
            grantTime(at: now)
        }
        nextDeadline = nil
        records += expireBreakers(at: now)
        for (name, group) in groups where !group.state.members.isEmpty {
            expireQueues(name, at: now)
            var gone: Set<MemberID> = []
            for (id, member) in group.state.members {
                guard let session = group.activity.sessions[id] else {
                    let session = newSession(member, now)
                    groups[name]?.activity.sessions[id] = session
                    continue
                }
                let deadline = min(session.deadline, session.progressDeadline)
                guard deadline <= now.monotonic else {
                    expect(deadline)
                    continue
                }
                gone.insert(id)
                records += suspicions(name, ofAllFrom: id)
                records.append(.left(group: name, id, at: now.wall))
            }
            for (key, deadline) in group.activity.handovers {
                guard deadline <= now.monotonic else {
                    expect(deadline)
                    continue
                }
                let owner = group.state.partitions[key]?.owner
                // It may have been taken for dead in the same look.
                let isThere = owner.map { !gone.contains($0) } ?? false
                if isThere, let suspicion = suspicion(name, key) {
                    records.append(suspicion)
                }
                records.append(.freed(group: name, key))
            }
        }
        expireGroups(&records, at: now)
        return records
    }

    /// The broker stood still past deadlines: what members sent meanwhile is not read yet. Whoever
    /// would be taken for dead or slow has all his time anew.
    private mutating func grantTime(at now: Now) {
        for (name, group) in groups {
            for (id, session) in group.activity.sessions {
                guard let member = group.state.members[id],
                    min(session.deadline, session.progressDeadline) <= now.monotonic
                else { continue }
                var anew = session
                anew.deadline = now.plus(milliseconds: member.sessionMilliseconds)
                anew.progressDeadline = max(
                    session.progressDeadline, Self.progressDeadline(member, now))
                groups[name]?.activity.sessions[id] = anew
            }
            for (key, deadline) in group.activity.handovers where deadline <= now.monotonic {
                let owner = group.state.partitions[key]?.owner
                let drain = owner.flatMap { group.state.members[$0] }?.drainMilliseconds ?? 0
                groups[name]?.activity.handovers[key] = now.plus(milliseconds: drain)
            }
        }
    }
}
