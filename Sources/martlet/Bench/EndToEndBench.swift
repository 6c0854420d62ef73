import MartletClient
import MartletConfiguration
import MartletSystem
import Synchronization

/// Measures from the moment a record is due to the moment a consumer has it, at a fixed rate.
struct EndToEndBench: Sendable {
    let plan: BenchPlan
    let client: MartletClient
    private let clock = SystemClock()

    /// How long after the last record is due the consumer waits for what is missing.
    private static let patience = Duration.seconds(30)

    init(_ plan: BenchPlan, _ client: MartletClient) {
        self.plan = plan
        self.client = client
    }

    func run() async throws -> BenchResult {
        try await BenchTopic.with(plan, client) { topic in
            var configuration = plan.producerConfiguration
            configuration.linger = .zero
            return try await client.withProducer(configuration) { producer in
                let handle = try await producer.topic(topic)
                if let sharing = plan.sharing {
                    let members = EndToEndMembers(plan, client, sharing)
                    return try await measure(Pacer(plan, producer, handle)) { pacer in
                        try await members.read(topic, pacer)
                    }
                }
                let reading = ConsumerConfiguration(topic: topic, start: .earliest)
                return try await client.withConsumer(reading) { consumer in
                    try await measure(Pacer(plan, producer, handle), on: consumer.executor) {
                        try await read(consumer, $0)
                    }
                }
            }
        }
    }

    private func measure(
        _ pacer: Pacer, on executor: (any TaskExecutor)? = nil,
        _ read: @escaping @Sendable (Pacer) async throws -> BenchResult
    ) async throws -> BenchResult {
        let consumed = Task(executorPreference: executor) { try await read(pacer) }
        return try await withTaskCancellationHandler {
            do {
                try await pacer.run()
            } catch {
                consumed.cancel()
                throw error
            }
            let watch = Task {
                try await Task.sleep(for: Self.patience)
                consumed.cancel()
            }
            defer { watch.cancel() }
            return try await consumed.value
        } onCancel: {
            consumed.cancel()
        }
    }

    private func read(_ consumer: Consumer, _ pacer: Pacer) async throws -> BenchResult {
        var arrivals = Arrivals(pacer)
        for try await batch in consumer.batches {
            let now = clock.monotonicNanoseconds()
            for record in batch { arrivals.take(record, at: now) }
            if arrivals.areAll { break }
        }
        return try arrivals.result(plan, at: clock.monotonicNanoseconds())
    }
}

/// Records that arrived, and how long they took.
struct Arrivals: Sendable {
    private let pacer: Pacer
    private var seen: Int64 = 0
    private var measured = BenchResult()
    private var fromSend = LatencyHistogram()

    init(_ pacer: Pacer) { self.pacer = pacer }

    var areAll: Bool { seen >= pacer.total }

    mutating func take(_ record: borrowing ConsumedRecord, at now: Int64) {
        seen += 1
        guard let times = record.value?.benchTimes, times.intended >= pacer.measured else {
            return
        }
        measured.latency.record(nanoseconds: now - times.intended)
        fromSend.record(nanoseconds: now - times.actual)
        measured.records += 1
    }

    func result(_ plan: BenchPlan, at now: Int64) throws -> BenchResult {
        guard areAll else {
            throw ToolError(
                .timeout, "only \(seen) of \(pacer.total) records arrived within the time")
        }
        var result = measured
        result.nanoseconds = now - pacer.measured
        result.bytes = result.records * Int64(plan.size)
        result.latencyFromSend = fromSend
        return result
    }
}

/// Gives stamped records to a producer when they are due, on a thread of its own.
final class Pacer: Sendable {
    /// Records in all, the warm-up's among them.
    let total: Int64
    /// When the first record that counts is due.
    let measured: Int64
    private let plan: BenchPlan
    private let producer: Producer
    private let topic: TopicHandle
    private let start: Int64
    private let interval: Double
    private let isCancelled = Atomic(false)
    private let clock = SystemClock()

    init(_ plan: BenchPlan, _ producer: Producer, _ topic: TopicHandle) {
        self.plan = plan
        self.producer = producer
        self.topic = topic
        interval = 1e9 / Double(plan.rate ?? 1000)
        let warmUp = Int64(Double(plan.warmUpSeconds) * 1e9 / interval)
        let count = max(
            Int64(Double(plan.seconds) * 1e9 / interval), plan.bytes / Int64(plan.size))
        total = warmUp + count
        start = SystemClock().monotonicNanoseconds() + 50_000_000
        measured = start + Int64(Double(warmUp) * interval)
    }

    func run() async throws {
        let queue = SerialQueue(label: "martlet.bench.pacer")
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation {
                (continuation: CheckedContinuation<Void, any Error>) in
                queue.execute { [self] in
                    do {
                        try pace()
                        continuation.resume()
                    } catch {
                        continuation.resume(throwing: error)
                    }
                }
            }
        } onCancel: {
            isCancelled.store(true, ordering: .relaxed)
        }
    }

    private func pace() throws {
        var values = BenchValues(size: plan.size, stream: 0)
        for index in 0..<total {
            if isCancelled.load(ordering: .relaxed) { throw CancellationError() }
            let due = start + Int64(Double(index) * interval)
            PreciseWait.until(monotonicNanoseconds: due)
            let partition = plan.partitions > 1 ? Int32(Int(index) % plan.partitions) : nil
            let range = values.next(intended: due, actual: clock.monotonicNanoseconds())
            try producer.enqueue(to: topic, value: values.span(range), partition: partition)
        }
    }
}
