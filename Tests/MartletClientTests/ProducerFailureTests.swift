import MartletFormat
import MartletSystem
import MartletTestSupport
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// What a producer tells of records that were not acknowledged, and what it must not hang or end on.
struct ProducerFailureTests {
    private typealias Base = ProducerTests

    @Test func `requests that time out together are all sent again`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 2])
        broker.script.withLock { $0.onProduce = { number, _ in number <= 2 ? .silence : .normal } }
        let clock = ManualClock()
        let client = try MartletClient(.testing(broker), clock: clock)
        let producer = try await client.producer()
        let first = Task { try await producer.send(topic: "t", value: "a", partition: 0) }
        while broker.records("t", 0).isEmpty { await Task.yield() }
        let second = Task { try await producer.send(topic: "t", value: "b", partition: 1) }
        while broker.records("t", 1).isEmpty { await Task.yield() }
        clock.advance(seconds: 12)
        #expect(try await first.value.isDuplicate)
        #expect(try await second.value.isDuplicate)
        await client.close()
        #expect(broker.script.withLock { $0.hellos } == 2)
    }

    @Test func `a deleted topic takes nothing from the connection that still sends it`()
        async throws
    {
        let broker = try ScriptedBroker(topics: ["t": 16, "u": 1])
        try await Base.withProducer(broker) { producer in
            _ = try await producer.topic("t")
            broker.remake("t", 1)
            broker.script.withLock {
                $0.onProduce = { number, _ in number == 1 ? .holdAndStall : .normal }
            }
            let refused = Task { try await producer.send(topic: "t", value: "a", partition: 0) }
            while broker.script.withLock({ $0.produceRequests.isEmpty }) { await Task.yield() }
            // More than the socket takes.
            let large = [UInt8](repeating: 7, count: 900_000)
            let sending = (1..<16).map { partition in
                Task {
                    try await producer.send(topic: "t", value: large, partition: Int32(partition))
                }
            }
            while await Self.inFlight(producer, "t") < 16 { await Task.yield() }
            broker.releaseHeld()
            let answered = await #expect(throws: MartletError.self) { try await refused.value }
            #expect(answered?.code == .unknownTopicID)
            #expect(answered?.outcome == .notWritten)
            for task in sending {
                let error = await #expect(throws: MartletError.self) { try await task.value }
                #expect(error?.code == .unknownTopicID)
                #expect(error?.outcome == .unknown)
            }
            broker.resumeReading()
            try await producer.send(topic: "u", value: "after")
        }
        #expect(broker.script.withLock { $0.hellos } == 1)
        #expect(broker.records("u").map(\.value) == ["after"])
    }

    @Test func `a record in flight may be written, also when the producer closes`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock { $0.onProduce = { _, _ in .hold } }
        try await Base.withProducer(broker) { producer in
            let sending = Task { try await producer.send(topic: "t", value: "a") }
            while broker.records("t").isEmpty { await Task.yield() }
            let closing = Task { await producer.close() }
            closing.cancel()
            await closing.value
            let error = await #expect(throws: MartletError.self) { try await sending.value }
            #expect(error?.code == .closed)
            #expect(error?.outcome == .unknown)
        }
    }

    @Test func `a deleted topic with an open batch does not silence the others`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 2, "u": 1])
        try await Base.withProducer(broker, .init(linger: .seconds(60))) { producer in
            _ = try await producer.topic("t")
            // A look-up would drain what is sealed.
            _ = try await producer.topic("u")
            broker.remake("t", 2)
            try producer.enqueue(topic: "t", value: "waits", partition: 0)
            let error = await #expect(throws: MartletError.self) {
                try await producer.send(topic: "t", value: "refused", partition: 1)
            }
            #expect(error?.code == .unknownTopicID)
            var failures = producer.failures.makeAsyncIterator()
            let failure = try #require(await failures.next(isolation: nil))
            #expect(failure.error.outcome == .notWritten)
            #expect(failure.records.first?.value == Array("waits".utf8))
            try await producer.send(topic: "u", value: "goes")
        }
    }

    @Test func `another broker at the address gets nothing under the first one's identity`()
        async throws
    {
        let broker = try ScriptedBroker(topics: ["t": 1, "u": 1])
        try await Base.withProducer(broker) { producer in
            try await producer.send(topic: "t", value: "before")
            try await producer.send(topic: "u", value: "before")
            broker.script.withLock { $0.onProduce = { _, _ in .silence } }
            let sending = Task { try await producer.send(topic: "t", value: "in flight") }
            while broker.records("t").count < 2 { await Task.yield() }
            broker.script.withLock { $0.onProduce = { _, _ in .normal } }
            broker.replace(["t": 1, "u": 1])
            let error = await #expect(throws: MartletError.self) { try await sending.value }
            #expect(error?.outcome == .unknown)
            // Takes the id that the first broker had given to this producer.
            try await Base.withProducer(broker) { try await $0.send(topic: "u", value: "other") }
            let receipt = try await producer.send(topic: "u", value: "after")
            #expect(receipt.offset == 1)
            #expect(!receipt.isDuplicate)
        }
        #expect(broker.records("u").map(\.value) == ["other", "after"])
        #expect(broker.records("t").isEmpty)
    }

    @Test func `no request is larger than what the broker reads`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 8])
        broker.script.withLock { $0.frameBytesMax = 65_536 }
        try await Base.withProducer(broker, .init(linger: .seconds(60))) { producer in
            let value = [UInt8](repeating: 7, count: 20_000)
            for partition in 0..<8 {
                try producer.enqueue(topic: "t", value: value, partition: Int32(partition))
            }
            try await producer.flush()
        }
        let sizes = broker.script.withLock { $0.produceRequests.compactMap(\.attachmentBytes) }
        #expect(sizes.reduce(0, +) > 160_000)
        #expect(sizes.allSatisfy { $0 <= 65_536 - 1_024 }, "\(sizes)")
    }

    @Test func `a name that no request can carry is refused by itself`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Base.withProducer(broker) { producer in
            let long = String(repeating: "n", count: 250)
            let sent = await #expect(throws: MartletError.self) {
                try await producer.send(topic: long, value: "a")
            }
            #expect(sent?.code == .invalidTopicName)
            #expect(sent?.outcome == .notWritten)
            let asked = await #expect(throws: MartletError.self) {
                _ = try await producer.topic(long)
            }
            #expect(asked?.code == .invalidTopicName)
            try await producer.send(topic: "t", value: "goes")
        }
    }

    @Test(arguments: [1_024, 1 << 20])
    func `a record that is refused takes no neighbour along`(batchBytes: Int) async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock { $0.latestTime = 1_000 }
        let configuration = ProducerConfiguration(linger: .seconds(60), batchBytes: batchBytes)
        try await Base.withProducer(broker, configuration) { producer in
            for number in 0..<200 {
                try producer.enqueue(
                    topic: "t", value: "v\(number)", timestamp: number == 37 ? 1_001 : 1_000)
            }
            let error = await #expect(throws: MartletError.self) { try await producer.flush() }
            #expect(error?.code == .invalidTimestamp)
            #expect(error?.outcome == .notWritten)
            var failures = producer.failures.makeAsyncIterator()
            let failure = try #require(await failures.next(isolation: nil))
            #expect(failure.records.map(\.value) == [Array("v37".utf8)])
            try await producer.send(topic: "t", value: "after", timestamp: 1_000)
        }
        let expected = (0..<200).filter { $0 != 37 }.map { "v\($0)" } + ["after"]
        #expect(broker.records("t").map(\.value) == expected)
    }

    @Test func `sends that share a batch are refused one by one`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock {
            $0.latestTime = 1_000
            $0.onProduce = { number, _ in number == 1 ? .hold : .normal }
        }
        try await Base.withProducer(broker) { producer in
            let first = Task {
                try await producer.send(topic: "t", value: "first", timestamp: 1_000)
            }
            while broker.records("t").isEmpty { await Task.yield() }
            // These wait for the first one's answer, in one batch.
            let others = (0..<10).map { number in
                Task {
                    try await producer.send(
                        topic: "t", value: "v\(number)", timestamp: number == 7 ? 1_001 : 1_000)
                }
            }
            while Self.openRecords(producer, "t") < 10 { await Task.yield() }
            broker.releaseHeld()
            _ = try await first.value
            for (number, task) in others.enumerated() {
                if number == 7 {
                    await #expect(throws: MartletError.self) { try await task.value }
                } else {
                    _ = try await task.value
                }
            }
        }
        #expect(broker.records("t").count == 10)
    }

    @Test func `a topic that takes smaller batches than before gets smaller ones`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Base.withProducer(broker, .init(linger: .seconds(60))) { producer in
            _ = try await producer.topic("t")
            broker.script.withLock { $0.batchBytesMax = 1_500 }
            for number in 0..<300 { try producer.enqueue(topic: "t", value: "v\(number)") }
            try await producer.flush()
            func batchBytesMax() -> Int? {
                producer.core.state.withLock { $0.topics["t"]?.batchBytesMax }
            }
            while batchBytesMax() != 1_500 { await Task.yield() }
            let before = broker.script.withLock { $0.produceRequests.count }
            for number in 300..<320 { try producer.enqueue(topic: "t", value: "v\(number)") }
            try await producer.flush()
            #expect(broker.script.withLock { $0.produceRequests.count } == before + 1)
        }
        #expect(broker.records("t").map(\.value) == (0..<320).map { "v\($0)" })
    }

    /// Records of a topic's first partition that are in no sealed batch yet.
    private static func openRecords(_ producer: Producer, _ topic: String) -> Int {
        producer.core.state.withLock { state in
            Int(state.topics[topic]?.partitions.first?.open?.recordCount ?? 0)
        }
    }

    /// Batches of a topic that are on their way.
    private static func inFlight(_ producer: Producer, _ topic: String) async -> Int {
        let core = producer.core
        let count = Promise<Int>()
        core.context.loop.execute {
            let lanes = core.state.withLock { $0.topics[topic]?.partitions ?? [] }
            count.succeed(lanes.reduce(0) { $0 + $1.flight.inFlight.count })
        }
        return (try? await count.value()) ?? 0
    }
}
