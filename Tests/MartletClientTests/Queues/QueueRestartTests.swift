import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// Restarts of the broker beside members of a queue whose handlers run, with the real broker.
@Suite(.timeLimit(.minutes(2))) struct QueueRestartTests {
    /// When the handlers end; and deliveries, which the member was told of.
    private final class Work: Sendable {
        private let doors: [Promise<Void>]
        let seen = Sightings()
        let began = Mutex<[String]>([])
        let delivered = Mutex<[UInt64]>([])

        init(_ count: Int) {
            doors = (0..<count).map { _ in Promise<Void>() }
        }

        func open(_ numbers: Range<Int>) {
            for number in numbers { doors[number].succeed(()) }
        }

        /// A second handler of a record does not wait: it is only counted.
        func handle(_ record: ConsumedRecord) async {
            let number = GroupTest.number(record)
            let isFirst = !seen.numbers.contains(number)
            seen.add(number, by: record.keyString ?? "")
            if isFirst, number < doors.count { await doors[number].settled() }
        }

        /// Waits until something was handed out by a later start of the broker than the first one.
        func handedAgain() async throws {
            while delivered.withLock({ Set($0.map { $0 >> 32 }).count }) < 2 {
                try Task.checkCancellation()
                await Task.yield()
            }
        }
    }

    private static func member(
        _ work: Work, _ client: MartletClient, order: QueueOrder = .free, concurrency: Int = 8,
        prefetch: Int = 8
    ) -> Task<Void, any Error> {
        var configuration = QueueConfiguration(
            "q", topics: ["t"], order: order, concurrency: concurrency, prefetch: prefetch)
        configuration.trace = { trace in
            guard case .delivered(let delivered, _) = trace else { return }
            work.delivered.withLock { $0.append(delivered.number) }
        }
        let fixed = configuration
        return Task {
            try await client.consumeQueue(fixed) { record in
                await work.handle(record.record)
                return .done
            }
        }
    }

    private static func end(
        _ member: Task<Void, any Error>, _ client: MartletClient
    ) async throws {
        while try await client.admin.describeGroup("q").lag > 0 { await Task.yield() }
        member.cancel()
        await #expect(throws: CancellationError.self) { try await member.value }
    }

    /// With as many as it may hold, too: then it asks for more only when it heard that it has lost them.
    @Test(arguments: [4, 16])
    func `handlers that run over a restart are the only ones of their records`(
        _ count: Int
    ) async throws {
        try await GroupConsumerTests.with(["t": 1]) { broker, client in
            let work = Work(8)
            try await GroupTest.fill(client, 0..<count, partitions: 1)
            let member = Self.member(work, client)
            try await work.seen.wait(for: min(count, 8))
            try await broker.restart()
            try await work.handedAgain()
            work.open(0..<8)
            try await Self.end(member, client)
            #expect(work.seen.numbers.sorted() == Array(0..<count))
            let queue = try #require(try await client.admin.describeGroup("q").queues.first)
            #expect(queue.acked == Int64(count) && queue.dead == 0)
        }
    }

    @Test func `handlers that end while the broker is away are not run again`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { broker, client in
            let work = Work(8)
            try await GroupTest.fill(client, 0..<8, partitions: 1)
            let member = Self.member(work, client)
            try await work.seen.wait(for: 8)
            await broker.stop()
            work.open(0..<5)
            try await broker.start()
            try await work.handedAgain()
            work.open(5..<8)
            try await Self.end(member, client)
            #expect(work.seen.numbers.sorted() == Array(0..<8))
            #expect(try await client.admin.describeGroup("q").queues.first?.acked == 8)
        }
    }

    @Test func `over two restarts a handler is still the only one, and its outcome counts`()
        async throws
    {
        try await GroupConsumerTests.with(["t": 1]) { broker, client in
            let work = Work(4)
            try await GroupTest.fill(client, 0..<4, partitions: 1)
            let member = Self.member(work, client)
            try await work.seen.wait(for: 4)
            try await broker.restart()
            try await work.handedAgain()
            await broker.stop()
            work.open(0..<4)
            try await broker.start()
            try await Self.end(member, client)
            #expect(work.seen.numbers.sorted() == Array(0..<4))
        }
    }

    @Test func `over a restart a queue in order keeps the order of each key`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { broker, client in
            let work = Work(3)
            try await client.withProducer { producer in
                for number in 0..<12 {
                    try producer.enqueue(
                        topic: "t", key: "k\(number % 3)", value: "\(number)", partition: 0)
                }
            }
            let member = Self.member(work, client, order: .byKey)
            try await work.seen.wait(for: 3)
            try await broker.restart()
            try await work.handedAgain()
            work.open(0..<3)
            try await Self.end(member, client)
            #expect(work.seen.numbers.sorted() == Array(0..<12))
            for key in 0..<3 {
                #expect(work.seen.numbers(of: "k\(key)") == [key, key + 3, key + 6, key + 9])
            }
        }
    }
}
