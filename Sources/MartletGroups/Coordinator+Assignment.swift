/// Who owns what, and how it passes from one to the next without a pause for all: a partition is
/// granted only when nobody owns it, so there are never two owners.
extension Coordinator {
    /// Partitions to hand out now that the last records hold. Nothing once all is settled.
    package mutating func settle(at now: Now) -> [GroupRecord] {
        unsettled.flatMap { name in settle(name, now) }
    }

    private mutating func settle(_ name: String, _ now: Now) -> [GroupRecord] {
        if let group = groups[name], group.activity.isTargetStale {
            let target = target(of: name, group)
            groups[name]?.activity.target = target
            groups[name]?.activity.isTargetStale = false
        }
        let broken = breakerRecords(name, at: now)
        timeBreaker(name, at: now)
        guard broken.isEmpty, let group = groups[name] else { return broken }
        var records: [GroupRecord] = []
        for (key, id) in group.activity.target {
            let partition = group.state.partitions[key] ?? PartitionState()
            let isFree =
                partition.owner == nil
                || (limits.plantedBug == .grantBeforeRelease && partition.owner != id)
            let isToGo = partition.owner != id || partition.isReturning
            if !isFree, isToGo, group.isUntold(key, partition) {
                // It was the owner's for a moment, and the owner never knew.
                records.append(.freed(group: name, key))
            }
            guard isFree, partition.epoch < Int32.max else { continue }
            let keepsEpoch = limits.plantedBug == .keepEpoch && partition.epoch > 0
            records.append(
                .granted(
                    group: name, key, id, epoch: partition.epoch + (keepsEpoch ? 0 : 1)))
        }
        return records
    }

    private func target(of name: String, _ group: Group) -> [TopicPartition: MemberID] {
        let state = group.state
        guard case .stream = state.kind, !state.members.isEmpty else { return [:] }
        let subscriptions = Set(state.members.values.map(\.subscription))
        let wanted = topics(for: name).filter { topic in
            subscriptions.contains { $0.matches(topic.name) }
        }
        // What is on its way stays on its way: the target counts before the owner. What stands
        // still counts as a load, so that little moves when it goes on.
        let target = Assignor.assign(members: state.members, topics: wanted) { key in
            let former = group.activity.target[key].flatMap { state.members[$0] == nil ? nil : $0 }
            return former ?? state.partitions[key]?.owner
        }
        let standsStill = state.breakerNow.isOpen || !state.paused.isEmpty
        guard standsStill, limits.plantedBug != .grantWhilePaused else { return target }
        return target.filter { !state.standsStill($0.key) }
    }

    /// Makes what members are told agree with who owns and should own what. Returns those whose
    /// view has changed. To be called when nothing is left to settle.
    package mutating func refreshViews(at now: Now) -> [MemberKey] {
        var changed: [MemberKey] = []
        for name in unsettled {
            lapseQueues(name)
            expectExpiry(of: name, at: now)
            changed += refreshViews(name, now).map { MemberKey(group: name, member: $0) }
        }
        unsettled.removeAll(keepingCapacity: true)
        return changed
    }

    private mutating func refreshViews(_ name: String, _ now: Now) -> [MemberID] {
        guard var activity = groups[name]?.activity, let state = groups[name]?.state else {
            return []
        }
        activity.sessions = activity.sessions.filter { state.members[$0.key] != nil }
        activity.told = activity.told.filter { state.members[$0.key] != nil }
        if let key = fresh, key.group == name, state.members[key.member] != nil {
            activity.told[key.member] = [:]
            fresh = nil
        }
        var views: [MemberID: [TopicPartition: Int32]] = [:]
        var handovers: [TopicPartition: Int64] = [:]
        for (key, partition) in state.partitions {
            guard let owner = partition.owner else { continue }
            // An owner who may not know of it cannot give it up: he hears all that he has first.
            let isReturning = partition.isReturning && limits.plantedBug != .keepReleased
            let stays = activity.target[key] == owner && !isReturning
            if stays || activity.told[owner] == nil {
                views[owner, default: [:]][key] = partition.epoch
            } else {
                let drain = state.members[owner]?.drainMilliseconds ?? 0
                let deadline = activity.handovers[key] ?? now.plus(milliseconds: drain)
                handovers[key] = deadline
                expect(deadline)
            }
        }
        activity.handovers = handovers
        if case .queue = state.kind { views = queueViews(name, state.members) }
        var changed: [MemberID] = []
        for (id, member) in state.members {
            var session = activity.sessions[id] ?? newSession(member, now)
            defer { activity.sessions[id] = session }
            let view = views[id] ?? [:]
            guard session.view != view else { continue }
            session.view = view
            session.revision = newRevision()
            changed.append(id)
        }
        groups[name]?.activity = activity
        return changed
    }

