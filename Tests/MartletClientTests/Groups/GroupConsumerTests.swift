import MartletTesting
import Testing

@testable import MartletClient

/// Members of groups against a real broker in this process.
struct GroupConsumerTests {
    /// Sends `count` records with their number as value, over all partitions in turn.
    static func fill(
        _ client: MartletClient, _ numbers: Range<Int>, topic: String = "t",
        partitions: Int32 = 4
    ) async throws {
        try await client.withProducer { producer in
            for number in numbers {
                try producer.enqueue(
                    topic: topic, value: "\(number)", partition: Int32(number) % partitions)
            }
        }
    }

    static func number(_ record: ConsumedRecord) -> Int {
        Int(record.valueString ?? "") ?? -1
    }

    @Test func `joins, reads, commits and leaves, and the next one goes on`() async throws {
        try await MartletTestBroker.run(topics: ["t": 4]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                try await Self.fill(client, 0..<100)
                var seen: [Int] = []
                try await client.withGroupConsumer("g", topics: ["t"]) { consumer in
                    for try await record in consumer.records {
                        seen.append(Self.number(record))
                        if seen.count == 60 { break }
                    }
                }
                try await client.withGroupConsumer("g", topics: ["t"]) { consumer in
                    for try await record in consumer.records {
                        seen.append(Self.number(record))
                        if seen.count == 100 { break }
                    }
                }
                #expect(seen.sorted() == Array(0..<100))
            }
        }
    }
}
