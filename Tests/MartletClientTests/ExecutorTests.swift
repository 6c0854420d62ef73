import Glibc
import MartletSystem
import Synchronization
import Testing

@testable import MartletClient

/// Tasks on the thread of a producer's or consumer's connection.
struct ExecutorTests {
    private static var thread: UInt { UInt(pthread_self()) }

    /// The thread of a connection.
    private static func threadOfJobs(_ loop: EventLoop) async -> UInt {
        await withCheckedContinuation { continuation in
            loop.execute { continuation.resume(returning: thread) }
        }
    }

    @Test func `a task there sends and reads, and goes on when the client is closed`() async throws
    {
        let broker = try ScriptedBroker(topics: ["t": 1])
        let client = try MartletClient(.testing(broker))
        let producer = try await client.producer()
        let consumer = try await client.consumer(.init(topic: "t"))
        let thread = await Self.threadOfJobs(consumer.core.context.loop)
        let values = try await Task(executorPreference: consumer.executor) {
            var batches = consumer.batches.makeAsyncIterator()
            var values: [String] = []
            var threads: Set = [Self.thread]
            for number in 0..<200 {
                let receipt = try await producer.send(topic: "t", value: "v\(number)")
                #expect(receipt.offset == Int64(number))
                threads.insert(Self.thread)
                let batch = try #require(try await batches.next())
                values += batch.compactMap(\.valueString)
                threads.insert(Self.thread)
            }
            #expect(threads == [thread])
            // Its own thread ends with this.
            await client.close()
            #expect(try await batches.next() == nil)
            return values
        }.value
        #expect(values == (0..<200).map { "v\($0)" })
        let late = await Task(executorPreference: producer.executor) { 7 }.value
        #expect(late == 7)
    }

    @Test func `concurrent sends there are all acknowledged`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 4])
        let offsets = try await Martlet.withClient(.testing(broker)) { client in
            let producer = try await client.producer()
            let thread = await Self.threadOfJobs(producer.core.context.loop)
            return try await withThrowingTaskGroup(of: Int.self) { group in
                for task in 0..<64 {
                    group.addTask(executorPreference: producer.executor) {
                        for number in 0..<20 {
                            try await producer.send(
                                topic: "t", key: "\(task)", value: "\(task)-\(number)")
                            #expect(Self.thread == thread)
                        }
                        return 20
                    }
                }
                return try await group.reduce(0, +)
            }
        }
        #expect(offsets == 64 * 20)
    }

    @Test func `a cancelled wait there ends at once, and takes no record with it`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Martlet.withClient(.testing(broker)) { client in
            let consumer = try await client.consumer(.init(topic: "t"))
            let waiting = Task(executorPreference: consumer.executor) {
                var batches = consumer.batches.makeAsyncIterator()
                return try await batches.next()
            }
            while consumer.core.shelf.waiterCount == 0 { await Task.yield() }
            waiting.cancel()
            await #expect(throws: CancellationError.self) { _ = try await waiting.value }
            broker.append("t", values: ["a"])
            let found = try await ConsumerTests.take(1, of: consumer)
            #expect(found.map(\.1) == ["a"])
        }
    }

    // MARK: - The library's own threads

    private static func prefers(_ executor: any TaskExecutor) -> Bool {
        unsafe withUnsafeCurrentTask { task in
            unsafe task?.unownedTaskExecutor == executor.asUnownedTaskExecutor()
        }
    }

    @Test func `a client's body and its child tasks run on the library's threads`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 4])
        let pool = TaskPool.shared
        let (inside, sent) = try await Martlet.withClient(.testing(broker)) { client in
            let sent = try await client.withProducer { producer in
                try await withThrowingTaskGroup(of: Bool.self) { group in
                    // Many more than there are threads.
                    for task in 0..<200 {
                        group.addTask {
                            for _ in 0..<5 {
                                try await producer.send(
                                    topic: "t", key: "\(task)", value: "\(task)")
                            }
                            return Self.prefers(pool)
                        }
                    }
                    return try await group.reduce(into: [Bool]()) { $0.append($1) }
                }
            }
            return (Self.prefers(pool), sent)
        }
        #expect(inside)
        #expect(sent.count == 200 && sent.allSatisfy { $0 })
        #expect(!Self.prefers(pool))
    }

    @Test func `a task that prefers an executor keeps it inside a client's body`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        let own = try EventLoop(label: "test.own")
        let isKept = try await Task(executorPreference: own) {
            try await Martlet.withClient(.testing(broker)) { client in
                try await client.withProducer { _ = try await $0.send(topic: "t", value: "a") }
                return Self.prefers(own)
            }
        }.value
        #expect(isKept)
        own.stop()
    }
}
