import MartletFormat
import MartletGroups
import MartletStorage
import MartletTelemetry
import Synchronization

// What groups know is held against the logs as a start finds them.
extension GroupService {
    /// A log may end below what groups were handed of it: after a restore of files of different
    /// moments, or where the disk has lost some. It goes on above, for groups would take what comes
    /// there for what they have handled. A commit is only the word of a member: that goes back.
    func holdAgainstLogs(_ shards: [GroupShard]) throws(StorageError) {
        var ends: [TopicID: [Int32: Int64]] = [:]
        for shard in shards {
            for (key, end) in shard.handedEnds {
                let known = ends[key.topic]?[key.partition] ?? 0
                ends[key.topic, default: [:]][key.partition] = max(known, end)
            }
        }
        for (id, ends) in ends.sorted(by: { $0.key < $1.key }) {
            try passOver(id, ends)
        }
        // Of this moment: what producers append from here on is not what was there.
        let found = setup.engine.ends
        for shard in shards {
            let names = shard.setBack { found[$0] }
            ahead.withLock {
                $0 += names.map { "group \($0) knew of records of a stream that are not there" }
            }
        }
    }

    func passOver(_ id: TopicID, _ ends: [Int32: Int64]) throws(StorageError) {
        guard setup.limits.plantedBug != .appendBelowGroups,
            let topic = setup.engine.topic(id: id)
        else { return }
        let behind = ends.filter { partition, end in
            setup.engine.end(of: TopicPartition(id, partition)).map { $0 < end } ?? false
        }
        if behind.isEmpty { return }
        let gaps = try setup.engine.passOver(topic, below: behind)
        for (partition, gap) in gaps.sorted(by: { $0.key < $1.key }) {
            setup.logger.error(
                "GROUPS_AHEAD",
                "groups have had records that the topic does not have: it goes on above them",
                [
                    ("topic", LogValue(topic.name)), ("partition", LogValue(Int64(partition))),
                    ("from", LogValue(gap.lowerBound)), ("to", LogValue(gap.upperBound)),
                ])
            ahead.withLock {
                $0.append(
                    "\(topic.name)/\(partition) ended at \(gap.lowerBound), and groups had had records "
                        + "up to \(gap.upperBound)")
            }
        }
    }
}

extension GroupShard {
    var handedEnds: [TopicPartition: Int64] { state.withLock { $0.coordinator.handedEnds } }

    /// Stream groups that know of more than there is; returns their names.
    fileprivate func setBack(
        _ ends: @escaping @Sendable (TopicPartition) -> Int64?
    ) -> [String] {
        let now = now
        let records = state.withLock { $0.coordinator.setBack(to: ends, at: now) }
        record({ $0.setBack(to: ends, at: now) }, {})
        return Set(records.map(\.group)).sorted()
    }
}

extension StorageEngine {
    /// Of all logs that can be read.
    fileprivate var ends: [TopicPartition: Int64] {
        var ends: [TopicPartition: Int64] = [:]
        for topic in topics() {
            for log in topic.partitions {
                let key = TopicPartition(topic.id, log.partition)
                ends[key] = end(of: key)
            }
        }
        return ends
    }

    /// nil: the partition is not there, or its log cannot be read.
    fileprivate func end(of key: TopicPartition) -> Int64? { readableView(of: key)?.logEnd }

    /// Up to where readers see it; nil as above.
    func visibleEnd(of key: TopicPartition) -> Int64? { readableView(of: key)?.highWatermark }

    private func readableView(of key: TopicPartition) -> LogView? {
        guard let view = topic(id: key.topic)?.partition(key.partition)?.view,
            view.state == .online
        else { return nil }
        return view
    }
}
