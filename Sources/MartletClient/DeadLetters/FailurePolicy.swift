import MartletWire

/// What becomes of records whose handlers fail, in a group. The broker holds it.
///
/// After a `PermanentFailure`, and when the attempts are used up, comes `last`; until then the
/// record comes again after a pause that grows. Nothing is ever dropped.
public struct FailurePolicy: Sendable, Equatable {
    /// What becomes of a record that is not tried any more.
    public enum Last: Sendable, Equatable {
        /// It becomes a dead letter: it is kept beside the main flow, which goes on.
        case deadLetter
        /// The group stands still in the record's partition, until somebody resumes it.
        case pause
        /// It is set aside in its place until somebody releases it, and the others go on.
        case parkRecord
        /// The same, and all later records of its key wait behind it. For streams, and for queues in
        /// order by key.
        case parkKey
    }

    /// Handlers that begin with a record, in all; 0: as many as it takes. 0 to 65,535.
    public var attempts: Int
    /// Until the second attempt. One millisecond to 30 days.
    public var backoff: Duration
    /// How many times as long as the one before each pause is. 1 to 100, in hundredths.
    public var factor: Double
    /// No pause is longer. One millisecond to 30 days.
    public var backoffMax: Duration
    /// The share of a pause by which chance may shorten it. 0 to 1, in hundredths.
    public var jitter: Double
    /// What comes then.
    public var last: Last
    /// Stops the group for a while when nearly everything fails.
    public var breaker: BreakerPolicy

    /// - Parameters:
    ///   - attempts: handlers that begin with a record, in all; 0: as many as it takes.
    ///   - backoff: until the second attempt.
    ///   - factor: how many times as long as the one before each pause is.
    ///   - backoffMax: no pause is longer.
    ///   - jitter: the share of a pause by which chance may shorten it.
    ///   - last: what comes then.
    ///   - breaker: stops the group for a while when nearly everything fails.
    public init(
        attempts: Int = 3, backoff: Duration = .seconds(2), factor: Double = 2,
        backoffMax: Duration = .seconds(300), jitter: Double = 0.2, last: Last = .deadLetter,
        breaker: BreakerPolicy = BreakerPolicy()
    ) {
        self.attempts = attempts
        self.backoff = backoff
        self.factor = factor
        self.backoffMax = backoffMax
        self.jitter = jitter
        self.last = last
        self.breaker = breaker
    }

    init(_ item: FailurePolicyItem) throws(MartletError) {
        switch item.last {
        case 0: last = .deadLetter
        case 1: last = .pause
        case 2: last = .parkRecord
        case 3: last = .parkKey
        default:
            throw .protocolError("The broker names a policy, \(item.last), that is not known.")
        }
        attempts = Int(item.attemptsMax)
        backoff = .milliseconds(item.backoffMilliseconds)
        factor = Double(item.backoffFactorPercent) / 100
        backoffMax = .milliseconds(item.backoffMaxMilliseconds)
        jitter = Double(item.jitterPercent) / 100
        breaker = BreakerPolicy(item)
    }

    func item() throws(MartletError) -> FailurePolicyItem {
        guard let attempts = UInt16(exactly: attempts) else {
            throw .invalid("attempts", "must be 0 to 65,535")
        }
        // What is not a number is in no range.
        guard 1...100 ~= factor else { throw .invalid("factor", "must be 1 to 100") }
        guard 0...1 ~= jitter else { throw .invalid("jitter", "must be 0 to 1") }
        let times = Duration.milliseconds(1) ... .seconds(30 * 86_400)
        guard times ~= backoff else { throw .invalid("backoff", "must be 1 ms to 30 days") }
        guard times ~= backoffMax else { throw .invalid("backoffMax", "must be 1 ms to 30 days") }
        var item = FailurePolicyItem()
        item.attemptsMax = attempts
        item.backoffMilliseconds = Int64(backoff.millisecondsClamped)
        item.backoffFactorPercent = Int32((factor * 100).rounded())
        item.backoffMaxMilliseconds = Int64(backoffMax.millisecondsClamped)
        item.jitterPercent = Int32((jitter * 100).rounded())
        switch last {
        case .deadLetter: item.last = 0
        case .pause: item.last = 1
        case .parkRecord: item.last = 2
        case .parkKey: item.last = 3
        }
        try breaker.write(&item)
        return item
    }
}

/// A record that a group's handlers could not do, and that is neither handled nor resolved yet.
public struct DeadLetter: Sendable, Equatable {
    /// Names it in its group, for ever.
    public let number: UInt64
    /// The partition where the record comes from. Of a topic that was deleted, the name is empty.
    public let partition: TopicPartition
    /// Its offset there.
    public let offset: Int64
    /// Why it is a dead letter.
    public let reason: DeadLetterReason
    /// Handlers that began with it, in all, up to when it died last.
    public let attempts: Int
    /// How often it died.
    public let deaths: Int
    /// How often it was sent to the group again.
    public let replays: Int
    /// When it died last, in milliseconds since 1970.
    public let diedAt: Int64
    /// Whether it is with the group again, and not handled yet.
    public let isReplaying: Bool
    /// The offset of its newest entry that has a record, in partition 0 of the group's topic of dead
    /// letters; nil: it is not there yet, but soon.
    public let place: Int64?
    /// The same of its last entry of any kind.
    public let lastPlace: Int64?
    /// Who is to look after it; nil: nobody.
    public let assignee: String?
    /// How often it was assigned or commented.
    public let remarks: Int
}

/// The dead letters of a group, counted.
public struct DeadLetterCounts: Sendable, Equatable {
    /// Neither handled nor resolved, and not with the group.
    public let dead: Int64
    /// With the group again, and not handled yet.
    public let replaying: Int64
    /// Entries that wait to be written to the topic of dead letters; they are durable already.
    public let notStored: Int64
    /// When the oldest of the dead died, in milliseconds since 1970; nil: there is none.
    public let oldestAt: Int64?

    init(_ item: MartletWire.DeadLetterCounts) {
        dead = item.dead
        replaying = item.replaying
        notStored = item.notStored
        oldestAt = item.oldestAt < 0 ? nil : item.oldestAt
    }
}
