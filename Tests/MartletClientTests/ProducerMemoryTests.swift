import Synchronization
import Testing

@testable import MartletClient

/// Calls that wait for a producer's memory.
struct ProducerMemoryTests {
    private typealias Base = ProducerTests

    private static let slabs = 8
    /// Room for eight batches of one record each.
    private static let small = ProducerConfiguration(batchBytes: 16_384, bufferBytes: 8 * 16_384)
    private static let value = [UInt8](repeating: 7, count: 15_000)

    @Test func `a send that waits for memory is not overtaken`() async throws {
        let broker = try ScriptedBroker(topics: ["t": Self.slabs + 1])
        broker.script.withLock { $0.onProduce = { _, _ in .hold } }
        try await Base.withProducer(broker, Self.small) { producer in
            let filling = try await Self.fill(producer, broker)
            let last = Int32(Self.slabs)
            func send(_ mark: UInt8) -> Task<Int64, any Error> {
                let value = [UInt8](repeating: mark, count: 15_000)
                return Task {
                    try await producer.send(topic: "t", value: value, partition: last).offset
                }
            }
            let first = send(1)
            while Self.waiters(producer) < 1 { await Task.yield() }
            // What is free then is the first one's, though most of the buffer is in use.
            broker.releaseHeld(1)
            _ = try await filling[0].value
            let second = send(2)
            while Self.waiters(producer) + broker.records("t", Self.slabs).count < 2 {
                await Task.yield()
            }
            broker.script.withLock { $0.onProduce = { _, _ in .normal } }
            broker.releaseHeld()
            #expect(try await first.value == 0)
            #expect(try await second.value == 1)
            for task in filling.dropFirst() { _ = try await task.value }
        }
    }

    @Test func `a flush covers what waits for memory`() async throws {
        let broker = try ScriptedBroker(topics: ["t": Self.slabs + 1, "u": 1])
        broker.script.withLock { $0.onProduce = { _, _ in .hold } }
        try await Base.withProducer(broker, Self.small) { producer in
            let filling = try await Self.fill(producer, broker)
            // Nobody has asked for its topic yet.
            let waiting = Task { try await producer.send(topic: "u", value: Self.value) }
            while Self.waiters(producer) < 1 { await Task.yield() }
            let isFlushed = Mutex(false)
            let flush = Task {
                try await producer.flush()
                isFlushed.withLock { $0 = true }
            }
            while Self.waiters(producer) < 2 { await Task.yield() }
            // All that was taken so far is acknowledged; what waited is in the log, and is not.
            broker.releaseHeld()
            for task in filling { _ = try await task.value }
            while broker.records("u").isEmpty { await Task.yield() }
            #expect(!isFlushed.withLock { $0 })
            broker.releaseHeld()
            try await flush.value
            #expect(try await waiting.value.offset == 0)
        }
    }

    @Test func `a flush goes on when what it waits for in line is over`() async throws {
        let broker = try ScriptedBroker(topics: ["t": Self.slabs + 1])
        broker.script.withLock { $0.onProduce = { _, _ in .hold } }
        try await Base.withProducer(broker, Self.small) { producer in
            let filling = try await Self.fill(producer, broker)
            let waiting = Task { try await producer.send(topic: "t", value: Self.value) }
            while Self.waiters(producer) < 1 { await Task.yield() }
            let (first, second) = (
                Task { try await producer.flush() }, Task { try await producer.flush() }
            )
            while Self.waiters(producer) < 3 { await Task.yield() }
            waiting.cancel()
            await #expect(throws: CancellationError.self) { try await waiting.value }
            first.cancel()
            await #expect(throws: CancellationError.self) { try await first.value }
            broker.releaseHeld()
            for task in filling { _ = try await task.value }
            try await second.value
        }
    }

