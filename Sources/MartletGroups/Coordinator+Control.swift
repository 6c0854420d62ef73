package import MartletFormat

/// What people do to a group: stop it for a while, and set how far it is.
///
/// A partition that stands still is nobody's: its owner is asked to give it up as in any hand-over,
/// and none is granted it before it is resumed. So members need to know nothing of it, and what is
/// still under way is finished and committed first.
extension Coordinator {
    package func pause(
        _ name: String, _ places: [PausePlace], at now: Now
    ) throws(GroupRefusal) -> [GroupRecord] {
        let paused = try group(name).state.paused
        for place in places { try checkExists(place) }
        let new = Set(places).subtracting(paused.keys)
        guard paused.count + new.count <= limits.pausesMax else {
            throw .limitReached("\(paused.count) places of the group are paused: no more are taken")
        }
        return new.sorted().map { .paused(group: name, $0, at: now.wall) }
    }

    /// Ends all pauses within the places.
    package func resume(
        _ name: String, _ places: [PausePlace]
    ) throws(GroupRefusal) -> [GroupRecord] {
        let paused = try group(name).state.paused.keys
        for place in places {
            guard let wider = paused.first(where: { $0 != place && $0.covers(place) }) else {
                continue
            }
            let what = wider == .group ? "the whole group is paused" : "its whole topic is paused"
            throw .invalid(field: "places", reason: "\(what): resume that")
        }
        return paused.filter { pause in places.contains { $0.covers(pause) } }.sorted()
            .map { .resumed(group: name, $0) }
    }

    private func checkExists(_ place: PausePlace) throws(GroupRefusal) {
        if place.topic == .zero {
            guard place == .group else {
                throw .invalid(field: "places", reason: "a partition of no topic")
            }
        } else if place.partition >= 0 {
            try checkExists(TopicPartition(place.topic, place.partition))
        } else {
            guard topics[place.topic] != nil else { throw .unknownTopic }
        }
    }

    /// Where a group is to go on in a partition.
    package struct Reset: Sendable {
        package let partition: TopicPartition
        /// What was committed when it was planned, or a queue's floor; -1: nothing; -2: does not
        /// matter.
        package let expected: Int64
        package let offset: Int64

        package init(partition: TopicPartition, expected: Int64, offset: Int64) {
            self.partition = partition
            self.expected = expected
            self.offset = offset
        }
    }

    /// All of them or none. Takes the partitions from whoever has them: a member gets them again
    /// under a new epoch, so what it commits late does not undo it.
    package func reset(
        _ name: String, _ resets: [Reset], isForced: Bool, at now: Now
    ) throws(GroupRefusal) -> [GroupRecord] {
        let state = try group(name).state
        switch state.kind {
        case .queue: return try restart(name, resets, isForced: isForced)
        case .stream: break
        }
        try check(resets)
        var done: [StreamReset] = []
        for reset in resets {
            let key = reset.partition
            let partition = state.partitions[key] ?? PartitionState()
            guard isForced || partition.owner == nil || state.isPaused(key) else {
                throw .partitionInUse(label(key))
            }
            let committed = partition.committed?.offset ?? -1
            try check(reset, isAt: committed, isForced: isForced)
            guard partition.epoch < Int32.max else { throw .staleEpoch }
            done.append(StreamReset(key, at: reset.offset, epoch: partition.epoch + 1))
        }
        if limits.plantedBug == .resetKeepsOwner {
            return done.map {
                let offset = CommittedOffset(offset: $0.offset, at: now.wall)
                return .committed(group: name, $0.partition, offset)
            }
        }
        // One record for all of them, so that they hold together or not at all.
        return done.isEmpty ? [] : [.reset(group: name, done, at: now.wall)]
    }

    /// Each partition is there, and comes once.
    func check(_ resets: [Reset]) throws(GroupRefusal) {
        var seen = Set<TopicPartition>()
        for reset in resets {
            try checkExists(reset.partition)
            guard reset.offset >= 0, seen.insert(reset.partition).inserted else {
                throw .invalid(
                    field: "entries",
                    reason: "\(label(reset.partition)) comes twice, or its offset is below 0")
            }
        }
    }

    /// Throws when something happened there since it was planned.
    func check(_ reset: Reset, isAt place: Int64, isForced: Bool) throws(GroupRefusal) {
        guard isForced || reset.expected == -2 || reset.expected == place else {
            throw .resetOutdated(
                "\(label(reset.partition)) is at \(place) now, not at \(reset.expected)")
        }
    }

    /// A partition as people know it.
    func label(_ key: TopicPartition) -> String {
        "partition \(key.partition) of \(topics[key.topic]?.name ?? "\(key.topic)")"
    }
}

/// Where a stream group goes on in a partition. Nobody owns it, under an epoch that no owner had.
package struct StreamReset: Hashable, Sendable {
    package let partition: TopicPartition
    package let offset: Int64
    package let epoch: Int32

    package init(_ partition: TopicPartition, at offset: Int64, epoch: Int32) {
        self.partition = partition
        self.offset = offset
        self.epoch = epoch
    }
}

/// What of a group stands still: all of it, a topic, or a partition.
package struct PausePlace: Hashable, Comparable, Sendable {
    /// Zeros: the whole group.
    package let topic: TopicID
    /// -1: the whole topic, or group.
    package let partition: Int32

    package static let group = PausePlace(topic: .zero, partition: -1)

    package init(topic: TopicID, partition: Int32) {
        self.topic = topic
        self.partition = max(partition, -1)
    }

    package init(_ partition: TopicPartition) {
        self.init(topic: partition.topic, partition: partition.partition)
    }

    /// Whether all of `other` lies within.
    func covers(_ other: PausePlace) -> Bool {
        self == .group || (topic == other.topic && (partition < 0 || partition == other.partition))
    }

    package static func < (left: PausePlace, right: PausePlace) -> Bool {
        left.topic == right.topic ? left.partition < right.partition : left.topic < right.topic
    }
}

extension GroupState {
    func isPaused(_ key: TopicPartition) -> Bool {
        guard !paused.isEmpty else { return false }
        return paused[.group] != nil
            || paused[PausePlace(topic: key.topic, partition: -1)] != nil
            || paused[PausePlace(key)] != nil
    }
}
