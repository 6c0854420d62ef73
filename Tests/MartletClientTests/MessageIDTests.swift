import MartletFormat
import MartletTesting
import MartletWire
import Testing

@testable import MartletClient

/// Messages that are sent twice, by whomever, to a topic that stores none twice.
@Suite(.timeLimit(.minutes(2))) struct MessageIDTests {
    private static let settings = ["deduplication.window": "10m"]

    private static func with(
        _ partitions: Int = 1, _ body: (MartletTestBroker, MartletClient) async throws -> Void
    ) async throws {
        try await MartletTestBroker.run { broker in
            try await Martlet.withClient(broker.configuration) { client in
                try await client.admin.createTopic(
                    "t", partitions: partitions, settings: settings)
                try await body(broker, client)
            }
        }
    }

    private static func message(_ number: Int) -> ProducerRecord {
        ProducerRecord(
            topic: "t", key: "k\(number % 7)", value: "\(number)",
            headers: [.messageID("message \(number)")])
    }

    @Test func `a message that was sent before is acknowledged with the first one's offset`()
        async throws
    {
        try await Self.with { broker, client in
            var first: [DeliveryReceipt] = []
            try await client.withProducer { producer in
                for number in 0..<10 { first.append(try await producer.send(Self.message(number))) }
                #expect(producer.duplicates == 0)
            }
            #expect(first.allSatisfy { !$0.isDuplicate })
            try await broker.restart()
            // As a program does that was started again: another producer, and new messages between.
            try await client.withProducer { producer in
                for number in 0..<15 {
                    let receipt = try await producer.send(Self.message(number))
                    #expect(receipt.isDuplicate == (number < 10))
                    #expect(receipt.durability == .durable)
                    if number < 10 { #expect(receipt.offset == first[number].offset) }
                }
                #expect(producer.duplicates == 10)
            }
        }
    }

    @Test func `messages are told apart within batches, and each is read once`() async throws {
        try await Self.with { _, client in
            for round in 0..<3 {
                try await client.withProducer { producer in
                    for number in 0..<(1_000 + round * 500) {
                        try await producer.enqueueWaiting(Self.message(number))
                    }
                    try await producer.flush()
                    #expect(producer.duplicates == (round == 0 ? 0 : 500 + round * 500))
                }
            }
            let consumer = try await client.consumer(ConsumerConfiguration([.topic("t")]))
            var seen: [String] = []
            var last: Int64 = -1
            for try await record in consumer.records {
                #expect(record.offset > last)
                last = record.offset
                seen.append(record.valueString ?? "")
                if seen.count == 2_000 { break }
            }
            #expect(seen == (0..<2_000).map { "\($0)" })
            await consumer.close()
        }
    }

    /// Many offsets have no record: none is owed for ever, and none is handed to a handler.
    @Test func `a queue in order by key handles each message once, and its accounts are exact`()
        async throws
    {
        try await Self.with(3) { broker, client in
            try await client.admin.createGroup("q", .queue(.earliest, order: .byKey))
            let seen = Sightings()
            let member = Task {
                try await client.consumeQueue(
                    QueueConfiguration(
                        "q", topics: ["t"], order: .byKey, concurrency: 8, prefetch: 20)
                ) { record in
                    seen.add(GroupTest.number(record.record), by: "member")
                    return .done
                }
            }
            for round in 0..<4 {
                try await client.withProducer { producer in
                    for number in (round * 50)..<(round * 50 + 200) {
                        try producer.enqueue(Self.message(number))
                    }
                }
                // Alone in their batches: those have no record at all.
                try await client.withProducer { producer in
                    for number in 0..<20 {
                        let receipt = try await producer.send(Self.message(number))
                        #expect(receipt.isDuplicate)
                    }
                }
                while try await client.admin.describeGroup("q").lag > 0 { await Task.yield() }
                if round == 1 { try await broker.restart() }
            }
            member.cancel()
            await #expect(throws: CancellationError.self) { try await member.value }
            let group = try await client.admin.describeGroup("q")
            var acked: Int64 = 0
            for queue in group.queues {
                acked += queue.acked
                #expect(queue.inFlight + queue.ready + queue.delayed + queue.dead == 0)
            }
            #expect(acked == 4 * 220)
            #expect(seen.numbers.sorted() == Array(0..<350))
        }
    }

    @Test func `a stream group comes to the end of a log whose last batches have no record`()
        async throws
    {
        try await Self.with { _, client in
            try await client.withProducer { producer in
                for _ in 0..<3 {
                    for number in 0..<5 { _ = try await producer.send(Self.message(number)) }
                }
            }
            let member = GroupTest.member(policy: .afterProcessing(interval: .milliseconds(10)))
            try await client.withGroupConsumer(member) { consumer in
                let seen = Sightings()
                let reading = Task { try await GroupTest.read(consumer, as: "m", into: seen) }
                try await seen.wait(for: 5)
                // What is left has nothing to handle: whoever reads on passes it.
                while try await client.admin.describeGroup("g").lag > 0 { await Task.yield() }
                #expect(seen.numbers == [0, 1, 2, 3, 4])
                reading.cancel()
                _ = await reading.result
            }
        }
    }

    @Test func `an id that is too long fails its record alone`() async throws {
        try await Self.with { _, client in
            try await client.withProducer { producer in
                let long = RecordHeader.messageID(String(repeating: "x", count: 129))
                let bad = ProducerRecord(topic: "t", key: "k", value: "bad", headers: [long])
                async let before = producer.send(Self.message(1))
                async let failing = producer.send(bad)
                async let after = producer.send(Self.message(2))
                _ = try await (before, after)
                do {
                    _ = try await failing
                    Issue.record("it was taken")
                } catch let error as MartletError {
                    #expect(error.code == .invalidRecord)
                    #expect(error.message.contains("129"), "\(error.message)")
                }
            }
        }
    }

    @Test func `a batch that lacks records without saying so is not trusted`() throws {
        for isThinned in [true, false] {
            let slab = ByteSlab(capacity: 4_096)
            let builder = RecordBatchBuilder(slab: slab)
            for _ in 0..<3 { _ = builder.append(key: nil, value: nil, timestamp: 0) }
            let header = builder.finish()
            let thinned = try ThinnedBatch(slab.bytes, header, marking: isThinned) {
                $0.offsetDelta == 0
            }
            var result = FetchResult()
            result.endChecksum = RecordBatch.prefixChecksum(thinned.slab.bytes, continuing: 0)
            var scan = RunScan(expected: 0, isCompacted: false, result: result)
            if isThinned {
                try scan.run(thinned.slab.bytes)
                #expect(scan.expected == 3)
            } else {
                #expect(throws: RunProblem.self) { try scan.run(thinned.slab.bytes) }
            }
        }
    }

    @Test func `what a broker says of duplicates is not counted on`() {
        var result = ProduceResult()
        result.baseOffset = .max
        result.duplicates = [
            DuplicateItem(index: 1, offset: .min), DuplicateItem(index: 1, offset: 5),
            DuplicateItem(index: -7, offset: 1),
        ]
        let places = RecordPlaces(result)
        #expect(places.offset(of: 0) == .max)
        #expect(places.offset(of: 1) == -1)
        #expect(places.isDuplicate(1) && !places.isDuplicate(2))
        #expect(places.offset(of: .max) == .min + Int64(Int32.max) - 1)
    }
}
