import MartletClient
import MartletTesting
import Testing

/// Client and broker together, in one process.
struct BrokerTests {
    @Test func `a record goes in and comes out`() async throws {
        try await MartletTestBroker.run(topics: ["t": 1]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let headers = [RecordHeader("a", "1"), RecordHeader("b", nil as [UInt8]?)]
                let receipt = try await client.withProducer { producer in
                    try await producer.send(
                        topic: "t", key: "k", value: "v", headers: headers, timestamp: 1_234)
                }
                #expect(receipt.offset == 0)
                #expect(receipt.durability == .durable)
                try await client.withConsumer(.init(topic: "t")) { consumer in
                    var records = consumer.records.makeAsyncIterator()
                    let record = try #require(try await records.next())
                    #expect(record.keyString == "k")
                    #expect(record.valueString == "v")
                    #expect(record.headers == headers)
                    #expect(record.timestamp == 1_234)
                    #expect(record.offset == 0)
                }
            }
        }
    }

    @Test func `null keys, null values and empty ones are kept apart`() async throws {
        try await MartletTestBroker.run(topics: ["t": 1]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let empty: [UInt8] = []
                try await client.withProducer { producer in
                    try await producer.send(topic: "t", key: nil as [UInt8]?, value: empty)
                    try await producer.send(topic: "t", key: empty, value: nil as [UInt8]?)
                }
                try await client.withConsumer(.init(topic: "t")) { consumer in
                    var records = consumer.records.makeAsyncIterator()
                    let first = try #require(try await records.next())
                    #expect(first.keyBytes == nil && first.valueBytes == empty)
                    let second = try #require(try await records.next())
                    #expect(second.keyBytes == empty && second.valueBytes == nil)
                }
            }
        }
    }

    @Test func `many records over partitions, all once and in order`() async throws {
        try await MartletTestBroker.run(topics: ["t": 4]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let count = 50_000
                let producer = try await client.producer(.init(batchBytes: 32_768))
                for number in 0..<count {
                    while true {
                        do {
                            try producer.enqueue(
                                topic: "t", key: "key-\(number % 97)", value: "\(number)")
                            break
                        } catch let error as MartletError where error.code == .bufferFull {
                            try await producer.waitForSpace()
                        }
                    }
                }
                try await producer.flush()
                var last: [String: Int] = [:]
                var seen = 0
                try await client.withConsumer(.init(topic: "t")) { consumer in
                    for try await batch in consumer.batches {
                        for record in batch {
                            let key = record.keyString ?? ""
                            let number = Int(record.valueString ?? "") ?? -1
                            #expect(number > last[key] ?? -1)
                            last[key] = number
                            seen += 1
                        }
                        if seen >= count { break }
                    }
                }
                #expect(seen == count)
            }
        }
    }

    @Test func `lost answers store nothing twice`() async throws {
        try await MartletTestBroker.run(topics: ["t": 1]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let producer = try await client.producer()
                for number in 0..<20 {
                    broker.dropAcks(number % 2)
                    let receipt = try await producer.send(topic: "t", value: "\(number)")
                    #expect(receipt.offset == Int64(number))
                    #expect(receipt.isDuplicate == (number % 2 == 1))
                }
                let end = try await client.admin.listOffsets("t", at: .latest)
                #expect(end.map(\.offset) == [20])
            }
        }
    }

    @Test func `producer and consumer outlive a restart`() async throws {
        try await MartletTestBroker.run(topics: ["t": 2]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let producer = try await client.producer()
                let consumer = try await client.consumer(.init(topic: "t"))
                var records = consumer.records.makeAsyncIterator()
                var seen: Set<String> = []
                for round in 0..<3 {
                    for number in 0..<100 {
                        try producer.enqueue(
                            topic: "t", key: "\(number)", value: "\(round)-\(number)")
                    }
                    try await broker.restart()
                    try await producer.flush()
                    while seen.count < (round + 1) * 100 {
                        let record = try #require(try await records.next())
                        #expect(seen.insert(record.valueString ?? "").inserted)
                    }
                }
            }
        }
    }

    @Test func `a failed sync is told as unknown, and the broker takes no more`() async throws {
        try await MartletTestBroker.run(topics: ["t": 1]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let producer = try await client.producer(
                    .init(deliveryTimeout: .milliseconds(500)))
                try await producer.send(topic: "t", value: "a")
                broker.failFsync()
                let error = await #expect(throws: MartletError.self) {
                    try await producer.send(topic: "t", value: "b")
                }
                #expect(error?.outcome == .unknown)
                try await broker.restart()
                let again = try await client.producer()
                try await again.send(topic: "t", value: "c")
            }
        }
    }

    @Test func `a deleted topic ends its consumer, also when the name is used again`() async throws
    {
        try await MartletTestBroker.run(topics: ["t": 1]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let producer = try await client.producer()
                try await producer.send(topic: "t", value: "old")
                let consumer = try await client.consumer(.init(topic: "t"))
                var records = consumer.records.makeAsyncIterator()
                _ = try await records.next()
                try await client.admin.deleteTopic("t")
                try await client.admin.createTopic("t", partitions: 1)
                let error = await #expect(throws: MartletError.self) {
                    _ = try await records.next()
                }
                #expect(error?.code == .unknownTopicID)
                await #expect(throws: MartletError.self) {
                    try await producer.send(topic: "t", value: "into the old one")
                }
                let receipt = try await producer.send(topic: "t", value: "new")
                #expect(receipt.offset == 0)
            }
        }
    }

    @Test func `every administration call`() async throws {
        try await MartletTestBroker.run { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let admin = client.admin
                let draft = try await admin.createTopic("a", partitions: 3, validateOnly: true)
                #expect(draft.partitions == 3)
                let before = try await admin.listTopics()
                #expect(before.isEmpty)
                let made = try await admin.createTopic(
                    "a", partitions: 3, settings: ["retention.ms": "3600000"])
                #expect(made.partitions == 3 && made.durability == .durable)
                let exists = await #expect(throws: MartletError.self) {
                    try await admin.createTopic("a")
                }
                #expect(exists?.code == .topicExists)
                let listed = try await admin.listTopics()
                #expect(listed.map(\.name) == ["a"])
                #expect(listed.first?.isOnline == true)
                let described = try await admin.describeTopic("a")
                #expect(described.partitions.count == 3)
                #expect(
                    described.settings.contains { $0.key == "retention.ms" && $0.source == .topic })
                let changes = try await admin.alterTopic("a", changes: ["retention.ms": nil])
                #expect(changes.map(\.key) == ["retention.ms"])
                let total = try await admin.addPartitions("a", total: 5)
                #expect(total == 5)
                try await client.withProducer { producer in
                    for number in 0..<10 {
                        try await producer.send(
                            topic: "a", value: "\(number)", partition: 0,
                            timestamp: Int64(1_000 + number))
                    }
                }
                let ends = try await admin.listOffsets("a", at: .latest, partitions: [0, 4])
                #expect(ends.map(\.offset) == [10, 0])
                let timed = try await admin.listOffsets("a", at: .time(1_004), partitions: [0])
                #expect(timed.map(\.offset) == [4])
                let starts = try await admin.deleteRecords("a", before: [0: 3])
                #expect(starts == [0: 3])
                let earliest = try await admin.listOffsets("a", at: .earliest, partitions: [0])
                #expect(earliest.map(\.offset) == [3])
                let skipped = try await admin.skipDamage(
                    "a", partition: 0, from: 0, to: 10, execute: false)
                #expect(skipped.isEmpty)
                let status = try await admin.status()
                #expect(status.isWritable && status.topics >= 1)
                _ = try await admin.doctor()
                let roundTrip = try await admin.ping()
                #expect(roundTrip > .zero)
                try await admin.deleteTopic("a")
                let gone = await #expect(throws: MartletError.self) { try await admin.topic("a") }
                #expect(gone?.code == .unknownTopic)
            }
        }
    }

    @Test func `more partitions than one request takes are trimmed in several`() async throws {
        try await MartletTestBroker.run(topics: ["t": 2]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                // Of partitions that are not there each is told alone.
                let asked = (Int32(0)..<5_000).map { ($0, Int64(0)) }
                let results = try await client.admin.deleteRecordsOfEach(
                    "t", before: Dictionary(uniqueKeysWithValues: asked))
                let trimmed = results.filter { (try? $0.value.get()) != nil }
                #expect(results.count == 5_000 && trimmed.keys.sorted() == [0, 1])
            }
        }
    }

    @Test func `a clock that is moved moves the broker's`() async throws {
        let clock = ManualClock(wallMilliseconds: 1_700_000_000_000)
        try await MartletTestBroker.run(topics: ["t": 1], clock: clock) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let started = try await client.admin.status().uptime
                clock.advance(by: .seconds(3_600))
                let later = try await client.admin.status().uptime
                #expect(later - started == .seconds(3_600))
            }
        }
    }
}
