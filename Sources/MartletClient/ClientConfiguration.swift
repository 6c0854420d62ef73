import MartletSystem

/// How a client reaches its broker, and how patient it is.
///
/// The values are checked when the client is made: `INVALID_ARGUMENT` names the field.
public struct ClientConfiguration: Sendable {
    /// Where the broker listens, as `host:port` (`[::1]:7700` for IPv6).
    public var server: String
    /// Names this program in the broker's log; at most 255 bytes of UTF-8.
    public var clientName: String
    /// How long one attempt to connect may take, hello included. More than zero.
    public var connectTimeout: Duration
    /// How long the broker may take to answer one request. More than zero.
    public var requestTimeout: Duration
    /// How long a call keeps trying while no broker can be reached, and how long a consumer waits
    /// for a lost broker before its sequence throws. Zero: one attempt.
    public var deadline: Duration
    /// The pauses between attempts.
    public var retry: RetryPolicy
    /// For `MartletTesting`.
    package var faults: ClientFaults?

    /// - Parameters:
    ///   - server: `host:port`; nil takes the environment's `MARTLET_SERVER`, or 127.0.0.1:7700.
    ///   - clientName: names this program in the broker's log.
    ///   - connectTimeout: for one attempt to connect.
    ///   - requestTimeout: for one answer.
    ///   - deadline: for all attempts together.
    ///   - retry: the pauses between attempts.
    public init(
        server: String? = nil, clientName: String = "martlet-client",
        connectTimeout: Duration = .seconds(5), requestTimeout: Duration = .seconds(30),
        deadline: Duration = .seconds(60), retry: RetryPolicy = RetryPolicy()
    ) {
        self.server = server ?? CurrentProcess.environment["MARTLET_SERVER"] ?? "127.0.0.1:7700"
        self.clientName = clientName
        self.connectTimeout = connectTimeout
        self.requestTimeout = requestTimeout
        self.deadline = deadline
        self.retry = retry
    }

    func validate() throws(MartletError) {
        guard clientName.utf8.count <= 255 else {
            throw .invalid("clientName", "is longer than 255 bytes")
        }
        guard connectTimeout > .zero else { throw .invalid("connectTimeout", "must be above 0") }
        guard requestTimeout > .zero else { throw .invalid("requestTimeout", "must be above 0") }
        guard deadline >= .zero else { throw .invalid("deadline", "is negative") }
        guard retry.base > .zero else { throw .invalid("retry.base", "must be above 0") }
        guard retry.cap >= retry.base else { throw .invalid("retry.cap", "is below retry.base") }
    }
}

/// Pauses that double with each attempt up to a cap, each one a random part of that ("full
/// jitter"), so that many clients do not come back at the same moment.
public struct RetryPolicy: Sendable, Equatable {
    /// The largest first pause.
    public var base: Duration
    /// The largest pause of all.
    public var cap: Duration

    /// - Parameters:
    ///   - base: the largest first pause; above zero.
    ///   - cap: the largest pause of all; not below `base`.
    public init(base: Duration = .milliseconds(50), cap: Duration = .seconds(2)) {
        self.base = base
        self.cap = cap
    }

    /// The largest pause before attempt `attempt` (0: the first retry), in nanoseconds.
    func ceiling(attempt: Int) -> Int64 {
        let base = base.nanosecondsClamped
        let cap = cap.nanosecondsClamped
        let shift = min(max(attempt, 0), 40)
        let (grown, overflow) = base.multipliedReportingOverflow(by: 1 << shift)
        return overflow ? cap : min(grown, cap)
    }

    /// A pause for attempt `attempt`, in nanoseconds: never 0, so that a refusing peer is not asked
    /// in a tight loop.
    func delay(attempt: Int, using random: inout some RandomNumberGenerator) -> Int64 {
        Int64.random(in: 1...max(1, ceiling(attempt: attempt)), using: &random)
    }
}

extension Duration {
    /// Nanoseconds; what does not fit is cut to the largest that does.
    var nanosecondsClamped: Int64 {
        let (seconds, attoseconds) = components
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        guard !overflow else { return seconds < 0 ? .min : .max }
        let (sum, tooMuch) = whole.addingReportingOverflow(attoseconds / 1_000_000_000)
        guard !tooMuch else { return seconds < 0 ? .min : .max }
        return sum
    }

    /// Milliseconds, rounded up and cut to what fits 32 bits.
    var millisecondsClamped: UInt32 {
        let nanoseconds = max(nanosecondsClamped, 0)
        let milliseconds = nanoseconds / 1_000_000 + (nanoseconds % 1_000_000 > 0 ? 1 : 0)
        return UInt32(clamping: milliseconds)
    }
}
