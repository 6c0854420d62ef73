import MartletFormat

/// Groups that know of more than their topics have: the records were lost, or what was put back after
/// a loss is of different moments. What is appended there must not be taken for what was handled.
extension Coordinator {
    /// Where the records end that groups are known to have been handed, by partition: of queues, and
    /// what died of streams. What members commit is their word alone.
    package var handedEnds: [TopicPartition: Int64] {
        var ends: [TopicPartition: Int64] = [:]
        for group in groups.values {
            for (queue, progress) in group.state.queues where queue.lane == .flow {
                let end = progress.handedEnd(of: group.state.kind)
                ends[queue.partition] = max(ends[queue.partition] ?? 0, end)
            }
        }
        return ends
    }

    /// Sets stream groups back that have committed more than there is, and takes those partitions from
    /// who has them, as with any reset. `ends`: of the logs; nil where that is not known.
    package func setBack(
        to ends: (TopicPartition) -> Int64?, at now: Now
    ) -> [GroupRecord] {
        if limits.plantedBug == .trustCommits { return [] }
        // Many groups have the same partitions.
        var known: [TopicPartition: Int64?] = [:]
        var records: [GroupRecord] = []
        for (name, group) in groups where group.state.kind == .stream {
            for (key, partition) in group.state.partitions {
                guard let committed = partition.committed, partition.epoch < Int32.max else {
                    continue
                }
                let found = known[key] ?? ends(key)
                known[key] = .some(found)
                guard let end = found, end < committed.end else { continue }
                let reset = StreamReset(
                    key, at: min(committed.offset, end), epoch: partition.epoch + 1)
                records.append(.reset(group: name, [reset], at: now.wall))
            }
        }
        return records
    }
}

extension CommittedOffset {
    /// Behind all that it says is done.
    fileprivate var end: Int64 { max(offset, finished.last?.upperBound ?? 0) }
}

extension QueueProgress {
    fileprivate func handedEnd(of kind: GroupKind) -> Int64 {
        let settled = settled.ranges.last?.upperBound ?? 0
        switch kind {
        case .stream: return settled
        case .queue:
            let last =
                [attempts.keys.max(), delays.keys.max(), parked.keys.max()]
                .compactMap(\.self).max() ?? 0
            return max(start, settled, last < .max ? last + 1 : last)
        }
    }
}
