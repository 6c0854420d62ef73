/// Where a queue group begins in a partition that is new to it.
public enum QueueStart: Sendable, Equatable {
    /// With the oldest record.
    case earliest
    /// With the next record that comes.
    case latest

    /// The number of such a queue.
    func wire(_ order: QueueOrder) -> UInt8 {
        switch (self, order) {
        case (.earliest, .free): 1
        case (.latest, .free): 2
        case (.earliest, .byKey): 3
        case (.latest, .byKey): 4
        }
    }
}

/// What order a queue group keeps. Said once, when the group is made.
public enum QueueOrder: Sendable, Equatable {
    /// None: whoever is free gets the next record.
    case free
    /// Of each key, within a partition, one record is with a member at a time, in order of offsets:
    /// the next one comes when it is done. Records without a key have no order.
    case byKey
}

/// A record that a queue group handed to this member, for a time.
public struct QueueRecord: Sendable {
    /// The record.
    public let record: ConsumedRecord
    /// The how manieth time a handler begins with it: 1 for the first. Counted by the broker, also
    /// over restarts.
    public let attempt: Int
    /// What happened to it, when it was a dead letter and somebody sent it to the group again; then
    /// `attempt` counts from that. Nil for all others.
    public let deadLetter: DeadLetterEntry?
}

/// What became of a record of a queue.
public enum QueueOutcome: Sendable, Equatable {
    /// It is done: nobody gets it again. Unless the broker says, as it is told so, that somebody else
    /// has the record by now, or that it is a dead letter: then `onLost` is told, and it may be
    /// handled a second time.
    case done
    /// It is not: somebody gets it again after so long, up to 30 days.
    case again(after: Duration)
    /// Somebody has to look at it: it is set aside, by the group's policy as a dead letter. The
    /// reason is kept with it, up to 1,000 bytes of UTF-8.
    case reject(_ reason: String)
}

/// What happens to a member of a queue group beside its records.
public enum QueueEvent: Sendable {
    /// The member is in the group, under this id (32 hexadecimal digits).
    case joined(member: String)
    /// The group took the member for dead: what it held is others' by now. It joins again.
    case fenced(MartletError)
    /// These records cannot be read: `from..<to` of the partition, which may be more than this member
    /// was handed. Told once for each range. They are set aside, neither acked nor counted as
    /// tried, and all others go on. What to do: `martlet topic verify` names all damage; restore the
    /// range from a backup, or give it up with `martlet topic skip-damage`. The error is
    /// `CORRUPT_MESSAGE` and says what is wrong.
    case damaged(TopicPartition, Range<Int64>, MartletError)
    /// The connection broke, or the first attempt failed: the broker is away. It is made again until the
    /// client's deadline; handlers that run go on.
    case disconnected(MartletError)
    /// The connection is back. Of what the member held, a broker that was started anew hands out again
    /// what is not settled: see `lease`.
    case reconnected
    /// Something happened to the group as a whole.
    case news(GroupNews)
}

/// What a member of a queue group reads, and how.
///
/// The values are checked when the member begins: `INVALID_ARGUMENT` names the field.
public struct QueueConfiguration: Sendable {
    /// Is told of offsets that others have by now: what this member did with them may be done twice.
    /// Or they are dead letters by now, and are handled again when somebody sends those to the group;
    /// or the group was reset there, or retention takes them, and nobody has them. What counts of the
    /// same delivery is said record by record: others are not told with them.
    public typealias LostHook = @Sendable (TopicPartition, Range<Int64>) -> Void
    /// Is told what happens to the member beside its records, one event after the other. What it does
    /// holds up heartbeats: it must not block.
    public typealias EventHook = @Sendable (QueueEvent) -> Void
    /// Is told of a record whose handler threw.
    public typealias FailureHook = @Sendable (QueueRecord, any Error) -> Void

    /// The group's name.
    public var group: String
    /// Names of topics, and patterns with `*`; at least one.
    public var topics: [String]
    /// Where the group begins, when this member makes it.
    public var start: QueueStart
    /// What order the group keeps. Refused when the group was made with less; a member that asks for
    /// none gets what the group has.
    public var order: QueueOrder
    /// Handlers that run at a time. 1 to 512.
    public var concurrency: Int
    /// Records that are held ready beyond those being handled. 0 to 100,000.
    public var prefetch: Int
    /// For so long records are this member's alone; extended while it lives. 100 ms to one hour.
    ///
    /// Leases do not outlive the broker: after a restart of it (an upgrade, too) what is not settled is
    /// handed out again. A handler of this member that runs with such a record then, or has ended
    /// without the broker hearing it, is not begun again when the record comes to this member; but
    /// another member may be handed it, and begin beside it.
    public var lease: Duration
    /// A record whose handler takes longer than this goes to another member. More than zero.
    public var handlerTimeout: Duration
    /// A member that is not heard of for so long is taken for dead. One second to five minutes, or
    /// what the broker allows.
    public var sessionTimeout: Duration
    /// How long handlers that have begun may take when the member ends; then they are cancelled.
    public var drainTimeout: Duration
    /// Called when records turn out to be others'.
    public var onLost: LostHook?
    /// Called when a handler threw.
    public var onFailure: FailureHook?
    /// Called when something happens to the member or its group.
    public var onEvent: EventHook?
    package var trace: MemberTracer?

    /// - Parameters:
    ///   - group: the group's name.
    ///   - topics: names of topics, and patterns with `*`.
    ///   - start: where the group begins, when this member makes it.
    ///   - order: what order the group keeps.
    ///   - concurrency: handlers that run at a time.
    ///   - prefetch: records that are held ready beyond those being handled.
    ///   - lease: for so long records are this member's alone.
    public init(
        _ group: String, topics: [String], start: QueueStart = .earliest,
        order: QueueOrder = .free, concurrency: Int = 16, prefetch: Int = 256,
        lease: Duration = .seconds(30)
    ) {
        self.group = group
        self.topics = topics
        self.start = start
        self.order = order
        self.concurrency = concurrency
        self.prefetch = prefetch
        self.lease = lease
        handlerTimeout = .seconds(300)
        sessionTimeout = .seconds(10)
        drainTimeout = .seconds(30)
    }

    /// Records that are held at once.
    var window: Int { concurrency + prefetch }

    func validate() throws(MartletError) {
        guard !group.isEmpty else { throw .invalid("group", "is empty") }
        guard !topics.isEmpty else { throw .invalid("topics", "are empty") }
        guard 1...512 ~= concurrency else { throw .invalid("concurrency", "must be 1 to 512") }
        guard 0...100_000 ~= prefetch else { throw .invalid("prefetch", "must be 0 to 100,000") }
        guard .milliseconds(100) ... .seconds(3_600) ~= lease else {
            throw .invalid("lease", "must be 100 ms to one hour")
        }
        guard handlerTimeout > .zero else { throw .invalid("handlerTimeout", "must be above 0") }
        guard sessionTimeout >= .seconds(1) else {
            throw .invalid("sessionTimeout", "must be at least one second")
        }
        guard drainTimeout >= .zero else { throw .invalid("drainTimeout", "is negative") }
    }
}
