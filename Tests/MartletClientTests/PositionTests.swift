import MartletFormat
import MartletSystem
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// Where a consumer stands: behind what it handed out, and never further back than before.
@Suite struct PositionTests {
    private let partition = TopicPartition("t", 0)

    @Test func `a gap behind a batch is passed when the batch is taken`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: ["a"])
        try await ConsumerTests.withConsumer(broker, .init(topic: "t")) { consumer in
            var events = consumer.events.makeAsyncIterator()
            while let event = await events.next(), event.name != "caughtUp" {}
            broker.change("t", 0) { log in
                log.gaps = [OffsetRange(1, 100)]
                log.next = 100
            }
            while let event = await events.next(), event.name != "offsetsLost" {}
            #expect(consumer.positions() == [partition: 0])
            let found = try await ConsumerTests.take(1, of: consumer)
            #expect(found.map(\.1) == ["a"])
            #expect(consumer.positions() == [partition: 100])
        }
    }

    @Test(arguments: [true, false])
    func `a compacted topic without its last records is read to its end`(
        isKnown: Bool
    ) async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: ["a"])
        if isKnown { broker.setCompacted("t") }
        try await ConsumerTests.withConsumer(broker, .init(topic: "t")) { consumer in
            _ = try await ConsumerTests.take(1, of: consumer)
            broker.setCompacted("t")
            broker.change("t", 0) { $0.next = 7 }
            while consumer.positions() != [partition: 7] { await Task.yield() }
        }
    }

    @Test func `missing batches at the end of another topic are told`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: ["a"])
        broker.change("t", 0) { $0.next = 7 }
        try await ConsumerTests.withConsumer(broker, .init(topic: "t")) { consumer in
            _ = try await ConsumerTests.take(1, of: consumer)
            let error = await #expect(throws: MartletError.self) {
                _ = try await ConsumerTests.take(1, of: consumer)
            }
            #expect(error?.code == .corruptMessage)
            #expect(error?.context["from"] == "1")
            #expect(error?.context["to"] == "7")
        }
    }

    @Test func `a consumer that stopped and was moved sees new partitions`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        for number in 0..<2 { broker.append("t", values: ["v\(number)"]) }
        broker.change("t", 0) { log in log.batches.remove(at: 0) }
        var configuration = ConsumerConfiguration(topic: "t")
        configuration.refreshInterval = .milliseconds(1)
        try await ConsumerTests.withConsumer(broker, configuration) { consumer in
            await #expect(throws: MartletError.self) {
                _ = try await ConsumerTests.take(1, of: consumer)
            }
            // The timer that was set when it stopped has fired before one that is set now.
            let later = Promise<Void>()
            consumer.core.context.loop.execute(after: 2_000_000) { later.succeed(()) }
            try await later.value()
            try await consumer.seek(partition, to: .offset(1))
            broker.addPartition("t")
            broker.append("t", 1, values: ["new"])
            let found = try await ConsumerTests.take(2, of: consumer)
            #expect(Set(found.map(\.1)) == ["v1", "new"])
        }
    }

    @Test func `an error from where the consumer no longer is stops nothing`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        for number in 0..<2 { broker.append("t", values: ["v\(number)"]) }
        let (asked, tell) = AsyncStream.makeStream(of: Void.self)
        broker.script.withLock { script in
            script.onFetch = { _, request, reply, attachment in
                guard request.partitions.first?.offset == 0 else { return }
                reply.partitions[0].error = .storageError
                reply.partitions[0].recordsLength = 0
                attachment = []
            }
            script.onMetadata = { request in
                if request.ids.isEmpty { return false }
                tell.yield()
                return true
            }
        }
        try await ConsumerTests.withConsumer(broker, .init(topic: "t")) { consumer in
            var isAsked = asked.makeAsyncIterator()
            _ = await isAsked.next()
            try await consumer.seek(partition, to: .offset(1))
            broker.releaseHeld()
            let found = try await ConsumerTests.take(1, of: consumer)
            #expect(found.map(\.1) == ["v1"])
            broker.append("t", values: ["v2"])
            let more = try await ConsumerTests.take(1, of: consumer)
            #expect(more.map(\.1) == ["v2"])
        }
    }

    @Test func `a wait that was cancelled leaves nothing behind`() async throws {
        let shelf = BatchShelf(bytesMax: 1_000, positions: [partition: 0])
        let events = EventBuffer<Int>(capacity: 10)
        for _ in 0..<10 {
            let waiting = Task.immediate { _ = try await shelf.next() }
            let listening = Task.immediate { await events.next() }
            #expect(shelf.waiterCount == 1 && events.waiterCount == 1)
            waiting.cancel()
            listening.cancel()
            await #expect(throws: CancellationError.self) { try await waiting.value }
            #expect(await listening.value == nil)
            #expect(shelf.waiterCount == 0 && events.waiterCount == 0)
        }
    }

    /// The queue hands out while the application takes.
    @Test func `a position never goes back`() async throws {
        let shelf = BatchShelf(bytesMax: 1_000, positions: [partition: 0])
        let total: Int64 = 50_000
        SerialQueue(label: "hands-out").execute { [partition] in
            let pool = SlabPool(retainedBytesMax: 0)
            let lease = SlabLease(ByteSlab(capacity: 1), pool)
            for offset in 0..<total {
                shelf.put(
                    ConsumerBatch(
                        run: FetchedRun(
                            partition: partition, lease: lease, range: 0..<1, from: offset,
                            nextOffset: offset + 1, highWatermark: offset + 1, shelf: shelf)))
            }
        }
        var stepsBack = 0
        while let batch = try await shelf.next() {
            if shelf.positions != [partition: batch.nextOffset] { stepsBack += 1 }
            if batch.nextOffset == total { break }
        }
        #expect(stepsBack == 0)
    }
}
