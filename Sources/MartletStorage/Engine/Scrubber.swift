import MartletSystem
import MartletTelemetry
import Synchronization

/// Reads every stored batch again within an interval, a little each second, so that rot is found
/// while there is still a backup with the right bytes.
///
/// Damage is quarantined by the verified read itself. How far a pass came is not kept over a
/// restart; each begins at another partition, so that no restart keeps the same ones from their turn.
package final class Scrubber: Sendable {
    /// No slower than this, however little there is.
    private static let bytesPerSecondMin: Int64 = 64 << 10
    private static let stepBytes = 1 << 20

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
    }

    private let pass = Mutex(Pass())
    private let intervalMilliseconds: Atomic<Int64>
    private let bytesPerSecondMax: Atomic<Int64>

    init(_ options: StorageOptions) {
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
            let (bytes, next) = step(key, from: pass.offset, engine)
            pass.credit -= Int64(bytes)
            pass.bytes += Int64(bytes)
            pass.offset = next
            if next == nil { pass.logs.removeLast() }
        }
        if pass.logs.isEmpty { finish(&pass, engine) }
    }

    private func begin(
        _ pass: inout Pass, _ engine: StorageEngine, _ now: Int64, _ interval: Int64
    ) {
        let logs = engine.topics().filter(\.isOnline).flatMap(\.partitions)
        let total = logs.reduce(Int64(0)) { $0 + $1.view.bytes }
        let keys = logs.map(\.key)
        let first =
            keys.isEmpty
            ? 0 : Int(engine.context.clock.wallMilliseconds().magnitude % UInt64(keys.count))
        pass = Pass()
        pass.logs = Array(keys[first...] + keys[..<first]).reversed()
        pass.isRunning = true
        pass.startedAt = max(now, 1)
        pass.lastRound = now - 1_000
        // Twice as fast as needed: it must be done in time although more comes in.
        pass.bytesPerSecond = max(Self.bytesPerSecondMin, total / max(interval / 2_000, 1))
    }

    private func finish(_ pass: inout Pass, _ engine: StorageEngine) {
        pass.isRunning = false
        engine.context.metrics.scrubPasses.add()
        engine.context.logger.info(
            "SCRUBBED", "every stored batch was read and checked", [("bytes", .integer(pass.bytes))]
        )
    }

    /// Reads one part of a log; returns where to go on, nil at its end.
    private func step(
        _ key: PartitionKey, from offset: Int64?, _ engine: StorageEngine
    ) -> (bytes: Int, next: Int64?) {
        guard let log = engine.topic(id: key.topic)?.partition(key.partition) else {
            return (0, nil)
        }
        let start = max(offset ?? 0, log.view.logStart)
        do {
            let outcome = try log.verifiedRead(from: start, maxBytes: Self.stepBytes)
            let bytes: Int
            let next: Int64
            switch outcome {
            case .data(let plan): (bytes, next) = (plan.length, plan.nextOffset)
            case .corrupt(let ranges, _):
                (bytes, next) = (0, ranges.map(\.upperBound).max() ?? start)
            case .gap(let range, _), .lost(let range, _): (bytes, next) = (0, range.upperBound)
            case .atEnd, .outOfRange, .needsDisk, .needsVerification, .offline: return (0, nil)
            }
            engine.context.metrics.scrubbedBytes.add(bytes)
            return (bytes, next > start ? next : nil)
        } catch {
            engine.context.logger.warning(
                "SCRUB_FAILED",
                "partition \(log.name) could not be read to its end: \(error.message)")
            return (0, nil)
        }
    }
}
