import MartletClient
import Synchronization

/// The same pass as that of a plain consumer, read by the members of a group.
struct GroupBench: Sendable {
    let plan: BenchPlan
    let client: MartletClient
    let sharing: BenchPlan.Sharing

    /// From the making of the members to the last record's commit or acknowledgement. The group is
    /// made for the pass and deleted behind it.
    func pass(_ topic: String, _ records: Int64) async throws -> RecordSums {
        let sums = try await sharing.isQueue ? settle(topic, records) : read(topic, records)
        try await client.admin.deleteGroup(sharing.group)
        return sums
    }

    private func read(_ topic: String, _ records: Int64) async throws -> RecordSums {
        let configuration = GroupConsumerConfiguration(sharing.group, topics: [topic])
        let total = Total(records)
        return try await withThrowingTaskGroup(of: Void.self) { tasks in
            for _ in 0..<sharing.members {
                tasks.addTask {
                    try await client.withGroupConsumer(configuration) { consumer in
                        switch plan.interface {
                        case .batch:
                            for try await batch in consumer.batches {
                                var sums = RecordSums()
                                for record in batch { sums.add(record) }
                                if total.add(sums) { return }
                            }
                        case .record:
                            for try await record in consumer.records {
                                var sums = RecordSums()
                                sums.add(record)
                                if total.add(sums) { return }
                            }
                        }
                    }
                }
            }
            try await tasks.next()
            tasks.cancelAll()
            return total.sums
        }
    }

    private func settle(_ topic: String, _ records: Int64) async throws -> RecordSums {
        var configuration = QueueConfiguration(sharing.group, topics: [topic], concurrency: 1)
        configuration.prefetch = 20_000
        let total = Total(records)
        let done = AsyncStream<Void>.makeStream()
        return try await withThrowingTaskGroup(of: Void.self) { [configuration] tasks in
            for _ in 0..<sharing.members {
                tasks.addTask {
                    do {
                        try await client.consumeQueue(configuration) { record in
                            var sums = RecordSums()
                            sums.add(record.record)
                            if total.add(sums) { done.continuation.finish() }
                            return .done
                        }
                    } catch is CancellationError {
                        // All is handled; what was said is on disk by now.
                    }
                }
            }
            for await _ in done.stream {}
            tasks.cancelAll()
            try await tasks.waitForAll()
            return total.sums
        }
    }

    /// What all members have read together.
    private final class Total: Sendable {
        private let state = Mutex(RecordSums())
        private let goal: Int64

        init(_ goal: Int64) { self.goal = goal }

        var sums: RecordSums { state.withLock { $0 } }

        /// True when that was all.
        func add(_ sums: RecordSums) -> Bool {
            state.withLock { state in
                state.records += sums.records
                state.bytes += sums.bytes
                state.lastBytes &+= sums.lastBytes
                return state.records >= goal
            }
        }
    }
}

/// What reading records comes to; the sums keep a loop honest.
struct RecordSums: Sendable {
    var records: Int64 = 0
    var bytes: Int64 = 0
    var lastBytes: UInt64 = 0

    @inline(__always)
    mutating func add(_ record: borrowing ConsumedRecord) {
        records &+= 1
        if let key = record.key {
            bytes &+= Int64(key.byteCount)
            lastBytes &+= key.lastByte
        }
        if let value = record.value {
            bytes &+= Int64(value.byteCount)
            lastBytes &+= value.lastByte
        }
    }
}
