/// What happens to a record whose handler fails, in this order and no other: a permanent failure is
/// the end at once; else it comes again after a pause that grows, until the attempts are used up;
/// then it becomes a dead letter, or is parked, or the group stands still there. Nothing is ever
/// dropped.
package struct FailurePolicy: Hashable, Sendable {
    /// What becomes of a record that is not tried any more.
    package enum Last: UInt8, Sendable {
        case deadLetter = 0
        /// The group stands still in the partition until somebody resumes it.
        case pause = 1
        /// It is set aside in its place, and the others go on.
        case parkRecord = 2
        /// The same, and all later records of its key wait behind it. For streams, and for queues in
        /// order by key.
        case parkKey = 3

        /// Whether its key is parked with the record; nil: nothing is parked.
        var parksKey: Bool? {
            switch self {
            case .deadLetter, .pause: nil
            case .parkRecord: false
            case .parkKey: true
            }
        }
    }

    /// Handlers that begin with a record, in all; 0: as many as it takes.
    package var attemptsMax: UInt16 = 3
    /// Until the second attempt.
    package var backoffMilliseconds: Int64 = 2_000
    /// Each pause against the one before, in hundredths.
    package var backoffFactorPercent: Int32 = 200
    /// No pause is longer.
    package var backoffMaxMilliseconds: Int64 = 300_000
    /// A pause is shortened by up to this share of it, so that what failed together does not come
    /// again together.
    package var jitterPercent: Int32 = 20
    package var last = Last.deadLetter
    /// Stops the group before any of it, when nearly everything fails.
    package var breaker = BreakerPolicy()

    package init() {}

    /// The pause after so many attempts. `noise` decides how much of the jitter it gets.
    package func pauseMilliseconds(after attempts: UInt16, noise: UInt64) -> Int64 {
        // A damaged disk may say anything.
        let longest = min(max(backoffMaxMilliseconds, 0), 1 << 50)
        let jitter = Int64(min(max(jitterPercent, 0), 100))
        var pause = min(max(backoffMilliseconds, 0), longest)
        for _ in 1..<max(attempts, 1) {
            guard pause < longest else { break }
            let (product, overflow) = pause.multipliedReportingOverflow(
                by: Int64(max(backoffFactorPercent, 100)))
            let next = overflow ? longest : product / 100
            if next == pause { break }
            pause = min(next, longest)
        }
        let share = pause / 100 * jitter + pause % 100 * jitter / 100
        return pause - Int64(noise % UInt64(share + 1))
    }

    func check(_ limits: GroupLimits) throws(GroupRefusal) {
        let longest = limits.delayMillisecondsMax
        try Self.check("backoffMilliseconds", backoffMilliseconds, 1...longest)
        try Self.check("backoffMaxMilliseconds", backoffMaxMilliseconds, 1...longest)
        try Self.check("backoffFactorPercent", Int64(backoffFactorPercent), 100...10_000)
        try Self.check("jitterPercent", Int64(jitterPercent), 0...100)
        try breaker.check()
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

/// Why a handler did not do its work.
package struct HandlerFailure: Hashable, Sendable {
    package enum Severity: UInt8, Sendable, CaseIterable {
        /// May go well next time.
        case transient = 0
        /// Never goes well.
        case permanent = 1
        /// The application wants to see it aside.
        case rejected = 2
    }

    package let severity: Severity
    /// Which kind of error: the name of its type.
    package let kind: String
    package let text: String
    /// When the broker heard of it, in milliseconds since 1970 UTC.
    package let at: Int64

    package init(_ severity: Severity, kind: String, text: String, at: Int64) {
        self.severity = severity
        self.kind = kind
        self.text = text
        self.at = at
    }

    var bytes: Int { kind.utf8.count + text.utf8.count }

    /// Without its words, when there are too many of them.
    var short: HandlerFailure { HandlerFailure(severity, kind: "", text: "", at: at) }
}

/// The first failure of a record, and the newest.
package struct FailureTrail: Hashable, Sendable {
    package let first: HandlerFailure
    package let last: HandlerFailure

    package init(first: HandlerFailure, last: HandlerFailure) {
        self.first = first
        self.last = last
    }

    var bytes: Int { first.bytes + last.bytes }
}
