import MartletFormat
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import Synchronization

/// Runs jobs at once, on the caller's thread; timers wait until `fireTimers`.
final class InlineExecutor: Executor {
    private let timers = Mutex<[(nanoseconds: Int64, job: @Sendable () -> Void)]>([])

    func execute(_ job: @escaping @Sendable () -> Void) { job() }
    func execute(after nanoseconds: Int64, _ job: @escaping @Sendable () -> Void) {
        timers.withLock { $0.append((nanoseconds, job)) }
    }

    /// Runs, once, what waits for at most so long.
    func fireTimers(upTo nanoseconds: Int64) {
        let due = timers.withLock { timers in
            let due = timers.filter { $0.nanoseconds <= nanoseconds }
            timers.removeAll { $0.nanoseconds <= nanoseconds }
            return due
        }
        for timer in due { timer.job() }
    }

    /// Lets go of what waits, and of what that holds.
    func forgetTimers() {
        // What goes with them may give timers of its own: not under the lock.
        _ = timers.withLock { timers in
            let forgotten = timers
            timers = []
            return forgotten
        }
    }
}

/// When a test is over that does not close its engine, the timers go that hold it.
private final class TimersEnd: Sendable {
    private let executor: InlineExecutor

    init(_ executor: InlineExecutor) { self.executor = executor }

    deinit { executor.forgetTimers() }
}

/// Remembers that it was asked to try again.
final class RetryProbe: AppendRetry {
    let count = Atomic<Int>(0)
    func retryAppend(_ log: PartitionLog) { count.add(1, ordering: .relaxed) }
}

/// Remembers what it was told about durability.
final class DurabilityProbe: DurabilityWaiter {
    let answers = Mutex<[String?]>([])
    func durabilityReached(_ log: PartitionLog, _ failure: StorageError?) {
        answers.withLock { $0.append(failure?.message) }
    }
    var isDurable: Bool { answers.withLock { $0.count == 1 && $0[0] == nil } }
}

/// A storage engine with one thread, over any file system.
struct StorageHarness {
    let engine: StorageEngine
    let executor: InlineExecutor
    private let timersEnd: TimersEnd

    init(
        _ directory: String, _ fileSystem: any FileSystem, clock: any Clock = SystemClock(),
        flush: (any Executor)? = nil, housekeeping: (any Executor)? = nil,
        upkeep: (any Executor)? = nil,
        logger: Logger = .disabled,
        change: (inout StorageOptions) -> Void = { _ in }
    ) throws {
        let executor = InlineExecutor()
        self.executor = executor
        timersEnd = TimersEnd(executor)
        var options = StorageOptions(dataDirectory: directory)
        options.diskFreeLow = 0
        options.diskFreeHigh = 0
        options.diskReserve = 0
        change(&options)
        engine = try StorageEngine.open(
            options, fileSystem: fileSystem, clock: clock,
            executors: StorageExecutors(
                flush: [flush ?? executor], readers: [executor],
                housekeeping: housekeeping ?? executor,
                upkeep: upkeep, marks: executor, failure: executor),
            logger: logger)
    }

    func topic(
        _ name: String, partitions: Int32 = 1, settings: [String: String] = [:],
        id: TopicID = TopicID(high: 1, low: 1)
    ) throws -> Topic {
        if let topic = engine.topic(named: name) { return topic }
        guard
            let topic = try engine.createTopic(
                name: name, partitions: partitions, settings: settings, id: id)
        else { throw StorageError(.unknownTopic, "not made") }
        return topic
    }
}

/// A batch of `values`, as a producer sends it.
func batch(
    _ values: [String], key: String? = nil, time: Int64 = 1_000, producer: Int64 = -1,
    epoch: Int16 = -1, sequence: Int32 = -1
) -> ByteSlab {
    let slab = ByteSlab(capacity: 4096 + values.reduce(0) { $0 + $1.utf8.count + 64 })
    let builder = RecordBatchBuilder(slab: slab)
    for (index, value) in values.enumerated() {
        let bytes = Array(value.utf8)
        let keyBytes = key.map { Array($0.utf8) } ?? []
        _ = unsafe builder.append(
            key: key == nil ? nil : keyBytes.span.bytes, value: bytes.span.bytes, headers: [],
            timestamp: time + Int64(index))
    }
    _ = builder.finish(producerID: producer, producerEpoch: epoch, baseSequence: sequence)
    return slab
}

extension PartitionLog {
    /// Appends, trying again as long as the answer is `later` (jobs run inline).
    func appendNow(_ slab: ByteSlab) throws -> AppendOutcome {
        let header = try RecordBatch.validateForAppend(slab.bytes)
        let probe = RetryProbe()
        for _ in 0..<8 {
            let outcome = append(slab, 0..<slab.count, header, retry: probe)
            if case .later = outcome { continue }
            return outcome
        }
        return .later
    }

    /// Every visible value from `offset` on, with its offset, through the paths that readers use.
    func values(from start: Int64 = 0, maxBytes: Int = 1 << 20) throws -> [(Int64, String)] {
        var result: [(Int64, String)] = []
        var offset = max(start, view.logStart)
        for _ in 0..<100_000 {
            var outcome = plan(from: offset, maxBytes: maxBytes)
            if case .needsDisk = outcome {
                outcome = try planFromDisk(from: offset, maxBytes: maxBytes)
            }
            if case .needsVerification = outcome {
                outcome = try verifiedRead(from: offset, maxBytes: maxBytes)
            }
            guard case .data(let plan) = outcome else { return result }
            let slab = ByteSlab(capacity: max(1, plan.length))
            if let file = plan.file {
                _ = unsafe try slab.fill {
                    (space: UnsafeMutableRawBufferPointer) throws(SystemError) in
                    unsafe try file.read(into: space, at: plan.position)
                }
            } else if let bytes = plan.slab {
                slab.append(bytes.bytes)
            }
            var at = 0
            var chain = plan.startChecksum
            while at < slab.count {
                let header = try RecordBatchHeader(reading: slab.bytes, at: at)
                let range = at..<(at + header.byteCount)
                try RecordBatch.checkChecksum(slab.span(range), header)
                chain = RecordBatch.prefixChecksum(slab.span(range), continuing: chain)
                var cursor = RecordCursor(header)
                while let record = try cursor.next(in: slab.span(range)) {
                    let recordOffset = header.baseOffset + Int64(record.offsetDelta)
                    guard recordOffset >= offset, let value = record.value else { continue }
                    let bytes = slab.span((at + value.lowerBound)..<(at + value.upperBound))
                    let text = unsafe bytes.withUnsafeBytes {
                        unsafe String(decoding: $0, as: UTF8.self)
                    }
                    result.append((recordOffset, text))
                }
                at += header.byteCount
            }
            guard chain == plan.endChecksum else {
                throw StorageError(.corrupt, "prefix chain broken at \(offset)")
            }
            offset = plan.nextOffset
        }
        return result
    }
}

/// A `TemporaryDirectory` where nothing can be thrown. It goes with its last copy.
struct TemporaryFolder {
    private let directory: TemporaryDirectory
    var path: String { directory.path }

    init() {
        do {
            directory = try TemporaryDirectory("storage")
        } catch {
            preconditionFailure("no temporary directory: \(error)")
        }
    }
}
