import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// Handlers that close the client that calls them.
@Suite(.timeLimit(.minutes(1))) struct CloseInHandlerTests {
    /// Longer than the test may take: who waits for the handler that waits for it is seen.
    private static let forever = Duration.seconds(600)

    @Test(arguments: [GroupHandling.serial, .perKey(4)])
    func `a handler of a group closes its client, and is done with its record`(
        _ handling: GroupHandling
    ) async throws {
        try await GroupConsumerTests.with(["t": 1]) { broker, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            let seen = Sightings()
            let closed = try MartletClient(broker.configuration)
            var configuration = GroupTest.member()
            configuration.drainTimeout = Self.forever
            try await closed.consumeGroup(configuration, handling: handling) { record in
                await closed.close()
                seen.add(GroupTest.number(record), by: "a")
            }
            await closed.close()
            let lag = try await client.admin.describeGroup("g").lag
            #expect(!seen.numbers.isEmpty && Int(lag) == 10 - seen.numbers.count)
            await #expect(throws: MartletError.self) { _ = try await closed.producer() }
        }
    }

    @Test func `a handler of a queue closes its client, and is done with its record`()
        async throws
    {
        try await GroupConsumerTests.with(["t": 1]) { broker, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            let seen = Sightings()
            let closed = try MartletClient(broker.configuration)
            var configuration = QueueConfiguration("q", topics: ["t"], concurrency: 2)
            configuration.drainTimeout = Self.forever
            try await closed.consumeQueue(configuration) { item in
                await closed.close()
                seen.add(GroupTest.number(item.record), by: "a")
                return .done
            }
            await closed.close()
            let queue = try #require(try await client.admin.describeGroup("q").queues.first)
            #expect(!seen.numbers.isEmpty && Int(queue.acked) == seen.numbers.count)
        }
    }

    @Test func `a handler closes another client, and waits until that is done`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { broker, client in
            try await GroupTest.fill(client, 0..<1, partitions: 1)
            let (outer, inner) = (
                try MartletClient(broker.configuration), try MartletClient(broker.configuration)
            )
            let producer = try await inner.producer()
            try await outer.consumeQueue("q", topics: ["t"]) { _ in
                try producer.enqueue(topic: "t", value: "last")
                await inner.close()
                let queue = try await client.admin.describeGroup("q").queues.first
                #expect(queue?.highWatermark == 2)
                await outer.close()
            }
            await outer.close()
        }
    }
}
