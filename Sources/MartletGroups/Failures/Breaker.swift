/// When the failures of a group's handlers are taken for an outage: then the group stands still for
/// a while instead of trying record after record until all of them are dead letters.
package struct BreakerPolicy: Hashable, Sendable {
    /// Opens when so many of a hundred outcomes are transient failures; 0: there is no breaker.
    package var sharePercent: Int32 = 50
    /// Of how many outcomes; nothing is decided before there were so many.
    package var window: Int32 = 100
    /// How long it stays open.
    package var openMilliseconds: Int64 = 30_000
    /// How many records are tried then: at once in a queue, and until it is decided.
    package var probes: Int32 = 10

    package init() {}

    package static let off: BreakerPolicy = {
        var policy = BreakerPolicy()
        policy.sharePercent = 0
        return policy
    }()

    package var isOff: Bool { sharePercent <= 0 }

    static let windowMax: Int32 = 10_000
    static let probesMax: Int32 = 1_000
    static let openMillisecondsMax: Int64 = 86_400_000

    func check() throws(GroupRefusal) {
        try Self.check("breakerPercent", Int64(sharePercent), 0...100)
        try Self.check("breakerWindow", Int64(window), 1...Int64(Self.windowMax))
        try Self.check("breakerOpenMilliseconds", openMilliseconds, 1...Self.openMillisecondsMax)
        try Self.check("breakerProbes", Int64(probes), 1...Int64(Self.probesMax))
    }

    private static func check(
        _ field: String, _ value: Int64, _ range: ClosedRange<Int64>
    ) throws(GroupRefusal) {
        guard range.contains(value) else {
            throw .invalid(
                field: field,
                reason: "\(value) is not from \(range.lowerBound) to \(range.upperBound)")
        }
    }
}

// A damaged disk may say anything.
extension BreakerPolicy {
    var soundWindow: Int { Int(min(max(window, 1), Self.windowMax)) }
    var soundProbes: Int { Int(min(max(probes, 1), Self.probesMax)) }
    var soundOpenMilliseconds: Int64 { min(max(openMilliseconds, 1), Self.openMillisecondsMax) }

    /// Whether so many failures among so many outcomes are too many.
    func isTooMuch(_ failures: Int, of outcomes: Int) -> Bool {
        failures > 0 && failures * 100 >= outcomes * Int(min(sharePercent, 100))
    }
}

/// What a group's breaker lets through. Times are milliseconds since 1970 UTC.
package enum BreakerState: Hashable, Sendable {
    case closed
    /// Nothing is handed out until then.
    case open(since: Int64, until: Int64)
    /// A few records are tried; what comes of them decides.
    case halfOpen(since: Int64)
}

/// The newest outcomes of handlers. Equal ones in a row are one entry, so that ten thousand acks
/// take one step.
struct OutcomeWindow: Sendable {
    private struct Run {
        var count: Int
        let isFailure: Bool
    }

    private var runs: [Run] = []
    /// Those before it are forgotten.
    private var first = 0
    private(set) var count = 0
    private(set) var failures = 0

    mutating func add(_ records: Int, isFailure: Bool, max most: Int) {
        let records = min(records, most)
        guard records > 0 else { return }
        forget(count + records - most)
        if first < runs.count, runs[runs.count - 1].isFailure == isFailure {
            runs[runs.count - 1].count += records
        } else {
            runs.append(Run(count: records, isFailure: isFailure))
        }
        count += records
        if isFailure { failures += records }
    }

    /// The oldest.
    private mutating func forget(_ records: Int) {
        var left = records
        while left > 0, first < runs.count {
            let run = runs[first]
            let gone = min(run.count, left)
            runs[first].count -= gone
            count -= gone
            if run.isFailure { failures -= gone }
            left -= gone
            if gone == run.count { first += 1 }
        }
        // Each step here was paid for by an entry that is gone.
        guard first > 64, first > runs.count / 2 else { return }
        runs.removeFirst(first)
        first = 0
    }
}

/// What is forgotten with the process.
struct BreakerActivity: Sendable {
    var outcomes = OutcomeWindow()
    /// When it is tried again, on the monotonic clock; nil: it is not open, or that is not worked
    /// out yet.
    var deadline: Int64?
    /// Dead letters of a stream that its commits have not passed yet: they are no success.
    var passing: Int64 = 0
    /// How often it opened in this start.
    var openings: UInt64 = 0
}

/// A group's breaker, for people.
package struct BreakerLine: Equatable, Sendable {
    package let state: BreakerState
    /// Of the newest outcomes that count: how many there are, and how many of them failed.
    package let outcomes: Int
    package let failures: Int
    /// How often it opened since the broker started.
    package let openings: UInt64

    init(_ group: Group) {
        state = group.state.breakerNow
        outcomes = group.activity.breaker.outcomes.count
        failures = group.activity.breaker.outcomes.failures
        openings = group.activity.breaker.openings
    }
}
