import Glibc
import Synchronization

/// The times a logger needs. Injected like every clock; the closures run on the calling thread.
package struct LogClock: Sendable {
    package let wallMilliseconds: @Sendable () -> Int64
    package let monotonicNanoseconds: @Sendable () -> Int64

    package init(
        wallMilliseconds: @escaping @Sendable () -> Int64,
        monotonicNanoseconds: @escaping @Sendable () -> Int64
    ) {
        self.wallMilliseconds = wallMilliseconds
        self.monotonicNanoseconds = monotonicNanoseconds
    }

    package static let system = LogClock(
        wallMilliseconds: {
            let time = read(CLOCK_REALTIME)
            return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
        },
        monotonicNanoseconds: {
            let time = read(CLOCK_MONOTONIC)
            return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
        }
    )

    private static func read(_ clock: clockid_t) -> timespec {
        var time = timespec()
        unsafe clock_gettime(clock, &time)
        return time
    }
}

/// What the process says about itself, one line per event. A value: `with` and `labelled` make
/// another one that says more. The level belongs to the whole family, so that a reload reaches
/// every logger that was handed out before.
package struct Logger: Sendable {
    package let label: String
    private let core: LogCore
    private let context: LogFields
    private let limiter: LogLimiter?

    package init(
        label: String,
        level: LogLevel = .info,
        format: LogFormat = .text,
        sink: any LogSink = StandardErrorSink.shared,
        clock: LogClock = .system
    ) {
        self.init(
            label: label,
            core: LogCore(level: level, format: format, sink: sink, clock: clock),
            context: [],
            limiter: nil
        )
    }

    private init(label: String, core: LogCore, context: LogFields, limiter: LogLimiter?) {
        self.label = label
        self.core = core
        self.context = context
        self.limiter = limiter
    }

    /// Says nothing.
    package static let disabled = Logger(
        label: "",
        core: LogCore(level: nil, format: .text, sink: DiscardingSink(), clock: .system),
        context: [],
        limiter: nil
    )

    /// A logger of another part of the program, with the same level, format and sink.
    package func labelled(_ label: String) -> Logger {
        Logger(label: label, core: core, context: context, limiter: limiter)
    }

    /// A logger that adds these fields to every line.
    package func with(_ fields: LogFields) -> Logger {
        let context = Self.merged(context, fields)
        return Logger(label: label, core: core, context: context, limiter: limiter)
    }

    /// A logger that lets at most `burst` lines of one code through at once and one more every
    /// `every`; the next line that passes says in `suppressed` how many did not. For whatever a
    /// peer can cause as often as it likes. Keep the result: each call counts anew.
    package func limited(burst: Int = 5, every interval: Duration = .seconds(10)) -> Logger {
        let limiter = LogLimiter(burst: burst, interval: interval)
        return Logger(label: label, core: core, context: context, limiter: limiter)
    }

    /// Changes the level of every logger that came from the same one.
    package func setLevel(_ level: LogLevel) {
        core.setLevel(level)
    }

    package func isEnabled(_ level: LogLevel) -> Bool { core.isEnabled(level) }

    package func debug(
        _ code: LogCode,
        _ message: @autoclosure () -> String,
        _ fields: @autoclosure () -> LogFields = []
    ) {
        log(.debug, code, message, fields)
    }

    package func info(
        _ code: LogCode,
        _ message: @autoclosure () -> String,
        _ fields: @autoclosure () -> LogFields = []
    ) {
        log(.info, code, message, fields)
    }

    package func notice(
        _ code: LogCode,
        _ message: @autoclosure () -> String,
        _ fields: @autoclosure () -> LogFields = []
    ) {
        log(.notice, code, message, fields)
    }

    package func warning(
        _ code: LogCode,
        _ message: @autoclosure () -> String,
        _ fields: @autoclosure () -> LogFields = []
    ) {
        log(.warning, code, message, fields)
    }

    package func error(
        _ code: LogCode,
        _ message: @autoclosure () -> String,
        _ fields: @autoclosure () -> LogFields = []
    ) {
        log(.error, code, message, fields)
    }

    private func log(
        _ level: LogLevel,
        _ code: LogCode,
        _ message: () -> String,
        _ fields: () -> LogFields
    ) {
        guard core.isEnabled(level) else { return }
        var suppressed: UInt64 = 0
        if let limiter {
            let now = core.clock.monotonicNanoseconds()
            guard let count = limiter.admit(code, at: now) else { return }
            suppressed = count
        }
        var merged = Self.merged(context, fields())
        if suppressed > 0 { merged.append(("suppressed", .unsigned(suppressed))) }
        let event = LogEvent(
            level: level,
            wallMilliseconds: core.clock.wallMilliseconds(),
            label: label,
            code: code,
            message: message(),
            fields: merged
        )
        core.sink.write(core.format.line(event), of: event)
    }

    /// A name comes once in a line: the newer value takes the place of the older.
    private static func merged(_ old: LogFields, _ new: LogFields) -> LogFields {
        guard !old.isEmpty else { return new }
        var result = old
        for (name, value) in new {
            if let place = result.firstIndex(where: { $0.0 == name }) {
                result[place].1 = value
            } else {
                result.append((name, value))
            }
        }
        return result
    }
}

/// What a family of loggers shares.
private final class LogCore: Sendable {
    let format: LogFormat
    let sink: any LogSink
    let clock: LogClock
    /// The raw value of the lowest level that is written.
    private let threshold: Atomic<Int>

    init(level: LogLevel?, format: LogFormat, sink: any LogSink, clock: LogClock) {
        self.format = format
        self.sink = sink
        self.clock = clock
        threshold = Atomic(level?.rawValue ?? .max)
    }

    func isEnabled(_ level: LogLevel) -> Bool {
        level.rawValue >= threshold.load(ordering: .relaxed)
    }

    /// A disabled logger stays silent.
    func setLevel(_ level: LogLevel) {
        guard threshold.load(ordering: .relaxed) != .max else { return }
        threshold.store(level.rawValue, ordering: .relaxed)
    }
}

/// A token bucket per code. Codes are literals, so their number is bounded by the program's text.
private final class LogLimiter: Sendable {
    private struct Bucket {
        var tokens: Int
        var refilledAt: Int64
        var suppressed: UInt64 = 0
    }

    private let burst: Int
    private let intervalNanoseconds: Int64
    private let buckets = Mutex<[LogCode: Bucket]>([:])

    init(burst: Int, interval: Duration) {
        self.burst = max(1, burst)
        let (seconds, attoseconds) = interval.components
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let nanoseconds = overflow ? Int64.max / 2 : whole + attoseconds / 1_000_000_000
        intervalNanoseconds = max(1, nanoseconds)
    }

    /// Nil: keep silent. Otherwise how many lines were kept back since the last one.
    func admit(_ code: LogCode, at now: Int64) -> UInt64? {
        buckets.withLock { buckets in
            var bucket = buckets[code] ?? Bucket(tokens: burst, refilledAt: now)
            let earned = max(0, now - bucket.refilledAt) / intervalNanoseconds
            if earned >= Int64(burst - bucket.tokens) {
                bucket.tokens = burst
                bucket.refilledAt = now
            } else {
                bucket.tokens += Int(earned)
                bucket.refilledAt += earned * intervalNanoseconds
            }
            let suppressed = bucket.suppressed
            let passes = bucket.tokens > 0
            bucket.tokens -= passes ? 1 : 0
            bucket.suppressed = passes ? 0 : suppressed + 1
            buckets[code] = bucket
            return passes ? suppressed : nil
        }
    }
}
