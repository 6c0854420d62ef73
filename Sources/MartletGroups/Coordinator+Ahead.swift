import MartletFormat

/// Groups that know of more than their topics have: the records were lost, or what was put back after
/// a loss is of different moments. What is appended there must not be taken for what was handled.
extension Coordinator {
    /// Where the records end that the broker is known to have handed to groups, or to have stored for
    /// them, by partition: of queues, of what was sent again, what died of streams, and dead letters.
    /// What members of streams say is their word alone.
    package var handedEnds: [TopicPartition: Int64] {
        var ends: [TopicPartition: Int64] = [:]
        func note(_ key: TopicPartition, _ end: Int64) { ends[key] = max(ends[key] ?? 0, end) }
        for state in groups.values.map(\.state) {
            for (queue, progress) in state.queues {
                note(queue.partition, progress.handedEnd(of: state.kind))
            }
            let place = state.letters.lastPlace
            if let topic = state.letters.topic, place < .max { note(topic, place + 1) }
        }
        return ends.filter { $0.value > 0 }
    }

    /// Sets stream groups back that have committed more than there is, and takes those partitions from
    /// who has them, as with any reset; and forgets what was said of records that are not there: how
    /// often they were tried, and that they are parked. `ends`: of the logs; nil where that is not known.
    package func setBack(
        to ends: (TopicPartition) -> Int64?, at now: Now
    ) -> [GroupRecord] {
        if limits.plantedBug == .trustCommits { return [] }
        var records: [GroupRecord] = []
        for (name, group) in groups where group.state.kind == .stream {
            for (key, partition) in group.state.partitions {
                guard let end = ends(key), let committed = partition.committed,
                    end < committed.end, partition.epoch < Int32.max
                else { continue }
                let reset = StreamReset(
                    key, at: min(committed.offset, end), epoch: partition.epoch + 1)
                records.append(.reset(group: name, [reset], at: now.wall))
            }
            for (queue, progress) in group.state.queues where queue.lane == .flow {
                guard let end = ends(queue.partition), progress.saidEnd > end else { continue }
                records.append(.queue(group: name, queue, .released([end..<Int64.max])))
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
        if isReplay {
            // All that was never sent again counts as settled, for ever.
            let open = settled.ranges.last.map { $0.upperBound == .max ? $0.lowerBound : 0 }
            return max(open ?? 0, saidEnd)
        }
        let settledEnd = settled.ranges.last?.upperBound ?? 0
        switch kind {
        case .stream: return settledEnd
        case .queue: return max(start, settledEnd, saidEnd)
        }
    }

    /// Behind all that something is known of that is not settled.
    fileprivate var saidEnd: Int64 {
        let last = [
            attempts.keys.max(), delays.keys.max(), parked.keys.max(), failures.keys.max(),
        ].compactMap(\.self).max()
        guard let last else { return 0 }
        return last < .max ? last + 1 : last
    }
}
