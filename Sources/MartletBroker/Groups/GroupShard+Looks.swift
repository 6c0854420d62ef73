import MartletFormat
import MartletGroups
import MartletStorage
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

    /// A group as it is now, also what is not durable yet: for people.
    func describe(_ group: String) throws(GroupRefusal) -> GroupDescription {
        try state.withLock { state throws(GroupRefusal) in
            try state.coordinator.describe(group)
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

    /// All groups of the shard.
    func descriptions() -> [GroupDescription] {
        state.withLock { $0.coordinator.descriptions }
    }

    /// Up to where all groups of the shard have handled a partition; nil: none waits for it.
    func consumed(_ key: TopicPartition) -> ConsumedMark? {
        state.withLock { $0.consumed(key, durableEnd: log.view.durableEnd) }
    }

    var names: [String] { state.withLock { $0.coordinator.names } }

    var knownTopics: Set<TopicID> { state.withLock { $0.coordinator.knownTopics } }
}
