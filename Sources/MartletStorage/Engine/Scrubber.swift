import MartletSystem
import MartletTelemetry
import Synchronization

/// Reads every stored batch again within an interval, a little each second, so that rot is found
/// while there is still a backup with the right bytes.
///
/// Damage is quarantined by the verified read itself. How far a pass came is not kept over a
/// restart; each begins at another partition, so that no restart keeps the same ones from their turn.
///
/// A log that changes under a pass (retention, compaction) is looked at again, in what it has now. A
/// pass says that all was read only when it was: what could not be read is told and counted.
package final class Scrubber: Sendable {
    /// No slower than this, however little there is.
    private static let bytesPerSecondMin: Int64 = 64 << 10
    private static let stepBytes = 1 << 20
    /// How many rounds in a row one place is tried.
    static let triesMax = 10

    /// Reads a part of a log with every check.
    typealias Read =
        @Sendable (_ log: PartitionLog, _ offset: Int64, _ maxBytes: Int) throws(StorageError) ->
        ReadOutcome

    /// Only the upkeep executor touches it.
    private struct Pass {
        /// What is still to be read, the next one last.
        var logs: [PartitionKey] = []
        /// Where to go on in the next one; nil for its start.
        var offset: Int64?
        var isRunning = false
        var startedAt: Int64 = 0
        var lastRound: Int64 = 0
        var bytesPerSecond: Int64 = 0
        /// Bytes that may be read now.
        var credit: Int64 = 0
        var bytes: Int64 = 0
        /// Rounds in which nothing came of the next place.
        var tries = 0
        /// Partitions that were not read, or not to their ends.
        var unread = 0

        mutating func endLog() {
            logs.removeLast()
            offset = nil
            tries = 0
        }
    }

    private enum Step {
        case read(bytes: Int, next: Int64)
        /// The log ends there, or is gone.
        case done
        /// Another try may read it.
        case later(String)
        case unreadable(String)
    }

    private let read: Read
    private let pass = Mutex(Pass())
    private let intervalMilliseconds: Atomic<Int64>
    private let bytesPerSecondMax: Atomic<Int64>

    init(
        _ options: StorageOptions,
        read: @escaping Read = { (log, offset, maxBytes) throws(StorageError) in
            try log.verifiedRead(from: offset, maxBytes: maxBytes)
        }
    ) {
        self.read = read
        intervalMilliseconds = Atomic(options.scrubMilliseconds)
        bytesPerSecondMax = Atomic(options.scrubBytesPerSecondMax)
    }

    /// Changes how often everything is read, and how fast at most. Any thread.
    package func set(intervalMilliseconds: Int64, bytesPerSecondMax: Int64) {
        self.intervalMilliseconds.store(intervalMilliseconds, ordering: .relaxed)
        self.bytesPerSecondMax.store(bytesPerSecondMax, ordering: .relaxed)
    }

    /// What is due now. Upkeep; blocks for at most about a second's worth of reading.
    func round(_ engine: StorageEngine) {
        let interval = intervalMilliseconds.load(ordering: .relaxed)
        let now = engine.context.clock.monotonicNanoseconds() / 1_000_000
        var pass = pass.withLock { $0 }
        defer { self.pass.withLock { [pass] in $0 = pass } }
        guard interval > 0 else {
            pass = Pass()
            return
        }
        if !pass.isRunning {
            guard pass.startedAt == 0 || now - pass.startedAt >= interval else { return }
            begin(&pass, engine, now, interval)
        }
        let elapsed = min(max(0, now - pass.lastRound), 1_000)
        pass.lastRound = now
        let rate = min(pass.bytesPerSecond, bytesPerSecondMax.load(ordering: .relaxed))
        pass.credit = min(pass.credit + rate * elapsed / 1_000, rate)
        while pass.credit > 0, let key = pass.logs.last {
            guard goOn(&pass, key, engine) else { break }
        }
        if pass.logs.isEmpty { finish(&pass, engine) }
    }

    private func begin(
        _ pass: inout Pass, _ engine: StorageEngine, _ now: Int64, _ interval: Int64
    ) {
        let topics = engine.topics()
        let logs = topics.filter(\.isOnline).flatMap(\.partitions)
        let total = logs.reduce(Int64(0)) { $0 + $1.view.bytes }
        let keys = logs.map(\.key)
        let first =
            keys.isEmpty
            ? 0 : Int(engine.context.clock.wallMilliseconds().magnitude % UInt64(keys.count))
        pass = Pass()
        pass.logs = Array(keys[first...] + keys[..<first]).reversed()
        // Of a topic whose metadata cannot be read nobody knows how many partitions it has.
        pass.unread = topics.filter { !$0.isOnline }.reduce(0) { $0 + max(1, $1.partitions.count) }
        pass.isRunning = true
        pass.startedAt = max(now, 1)
        pass.lastRound = now - 1_000
        // Twice as fast as needed: it must be done in time although more comes in.
        pass.bytesPerSecond = max(Self.bytesPerSecondMin, total / max(interval / 2_000, 1))
    }

    private func finish(_ pass: inout Pass, _ engine: StorageEngine) {
        pass.isRunning = false
        let (metrics, logger) = (engine.context.metrics, engine.context.logger)
        guard pass.unread == 0 else {
            metrics.scrubUnread.add(pass.unread)
            logger.warning(
                "SCRUB_INCOMPLETE", "not all that is stored could be read and checked",
                [
                    ("partitions-left", .integer(Int64(pass.unread))),
                    ("bytes", .integer(pass.bytes)),
                ])
            return
        }
        metrics.scrubPasses.add()
        logger.info(
            "SCRUBBED", "every batch that was stored when this began was read and checked",
            [("bytes", .integer(pass.bytes))])
    }

    /// Reads one part of the next log. False when it is to be tried again in another round.
    private func goOn(
        _ pass: inout Pass, _ key: PartitionKey, _ engine: StorageEngine
    ) -> Bool {
        guard let log = engine.topic(id: key.topic)?.partition(key.partition) else {
            pass.endLog()
            return true
        }
        switch step(log, from: max(pass.offset ?? 0, log.view.logStart)) {
        case .read(let bytes, let next):
            engine.context.metrics.scrubbedBytes.add(bytes)
            pass.credit -= Int64(bytes)
            pass.bytes += Int64(bytes)
            pass.offset = next
            pass.tries = 0
        case .done: pass.endLog()
        case .later(let reason):
            pass.tries += 1
            guard pass.tries >= Self.triesMax else { return false }
            giveUp(&pass, log, reason, engine)
        case .unreadable(let reason): giveUp(&pass, log, reason, engine)
        }
        return true
    }

    private func giveUp(
        _ pass: inout Pass, _ log: PartitionLog, _ reason: String, _ engine: StorageEngine
    ) {
        engine.context.logger.warning(
            "SCRUB_FAILED", "partition \(log.name) could not be read to its end: \(reason)",
            [("offset", .integer(pass.offset ?? log.view.logStart))])
        pass.unread += 1
        pass.endLog()
    }

    private func step(_ log: PartitionLog, from start: Int64) -> Step {
        do throws(StorageError) {
            switch try read(log, start, Self.stepBytes) {
            case .data(let plan): return goOn(from: start, at: plan.nextOffset, plan.length)
            case .corrupt(let ranges, _):
                return goOn(from: start, at: ranges.map(\.upperBound).max() ?? start)
            case .gap(let range, _), .lost(let range, _):
                return goOn(from: start, at: range.upperBound)
            case .outOfRange(let view): return goOn(from: start, at: view.logStart)
            case .atEnd, .offline(.deleted): return .done
            case .offline(let reason): return .unreadable(reason.text)
            case .needsDisk, .needsVerification: return .later("the log changes under it")
            }
        } catch {
            return error.code == .unknownTopic ? .done : .later(error.message)
        }
    }

    private func goOn(from start: Int64, at next: Int64, _ bytes: Int = 0) -> Step {
        next > start ? .read(bytes: bytes, next: next) : .later("nothing is read at \(start)")
    }
}
