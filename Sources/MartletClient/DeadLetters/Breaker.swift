import MartletWire

/// When a group's failures are taken for an outage: nothing is handed out for a while, then a few
/// records are tried, and what comes of them decides. Only transient failures count against it, and
/// while it is not closed they use up no attempts.
public struct BreakerPolicy: Sendable, Equatable {
    /// The share of transient failures among the newest outcomes at which it opens. 0.01 to 1, in
    /// hundredths; nil: there is no breaker.
    public var share: Double?
    /// How many outcomes that is; nothing is decided before there were so many. 1 to 10,000.
    public var window: Int
    /// How long it stays open. One millisecond to a day.
    public var openTime: Duration
    /// How many records are tried then: at most so many at once in a queue, and so many outcomes
    /// decide. 1 to 1,000.
    public var probes: Int

    /// - Parameters:
    ///   - share: of transient failures; nil: no breaker.
    ///   - window: among how many outcomes.
    ///   - openTime: how long nothing is handed out.
    ///   - probes: how many records are tried then.
    public init(
        share: Double? = 0.5, window: Int = 100, openTime: Duration = .seconds(30),
        probes: Int = 10
    ) {
        self.share = share
        self.window = window
        self.openTime = openTime
        self.probes = probes
    }

    init(_ item: FailurePolicyItem) {
        share = item.breakerPercent <= 0 ? nil : Double(item.breakerPercent) / 100
        window = Int(item.breakerWindow)
        openTime = .milliseconds(item.breakerOpenMilliseconds)
        probes = Int(item.breakerProbes)
    }

    func write(_ item: inout FailurePolicyItem) throws(MartletError) {
        // What is not a number is in no range.
        guard share.map({ 0.01...1 ~= $0 }) ?? true else {
            throw .invalid("share", "must be 0.01 to 1")
        }
        guard 1...10_000 ~= window else { throw .invalid("window", "must be 1 to 10,000") }
        guard 1...1_000 ~= probes else { throw .invalid("probes", "must be 1 to 1,000") }
        guard .milliseconds(1) ... .seconds(86_400) ~= openTime else {
            throw .invalid("openTime", "must be 1 ms to a day")
        }
        item.breakerPercent = Int32(((share ?? 0) * 100).rounded())
        item.breakerWindow = Int32(window)
        item.breakerOpenMilliseconds = Int64(openTime.millisecondsClamped)
        item.breakerProbes = Int32(probes)
    }
}

/// A group's breaker at one moment.
public struct GroupBreaker: Sendable, Equatable {
    /// What it lets through.
    public enum State: String, Sendable, Equatable {
        /// Everything.
        case closed
        /// A few records, whose outcomes decide.
        case halfOpen = "half-open"
        /// Nothing.
        case open

        /// nil: the wire knows no such number.
        init?(number: UInt8) {
            switch number {
            case 0: self = .closed
            case 1: self = .halfOpen
            case 2: self = .open
            default: return nil
            }
        }

        init(wire number: UInt8) throws(MartletError) {
            guard let known = Self(number: number) else {
                throw .protocolError(
                    "The broker names a breaker's state, \(number), unknown here.")
            }
            self = known
        }
    }

    /// What it lets through now.
    public let state: State
    /// Since when it is not closed, in milliseconds since 1970; nil: it is closed.
    public let since: Int64?
    /// When it is tried again, in milliseconds since 1970; nil: it is not open.
    public let until: Int64?
    /// Newest outcomes that count now.
    public let outcomes: Int
    /// So many of them were transient failures.
    public let failures: Int
    /// How often it opened since the broker started.
    public let openings: UInt64

    init(_ item: BreakerItem) throws(MartletError) {
        state = try State(wire: item.state)
        since = item.since < 0 ? nil : item.since
        until = item.until < 0 ? nil : item.until
        outcomes = Int(item.outcomes)
        failures = Int(item.failures)
        openings = item.openings
    }
}
