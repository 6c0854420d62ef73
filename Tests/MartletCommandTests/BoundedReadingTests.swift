import MartletClient
import MartletTesting
import Synchronization
import Testing

@testable import martlet

/// Reading up to given offsets, as `tail -e` does.
@Suite(.timeLimit(.minutes(1))) struct BoundedReadingTests {
    /// A broker with a topic of two partitions that hold so many records each.
    private static func with(
        _ counts: [Int], _ body: (MartletClient) async throws -> Void
    ) async throws {
        try await MartletTestBroker.run(topics: ["t": counts.count]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                try await client.withProducer { producer in
                    for (partition, count) in counts.enumerated() {
                        for number in 0..<count {
                            try await producer.enqueueWaiting(
                                ProducerRecord(
                                    topic: "t", value: "\(number)", partition: Int32(partition)))
                        }
                    }
                }
                try await body(client)
            }
        }
    }

    private static func ends(_ offsets: Int64...) -> [TopicPartition: Int64] {
        var ends: [TopicPartition: Int64] = [:]
        for (partition, offset) in offsets.enumerated() {
            ends[TopicPartition("t", Int32(partition))] = offset
        }
        return ends
    }

    /// The offsets that are handed out, by partition.
    private static func read(
        _ consumer: Consumer, to ends: [TopicPartition: Int64]
    ) async throws -> [Int32: [Int64]] {
        var found: [Int32: [Int64]] = [:]
        try await BoundedReading(consumer, ends: ends).run { batch in
            found[batch.partition, default: []] += batch.map(\.offset)
            return true
        }
        return found
    }

    @Test func `every partition is read to its end`() async throws {
        try await Self.with([30, 0, 7]) { client in
            let consumer = try await client.consumer(.init(topic: "t"))
            let found = try await Self.read(consumer, to: Self.ends(30, 0, 7))
            #expect(found == [0: Array(0..<30), 2: Array(0..<7)])
        }
    }

    @Test func `ends that are reached already need no batch`() async throws {
        try await Self.with([5]) { client in
            let consumer = try await client.consumer(.init(topic: "t", start: .latest))
            let found = try await Self.read(consumer, to: Self.ends(5))
            #expect(found.isEmpty)
        }
    }

    @Test func `the body ends it with false`() async throws {
        try await Self.with([5]) { client in
            let consumer = try await client.consumer(.init(topic: "t"))
            var batches = 0
            try await BoundedReading(consumer, ends: nil).run { _ in
                batches += 1
                return false
            }
            #expect(batches == 1)
        }
    }

    @Test func `an end behind offsets without records is reached, and the event is told`()
        async throws
    {
        try await Self.with([10]) { client in
            let consumer = try await client.consumer(
                ConsumerConfiguration([.topic("t")], start: .offset(0), resetPolicy: .earliest))
            try await client.admin.deleteRecords("t", before: [0: 10])
            // What was fetched before is forgotten: the next fetch asks for what is gone.
            try await consumer.seek(TopicPartition("t", 0), to: .offset(0))
            let events = Mutex<[String]>([])
            var seen = 0
            try await BoundedReading(consumer, ends: Self.ends(10)) { event in
                if case .reset(_, let from, let to) = event {
                    events.withLock { $0.append("\(from) to \(to)") }
                }
            }.run { batch in
                seen += batch.map(\.offset).count
                return true
            }
            #expect(seen == 0)
            let told = events.withLock { $0 }
            #expect(told.last == "0 to 10")
        }
    }

    @Test func `what happened and was not told yet is told in the end`() async throws {
        try await Self.with([10]) { client in
            try await client.admin.deleteRecords("t", before: [0: 5])
            let consumer = try await client.consumer(
                ConsumerConfiguration([.topic("t")], start: .offset(0), resetPolicy: .earliest))
            // The records behind it are here, and nobody has asked what was before.
            for try await _ in consumer.batches { break }
            let events = Mutex<[String]>([])
            let reading = BoundedReading(consumer, ends: Self.ends(10)) { event in
                if case .reset(_, let from, let to) = event {
                    events.withLock { $0.append("\(from) to \(to)") }
                }
            }
            await reading.finish()
            let told = events.withLock { $0 }
            #expect(told == ["0 to 5"])
        }
    }
}