    @Test func `nothing is taken before a call that waits`() async throws {
        let broker = try ScriptedBroker(topics: ["t": Self.slabs + 1])
        broker.script.withLock { $0.onProduce = { _, _ in .hold } }
        try await Base.withProducer(broker, Self.small) { producer in
            let filling = try await Self.fill(producer, broker)
            let large = [UInt8](repeating: 1, count: 40_000)
            let waiting = Task { try await producer.send(topic: "t", value: large, partition: 0) }
            while Self.waiters(producer) < 1 { await Task.yield() }
            broker.releaseHeld(1)
            _ = try await filling[0].value
            // One batch is free: enough for this record, not for the one that waits.
            let error = #expect(throws: MartletError.self) {
                try producer.enqueue(topic: "t", value: Self.value, partition: 0)
            }
            #expect(error?.code == .bufferFull)
            waiting.cancel()
            await #expect(throws: CancellationError.self) { try await waiting.value }
            broker.script.withLock { $0.onProduce = { _, _ in .normal } }
            broker.releaseHeld()
            for task in filling.dropFirst() { _ = try await task.value }
            try await producer.send(topic: "t", value: Self.value, partition: 0)
        }
        #expect(broker.records("t", 0).count == 2)
    }

    @Test func `waiting for space waits for the record that was refused`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock { $0.onProduce = { _, _ in .hold } }
        try await Base.withProducer(broker, Self.small) { producer in
            let first = Task { try await producer.send(topic: "t", value: Self.value) }
            while broker.records("t").isEmpty { await Task.yield() }
            // As large as the whole buffer, most of which is free.
            let large = [UInt8](repeating: 7, count: 8 * 16_384 - 1_024)
            let error = #expect(throws: MartletError.self) {
                try producer.enqueue(topic: "t", value: large)
            }
            #expect(error?.code == .bufferFull)
            let waiting = Task { try await producer.waitForSpace() }
            while Self.waiters(producer) < 1 { await Task.yield() }
            waiting.cancel()
            await #expect(throws: CancellationError.self) { try await waiting.value }
            let again = Task { try await producer.waitForSpace() }
            while Self.waiters(producer) < 2 { await Task.yield() }
            broker.script.withLock { $0.onProduce = { _, _ in .normal } }
            broker.releaseHeld()
            _ = try await first.value
            try await again.value
            try producer.enqueue(topic: "t", value: large)
            try await producer.flush()
        }
        #expect(broker.records("t").count == 2)
    }

    @Test func `an enqueue that waits goes on when there is space, and ends when cancelled`()
        async throws
    {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock { $0.onProduce = { _, _ in .hold } }
        try await Base.withProducer(broker, Self.small) { producer in
            let first = Task { try await producer.send(topic: "t", value: Self.value) }
            while broker.records("t").isEmpty { await Task.yield() }
            let large = ProducerRecord(
                topic: "t", value: [UInt8](repeating: 7, count: 8 * 16_384 - 1_024))
            let cancelled = Task { try await producer.enqueueWaiting(large) }
            while Self.waiters(producer) < 1 { await Task.yield() }
            cancelled.cancel()
            await #expect(throws: CancellationError.self) { try await cancelled.value }
            let waiting = Task { try await producer.enqueueWaiting(large) }
            while Self.waiters(producer) < 2 { await Task.yield() }
            broker.script.withLock { $0.onProduce = { _, _ in .normal } }
            broker.releaseHeld()
            _ = try await first.value
            try await waiting.value
            try await producer.flush()
        }
        #expect(broker.records("t").count == 2)
    }

    /// Sends one record to each of the first partitions; the broker holds the answers.
    private static func fill(
        _ producer: Producer, _ broker: ScriptedBroker
    ) async throws -> [Task<Int64, any Error>] {
        var tasks: [Task<Int64, any Error>] = []
        for partition in 0..<slabs {
            tasks.append(
                Task {
                    try await producer.send(
                        topic: "t", value: value, partition: Int32(partition)
                    ).offset
                })
            while broker.records("t", partition).isEmpty { await Task.yield() }
        }
        return tasks
    }

    private static func waiters(_ producer: Producer) -> Int {
        producer.core.state.withLock { $0.spaceWaiters.count }
    }
}
