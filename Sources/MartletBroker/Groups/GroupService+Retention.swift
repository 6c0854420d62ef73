import MartletFormat
import MartletGroups
import MartletStorage

// What groups have handled, for retention `until-consumed`.
extension GroupService: ConsumedMarks {
    func consumed(topic: TopicID, partition: Int32) -> ConsumedMark {
        let key = TopicPartition(topic, partition)
        return all.compactMap { $0.consumed(key) }.min {
            ($0.offset, $0.group ?? "") < ($1.offset, $1.group ?? "")
        } ?? .nobody
    }

    func release(topic: TopicID, partition: Int32, below target: Int64) -> Int64? {
        rescue.release(TopicPartition(topic, partition), target, all)
    }

    func released(topic: TopicID, partition: Int32, below offset: Int64) {
        rescue.tell(TopicPartition(topic, partition), below: offset, all)
    }
}

/// What groups had handled of a partition when `$groups` ended at `end`.
struct LowMark {
    let mark: ConsumedMark?
    let end: Int64
}

extension GroupShard.State {
    /// What is in memory may be ahead of the disk, and a crash would bring older commits back. So
    /// what counts is what was there at an earlier look and is durable by now, if that is less.
    mutating func consumed(_ key: TopicPartition, durableEnd: Int64) -> ConsumedMark? {
        let low = coordinator.lowMark(key).map { ConsumedMark(offset: $0.offset, group: $0.group) }
        let earlier = lowMarks[key]
        if durableEnd >= end {
            lowMarks[key] = nil
            return low
        }
        let isOver = earlier.map { durableEnd >= $0.end } ?? true
        if isOver { lowMarks[key] = LowMark(mark: low, end: end) }
        let name = low?.group ?? earlier?.mark?.group
        guard let earlier, isOver, let before = earlier.mark, let low else {
            return ConsumedMark(offset: 0, group: name)
        }
        return before.offset < low.offset ? before : low
    }
}
