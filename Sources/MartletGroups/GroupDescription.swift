package import MartletFormat

/// What is known of a group, for people and for the checker.
package struct GroupDescription: Equatable, Sendable {
    package struct MemberLine: Equatable, Sendable {
        package let id: MemberID
        package let member: Member
        /// How many partitions it is told to own.
        package let owned: Int
    }

    package struct PartitionLine: Equatable, Sendable {
        package let partition: TopicPartition
        package let owner: MemberID?
        package let epoch: Int32
        package let committed: CommittedOffset?
        /// Its owner is to give it up.
        package let isLeaving: Bool
        package let isPaused: Bool
        /// A queue that begins with what comes after its first look, and has not looked yet.
        package let beginsAtEnd: Bool
        /// Of a stream: records that a handler failed with, and that no commit has passed since; but
        /// for those that are set aside.
        package var failing: Int64 = 0
        /// Of a stream: records that are set aside until somebody releases them.
        package var parked: Int64 = 0
    }

    /// What stands still, and since when.
    package struct PauseLine: Equatable, Sendable {
        package let place: PausePlace
        package let at: Int64
    }

    package let name: String
    package let createdAt: Int64
    /// In order of their ids.
    package let members: [MemberLine]
    /// Those that are or were owned or have a commit, and those that it would read next, though it
    /// never has; in order.
    package let partitions: [PartitionLine]
    /// In order.
    package let pauses: [PauseLine]
    package let kind: GroupKind
    /// Of a queue: the partitions that it has begun, in order.
    package let queues: [QueueCounts]
    /// What was sent to it again, by partitions in order; without dead letters.
    package let replays: [ReplayCounts]
    package let policy: FailurePolicy
    package let letters: LetterCounts
    package let parked: ParkedCounts
    package let breaker: BreakerLine
    /// How long handlers ran since this start of the broker.
    package let handled: HandlerTimesByType
    /// How often members' reset policies chose where to go on, since then.
    package let policyResets: [PolicyReset.Reason: UInt64]
}

extension Coordinator {
    /// All groups, in order of their names.
    package func descriptions(at now: Now, gaps: Gaps = { _ in [] }) -> [GroupDescription] {
        groups.sorted { $0.key < $1.key }.map { describe($0.key, $0.value, at: now, gaps: gaps) }
    }

    package var names: [String] { Array(groups.keys) }

    /// `gaps`: offsets of a partition that no record has. Without them they count as records of queues.
    package func describe(
        _ name: String, at now: Now, gaps: Gaps = { _ in [] }
    ) throws(GroupRefusal) -> GroupDescription {
        describe(name, try group(name), at: now, gaps: gaps)
    }

    /// The name of a topic that groups may see; nil when there is none of this id.
    package func topicName(_ id: TopicID) -> String? { topics[id]?.name }

    private func describe(
        _ name: String, _ group: Group, at now: Now, gaps: Gaps
    ) -> GroupDescription {
        let members = group.state.members.sorted { $0.key < $1.key }.map { id, member in
            GroupDescription.MemberLine(
                id: id, member: member,
                owned: group.activity.sessions[id]?.view.count ?? 0)
        }
        let partitions = group.state.partitions.sorted { $0.key < $1.key }.map { key, partition in
            GroupDescription.PartitionLine(
                partition: key, owner: partition.owner, epoch: partition.epoch,
                committed: partition.committed, isLeaving: group.activity.handovers[key] != nil,
                isPaused: group.state.isPaused(key), beginsAtEnd: false,
                failing: group.state.queues[.flow(key)]?.failing(partition.committed) ?? 0,
                parked: Int64(group.state.queues[.flow(key)]?.parked.count ?? 0))
        }
        let pauses = group.state.paused.sorted { $0.key < $1.key }
            .map { GroupDescription.PauseLine(place: $0, at: $1) }
        // A stream group has them for what failed alone.
        let isQueue = group.state.kind != .stream
        let progresses = group.state.queues.filter { isQueue && $0.key.lane == .flow }
            .sorted { $0.key < $1.key }
        let queues = progresses.map { key, progress in
            QueueCounts(
                key.partition, progress, group.activity.queues[key], at: now,
                gaps: gaps(key.partition))
        }
        let lanes = group.state.queues.filter {
            $0.key.lane == .replay && $0.key != group.state.letters.lane
        }
        let replays = lanes.sorted { $0.key < $1.key }.map { key, progress in
            ReplayCounts(key.partition, progress, group.activity.queues[key], at: now)
        }
        let known =
            partitions + progresses.map { Self.line($0.partition, $1, group.state) }
        let lines = (known + untouched(name, group.state, besides: Set(known.map(\.partition))))
            .sorted { $0.partition < $1.partition }
        return GroupDescription(
            name: name, createdAt: group.state.createdAt, members: members, partitions: lines,
            pauses: pauses, kind: group.state.kind, queues: queues, replays: replays,
            policy: group.state.policy, letters: LetterCounts(group.state.letters),
            parked: ParkedCounts(group.state.queues.values), breaker: BreakerLine(group),
            handled: group.activity.handled,
            policyResets: group.activity.policyResets)
    }

    /// A queue's partition as if it were a stream's: its floor, and what is settled above.
    private static func line(
        _ key: TopicPartition, _ progress: QueueProgress, _ state: GroupState
    ) -> GroupDescription.PartitionLine {
        let floor = progress.floor
        let above = progress.settled.ranges.filter { $0.lowerBound > floor }
        return GroupDescription.PartitionLine(
            partition: key, owner: nil, epoch: 0,
            committed: CommittedOffset(offset: floor, finished: above, at: -1), isLeaving: false,
            isPaused: state.isPaused(key), beginsAtEnd: false)
    }

    /// Partitions that the group wants and knows nothing of yet: nobody was there when they came,
    /// or it was paused. It is behind in them like in any other.
    private func untouched(
        _ name: String, _ state: GroupState, besides known: Set<TopicPartition>
    ) -> [GroupDescription.PartitionLine] {
        var lines: [GroupDescription.PartitionLine] = []
        for topic in wantedTopics(of: name, state) {
            for number in 0..<max(topic.partitions, 0) {
                let key = TopicPartition(topic.id, number)
                guard !known.contains(key) else { continue }
                lines.append(
                    GroupDescription.PartitionLine(
                        partition: key, owner: nil, epoch: 0, committed: nil, isLeaving: false,
                        isPaused: state.isPaused(key), beginsAtEnd: state.beginsAtEnd(key)))
            }
        }
        return lines
    }

    /// The topics that members want, or wanted who are gone. A look at all topics is only for
    /// patterns: there may be many groups.
    private func wantedTopics(of name: String, _ state: GroupState) -> Set<TopicShape> {
        var wanted: Set<TopicShape> = []
        let wishes = Set(state.members.values.map(\.subscription)).union([state.departed])
        for wish in wishes {
            let (names, patterns) = wish.namesAndPatterns
            wanted.formUnion(
                names.compactMap { topicsByName[$0] }.filter { mayRead(name, $0) })
            guard !patterns.terms.isEmpty else { continue }
            wanted.formUnion(topics(for: name).filter { patterns.matches($0.name) })
        }
        return wanted
    }
}

extension QueueProgress {
    /// Of a stream's partition. What is finished above the commit is done, though it failed before.
    fileprivate func failing(_ committed: CommittedOffset?) -> Int64 {
        let finished = committed?.finished ?? []
        let open = failures.keys.count { offset in
            if parked[offset] != nil { return false }
            let index = finished.firstIndex(above: offset)
            return index == finished.count || !finished[index].contains(offset)
        }
        return Int64(open)
    }
}
