package import MartletFormat

/// One consumer of a group, chosen by the consumer itself at random, so that joining twice with
/// the same id is joining once (the idea of KIP-1082).
package struct MemberID: Hashable, Sendable, Comparable, CustomStringConvertible {
    package let bits: TopicID

    package init(_ bits: TopicID) {
        self.bits = bits
    }

    /// 32 lower-case hexadecimal digits.
    package var description: String { bits.description }

    package static func < (left: MemberID, right: MemberID) -> Bool { left.bits < right.bits }

    /// Stands for an owner that is gone, and for the broker where it holds a record itself.
    static let nobody = MemberID(.zero)
}

/// A partition by the id of its topic, so that a topic made again is never taken for the old one.
package struct TopicPartition: Hashable, Sendable, Comparable {
    package let topic: TopicID
    package let partition: Int32

    package init(_ topic: TopicID, _ partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    package static func < (left: TopicPartition, right: TopicPartition) -> Bool {
        left.topic == right.topic
            ? left.partition < right.partition : left.topic < right.topic
    }
}

/// A queue of a group: a partition, and what of it is handed out. Each has accounts of its own.
package struct QueueID: Hashable, Sendable, Comparable {
    package enum Lane: UInt8, Sendable {
        /// What comes, each record once.
        case flow = 0
        /// What somebody sent to the group again, beside the flow and without touching it.
        case replay = 1
    }

    package let partition: TopicPartition
    package let lane: Lane

    package init(_ partition: TopicPartition, _ lane: Lane) {
        self.partition = partition
        self.lane = lane
    }

    package static func flow(_ partition: TopicPartition) -> QueueID { QueueID(partition, .flow) }

    package static func replay(_ partition: TopicPartition) -> QueueID {
        QueueID(partition, .replay)
    }

    package static func < (left: QueueID, right: QueueID) -> Bool {
        left.partition == right.partition
            ? left.lane.rawValue < right.lane.rawValue : left.partition < right.partition
    }
}

/// The moment at which a command is handled. The coordinator has no clock of its own.
package struct Now: Sendable {
    /// Milliseconds since 1970 UTC: what is written down.
    package let wall: Int64
    /// Nanoseconds of the monotonic clock: what deadlines are measured by.
    package let monotonic: Int64

    package init(wall: Int64, monotonic: Int64) {
        self.wall = wall
        self.monotonic = monotonic
    }

    /// The monotonic time so many milliseconds from now; as late as can be said when that overflows.
    func plus(milliseconds: Int32) -> Int64 {
        let (sum, overflow) = monotonic.addingReportingOverflow(
            Int64(milliseconds) * 1_000_000)
        return overflow ? .max : sum
    }
}

/// A topic as groups see it.
package struct TopicShape: Hashable, Sendable {
    package let name: String
    package let id: TopicID
    package let partitions: Int32
    /// Its records are kept until all groups have handled them.
    package let isUntilConsumed: Bool

    package init(name: String, id: TopicID, partitions: Int32, isUntilConsumed: Bool = false) {
        self.isUntilConsumed = isUntilConsumed
        self.name = name
        self.id = id
        self.partitions = partitions
    }
}

/// How a group shares its work.
package enum GroupKind: Hashable, Sendable {
    /// Members own partitions, and commit how far they are.
    case stream
    /// Members get single records for a time, and settle each.
    case queue(from: QueueStart, order: QueueOrder = .free)

    /// Throws when a group of this kind is asked for as another. Where a queue begins is said
    /// once, when it is made; so is its order, but nobody gets less order than he asks for.
    func check(_ asked: GroupKind) throws(GroupRefusal) {
        switch (self, asked) {
        case (.queue(_, .free), .queue(_, .byKey)):
            throw .invalid(field: "kind", reason: "the queue was made without order by key")
        case (.stream, .stream), (.queue, .queue): return
        case (.stream, .queue), (.queue, .stream): throw .wrongKind(self)
        }
    }

    /// A queue that hands out one record of a key at a time.
    package var isOrdered: Bool {
        switch self {
        case .queue(_, .byKey): true
        case .queue(_, .free), .stream: false
        }
    }
}

/// What order a queue keeps.
package enum QueueOrder: UInt8, Sendable {
    case free = 0
    /// Of each key, and each partition, one record is out at a time, in order of offsets.
    case byKey = 1
}

/// Where a queue group begins in a partition that is new to it.
package enum QueueStart: UInt8, Sendable {
    case earliest = 0
    case latest = 1
}
