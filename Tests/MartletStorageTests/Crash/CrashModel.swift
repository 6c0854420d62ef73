import MartletFormat
import MartletStorage
import Synchronization

/// A partition of a topic that a scenario made.
struct LogName: Hashable, Sendable, Comparable, CustomStringConvertible {
    let topic: TopicID
    let partition: Int32
    static func < (a: LogName, b: LogName) -> Bool {
        (a.topic.low, a.partition) < (b.topic.low, b.partition)
    }
    var description: String { "\(topic.low)/\(partition)" }
}

/// A batch that a producer of a scenario sent, or will send again.
struct SentBatch: Sendable {
    let epoch: Int16
    let sequence: Int32
    let values: [String]
    /// Where the log said that it is.
    var offset: Int64?
    /// And each of its records.
    var places: [Int64] = []
    /// Given to the log since the last start.
    var isSubmitted = false
    /// The caller was told that it is written (page cache).
    var isWritten = false
}

/// An idempotent producer, bound to one partition, with at most five batches in flight.
struct ModelProducer: Sendable {
    let id: Int64
    let log: LogName
    var epoch: Int16 = 0
    var nextSequence: Int32 = 0
    var unacked: [SentBatch] = []
    /// The newest last.
    var acked: [SentBatch] = []
}

/// What is known of a partition outside of the broker.
struct ModelLog: Sendable {
    /// Acknowledged `durable`, or read on a topic that was durable all its life: stays, whatever
    /// happens.
    var fixed: [Int64: String] = [:]
    /// Read on a topic that is, or was, `written`: may be lost in a power cut, never changes.
    var read: [Int64: String] = [:]
    /// As `read`, before a power cut.
    var seen: [Int64: String] = [:]
    /// Acknowledged `written`: survives `kill -9`.
    var written: [Int64: String] = [:]
    var sent: Set<String> = []
    /// The same in the order of sending.
    var messages: [String] = []
    var highWatermark: Int64 = 0
    var logStart: Int64 = 0
}

struct ModelTopic: Sendable {
    enum Phase: Sendable { case making, there, going, gone }
    let name: String
    var phase: Phase
    /// Acknowledged, and asked for.
    var partitions: ClosedRange<Int32>
    /// Was `written` at any time.
    var isWritten: Bool
    var isCompacted = false
    var retentionBytes: ClosedRange<Int64>
}

struct Model: Sendable {
    var topics: [TopicID: ModelTopic] = [:]
    var logs: [LogName: ModelLog] = [:]
    var producers: [ModelProducer] = []
    var nextTopic: UInt64 = 1
    var wall: Int64 = 1_700_000_000_000
    var step = 0
    var acks = 0
    var violations: [String] = []

    mutating func violate(_ id: String, _ text: String) {
        if violations.count < 20 { violations.append("\(id): \(text)") }
    }

    /// After a power cut nobody is promised what was only `written`; what is found is.
    mutating func loseWritten() {
        for name in logs.keys {
            guard var log = logs[name] else { continue }
            log.written = [:]
            log.seen.merge(log.read) { _, new in new }
            log.read = [:]
            logs[name] = log
        }
    }

    /// Notes that a batch is on disk at `offset`.
    mutating func ack(_ producer: Int, _ epoch: Int16, _ sequence: Int32) {
        guard
            let index = producers[producer].unacked.firstIndex(where: {
                $0.epoch == epoch && $0.sequence == sequence
            })
        else { return }
        let batch = producers[producer].unacked.remove(at: index)
        guard batch.offset != nil else { return }
        acks += 1
        producers[producer].acked.append(batch)
        if producers[producer].acked.count > 8 { producers[producer].acked.removeFirst() }
        let log = producers[producer].log
        for (offset, value) in zip(batch.places, batch.values) { fix(log, offset, value, "acked") }
    }

    /// Notes content that may not change any more.
    mutating func fix(_ log: LogName, _ offset: Int64, _ value: String, _ how: String) {
        let known = logs[log, default: ModelLog()]
        for earlier in [known.fixed[offset], known.read[offset], known.seen[offset]] {
            if let earlier, earlier != value {
                violate(
                    "offset-conflict",
                    "\(log) offset \(offset) \(how) as \(short(value)), was \(short(earlier))")
            }
        }
        logs[log, default: ModelLog()].fixed[offset] = value
    }

    /// Notes what a reader saw.
    mutating func see(_ name: LogName, _ offset: Int64, _ value: String) {
        let isWritten = topics[name.topic]?.isWritten ?? false
        if !isWritten {
            fix(name, offset, value, "read")
            return
        }
        let known = logs[name, default: ModelLog()]
        for earlier in [known.fixed[offset], known.read[offset], known.seen[offset]] {
            if let earlier, earlier != value {
                violate(
                    "offset-conflict",
                    "\(name) offset \(offset) read as \(short(value)), was \(short(earlier))")
            }
        }
        logs[name, default: ModelLog()].read[offset] = value
    }
}

extension AppendReceipt {
    /// Where each record of the batch is.
    func places(of count: Int) -> [Int64] {
        var places = (0..<count).map { baseOffset + Int64($0) }
        for duplicate in duplicates { places[Int(duplicate.index)] = duplicate.offset }
        return places
    }
}

func short(_ value: String) -> String { String(value.prefix(24)) }

/// The model, shared with what the log calls back.
final class World: Sendable {
    private let state: Mutex<Model>
    private let fatal = Atomic<Bool>(false)
    init(_ model: Model) { state = Mutex(model) }
    var isFatal: Bool { fatal.load(ordering: .relaxed) }
    func forgetFailures() { fatal.store(false, ordering: .relaxed) }
    func becomeFatal() { fatal.store(true, ordering: .relaxed) }
    var model: Model { state.withLock { $0 } }
    func change<R: Sendable>(_ body: (inout sending Model) -> sending R) -> R {
        state.withLock(body)
    }
}

/// Tells the model when a batch became durable.
final class AckWaiter: DurabilityWaiter {
    private let world: World
    private let producer: Int
    private let epoch: Int16
    private let sequence: Int32

    init(_ world: World, _ producer: Int, _ epoch: Int16, _ sequence: Int32) {
        self.world = world
        self.producer = producer
        self.epoch = epoch
        self.sequence = sequence
    }

    func durabilityReached(_ log: PartitionLog, _ failure: StorageError?) {
        guard failure == nil else { return }
        let isFatal = world.isFatal
        world.change { model in
            if isFatal { model.violate("ack-after-failure", "\(log.partition): \(sequence)") }
            model.ack(producer, epoch, sequence)
        }
    }
}

/// An append is tried again with the next step that sends.
final class NoRetry: AppendRetry {
    func retryAppend(_ log: PartitionLog) {}
}
