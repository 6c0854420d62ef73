package import MartletFormat
import Synchronization

/// Up to where all groups have handled a partition.
package struct ConsumedMark: Equatable, Sendable {
    /// Everything below was handled by all, and that is on disk.
    package let offset: Int64
    /// The one that is furthest behind; nil: no group is there, and everything stays.
    package let group: String?

    package init(offset: Int64, group: String?) {
        self.offset = offset
        self.group = group
    }

    package static let nobody = ConsumedMark(offset: 0, group: nil)
}

/// Knows the groups. Asked on the upkeep's thread; must not wait for the disk.
package protocol ConsumedMarks: AnyObject, Sendable {
    func consumed(topic: TopicID, partition: Int32) -> ConsumedMark
    /// Retention is about to take what lies below `target`. Up to where it may go; nil: it asks again
    /// in its next round, for something is copied first. Bounded in time.
    func release(topic: TopicID, partition: Int32, below target: Int64) -> Int64?
    /// Follows each `release` that gave something: what lies below is gone now, which may be less; and
    /// each deletion by a person.
    func released(topic: TopicID, partition: Int32, below offset: Int64)
}

/// Where retention asks, once somebody there can answer. Until then nothing counts as handled.
final class ConsumedSource: Sendable {
    private struct Reference {
        weak var marks: (any ConsumedMarks)?
    }

    private let reference = Mutex(Reference())

    func set(_ marks: any ConsumedMarks) { reference.withLock { $0.marks = marks } }

    func mark(_ log: PartitionLog) -> ConsumedMark {
        let marks = reference.withLock { $0.marks }
        return marks?.consumed(topic: log.topicID, partition: log.partition) ?? .nobody
    }

    /// Up to where records may go; nil: not yet.
    func release(_ log: PartitionLog, below target: Int64) -> Int64? {
        guard let marks = reference.withLock({ $0.marks }) else {
            return log.context.options.asksGroups ? nil : target
        }
        return marks.release(topic: log.topicID, partition: log.partition, below: target)
    }

    func released(_ log: PartitionLog, below offset: Int64) {
        let marks = reference.withLock { $0.marks }
        marks?.released(topic: log.topicID, partition: log.partition, below: offset)
    }
}

extension StorageEngine {
    /// Who is asked what groups have handled. Not kept alive by the engine.
    package func setConsumedMarks(_ marks: any ConsumedMarks) { context.consumed.set(marks) }
}
