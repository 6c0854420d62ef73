import MartletFormat

/// A group in a list.
public struct GroupListing: Sendable, Equatable {
    /// The group's name.
    public let name: String
    /// Whether its members own partitions or are handed single records.
    public let kind: GroupKind
    /// Members that are in the group now.
    public let members: Int
    /// Partitions that it has, or is to have.
    public let partitions: Int
    /// Records that readers can see and the group has not handled.
    public let lag: Int64
    /// The whole of it stands still.
    public let isPaused: Bool
    /// Topics and partitions of it that stand still by themselves.
    public let pausedParts: Int
    /// Whether failures have stopped it.
    public let breaker: GroupBreaker.State
    /// Records that are set aside until somebody releases them.
    public let parked: Int64
    /// Dead letters that are neither handled nor resolved, and not with the group again.
    public let dead: Int64
}

/// How a group shares its work.
public enum GroupKind: Sendable, Equatable {
    /// Members own partitions, and commit how far they are.
    case stream
    /// Members are handed single records for a time; where the group begins, and in what order.
    case queue(QueueStart, order: QueueOrder = .free)
}

/// A queue group's account of a partition.
///
/// At every moment `acked + expired + dead + inFlight + delayed + parked + ready` is the number of offsets
/// from `start` to the high watermark.
public struct QueuePartitionInfo: Sendable, Equatable {
    /// Which one. Of a topic that was deleted, the name is empty.
    public let partition: TopicPartition
    /// Where the group began, or was set to by the last reset.
    public let start: Int64
    /// Everything below is acked, expired or dead.
    public let floor: Int64
    /// Readers see what lies below; nil: not known.
    public let highWatermark: Int64?
    /// Records that are done.
    public let acked: Int64
    /// Records that members have now, and dead letters that were sent to the group again.
    public let inFlight: Int64
    /// Records that wait for a member. In order by key, also those that wait for others of their key.
    public let ready: Int64
    /// Records that were given back and come again later.
    public let delayed: Int64
    /// Records that are set aside until somebody releases them.
    public let parked: Int64
    /// Records that retention or deletion took before they were done.
    public let expired: Int64
    /// Dead letters that are neither handled nor resolved, and not with the group.
    public let dead: Int64
    /// Visible, and neither acked nor expired nor dead.
    public let lag: Int64
}

/// A group at one moment.
public struct GroupDescription: Sendable, Equatable {
    /// The group's name.
    public let name: String
    /// When it was made, in milliseconds since 1970.
    public let createdAt: Int64
    /// Records that readers can see and the group has not handled, over all partitions whose lag is
    /// known.
    public let lag: Int64
    /// At least so old is the oldest of them; zero when there is none.
    public let lagTime: Duration
    /// Retention by age takes none of them sooner than this; zero: it may take one now. nil: never.
    public let retentionHeadroom: Duration?
    /// Retention by size takes none of them before so many bytes are appended to a partition. nil:
    /// never.
    public let retentionHeadroomBytes: Int64?
    /// Who is in it, in order of their ids.
    public let members: [GroupMemberInfo]
    /// What it owns or has committed, and what it is to read and never has: that came while nobody was
    /// in it, while it was paused, or before the first receive of a queue. Of a queue, how far it is
    /// as one would commit it.
    public let partitions: [GroupPartitionInfo]
    /// Whether its members own partitions or are handed single records.
    public let kind: GroupKind
    /// Of a queue: where the records of each partition are that it has begun.
    public let queues: [QueuePartitionInfo]
    /// What was sent to it again, without dead letters, by partitions.
    public let replays: [ReplayInfo]
    /// What stands still.
    public let pauses: [GroupPause]
    /// What becomes of records whose handlers fail.
    public let policy: FailurePolicy
    /// How many dead letters it has.
    public let deadLetters: DeadLetterCounts
    /// Whether failures have stopped it.
    public let breaker: GroupBreaker
    /// How long its handlers ran since the broker started, as its members say.
    public let handlerTime: HandlerTimeSummary
    /// The same by types of events: what the header `type` of a record says, empty for records
    /// without one. Up to 20 types of up to 100 bytes are told apart; the others are `other`.
    public let handlerTimeByType: [String: HandlerTimeSummary]
}

