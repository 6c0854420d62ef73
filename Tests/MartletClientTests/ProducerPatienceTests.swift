import MartletSystem
import MartletTestSupport
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// For how long a producer tries, and what must not wait for what.
@Suite(.timeLimit(.minutes(1))) struct ProducerPatienceTests {
    private static func with(
        _ broker: ScriptedBroker, _ configuration: ProducerConfiguration = .init(),
        _ clock: ManualClock, _ body: (Producer) async throws -> Void
    ) async throws {
        let client = try MartletClient(.testing(broker), clock: clock)
        do {
            try await body(try await client.producer(configuration))
        } catch {
            await client.close()
            throw error
        }
        await client.close()
    }

    @Test func `a record that the broker took and does not answer is given up in time`()
        async throws
    {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock { $0.onProduce = { number, _ in number == 1 ? .hold : .normal } }
        let clock = ManualClock()
        let patience = ProducerConfiguration(deliveryTimeout: .milliseconds(500))
        try await Self.with(broker, patience, clock) { producer in
            let first = Task { try await producer.send(topic: "t", value: "a") }
            while broker.records("t").isEmpty { await Task.yield() }
            // Much less than a request may take.
            clock.advance(nanoseconds: 1_000_000_000)
            let error = await #expect(throws: MartletError.self) { try await first.value }
            #expect(error?.code == .deadlineExceeded)
            #expect(error?.outcome == .unknown)
            broker.releaseHeld()
            let receipt = try await producer.send(topic: "t", value: "b")
            #expect(receipt.offset == 1)
            try await producer.flush()
        }
        #expect(broker.records("t").map(\.value) == ["a", "b"])
        #expect(broker.script.withLock { $0.hellos } == 1)
    }

    @Test func `without answers, too, what the broker does not read is given up in time`()
        async throws
    {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock {
            $0.onProduce = { number, _ in number == 1 ? .holdAndStall : .normal }
        }
        let clock = ManualClock()
        let patience = ProducerConfiguration(acks: .none, deliveryTimeout: .milliseconds(500))
        try await Self.with(broker, patience, clock) { producer in
            try await producer.send(topic: "t", value: "a")
            while broker.records("t").isEmpty { await Task.yield() }
            // More than the sockets take.
            let large = [UInt8](repeating: 7, count: 900_000)
            let sending = (0..<16).map { _ in
                Task { try await producer.send(topic: "t", value: large) }
            }
            while producer.core.state.withLock({ $0.outstanding }) < 2 { await Task.yield() }
            clock.advance(nanoseconds: 1_000_000_000)
            var unknown = 0
            for task in sending {
                guard case .failure(let error) = await task.result else { continue }
                if (error as? MartletError)?.outcome == .unknown { unknown += 1 }
            }
            #expect(unknown > 0)
        }
    }

    @Test func `a send that waits for memory is given up in time`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 8])
        let clock = ManualClock()
        let small = ProducerConfiguration(
            batchBytes: 16_384, bufferBytes: 2 * 16_384, deliveryTimeout: .milliseconds(500))
        try await Self.with(broker, small, clock) { producer in
            _ = try await producer.topic("t")
            broker.stop()
            let value = [UInt8](repeating: 7, count: 15_000)
            let sending = (0..<8).map { partition in
                Task {
                    try await producer.send(topic: "t", value: value, partition: Int32(partition))
                }
            }
            while producer.core.state.withLock({ $0.spaceWaiters.count }) < 6 {
                await Task.yield()
            }
            clock.advance(nanoseconds: 1_000_000_000)
            // None of them has another such time when there is memory.
            for task in sending {
                let error = await #expect(throws: MartletError.self) { try await task.value }
                #expect(error?.outcome == .notWritten)
            }
        }
    }

    @Test func `a record's time counts while its topic is asked for`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        let clock = ManualClock()
        let isAsked = Promise<Void>()
        broker.script.withLock { script in
            script.onMetadata = { _ in
                isAsked.succeed(())
                return true
            }
            script.onProduce = { _, _ in .silence }
        }
        let patience = ProducerConfiguration(deliveryTimeout: .seconds(3))
        try await Self.with(broker, patience, clock) { producer in
            let sending = Task { try await producer.send(topic: "t", value: "a") }
            try await isAsked.value()
            clock.advance(seconds: 2)
            broker.releaseHeld()
            while broker.records("t").isEmpty { await Task.yield() }
            clock.advance(seconds: 2)
            let error = await #expect(throws: MartletError.self) { try await sending.value }
            #expect(error?.outcome == .unknown)
        }
    }

    @Test func `a topic that cannot be asked for now holds up no other`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1, "u": 1])
        broker.script.withLock { $0.metadataErrors = ["u": .loading] }
        try await ProducerTests.withProducer(broker) { producer in
            let late = Task { try await producer.send(topic: "u", value: "late") }
            while producer.core.state.withLock({ $0.unresolvedTopics.isEmpty }) {
                await Task.yield()
            }
            try await producer.send(topic: "t", value: "a")
            try await producer.send(topic: "t", value: "b")
            #expect(broker.records("u").isEmpty)
            broker.script.withLock { $0.metadataErrors = [:] }
            _ = try await late.value
        }
        #expect(broker.records("t").map(\.value) == ["a", "b"])
    }

    @Test func `who is refused a producer id does not ask again with each record`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock { $0.onInitProducer = { _ in .diskFull } }
        var configuration = ClientConfiguration.testing(broker)
        // Each pause is a random part of this.
        configuration.retry = RetryPolicy(base: .seconds(100_000), cap: .seconds(100_000))
        let client = try MartletClient(configuration)
        let producer = try await client.producer(
            .init(linger: .zero, deliveryTimeout: .milliseconds(300)))
        for _ in 0..<200 {
            try producer.enqueue(topic: "t", value: "a")
            _ = try await client.admin.ping()
        }
        let error = await #expect(throws: MartletError.self) { try await producer.flush() }
        #expect(error?.outcome == .notWritten)
        #expect(broker.script.withLock { $0.initProducers.count } == 1)
        await client.close()
    }

    @Test func `who never got a producer id hears why`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock { $0.onInitProducer = { _ in .diskFull } }
        let clock = ManualClock()
        let patience = ProducerConfiguration(deliveryTimeout: .seconds(3_600))
        try await Self.with(broker, patience, clock) { producer in
            let sending = Task { try await producer.send(topic: "t", value: "a") }
            // With the second question the first answer is in.
            while broker.script.withLock({ $0.initProducers.count }) < 2 {
                clock.advance(nanoseconds: 10_000_000)
                await Task.yield()
            }
            clock.advance(seconds: 4_000)
            let error = await #expect(throws: MartletError.self) { try await sending.value }
            #expect(error?.code == .diskFull && error?.outcome == .notWritten)
            #expect(error?.isRetriable == true && error?.context["topic"] == "t")
        }
    }

    @Test func `a topic is not waited for once the producer is closed`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        let isAsked = Promise<Void>()
        broker.script.withLock { script in
            script.onMetadata = { _ in
                isAsked.succeed(())
                return true
            }
        }
        let client = try MartletClient(.testing(broker))
        let producer = try await client.producer()
        let asking = Task { try await producer.topic("t") }
        try await isAsked.value()
        await client.close()
        let first = await #expect(throws: MartletError.self) { try await asking.value }
        #expect(first?.code == .closed)
        let second = await #expect(throws: MartletError.self) { try await producer.topic("t") }
        #expect(second?.code == .closed)
    }

    @Test func `a broker that closes each connection is not come back to in a tight loop`()
        async throws
    {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock { $0.onProduce = { _, _ in .close } }
        var configuration = ClientConfiguration.testing(broker)
        configuration.retry = RetryPolicy(base: .milliseconds(1), cap: .seconds(10))
        try await Martlet.withClient(configuration) { client in
            let producer = try await client.producer(.init(deliveryTimeout: .seconds(1)))
            let error = await #expect(throws: MartletError.self) {
                try await producer.send(topic: "t", value: "a")
            }
            #expect(error?.outcome == .unknown)
        }
        let hellos = broker.script.withLock { $0.hellos }
        #expect(hellos < 40, "\(hellos)")
    }
}
