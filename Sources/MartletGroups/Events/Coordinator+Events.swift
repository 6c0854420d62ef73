import MartletFormat

/// What the records mean for those who look at groups from outside: told when they are durable, and
/// kept nowhere here. Acks, commits, leases and attempts are the work itself, and no events.
extension Coordinator {
    /// Makes what a record says so, as `replay` does, and returns what happened by it.
    package mutating func hold(_ record: GroupRecord, _ cause: GroupCause) -> [GroupEvent] {
        var events = self.events(of: record, cause)
        let expired = expiredBefore(record)
        replay(record)
        if let expired, !events.isEmpty {
            let more = (groups[record.group]?.state.expired ?? expired) &- expired
            for index in events.indices { events[index].count = more + (events[index].count ?? 0) }
            events.removeAll { $0.count == 0 }
        }
        return events
    }

    /// Before the record holds.
    private func events(of record: GroupRecord, _ cause: GroupCause) -> [GroupEvent] {
        let name = record.group
        switch record {
        case .committed, .suspected, .departed, .expired: return []
        case .created(_, _, let kind, _):
            var event = GroupEvent(.groupCreated, name, by: cause.actor)
            (event.client, event.reason) = (cause.client, kind.word)
            return [event]
        case .deleted: return [deletion(of: name, cause)]
        case .joined(_, let id, let member, let former): return join(name, id, member, former)
        case .left(_, let id, _): return [end(of: id, name, cause)]
        case .granted(_, let key, let id, _):
            var event = about(key, .partitionsAssigned, name, by: .broker)
            event.member = id
            return [event]
        case .freed(_, let key): return release(of: key, name, cause)
        case .forgotten: return []
        case .paused(_, let place, _):
            return [about(place, .groupPaused, name, cause)]
        case .resumed(_, let place):
            return [about(place, .groupResumed, name, cause)]
        case .reset(_, let resets, _):
            return self.resets(resets.map { ($0.partition, $0.offset) }, name, cause) { key in
                groups[name]?.state.partitions[key]?.committed?.offset
            }
        case .restarted(_, let restarts):
            return self.resets(restarts.map { ($0.partition, $0.offset) }, name, cause) { key in
                groups[name]?.state.queues[.flow(key)]?.floor
            }
        case .queue(_, let queue, let change): return events(of: change, queue, name, cause)
        case .policy(_, let policy):
            var event = GroupEvent(.policySet, name, by: cause.actor)
            (event.client, event.reason) = (cause.client, policy.last.word)
            return [event]
        case .letter(_, let change): return events(of: change, name, cause)
        case .breaker(_, let breaker):
            var event = GroupEvent(breaker.eventKind, name, by: cause.actorOrPolicy)
            event.client = cause.client
            if case .open(let since, let until) = breaker {
                (event.from, event.to) = (since, until)
            }
            return [event]
        }
    }

    // MARK: - Groups and members

    private func deletion(of name: String, _ cause: GroupCause) -> GroupEvent {
        if case .time = cause {
            var event = GroupEvent(.groupExpired, name, by: .time)
            event.from = groups[name]?.state.emptySince
            return event
        }
        var event = GroupEvent(.groupDeleted, name, by: cause.actor)
        event.client = cause.client
        return event
    }

    private func join(
        _ name: String, _ id: MemberID, _ member: Member, _ former: MemberID?
    ) -> [GroupEvent] {
        let members = groups[name]?.state.members ?? [:]
        var joined = GroupEvent(
            members[id] == nil ? .memberJoined : .memberChanged, name, by: .member)
        (joined.member, joined.instance, joined.client) = (id, member.instance, member.client)
        guard let former, let gone = members[former] else { return [joined] }
        var fenced = GroupEvent(.memberFenced, name, by: .member)
        (fenced.member, fenced.instance, fenced.client) = (former, gone.instance, gone.client)
        fenced.reason = "\(id)"
        return [fenced, joined]
    }

