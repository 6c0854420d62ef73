import MartletClient
import MartletJSON
import MartletSystem

/// Measures how fast records that lie in the page cache are read, checked and looped over.
struct ConsumeBench: Sendable {
    let plan: BenchPlan
    let client: MartletClient
    private let clock = SystemClock()

    init(_ plan: BenchPlan, _ client: MartletClient) {
        self.plan = plan
        self.client = client
    }

    func run() async throws -> BenchResult {
        try await BenchTopic.with(plan, client) { topic in
            let records = try await client.withProducer(plan.producerConfiguration) { producer in
                let handle = try await producer.topic(topic)
                var fill = BenchFill(plan, producer, handle, stream: 0)
                return try await fill.run(nanoseconds: 0, bytes: plan.bytes)
            }
            var latency = LatencyHistogram()
            let first = try await pass(topic, records, &latency)
            return try await measure(topic, records, first.lastBytes)
        }
    }

    /// Passes over all of it until the time is up; the first one was the warm-up.
    private func measure(
        _ topic: String, _ records: Int64, _ lastBytes: UInt64
    ) async throws -> BenchResult {
        var result = BenchResult()
        let cpu = CurrentProcess.processorNanoseconds
        var passes: Int64 = 0
        while result.nanoseconds < plan.seconds * 1_000_000_000 || result.bytes < plan.bytes {
            let start = clock.monotonicNanoseconds()
            let sums = try await pass(topic, records, &result.latency)
            result.nanoseconds += clock.monotonicNanoseconds() - start
            guard sums.lastBytes == lastBytes else {
                throw ToolError.failure("two passes over the same records differ")
            }
            result.records += sums.records
            result.bytes += sums.bytes
            passes += 1
        }
        let used = Double(CurrentProcess.processorNanoseconds - cpu)
        result.facts.append(("passes", .integer(passes)))
        result.facts.append(("clientCPUSeconds", .double((used / 1e7).rounded() / 100)))
        return result
    }

    /// From the making of a consumer to the last record.
    private func pass(
        _ topic: String, _ records: Int64, _ latency: inout LatencyHistogram
    ) async throws -> RecordSums {
        if let sharing = plan.sharing {
            return try await GroupBench(plan: plan, client: client, sharing: sharing)
                .pass(topic, records)
        }
        let configuration = ConsumerConfiguration(topic: topic, start: .earliest)
        return try await client.withConsumer(configuration) { consumer in
            switch plan.interface {
            case .batch: try await readBatches(consumer, records, &latency)
            case .record: try await readRecords(consumer, records)
            }
        }
    }

    private func readBatches(
        _ consumer: Consumer, _ records: Int64, _ latency: inout LatencyHistogram
    ) async throws -> RecordSums {
        var sums = RecordSums()
        var asked = clock.monotonicNanoseconds()
        for try await batch in consumer.batches {
            latency.record(nanoseconds: clock.monotonicNanoseconds() - asked)
            for record in batch { sums.add(record) }
            if sums.records >= records { break }
            asked = clock.monotonicNanoseconds()
        }
        return sums
    }

    private func readRecords(_ consumer: Consumer, _ records: Int64) async throws -> RecordSums {
        var sums = RecordSums()
        for try await record in consumer.records {
            sums.add(record)
            if sums.records >= records { break }
        }
        return sums
    }
}
