/// Where a consumer begins to read a partition.
public enum StartPosition: Sendable, Equatable {
    /// With the oldest record.
    case earliest
    /// With the next record that comes.
    case latest
    /// With this offset.
    case offset(Int64)
    /// With the first record whose event time, in milliseconds since 1970, is not before this; with
    /// the next one that comes when there is none.
    case time(Int64)
}

/// What a consumer reads: a topic or one of its partitions.
public struct Assignment: Sendable, Equatable {
    /// The topic's name.
    public var topic: String
    /// The partition; nil for all, also those that are added later (they are read from their start).
    public var partition: Int32?
    /// Where to begin; nil takes the configuration's `start`.
    public var start: StartPosition?

    /// - Parameters:
    ///   - topic: the topic's name.
    ///   - partition: nil for all.
    ///   - start: nil takes the configuration's.
    public init(topic: String, partition: Int32? = nil, start: StartPosition? = nil) {
        self.topic = topic
        self.partition = partition
        self.start = start
    }

    /// All partitions of a topic.
    ///
    /// - Parameters:
    ///   - name: the topic's name.
    ///   - start: nil takes the configuration's.
    /// - Returns: the assignment.
    public static func topic(_ name: String, start: StartPosition? = nil) -> Assignment {
        Assignment(topic: name, start: start)
    }

    /// One partition of a topic.
    ///
    /// - Parameters:
    ///   - topic: the topic's name.
    ///   - partition: its number.
    ///   - start: nil takes the configuration's.
    /// - Returns: the assignment.
    public static func partition(
        _ topic: String, _ partition: Int32, start: StartPosition? = nil
    ) -> Assignment {
        Assignment(topic: topic, partition: partition, start: start)
    }
}

/// What a consumer does when the offset it wants is not there any more (or not there yet, after the
/// loss of records that were never durable).
public enum ResetPolicy: String, Sendable, CaseIterable {
    /// Go on with the oldest record, and post `ConsumerEvent.reset`.
    case earliest
    /// Go on with the next record that comes, and post `ConsumerEvent.reset`.
    case latest
    /// Throw `OFFSET_OUT_OF_RANGE`.
    case fail
}

/// What a consumer reads, and how.
///
/// The values are checked when the consumer is made: `INVALID_ARGUMENT` names the field.
public struct ConsumerConfiguration: Sendable {
    /// What to read; at least one topic or partition, none of them twice.
    public var assignments: [Assignment]
    /// Where to begin, for assignments that do not say it themselves.
    public var start: StartPosition
    /// Bytes of one fetch over all partitions; a single larger batch is fetched nevertheless.
    /// 1,024 to 64 MiB.
    public var maxBytes: Int
    /// Bytes that the broker waits for before it answers, up to `maxWait`. 0 to `maxBytes`.
    public var minBytes: Int
    /// How long the broker waits when there is nothing to read. Up to one minute.
    public var maxWait: Duration
    /// Bytes of records that are kept ready before the application asks for them; one fetch more
    /// may be on its way.
    public var prefetchBytes: Int
    /// What to do when the wanted offset is not there.
    public var resetPolicy: ResetPolicy
    /// How long a lost broker is waited for before the sequence throws `CONNECTION_FAILED`; nil
    /// takes the client's.
    public var deadline: Duration?
    /// How often topics are looked at for new partitions.
    var refreshInterval = Duration.seconds(30)

    /// - Parameters:
    ///   - assignments: what to read.
    ///   - start: where to begin.
    ///   - maxBytes: bytes of one fetch.
    ///   - minBytes: bytes that the broker waits for.
    ///   - maxWait: how long the broker waits.
    ///   - prefetchBytes: bytes that are kept ready.
    ///   - resetPolicy: what to do when the wanted offset is not there.
    ///   - deadline: how long a lost broker is waited for.
    public init(
        _ assignments: [Assignment], start: StartPosition = .earliest, maxBytes: Int = 2 << 20,
        minBytes: Int = 1, maxWait: Duration = .milliseconds(500), prefetchBytes: Int = 8 << 20,
        resetPolicy: ResetPolicy = .fail, deadline: Duration? = nil
    ) {
        self.assignments = assignments
        self.start = start
        self.maxBytes = maxBytes
        self.minBytes = minBytes
        self.maxWait = maxWait
        self.prefetchBytes = prefetchBytes
        self.resetPolicy = resetPolicy
        self.deadline = deadline
    }

    /// All partitions of one topic.
    ///
    /// - Parameters:
    ///   - topic: the topic's name.
    ///   - start: where to begin.
    public init(topic: String, start: StartPosition = .earliest) {
        self.init([.topic(topic)], start: start)
    }

    func validate() throws(MartletError) {
        guard !assignments.isEmpty else { throw .invalid("assignments", "are empty") }
        guard (1_024...(64 << 20)).contains(maxBytes) else {
            throw .invalid("maxBytes", "must be 1,024 to 67,108,864")
        }
        guard (0...maxBytes).contains(minBytes) else {
            throw .invalid("minBytes", "must be 0 to maxBytes")
        }
        guard maxWait >= .zero, maxWait <= .seconds(60) else {
            throw .invalid("maxWait", "must be 0 to one minute")
        }
        guard prefetchBytes > 0 else { throw .invalid("prefetchBytes", "must be above 0") }
        if let deadline, deadline < .zero { throw .invalid("deadline", "is negative") }
    }
}