    private func end(of id: MemberID, _ name: String, _ cause: GroupCause) -> GroupEvent {
        let group = groups[name]
        let kind: GroupEvent.Kind
        switch cause {
        case .time(let now):
            // Its heartbeats came, but its application took nothing for too long.
            let isHeard = group?.activity.sessions[id].map { $0.deadline > now.monotonic } ?? false
            kind = isHeard ? .memberStuck : .memberTimedOut
        case .member, .person, .broker: kind = .memberLeft
        }
        var event = GroupEvent(kind, name, by: cause.actor)
        event.member = id
        event.instance = group?.state.members[id]?.instance
        event.client = group?.state.members[id]?.client ?? ""
        return event
    }

    // MARK: - Partitions

    /// Whose member went just now was free before.
    private func release(
        of key: TopicPartition, _ name: String, _ cause: GroupCause
    ) -> [GroupEvent] {
        guard let owner = groups[name]?.state.partitions[key]?.owner else { return [] }
        var kind = GroupEvent.Kind.partitionsGivenUp
        if case .time = cause { kind = .partitionsTaken }
        var event = about(key, kind, name, by: cause.actor)
        event.member = owner
        return [event]
    }

    /// With so many partitions one event for a topic says it, without the offsets.
    private static let singleResetsMax = 100

    private func resets(
        _ resets: [(key: TopicPartition, to: Int64)], _ name: String, _ cause: GroupCause,
        from former: (TopicPartition) -> Int64?
    ) -> [GroupEvent] {
        let single = resets.map { key, to in
            var event = about(key, .groupReset, name, by: cause.actor)
            (event.client, event.from, event.to) = (cause.client, former(key), to)
            // Nobody asks for it: the topic ends below what was committed.
            if case .broker = cause { event.reason = "ahead" }
            return event
        }
        guard single.count > Self.singleResetsMax else { return single }
        return Dictionary(grouping: single, by: \.topic).values.compactMap { alike in
            guard var event = alike.first else { return nil }
            (event.from, event.to, event.count) = (nil, nil, Int64(alike.count))
            event.partitions = alike.flatMap(\.partitions)
            return event
        }
    }

    /// What a member's reset policy chose is in no record.
    package func events(
        of resets: [PolicyReset], _ name: String, _ member: MemberID
    ) -> [GroupEvent] {
        resets.map { reset in
            var event = about(reset.partition, .groupReset, name, by: .policy)
            (event.member, event.reason) = (member, reset.reason.name)
            (event.from, event.to) = (reset.from, reset.to)
            return event
        }
    }

    private func about(
        _ key: TopicPartition, _ kind: GroupEvent.Kind, _ name: String, by actor: GroupEvent.Actor
    ) -> GroupEvent {
        var event = GroupEvent(kind, name, by: actor)
        (event.topic, event.topicName) = (key.topic, topicName(key.topic))
        (event.partitions, event.count) = ([key.partition], 1)
        return event
    }

    private func about(
        _ place: PausePlace, _ kind: GroupEvent.Kind, _ name: String, _ cause: GroupCause
    ) -> GroupEvent {
        // Its topic is gone, and nothing stands still there any more.
        var actor = cause.actorOrPolicy
        if kind == .groupResumed { actor = cause.actor }
        var event = GroupEvent(kind, name, by: actor)
        event.client = cause.client
        guard place.topic != .zero else { return event }
        (event.topic, event.topicName) = (place.topic, topicName(place.topic))
        if place.partition >= 0 { event.partitions = [place.partition] }
        return event
    }

    // MARK: - Records

