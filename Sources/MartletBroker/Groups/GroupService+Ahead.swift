import MartletFormat
import MartletGroups
import MartletStorage
import MartletTelemetry
import Synchronization

// What groups know is held against the logs at a start, before anybody is served.
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
        let engine = setup.engine
        for shard in shards { shard.setBack { engine.end(of: $0) } }
    }

    private func passOver(_ id: TopicID, _ ends: [Int32: Int64]) throws(StorageError) {
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
        }
    }
}

extension GroupShard {
    var handedEnds: [TopicPartition: Int64] { state.withLock { $0.coordinator.handedEnds } }

    /// Stream groups that have committed more than there is.
    fileprivate func setBack(_ ends: @escaping @Sendable (TopicPartition) -> Int64?) {
        let now = now
        record({ $0.setBack(to: ends, at: now) }, {})
    }
}

extension StorageEngine {
    /// nil: the partition is not there, or its log cannot be read.
    fileprivate func end(of key: TopicPartition) -> Int64? {
        guard let view = topic(id: key.topic)?.partition(key.partition)?.view,
            view.state == .online
        else { return nil }
        return view.logEnd
    }
}
