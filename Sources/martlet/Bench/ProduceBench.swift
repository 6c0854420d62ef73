import MartletClient
import MartletJSON
import MartletSystem

/// Measures how fast records become acknowledged.
struct ProduceBench: Sendable {
    let plan: BenchPlan
    let client: MartletClient
    private let clock = SystemClock()

    init(_ plan: BenchPlan, _ client: MartletClient) {
        self.plan = plan
        self.client = client
    }

    func run() async throws -> BenchResult {
        try await BenchTopic.with(plan, client) { topic in
            if let rate = plan.rate { return try await paced(topic, rate: rate) }
            return plan.inFlight == nil
                ? try await batched(topic) : try await awaited(topic)
        }
    }

    // MARK: As fast as it goes

    private func batched(_ topic: String) async throws -> BenchResult {
        try await withProducers { producers in
            _ = try await fill(
                producers, topic, nanoseconds: plan.warmUpSeconds * 1_000_000_000, bytes: 0)
            let probes = Probes(producers, topic, plan)
            let cpu = CurrentProcess.processorNanoseconds
            let start = clock.monotonicNanoseconds()
            probes.start()
            let records = try await fill(
                producers, topic, nanoseconds: plan.seconds * 1_000_000_000, bytes: plan.bytes)
            var result = BenchResult()
            result.nanoseconds = clock.monotonicNanoseconds() - start
            result.records = records
            result.bytes = records * Int64(plan.size)
            result.latency = await probes.stop()
            let used = Double(CurrentProcess.processorNanoseconds - cpu)
            result.facts.append(("clientCPUSeconds", .double((used / 1e7).rounded() / 100)))
            return result
        }
    }

    /// All producers at once, each its part; returns when everything is acknowledged.
    private func fill(
        _ producers: [Producer], _ topic: String, nanoseconds: Int64, bytes: Int64
    ) async throws -> Int64 {
        let part = bytes / Int64(producers.count)
        return try await withThrowingTaskGroup(of: Int64.self) { group in
            for (index, producer) in producers.enumerated() {
                let plan = plan
                group.addTask {
                    let handle = try await producer.topic(topic)
                    var fill = BenchFill(plan, producer, handle, stream: index)
                    let records = try await fill.run(nanoseconds: nanoseconds, bytes: part)
                    try await producer.flush()
                    return records
                }
            }
            return try await group.reduce(0, +)
        }
    }

    // MARK: One after the other

    private func awaited(_ topic: String) async throws -> BenchResult {
        try await withProducers { producers in
            _ = try await send(producers, topic, seconds: plan.warmUpSeconds, bytes: 0)
            let start = clock.monotonicNanoseconds()
            var result = try await send(
                producers, topic, seconds: plan.seconds, bytes: plan.bytes)
            result.nanoseconds = clock.monotonicNanoseconds() - start
            return result
        }
    }

    private func send(
        _ producers: [Producer], _ topic: String, seconds: Int64, bytes: Int64
    ) async throws -> BenchResult {
        let workers = producers.count * (plan.inFlight ?? 1)
        let end = clock.monotonicNanoseconds() + seconds * 1_000_000_000
        return try await withThrowingTaskGroup(of: BenchResult.self) { group in
            for worker in 0..<workers {
                let producer = producers[worker % producers.count]
                group.addTask(executorPreference: producer.executor) {
                    try await sendInTurn(
                        producer, topic, worker, until: end, bytes: bytes / Int64(workers))
                }
            }
            return try await group.reduce(into: BenchResult()) { total, part in
                total.records += part.records
                total.bytes += part.bytes
                total.latency.add(part.latency)
            }
        }
    }

    private func sendInTurn(
        _ producer: Producer, _ topic: String, _ worker: Int, until end: Int64, bytes: Int64
    ) async throws -> BenchResult {
        var result = BenchResult()
        var values = BenchValues(size: plan.size, stream: worker)
        var now = clock.monotonicNanoseconds()
        while now < end || result.bytes < bytes {
            let value = values.array(values.next())
            let partition =
                plan.partitions > 1
                ? Int32((Int(result.records) + worker) % plan.partitions) : nil
            let start = clock.monotonicNanoseconds()
            try await producer.send(topic: topic, key: nil, value: value, partition: partition)
            now = clock.monotonicNanoseconds()
            result.latency.record(nanoseconds: now - start)
            result.records += 1
            result.bytes += Int64(plan.size)
        }
        return result
    }

    // MARK: At a rate

    private func paced(_ topic: String, rate: Int64) async throws -> BenchResult {
        try await withProducers { producers in
            // Connects and resolves before the first record is due.
            for producer in producers { _ = try await producer.topic(topic) }
            let pace = PacedSends(plan, producers, topic, rate: rate)
            return try await pace.run()
        }
    }

    private func withProducers<Result>(
        _ body: ([Producer]) async throws -> Result
    ) async throws -> Result {
        var producers: [Producer] = []
        for _ in 0..<plan.producers {
            producers.append(try await client.producer(plan.producerConfiguration))
        }
        do {
            let result = try await body(producers)
            for producer in producers { await producer.close() }
            return result
        } catch {
            for producer in producers { await producer.close() }
            throw error
        }
    }
}
