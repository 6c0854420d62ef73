import MartletClient
import MartletFormat
import MartletSystem
import Synchronization

/// Awaits a record now and then among many that nobody awaits, to learn how long an
/// acknowledgement takes under that load.
final class Probes: Sendable {
    private static let pause = Duration.milliseconds(10)

    private let producers: [Producer]
    private let topic: String
    private let plan: BenchPlan
    private let latency = Mutex(LatencyHistogram())
    private let tasks = Mutex<[Task<Void, Never>]>([])
    private let clock = SystemClock()

    init(_ producers: [Producer], _ topic: String, _ plan: BenchPlan) {
        self.producers = producers
        self.topic = topic
        self.plan = plan
    }

    func start() {
        // Without an acknowledgement there is nothing to await.
        guard plan.acks != .none else { return }
        let started = producers.map { producer in
            Task { [self] in await probe(producer) }
        }
        tasks.withLock { $0 = started }
    }

    /// The times found so far. The probes under way are not waited for.
    func stop() async -> LatencyHistogram {
        let running = tasks.withLock { tasks in
            defer { tasks = [] }
            return tasks
        }
        for task in running { task.cancel() }
        for task in running { await task.value }
        return latency.withLock { $0 }
    }

    private func probe(_ producer: Producer) async {
        let value = DiskProbe.random(plan.size)
        let bytes = unsafe value.withUnsafeBytes(0..<plan.size) { unsafe Array($0) }
        do {
            while !Task.isCancelled {
                let start = clock.monotonicNanoseconds()
                try await producer.send(topic: topic, key: nil, value: bytes)
                let end = clock.monotonicNanoseconds()
                latency.withLock { $0.record(nanoseconds: end - start) }
                try await Task.sleep(for: Self.pause)
            }
        } catch {
            // Cancelled, or the buffer was full: what was measured so far counts. A real failure
            // ends the records beside it too, and is told there.
        }
    }
}