    private func events(
        of change: QueueChange, _ queue: QueueID, _ name: String, _ cause: GroupCause
    ) -> [GroupEvent] {
        let key = queue.partition
        switch change {
        case .began, .acked, .delayed, .attempted, .failed, .vacant, .restored: return []
        case .parked(let offset, let record):
            var event = about(key, .recordsParked, name, by: .policy)
            event.cover(offset, offset)
            event.reason = record.isKey ? "key" : "record"
            return [event]
        case .released(let ranges):
            let parked = groups[name]?.state.queues[queue]?.parked.keys.filter { offset in
                let index = ranges.firstIndex(above: offset)
                return index < ranges.count && ranges[index].contains(offset)
            }
            guard let parked, let first = parked.min(), let last = parked.max() else { return [] }
            var event = about(key, .recordsReleased, name, by: cause.actor)
            event.client = cause.client
            event.cover(first, last, count: Int64(parked.count))
            return [event]
        case .expired(let below):
            var event = about(key, .recordsExpired, name, by: .broker)
            // Of a stream only what was parked; a queue counts for itself.
            let isStream = groups[name]?.state.kind == .stream && queue.lane == .flow
            let parked = groups[name]?.state.queues[queue]?.parked.keys.count { $0 < below } ?? 0
            (event.to, event.count) = (below, isStream ? Int64(parked) : 0)
            return [event]
        // Only people do that.
        case .reopened(let ranges):
            // What is with the group again anyway is not sent again by it.
            let progress = groups[name]?.state.queues[queue] ?? .replay
            let count = ranges.reduce(Int64(0)) { $0 &+ progress.settledCount(in: $1) }
            return again(.recordsReplayed, key, ranges, count, name, cause)
        case .takenBack(let ranges):
            let open = ranges.flatMap { groups[name]?.state.queues[queue]?.open(in: $0) ?? [] }
            let count = open.reduce(Int64(0)) { $0 &+ ($1.upperBound &- $1.lowerBound) }
            return again(.recordsTakenBack, key, open, count, name, cause)
        }
    }

    private func again(
        _ kind: GroupEvent.Kind, _ key: TopicPartition, _ ranges: [Range<Int64>], _ count: Int64,
        _ name: String, _ cause: GroupCause
    ) -> [GroupEvent] {
        guard count > 0, let first = ranges.first, let last = ranges.last else { return [] }
        var event = about(key, kind, name, by: .person)
        event.client = cause.client
        event.cover(first.lowerBound, last.upperBound &- 1, count: count)
        return [event]
    }

    private func events(
        of change: LetterChange, _ name: String, _ cause: GroupCause
    ) -> [GroupEvent] {
        switch change {
        case .stored, .restored, .waiting: return []
        case .replayed(let numbers):
            var event = GroupEvent(.lettersReplayed, name, by: cause.actor)
            (event.client, event.count) = (cause.client, Int64(numbers.count))
            return [event]
        case .entry(let entry):
            var event = about(entry.origin.partition, entry.eventKind, name, by: cause.actor)
            event.topicName = entry.topicName.isEmpty ? event.topicName : entry.topicName
            event.cover(entry.origin.offset, entry.origin.offset)
            switch entry.kind {
            case .died: (event.by, event.reason) = (entry.eventActor, entry.reason.name)
            case .edited, .resolved, .assigned, .commented: event.client = cause.client
            }
            return [event]
        }
    }
}

extension GroupEvent {
    fileprivate mutating func cover(_ first: Int64, _ last: Int64, count: Int64 = 1) {
        (from, to, self.count) = (first, last == .max ? last : last + 1, count)
    }
}

extension GroupKind {
    fileprivate var word: String {
        switch self {
        case .stream: "stream"
        case .queue: "queue"
        }
    }
}

extension FailurePolicy.Last {
    fileprivate var word: String {
        switch self {
        case .deadLetter: "dead-letter"
        case .pause: "pause"
        case .parkRecord: "park-record"
        case .parkKey: "park-key"
        }
    }
}

extension BreakerState {
    fileprivate var eventKind: GroupEvent.Kind {
        switch self {
        case .open: .breakerOpened
        case .halfOpen: .breakerHalfOpen
        case .closed: .breakerClosed
        }
    }
}

extension LetterEntry {
    fileprivate var eventKind: GroupEvent.Kind {
        switch kind {
        case .died: reason == .retention ? .recordsRescued : .recordsDead
        case .edited: .lettersEdited
        case .resolved: .lettersResolved
        case .assigned: .lettersAssigned
        case .commented: .lettersCommented
        }
    }

    fileprivate var eventActor: GroupEvent.Actor {
        switch reason {
        case .permanent, .attempts: .policy
        case .rejected: .member
        case .retention: .broker
        }
    }
}
