import MartletFormat
import Synchronization

extension StorageEngine {
    /// Lets logs go on at these offsets, by partition, where they end below: somebody knows of records
    /// there that the log does not have, and would take others in their place for those. What lies
    /// between is a gap that readers are told of.
    ///
    /// For a start, before anything is appended. Blocks. Without space for it the topic is served to
    /// readers until there is some.
    ///
    /// - Returns: the gaps, by partition; none of logs that end there or above, or are offline.
    /// - Throws: `ioFailed`; what was told of a deleted topic changes nothing.
    package func passOver(
        _ topic: Topic, below offsets: [Int32: Int64]
    ) throws(StorageError) -> [Int32: Range<Int64>] {
        try changes.withLock { _ throws(StorageError) -> [Int32: Range<Int64>] in
            guard self.topic(id: topic.id) === topic, topic.isOnline else { return [:] }
            var passed: [Int32: Range<Int64>] = [:]
            var metadata = topic.metadata
            for (partition, offset) in offsets {
                guard let log = topic.partition(partition),
                    let gap = log.passOver(below: min(offset, LogLimits.offsetMax))
                else { continue }
                passed[partition] = gap
                metadata.gaps[partition] = log.state.withLock { $0.gaps }
            }
            if passed.isEmpty { return [:] }
            let logs = passed.keys.compactMap(topic.partition)
            guard try save(metadata) else { return passed }
            topic.update(metadata, topic.settings)
            for log in logs { log.didPassOver() }
            return passed
        }
    }

    /// False: there is no space for it.
    private func save(_ metadata: TopicMetadata) throws(StorageError) -> Bool {
        do throws(StorageError) {
            try context.withReserve { () throws(StorageError) in try store.update(metadata) }
            return true
        } catch {
            guard error.code == .diskFull else { throw error }
            return false
        }
    }
}

extension PartitionLog {
    private static let passing = "its next offsets are not on disk yet"

    /// Goes on at `offset`. Nothing is appended behind the gap before that is on disk.
    fileprivate func passOver(below offset: Int64) -> Range<Int64>? {
        appender.withLock { appender in
            let end = appender.tail.offset
            let gap = state.withLock { state -> Range<Int64>? in
                guard offset > end, state.offline == nil, state.durable.offset == end else {
                    return nil
                }
                state.gaps.append(end..<offset)
                state.appended.offset = offset
                state.durable.offset = offset
                state.visible.offset = offset
                return end..<offset
            }
            guard let gap else { return nil }
            appender.tail.offset = offset
            appender.readOnly = appender.readOnly ?? Self.passing
            return gap
        }
    }

    /// What the start had no space for may still be to do.
    fileprivate func didPassOver() {
        appender.withLock { appender in
            if appender.readOnly == Self.passing { appender.readOnly = nil }
        }
    }
}
