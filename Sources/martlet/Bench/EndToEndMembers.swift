import MartletClient
import MartletSystem
import Synchronization

/// Members of a group that wait for records at a pace.
struct EndToEndMembers: Sendable {
    private let plan: BenchPlan
    private let client: MartletClient
    private let sharing: BenchPlan.Sharing
    private let clock = SystemClock()

    init(_ plan: BenchPlan, _ client: MartletClient, _ sharing: BenchPlan.Sharing) {
        self.plan = plan
        self.client = client
        self.sharing = sharing
    }

    /// Until all records have reached a handler and its word is on disk. The group is made for it and
    /// deleted behind it.
    func read(_ topic: String, _ pacer: Pacer) async throws -> BenchResult {
        let shared = Shared(pacer)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for _ in 0..<sharing.members {
                tasks.addTask { try await member(topic, shared) }
            }
            // A member that ends before all is read has failed.
            tasks.addTask { await shared.wait() }
            try await tasks.next()
            tasks.cancelAll()
            try await tasks.waitForAll()
        }
        try await client.admin.deleteGroup(sharing.group)
        return try shared.arrivals.result(plan, at: clock.monotonicNanoseconds())
    }

    private func member(_ topic: String, _ shared: Shared) async throws {
        do {
            if sharing.isQueue {
                let configuration = QueueConfiguration(sharing.group, topics: [topic])
                try await client.consumeQueue(configuration) { record in
                    shared.take(record.record, at: clock.monotonicNanoseconds())
                    return .done
                }
            } else {
                let configuration = GroupConsumerConfiguration(sharing.group, topics: [topic])
                try await client.consumeGroup(configuration) { record in
                    shared.take(record, at: clock.monotonicNanoseconds())
                }
            }
        } catch is CancellationError {
            // All is handled.
        }
    }

    private final class Shared: Sendable {
        private let state: Mutex<Arrivals>
        private let done = AsyncStream<Void>.makeStream()

        init(_ pacer: Pacer) { state = Mutex(Arrivals(pacer)) }

        var arrivals: Arrivals { state.withLock { $0 } }

        func take(_ record: borrowing ConsumedRecord, at now: Int64) {
            let areAll = state.withLock { arrivals in
                arrivals.take(record, at: now)
                return arrivals.areAll
            }
            if areAll { done.continuation.finish() }
        }

        func wait() async { for await _ in done.stream {} }
    }
}
