import MartletClient
import MartletSystem
import Synchronization

/// Sends records when they are due, whether or not earlier ones are acknowledged, and counts each
/// latency from the moment it was due: a stall shows in every record that it delayed.
final class PacedSends: Sendable {
    private struct State {
        var latency = LatencyHistogram()
        var latencyFromSend = LatencyHistogram()
        var failure: (any Error)?
        var underWay = 0
        var allSent = false
        var finished: CheckedContinuation<Void, Never>?
    }

    private let plan: BenchPlan
    private let producers: [Producer]
    private let topic: String
    private let interval: Double
    private let state = Mutex(State())
    private let clock = SystemClock()

    init(_ plan: BenchPlan, _ producers: [Producer], _ topic: String, rate: Int64) {
        self.plan = plan
        self.producers = producers
        self.topic = topic
        interval = 1e9 / Double(rate)
    }

    func run() async throws -> BenchResult {
        let warmUp = Int64(Double(plan.warmUpSeconds) * 1e9 / interval)
        let count = max(
            Int64(Double(plan.seconds) * 1e9 / interval), plan.bytes / Int64(plan.size))
        let start = clock.monotonicNanoseconds() + 10_000_000
        let queue = SerialQueue(label: "martlet.bench.pacer")
        await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                state.withLock { $0.finished = continuation }
                queue.execute { [self] in pace(start, warmUp: warmUp, count: count) }
            }
        } onCancel: {
            state.withLock { $0.failure = $0.failure ?? CancellationError() }
        }
        var result = BenchResult()
        let measured = start + Int64(Double(warmUp) * interval)
        result.nanoseconds = clock.monotonicNanoseconds() - measured
        try state.withLock { state in
            if let failure = state.failure { throw failure }
            result.latency = state.latency
            result.latencyFromSend = state.latencyFromSend
        }
        result.records = count
        result.bytes = count * Int64(plan.size)
        return result
    }

    /// On a thread of its own, which it holds.
    private func pace(_ start: Int64, warmUp: Int64, count: Int64) {
        var values = BenchValues(size: plan.size, stream: 0)
        for index in 0..<(warmUp + count) {
            let due = start + Int64(Double(index) * interval)
            PreciseWait.until(monotonicNanoseconds: due)
            let goesOn = state.withLock { state in
                guard state.failure == nil else { return false }
                state.underWay += 1
                return true
            }
            guard goesOn else { break }
            let value = values.array(values.next())
            let producer = producers[Int(index) % producers.count]
            let partition = plan.partitions > 1 ? Int32(Int(index) % plan.partitions) : nil
            let counts = index >= warmUp
            Task(executorPreference: producer.executor) { [self] in
                await send(producer, value, partition, due: due, counts: counts)
            }
        }
        end { $0.allSent = true }
    }

    private func send(
        _ producer: Producer, _ value: [UInt8], _ partition: Int32?, due: Int64, counts: Bool
    ) async {
        let start = clock.monotonicNanoseconds()
        do {
            try await producer.send(topic: topic, key: nil, value: value, partition: partition)
            let now = clock.monotonicNanoseconds()
            end { state in
                state.underWay -= 1
                guard counts else { return }
                state.latency.record(nanoseconds: now - due)
                state.latencyFromSend.record(nanoseconds: now - start)
            }
        } catch {
            end { state in
                state.underWay -= 1
                state.failure = state.failure ?? error
            }
        }
    }

    /// Changes the state, and goes on when that was the last thing to wait for.
    private func end(_ change: (inout State) -> Void) {
        let finished = state.withLock { state -> CheckedContinuation<Void, Never>? in
            change(&state)
            guard state.allSent, state.underWay == 0 else { return nil }
            defer { state.finished = nil }
            return state.finished
        }
        finished?.resume()
    }
}
