import MartletClient
import MartletTesting
import Testing

/// What clients read of a topic that a running broker compacts: before, while and after, and behind
/// a restart.
@Suite(.timeLimit(.minutes(2))) struct CompactionTests {
    /// What was written: the place of a record is its offset.
    private struct Written {
        var values: [String] = []

        var last: Int64 { Int64(values.count) - 1 }

        /// The first keys have one record each, which stays where compaction is at work.
        static func key(_ offset: Int64) -> String {
            offset < 20 ? "once-\(offset)" : "key-\(offset % 40)"
        }

        /// The newest offset of each key.
        var newest: [String: Int64] {
            var newest: [String: Int64] = [:]
            for offset in values.indices { newest[Self.key(Int64(offset))] = Int64(offset) }
            return newest
        }

        mutating func add(_ count: Int, _ producer: Producer) async throws {
            for _ in 0..<count {
                let offset = Int64(values.count)
                let value = "\(offset) " + String(repeating: "x", count: 200)
                values.append(value)
                try await producer.enqueueWaiting(
                    ProducerRecord(topic: "t", key: Self.key(offset), value: value))
            }
            try await producer.flush()
        }

        /// Reads up to the last record, which is never compacted away. Whatever is read is what was
        /// written there, in order; the newest of each key is among it or lies before.
        func read(
            _ records: inout ConsumerRecords.AsyncIterator, from start: Int64 = 0
        ) async throws -> [Int64] {
            var offsets: [Int64] = []
            while (offsets.last ?? -1) < last {
                let record = try #require(try await records.next())
                #expect(record.offset > offsets.last ?? start - 1)
                #expect(record.valueString == values[Int(record.offset)])
                #expect(record.keyString == Self.key(record.offset))
                offsets.append(record.offset)
            }
            let missing = newest.values.filter { $0 >= start && !offsets.contains($0) }
            #expect(missing.isEmpty)
            return offsets
        }
    }

    @Test func `each reader sees the newest record of each key, in order`() async throws {
        try await MartletTestBroker.run { broker in
            try await Martlet.withClient(broker.configuration) { client in
                try await client.admin.createTopic(
                    "t", settings: ["cleanup": "compact", "segment.bytes": "64KiB"])
                let producer = try await client.producer(.init(batchBytes: 4_096))
                var written = Written()
                try await written.add(2_000, producer)
                // Begins before the compaction, and is in the middle of the log meanwhile.
                let early = try await client.consumer(
                    ConsumerConfiguration([.topic("t")], maxBytes: 8_192, prefetchBytes: 1))
                var earlyRecords = early.records.makeAsyncIterator()
                for offset in 0..<10 {
                    #expect(try await earlyRecords.next()?.offset == Int64(offset))
                }
                // While it runs, as often as it takes until it shows.
                var count = 2_000
                while count > 1_000 {
                    try await written.add(20, producer)
                    count = try await Self.readAnew(written, client)
                }
                _ = try await written.read(&earlyRecords, from: 10)
                try await broker.restart()
                _ = try await Self.readAnew(written, client)
                let before = written.last
                try await written.add(20, producer)
                let rest = try await written.read(&earlyRecords, from: before + 1)
                #expect(rest == Array((before + 1)...written.last))
                _ = try await Self.readAnew(written, client)
            }
        }
    }

    /// How many records a new consumer reads.
    private static func readAnew(_ written: Written, _ client: MartletClient) async throws -> Int {
        try await client.withConsumer(.init(topic: "t")) { consumer in
            var records = consumer.records.makeAsyncIterator()
            return try await written.read(&records).count
        }
    }
}