/// How long handlers ran. Each call counts, also one that failed. What members report when a
/// connection breaks may count twice.
public struct HandlerTimeSummary: Sendable, Equatable {
    /// Calls; 0: nothing was reported, and the times are zero.
    public let count: UInt64
    /// Of all calls.
    public let mean: Duration
    /// Half of the calls took at most so long, by steps of about 1, 2.5, 5 and 10.
    public let p50: Duration
    /// 99 of 100 calls took at most so long, by the same steps.
    public let p99: Duration
    /// The longest call, exactly.
    public let max: Duration

    init(_ times: HandlerTimes) {
        count = times.count
        mean = .nanoseconds(times.mean)
        p50 = .nanoseconds(times.bound(percent: 50))
        p99 = .nanoseconds(times.bound(percent: 99))
        max = .nanoseconds(times.longest)
    }
}

/// A member of a group.
public struct GroupMemberInfo: Sendable, Equatable {
    /// The member's own random id: 32 hexadecimal digits.
    public let id: String
    /// The name that outlives its process; nil: none.
    public let instance: String?
    /// The name of its client.
    public let client: String
    /// Partitions that it is told to own.
    public let partitions: Int
    /// Not heard of for so long, it is taken for dead.
    public let sessionTimeout: Duration
    /// Asking for nothing for so long, it is taken for stuck; zero: never.
    public let progressTimeout: Duration
    /// Names of topics, and patterns, that it wants.
    public let topics: [String]
}

/// How far a group is in a partition.
public struct GroupPartitionInfo: Sendable, Equatable {
    /// Which one. Of a topic that was deleted, the name is empty.
    public let partition: TopicPartition
    /// The id of the member that owns it; nil: nobody.
    public let owner: String?
    /// Rises with each owner.
    public let epoch: Int32
    /// Its owner was asked to give it up.
    public let isLeaving: Bool
    /// The group stands still there: nobody is given it until it is resumed.
    public let isPaused: Bool
    /// The next record to handle; nil: never committed.
    public let committed: Int64?
    /// Handled beyond `committed`, in order.
    public let finished: [Range<Int64>]
    /// What the application said with the commit.
    public let metadata: String
    /// When it was committed, in milliseconds since 1970; nil: never.
    public let committedAt: Int64?
    /// The first offset that can be read; nil: not known.
    public let logStart: Int64?
    /// Readers see what lies below; nil: not known.
    public let highWatermark: Int64?
    /// Records that readers can see and the group has not handled; nil: not known.
    public let lag: Int64?
    /// At least so old is the oldest of them; zero when there is none; nil: not known.
    public let lagTime: Duration?
    /// Retention by age takes none of them sooner than this; zero: it may take one now. nil: never.
    public let retentionHeadroom: Duration?
    /// Retention by size takes none of them before so many bytes are appended. nil: never.
    public let retentionHeadroomBytes: Int64?
    /// Of a stream group whose failures are the policy's to decide: records that a handler failed with,
    /// that wait for their next attempt or are tried now, and that no commit has passed. At most
    /// 100,000 are counted.
    public let failing: Int64
    /// Of a stream group: records that are set aside until somebody releases them. What waits behind
    /// them is not counted here; it is part of the lag.
    public let parked: Int64
}

/// A part of a group: a topic, or a partition of one.
public struct GroupPart: Sendable, Hashable {
    /// The topic's name.
    public let topic: String
    /// The partition's number; nil: all of them.
    public let partition: Int32?

    /// Names a part.
    ///
    /// - Parameters:
    ///   - topic: its name.
    ///   - partition: its number; nil: all of them.
    public init(_ topic: String, _ partition: Int32? = nil) {
        self.topic = topic
        self.partition = partition
    }
}

/// What of a group stands still.
public struct GroupPause: Sendable, Equatable {
    /// Which part; nil: the whole group.
    public let part: GroupPart?
    /// Since when, in milliseconds since 1970.
    public let since: Int64
}

/// One line of a plan that sets how far a group is.
public struct GroupOffsetChange: Sendable, Equatable {
    /// Which partition.
    public let partition: TopicPartition
    /// What the group had committed when it was planned, or the floor of a queue; nil: nothing.
    public let from: Int64?
    /// The next record to handle.
    public let to: Int64

    /// Makes a line.
    ///
    /// - Parameters:
    ///   - partition: which one.
    ///   - from: what the group has committed, or the floor of a queue; nil: nothing.
    ///   - to: the next record to handle.
    public init(_ partition: TopicPartition, from: Int64?, to: Int64) {
        self.partition = partition
        self.from = from
        self.to = to
    }
}
