/// When a group's consumer says how far it is.
public enum CommitPolicy: Sendable, Equatable {
    /// At least once: what was handled is committed every `interval`, and at each hand-over. A record
    /// (or a batch) counts as handled when the application asks for the next one. `interval` is more
    /// than zero.
    case afterProcessing(interval: Duration)
    /// At most once: the commit is durable before the first record of a batch is handed out. At a
    /// hand-over it is put back to what was really handed out.
    case beforeProcessing
    /// Only when the application calls `commit`.
    case manual

    /// At least once, committed every five seconds.
    public static var afterProcessing: CommitPolicy { .afterProcessing(interval: .seconds(5)) }
}

/// Where a group goes on in a partition when there is nothing at the place where it was to read: it
/// never committed there (also: the topic was deleted and made again), the log begins behind that
/// place or ends before it, or the records of that place were lost. Of what was lost it never goes
/// back before. Each use posts `GroupEvent.reset`, is committed at once, and counts in the broker's
/// metric `martlet_group_policy_resets_total`.
public enum GroupResetPolicy: Sendable, Equatable {
    /// With the oldest record.
    case earliest
    /// With the next record that comes.
    case latest
    /// With the first record whose event time, in milliseconds since 1970, is not before this; with
    /// the next one that comes when there is none.
    case time(Int64)
    /// Nowhere: the sequence throws `OFFSET_OUT_OF_RANGE`, or `OFFSETS_LOST`, for the partition.
    case fail
}

/// What a member of a group reads, and how.
///
/// The values are checked when the consumer is made: `INVALID_ARGUMENT` names the field.
public struct GroupConsumerConfiguration: Sendable {
    /// Is called with the consumer and partitions, and awaited. It may close the consumer.
    public typealias AssignHook = @Sendable (GroupConsumer, [TopicPartition]) async -> Void
    /// Is called with the consumer, partitions, and whether they are lost already, and awaited.
    public typealias RevokeHook = @Sendable (GroupConsumer, [TopicPartition], Bool) async -> Void
    /// Is told what happens to the member beside its records, one event after the other. When it is
    /// slow, events wait; of more than 1,024 that wait the oldest are forgotten.
    public typealias EventHook = @Sendable (GroupEvent) -> Void

    /// The group's name.
    public var group: String
    /// Names of topics, and patterns with `*`; at least one.
    public var topics: [String]
    /// Names the member over restarts of its process: who joins with the name of another member
    /// takes its partitions at once, and that one's sequence throws `FENCED_MEMBER`. It does not leave
    /// when it is closed. nil: an ordinary member.
    public var instance: String?
    /// A member that is not heard of for so long is taken for dead. One second to five minutes, or
    /// what the broker allows.
    public var sessionTimeout: Duration
    /// How long the application may take to finish what it was handed of a partition that goes to
    /// another member. Up to 59 minutes.
    public var drainTimeout: Duration
    /// A member whose application asks for nothing for so long is taken for stuck. Zero: never.
    public var progressTimeout: Duration
    /// When the group's offsets are committed.
    public var commitPolicy: CommitPolicy
    /// Where to begin without a committed offset.
    public var resetPolicy: GroupResetPolicy
    /// What becomes of a record whose handler throws, in `consumeGroup`.
    public var failures: GroupFailureHandling
    /// Bytes of one fetch over all partitions. 1,024 to 64 MiB.
    public var maxBytes: Int
    /// How long the broker waits when there is nothing to read. Up to one minute.
    public var maxWait: Duration
    /// Bytes of records that are kept ready before the application asks for them.
    public var prefetchBytes: Int
    /// How long a lost broker is waited for before the sequence throws `CONNECTION_FAILED`; nil takes
    /// the client's.
    public var deadline: Duration?
    /// Awaited before the first record of partitions that were assigned.
    public var onAssign: AssignHook?
    /// Awaited before partitions go to another member: the application has finished what it was
    /// handed, and may still commit. When they are lost (its last argument), others may have them
    /// already.
    public var onRevoke: RevokeHook?
    /// Called when something happens to the member or its group, in `consumeGroup`, up to the last
    /// partition that is given up. Who reads sequences has `GroupConsumer.events`.
    public var onEvent: EventHook?
    package var trace: MemberTracer?

    /// - Parameters:
    ///   - group: the group's name.
    ///   - topics: names of topics, and patterns with `*`.
    ///   - instance: names the member over restarts.
    ///   - sessionTimeout: not heard of for so long is dead.
    ///   - drainTimeout: to finish what goes to another member.
    ///   - progressTimeout: asking for nothing for so long is stuck.
    ///   - commitPolicy: when offsets are committed.
    ///   - resetPolicy: where to begin without a committed offset.
    public init(
        _ group: String, topics: [String], instance: String? = nil,
        sessionTimeout: Duration = .seconds(10), drainTimeout: Duration = .seconds(30),
        progressTimeout: Duration = .seconds(300), commitPolicy: CommitPolicy = .afterProcessing,
        resetPolicy: GroupResetPolicy = .earliest
    ) {
        self.group = group
        self.topics = topics
        self.instance = instance
        self.sessionTimeout = sessionTimeout
        self.drainTimeout = drainTimeout
        self.progressTimeout = progressTimeout
        self.commitPolicy = commitPolicy
        self.resetPolicy = resetPolicy
        failures = .end
        maxBytes = 2 << 20
        maxWait = .milliseconds(500)
        prefetchBytes = 8 << 20
    }

    func validate() throws(MartletError) {
        guard !group.isEmpty else { throw .invalid("group", "is empty") }
        guard !topics.isEmpty else { throw .invalid("topics", "are empty") }
        guard sessionTimeout >= .seconds(1) else {
            throw .invalid("sessionTimeout", "must be at least one second")
        }
        guard drainTimeout >= .zero, drainTimeout <= .seconds(3_540) else {
            throw .invalid("drainTimeout", "must be 0 to 59 minutes")
        }
        guard progressTimeout >= .zero else { throw .invalid("progressTimeout", "is negative") }
        if failures == .byPolicy, commitPolicy == .beforeProcessing {
            throw .invalid("failures", "cannot call a handler again that is called at most once")
        }
        if case .afterProcessing(let interval) = commitPolicy, interval <= .zero {
            throw .invalid("commitPolicy", "has an interval that is not above 0")
        }
        try reading.validate()
    }

    /// For the part that fetches.
    var reading: ConsumerConfiguration {
        ConsumerConfiguration(
            topics.map { .topic($0) }, maxBytes: maxBytes, maxWait: maxWait,
            prefetchBytes: prefetchBytes, deadline: deadline)
    }
}