    /// What a member is about to be told.
    package mutating func tell(_ name: String, _ id: MemberID) throws(GroupRefusal) -> MemberView {
        let view = try view(name, id)
        if let group = groups[name] {
            if group.activity.told[id] == nil { unsettled.insert(name) }
            var told = group.activity.told[id] ?? [:]
            told = told.filter { key, epoch in
                let partition = group.state.partitions[key]
                return partition?.owner == id && partition?.epoch == epoch
            }
            for owned in view.owned { told[owned.partition] = owned.epoch }
            groups[name]?.activity.told[id] = told
        }
        return view
    }

    /// What a group may read. Its own dead letters come to it by replay alone: what fails among
    /// them would be one more of them, for ever.
    func topics(for name: String) -> [TopicShape] {
        topics.values.filter { mayRead(name, $0) }
    }

    func mayRead(_ name: String, _ topic: TopicShape) -> Bool {
        topic.name != name + Self.reservedSuffix
    }

    /// Members of a queue see all partitions of the topics that they want.
    private func queueViews(
        _ name: String, _ members: [MemberID: Member]
    ) -> [MemberID: [TopicPartition: Int32]] {
        var views: [Subscription: [TopicPartition: Int32]] = [:]
        let topics = topics(for: name)
        for wanted in Set(members.values.map(\.subscription)) {
            let shapes = topics.filter { wanted.matches($0.name) }
            let keys = shapes.flatMap { shape in
                (0..<shape.partitions).map { (TopicPartition(shape.id, $0), Int32(0)) }
            }
            views[wanted] = Dictionary(uniqueKeysWithValues: keys)
        }
        return members.compactMapValues { views[$0.subscription] }
    }

    /// What a member is told: its partitions with their epochs and how far the group is in each.
    package func view(
        _ name: String, _ id: MemberID
    ) throws(GroupRefusal) -> MemberView {
        let group = try group(name)
        guard group.state.members[id] != nil, let session = group.activity.sessions[id] else {
            throw .fencedMember(reason: Self.gone)
        }
        let owned = session.view.sorted { $0.key < $1.key }.map { key, epoch in
            MemberView.Owned(
                partition: key, epoch: epoch,
                committed: group.state.partitions[key]?.committed,
                suspectBelow: group.state.partitions[key]?.suspectBelow ?? 0,
                parked: group.state.queues[.flow(key)]?.parkedPlaces ?? [])
        }
        return MemberView(revision: session.revision, owned: owned)
    }

    /// Whether the member owns the partition under this epoch: what every group fetch and commit
    /// has to pass. It holds also while the member drains what it has to give up.
    package func checkOwner(
        _ name: String, _ id: MemberID, _ key: TopicPartition, epoch: Int32
    ) throws(GroupRefusal) {
        let group = try group(name)
        if limits.plantedBug == .acceptStaleMembers { return }
        guard group.state.members[id] != nil else { throw .fencedMember(reason: Self.gone) }
        guard let partition = group.state.partitions[key], partition.owner == id,
            partition.epoch == epoch
        else { throw group.state.standsStill(key) ? .paused : .staleEpoch }
    }
}

extension Group {
    /// Whether the owner of a partition cannot know that it is.
    fileprivate func isUntold(_ key: TopicPartition, _ partition: PartitionState) -> Bool {
        guard let owner = partition.owner, let told = activity.told[owner] else { return false }
        return told[key] != partition.epoch
    }
}

/// A member by its group.
package struct MemberKey: Hashable, Sendable {
    package let group: String
    package let member: MemberID

    package init(group: String, member: MemberID) {
        self.group = group
        self.member = member
    }
}

/// What a member owns, as it is told.
package struct MemberView: Equatable, Sendable {
    package struct Owned: Equatable, Sendable {
        package let partition: TopicPartition
        package let epoch: Int32
        /// nil: the group has never committed anything there.
        package let committed: CommittedOffset?
        /// Before a handler begins with what lies below, the owner says so (`start`); 0: nothing is
        /// suspect.
        package let suspectBelow: Int64
        /// Records that are set aside, in order: nobody handles them now.
        package let parked: [ParkedPlace]
    }

    package struct ParkedPlace: Equatable, Sendable {
        package let offset: Int64
        /// Nor later ones of its key.
        package let isKey: Bool
    }

    /// Changes with the partitions and their epochs, not with what is committed.
    package let revision: UInt64
    package let owned: [Owned]
}

extension QueueProgress {
    fileprivate var parkedPlaces: [MemberView.ParkedPlace] {
        parked.sorted { $0.key < $1.key }.map { offset, record in
            MemberView.ParkedPlace(offset: offset, isKey: record.isKey)
        }
    }
}
