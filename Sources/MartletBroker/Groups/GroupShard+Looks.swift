import MartletFormat
import MartletGroups
import MartletStorage
import MartletWire
import Synchronization

// What changes nothing.
extension GroupShard {
    /// A look that changes nothing and tells nothing that is not durable: only for fetches, which
    /// are held against it again and again.
    func checkOwner(
        _ group: String, _ member: MemberID, _ key: TopicPartition, epoch: Int32
    ) throws(GroupRefusal) {
        try state.withLock { state throws(GroupRefusal) in
            try state.coordinator.checkOwner(group, member, key, epoch: epoch)
        }
    }

    /// A group as it is now, also what is not durable yet: for people. `gaps`: offsets of a partition
    /// that no record has.
    func describe(
        _ group: String, gaps: Coordinator.Gaps = { _ in [] }
    ) throws(GroupRefusal) -> GroupDescription {
        let now = now
        return try state.withLock { state throws(GroupRefusal) in
            try state.coordinator.describe(group, at: now, gaps: gaps)
        }
    }

    /// What its dead letter topic does not have yet.
    func waitingEntries(
        of group: String, bytesMax: Int
    ) -> (entries: [LetterEntry], lastPlace: Int64, createdAt: Int64)? {
        state.withLock { $0.coordinator.waitingEntries(of: group, bytesMax: bytesMax) }
    }

    /// Which records would become dead letters by a settlement.
    func dying(_ group: String, _ settlements: [Coordinator.Settlement]) -> [RecordPlace] {
        let now = now
        return state.withLock { $0.coordinator.dying(group, settlements, at: now) }
    }

    /// Whether a record of a stream group would become a dead letter.
    func isDying(_ group: String, _ failed: Coordinator.FailedRecord) -> Bool {
        let now = now
        return state.withLock { $0.coordinator.isDying(group, failed, at: now) }
    }

    /// Whether it would by a start that used up its attempts.
    func isDying(_ group: String, _ started: Coordinator.StartedRecord) -> Bool {
        let now = now
        return state.withLock { $0.coordinator.isDying(group, started, at: now) }
    }

    /// A member is about to be handed records of partitions that it owns. Once for each answer to a
    /// fetch, and not for each partition: others wait for the lock.
    func served(_ fetch: FetchRequest, _ ends: [(index: Int, end: Int64)]) {
        state.withLock { state in
            for (index, end) in ends {
                let entry = fetch.partitions[index]
                guard entry.offset < end else { continue }
                state.coordinator.served(
                    fetch.group, MemberID(fetch.member),
                    TopicPartition(entry.topic, entry.partition), epoch: entry.epoch,
                    entry.offset..<end)
            }
        }
    }

    /// Records that members had of what lies below, and that are not settled.
    func endangered(
        _ key: TopicPartition, below offset: Int64, max: Int, besides: Set<String>
    ) -> [Coordinator.Endangered] {
        state.withLock {
            $0.coordinator.endangered(key, below: offset, max: max, besides: besides)
        }
    }

    /// No handler begins with what lies below, until `keep`.
    func close(_ key: TopicPartition, below offset: Int64, until: Int64) {
        state.withLock { $0.coordinator.close(key, below: offset, until: until) }
    }

    func keep(_ key: TopicPartition) { state.withLock { $0.coordinator.keep(key) } }

    func isOwed(_ key: TopicPartition, below offset: Int64) -> Bool {
        state.withLock { state in
            // What is not on the disk yet may be owed again after a crash.
            let isDurable = log.view.durableEnd >= state.end
            return state.coordinator.isOwed(key, below: isDurable ? offset : .max)
        }
    }

    /// Makes dead letters of records, and calls `then` once that is on the disk.
    func rescue(
        _ group: String, _ key: TopicPartition, _ bodies: [(offset: Int64, body: [UInt8])],
        _ then: @escaping @Sendable (Coordinator.Rescue) -> Void
    ) {
        let rescue = Carried(Coordinator.Rescue())
        let now = now
        record { coordinator in
            rescue.value = coordinator.rescue(group, key, bodies, at: now)
            return rescue.value.records
        } _: {
            then(rescue.value)
        }
    }

    /// All groups of the shard.
    func descriptions(gaps: Coordinator.Gaps) -> [GroupDescription] {
        let now = now
        return state.withLock { $0.coordinator.descriptions(at: now, gaps: gaps) }
    }

    /// Up to where all groups of the shard have handled a partition; nil: none waits for it.
    func consumed(_ key: TopicPartition) -> ConsumedMark? {
        state.withLock { $0.consumed(key, durableEnd: log.view.durableEnd) }
    }

    var names: [String] { state.withLock { $0.coordinator.names } }

    var knownTopics: Set<TopicID> { state.withLock { $0.coordinator.knownTopics } }
}
