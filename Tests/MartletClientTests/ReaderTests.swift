import MartletSystem
import MartletTestSupport
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// Readers of a consumer's records that come and go.
@Suite(.timeLimit(.minutes(1))) struct ReaderTests {
    private let partition = TopicPartition("t", 0)

    @Test func `what a reader was not handed comes to the next one`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: (0..<10).map(String.init))
        try await ConsumerTests.withConsumer(broker, .init(topic: "t")) { consumer in
            var found: [String] = []
            for count in [1, 3, 6] {
                found += try await ConsumerTests.take(count, of: consumer).map(\.1)
                #expect(consumer.positions() == [partition: Int64(found.count)])
            }
            #expect(found == (0..<10).map(String.init))
            broker.append("t", values: ["later"])
            #expect(try await ConsumerTests.take(1, of: consumer).map(\.0) == [10])
        }
    }

    @Test func `what comes behind it waits for it`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        for batch in 0..<5 { broker.append("t", values: ["\(batch)a", "\(batch)b"]) }
        // One batch in an answer.
        var configuration = ConsumerConfiguration(topic: "t")
        configuration.maxBytes = 1_024
        try await ConsumerTests.withConsumer(broker, configuration) { consumer in
            var offsets: [Int64] = []
            for _ in 0..<10 {
                offsets += try await ConsumerTests.take(1, of: consumer).map(\.0)
            }
            #expect(offsets == Array(0..<10))
        }
    }

    @Test func `nothing of before a seek comes back`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: (0..<10).map(String.init))
        broker.append("t", values: ["10"])
        try await ConsumerTests.withConsumer(broker, .init(topic: "t")) { consumer in
            var reader: ConsumerRecords.AsyncIterator? = consumer.records.makeAsyncIterator()
            #expect(try await reader?.next()?.offset == 0)
            // Where the batch ends, too: it is another place all the same.
            try await consumer.seek(partition, to: .offset(10))
            reader = nil
            #expect(try await ConsumerTests.take(1, of: consumer).map(\.0) == [10])
            #expect(consumer.positions() == [partition: 11])
        }
    }

    @Test func `a seek waits for no fetch on its way`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1, "u": 1])
        let large = String(repeating: "x", count: 2_000)
        for number in 0..<50 { broker.append("t", values: ["\(number)\(large)"]) }
        // Several answers, and more than is kept ready.
        let configuration = ConsumerConfiguration(
            [.topic("t"), .topic("u")], start: .latest, maxBytes: 6_000, maxWait: .seconds(60),
            prefetchBytes: 10_000)
        try await ConsumerTests.withConsumer(broker, configuration) { consumer in
            while broker.script.withLock({ $0.fetchRequests.isEmpty }) { await Task.yield() }
            try await consumer.seek(partition, to: .earliest)
            #expect(try await ConsumerTests.take(50, of: consumer).map(\.0) == Array(0..<50))
        }
    }

    @Test func `without patience there is one attempt`() async throws {
        let broker = try ScriptedBroker()
        var configuration = ClientConfiguration.testing(broker)
        configuration.deadline = .zero
        try await Martlet.withClient(configuration) { client in
            _ = try await client.admin.ping()
        }
        broker.stop()
        try await Martlet.withClient(configuration) { client in
            let error = await #expect(throws: MartletError.self) {
                _ = try await client.admin.ping()
            }
            #expect(error?.code == .connectionFailed)
        }
    }
}
