import MartletGroups
import MartletStorage

extension StorageEngine {
    /// Offsets that no reader finds a record at; none of a partition that is not there.
    @Sendable func vacant(_ key: TopicPartition) -> [Range<Int64>] {
        topic(id: key.topic)?.partition(key.partition)?.vacant ?? []
    }

    /// Offsets of records that cannot be read, as far as somebody has met them.
    @Sendable func damaged(_ key: TopicPartition) -> [Range<Int64>] {
        topic(id: key.topic)?.partition(key.partition)?.damaged ?? []
    }
}
