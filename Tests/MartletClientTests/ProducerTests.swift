import MartletFormat
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// The producer against a scripted broker over loopback.
struct ProducerTests {
    static func withProducer(
        _ broker: ScriptedBroker, _ configuration: ProducerConfiguration = .init(),
        _ body: (Producer) async throws -> Void
    ) async throws {
        try await Martlet.withClient(.testing(broker)) { client in
            let producer = try await client.producer(configuration)
            try await body(producer)
        }
    }

    @Test func `a record is acknowledged with its place`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 3])
        try await Self.withProducer(broker) { producer in
            for number in 0..<10 {
                let receipt = try await producer.send(
                    topic: "t", key: "k", value: "v\(number)", partition: 1)
                #expect(receipt.offset == Int64(number))
                #expect(receipt.partition == 1)
                #expect(receipt.durability == .durable)
                #expect(!receipt.isDuplicate)
            }
        }
        #expect(broker.records("t", 1).map(\.value) == (0..<10).map { "v\($0)" })
    }

    @Test func `concurrent sends get an offset each`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Self.withProducer(broker) { producer in
            let offsets = try await withThrowingTaskGroup(of: Int64.self) { group in
                for number in 0..<1_000 {
                    group.addTask {
                        try await producer.send(topic: "t", value: "v\(number)").offset
                    }
                }
                return try await group.reduce(into: Set<Int64>()) { $0.insert($1) }
            }
            #expect(offsets == Set(0..<1_000))
        }
        #expect(Set(broker.records("t").map(\.value)).count == 1_000)
        let requests = broker.script.withLock { $0.produceRequests.count }
        #expect(requests < 500, "concurrent sends share batches: \(requests) requests")
    }

    @Test func `enqueue keeps the order and flush waits for all`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Self.withProducer(broker, .init(batchBytes: 4_096)) { producer in
            for number in 0..<5_000 { try producer.enqueue(topic: "t", value: "v\(number)") }
            try await producer.flush()
            #expect(broker.records("t").map(\.value) == (0..<5_000).map { "v\($0)" })
        }
    }

    @Test func `a lost answer does not store twice`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock {
            $0.onProduce = { number, _ in number % 3 == 1 ? .appendThenClose : .normal }
        }
        try await Self.withProducer(broker, .init(batchBytes: 1_024)) { producer in
            for number in 0..<200 { try producer.enqueue(topic: "t", value: "v\(number)") }
            try await producer.flush()
            let receipt = try await producer.send(topic: "t", value: "last")
            #expect(receipt.offset == 200)
        }
        #expect(broker.records("t").map(\.value) == (0..<200).map { "v\($0)" } + ["last"])
    }

    @Test func `a connection that breaks before the append keeps the order`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock {
            $0.onProduce = { number, _ in number % 4 == 2 ? .close : .normal }
        }
        try await Self.withProducer(broker, .init(batchBytes: 1_024)) { producer in
            for number in 0..<500 { try producer.enqueue(topic: "t", value: "v\(number)") }
            try await producer.flush()
        }
        #expect(broker.records("t").map(\.value) == (0..<500).map { "v\($0)" })
    }

    @Test func `a refused batch in the middle keeps the order`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock {
            $0.onProduce = { number, _ in (2...3).contains(number) ? .refuse(.loading) : .normal }
        }
        try await Self.withProducer(broker, .init(batchBytes: 1_024)) { producer in
            for number in 0..<500 { try producer.enqueue(topic: "t", value: "v\(number)") }
            try await producer.flush()
        }
        #expect(broker.records("t").map(\.value) == (0..<500).map { "v\($0)" })
    }

    @Test func `a batch that is never taken fails alone`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock {
            $0.onProduce = { number, _ in number == 2 ? .refuse(.notAuthorized) : .normal }
        }
        try await Self.withProducer(broker, .init(batchBytes: 1_024)) { producer in
            for number in 0..<300 { try producer.enqueue(topic: "t", value: "v\(number)") }
            await #expect(throws: MartletError.self) { try await producer.flush() }
            var failures = producer.failures.makeAsyncIterator()
            let failure = try #require(await failures.next(isolation: nil))
            #expect(failure.error.code == .notAuthorized)
            #expect(failure.error.outcome == .notWritten)
            let lost = failure.records.compactMap {
                $0.value.map { String(decoding: $0, as: UTF8.self) }
            }
            #expect(lost.count == failure.recordCount)
            let stored = broker.records("t").map(\.value)
            #expect(stored == (0..<300).map { "v\($0)" }.filter { !lost.contains($0) })
            try await producer.send(topic: "t", value: "after")
        }
    }

    /// The topic is looked up while `flush` begins; whichever of them is first, the failure is told.
    @Test func `flush tells of a record that never came into a batch`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        for _ in 0..<100 {
            try await Self.withProducer(broker) { producer in
                try producer.enqueue(ProducerRecord(topic: "t", value: "v", partition: 9))
                let error = await #expect(throws: MartletError.self) {
                    try await producer.flush()
                }
                #expect(error?.code == .unknownPartition)
                try await producer.flush()
            }
        }
    }

    @Test func `an unknown producer goes on under the next epoch`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Self.withProducer(broker) { producer in
            try await producer.send(topic: "t", value: "a")
            broker.change("t", 0) { log in
                log.producers = [:]
                log.leaderEpoch += 1
            }
            let receipt = try await producer.send(topic: "t", value: "b")
            #expect(receipt.offset == 1)
            try await producer.send(topic: "t", value: "c")
        }
        #expect(broker.records("t").map(\.value) == ["a", "b", "c"])
        let asked = broker.script.withLock { $0.initProducers }
        #expect(asked.map(\.producerID) == [-1, 1])
        #expect(asked.last?.producerEpoch == 0)
    }

    @Test func `a record with an unknown outcome is never sent under a new epoch`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Self.withProducer(broker) { producer in
            try await producer.send(topic: "t", value: "a")
            broker.script.withLock {
                $0.onProduce = { number, _ in number == 2 ? .appendThenClose : .normal }
                $0.onHello = { [broker] _ in
                    // Between the two connections the broker forgets the producer.
                    broker.change0("t") { log in
                        log.producers = [:]
                        log.leaderEpoch += 1
                    }
                    return .none
                }
            }
            let error = await #expect(throws: MartletError.self) {
                try await producer.send(topic: "t", value: "b")
            }
            #expect(error?.outcome == .unknown)
            try await producer.send(topic: "t", value: "c")
        }
        #expect(broker.records("t").map(\.value) == ["a", "b", "c"])
    }

    @Test func `a newer instance ends the producer`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Self.withProducer(broker) { producer in
            try await producer.send(topic: "t", value: "a")
            broker.change("t", 0) { log in
                for id in log.producers.keys { log.producers[id]?.epoch += 1 }
            }
            let error = await #expect(throws: MartletError.self) {
                try await producer.send(topic: "t", value: "b")
            }
            #expect(error?.code == .staleProducerEpoch)
            #expect(error?.isFatal == true || error?.outcome == .notWritten)
            await #expect(throws: MartletError.self) {
                try await producer.send(topic: "t", value: "c")
            }
        }
    }

    @Test func `an unknown topic fails its records`() async throws {
        let broker = try ScriptedBroker()
        try await Self.withProducer(broker) { producer in
            let error = await #expect(throws: MartletError.self) {
                try await producer.send(topic: "nowhere", value: "a")
            }
            #expect(error?.code == .unknownTopic)
            #expect(error?.outcome == .notWritten)
            try producer.enqueue(topic: "nowhere", value: "b")
            var failures = producer.failures.makeAsyncIterator()
            let failure = try #require(await failures.next(isolation: nil))
            #expect(failure.records.first?.value == Array("b".utf8))
        }
    }

    @Test func `a topic that was made anew is another topic`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Self.withProducer(broker) { producer in
            let handle = try await producer.topic("t")
            try await producer.send(topic: "t", value: "a")
            broker.remake("t", 2)
            let error = await #expect(throws: MartletError.self) {
                try await producer.send(topic: "t", value: "b")
            }
            #expect(error?.code == .unknownTopicID)
            try await producer.send(topic: "t", value: "c", partition: 1)
            let value: [UInt8] = [1]
            #expect(throws: MartletError.self) {
                try unsafe producer.enqueue(to: handle, value: value.span.bytes)
            }
        }
        #expect(broker.records("t", 1).map(\.value) == ["c"])
    }

    @Test func `a full buffer refuses, and space is told`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock { $0.onProduce = { _, _ in .hold } }
        let small = ProducerConfiguration(batchBytes: 16_384, bufferBytes: 65_536)
        try await Self.withProducer(broker, small) { producer in
            let handle = try await producer.topic("t")
            let value = [UInt8](repeating: 7, count: 1_000)
            var count = 0
            let error = #expect(throws: MartletError.self) {
                while count < 10_000 {
                    try unsafe producer.enqueue(to: handle, value: value.span.bytes)
                    count += 1
                }
            }
            #expect(error?.code == .bufferFull)
            #expect((16...64).contains(count), "\(count)")
            broker.script.withLock { $0.onProduce = { _, _ in .normal } }
            async let space: Void = producer.waitForSpace()
            broker.releaseHeld()
            try await space
            try unsafe producer.enqueue(to: handle, value: value.span.bytes)
            try await producer.flush()
            #expect(broker.records("t").count == count + 1)
        }
    }

    @Test func `a broker that stays away fails the records in time`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.stop()
        let impatient = ProducerConfiguration(deliveryTimeout: .milliseconds(300))
        try await Self.withProducer(broker, impatient) { producer in
            let error = await #expect(throws: MartletError.self) {
                try await producer.send(topic: "t", value: "a")
            }
            #expect(error?.code == .connectionFailed)
            #expect(error?.outcome == .notWritten)
        }
    }

    @Test func `records given while the broker is away arrive when it is back`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Self.withProducer(broker) { producer in
            try await producer.send(topic: "t", value: "v0")
            broker.stop()
            for number in 1..<100 { try producer.enqueue(topic: "t", value: "v\(number)") }
            try broker.start()
            try await producer.flush()
        }
        #expect(broker.records("t").map(\.value) == (0..<100).map { "v\($0)" })
    }

    @Test func `acks none needs no answer`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Self.withProducer(broker, .init(acks: .none)) { producer in
            let receipt = try await producer.send(topic: "t", value: "a")
            #expect(receipt.offset == -1)
            #expect(receipt.durability == .none)
            for number in 0..<100 { try producer.enqueue(topic: "t", value: "v\(number)") }
            try await producer.flush()
        }
        let admin = try MartletClient(.testing(broker))
        _ = try await admin.admin.ping()
        await admin.close()
        #expect(broker.records("t").count == 101)
    }

    @Test func `closing sends what is left`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 2])
        try await Martlet.withClient(.testing(broker)) { client in
            let producer = try await client.producer(.init(linger: .seconds(60)))
            for number in 0..<100 { try producer.enqueue(topic: "t", value: "v\(number)") }
        }
        #expect(broker.records("t", 0).count + broker.records("t", 1).count == 100)
    }

    @Test func `a cancelled send throws and the record may still arrive`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock { $0.onProduce = { _, _ in .hold } }
        try await Self.withProducer(broker) { producer in
            let sending = Task { try await producer.send(topic: "t", value: "a") }
            while broker.records("t").isEmpty { await Task.yield() }
            sending.cancel()
            await #expect(throws: CancellationError.self) { try await sending.value }
            broker.releaseHeld()
            try await producer.flush()
        }
    }
}

extension ClientConfiguration {
    static func testing(_ broker: ScriptedBroker) -> ClientConfiguration {
        ClientConfiguration(
            server: broker.address, requestTimeout: .seconds(10), deadline: .seconds(10),
            retry: RetryPolicy(base: .milliseconds(1), cap: .milliseconds(10)))
    }
}

extension ScriptedBroker {
    /// Like `change`, for a script that runs on the queue already.
    func change0(_ name: String, _ body: (Log) -> Void) {
        if let log = log(name) { body(log) }
    }
}
