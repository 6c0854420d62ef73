import Glibc
import MartletClient
import MartletJSON
import MartletSystem

/// `martlet-allocations SERVER BROKER-COUNT OWN-COUNT`
///
/// Sends and reads the same batches over and over and prints how much the broker and the client
/// allocate for 1,000 of them. Both run under `Tests/Faults/allocations.c`, which counts in the two
/// files. The last line on standard output is one JSON object.
@main
struct Main {
    static func main() async {
        do {
            let words = CommandLine.arguments
            guard words.count == 4 else {
                throw UsageError(text: "usage: martlet-allocations SERVER BROKER-COUNT OWN-COUNT")
            }
            let counts = Counts(
                broker: try Counter(words[2]), client: try Counter(words[3]))
            let figures = try await Martlet.withClient(
                ClientConfiguration(server: words[1], clientName: "martlet-allocations")
            ) { client in
                try await Measurement(client: client, counts: counts).run()
            }
            print(JSONWriter.text(figures))
        } catch {
            print("failed: \(error)")
            exit(1)
        }
    }
}

struct UsageError: Error {
    let text: String
}

/// What one process has allocated so far.
struct Counter: Sendable {
    private let file: any File

    init(_ path: String) throws(SystemError) {
        file = try PosixFileSystem().open(path, .readOnly)
    }

    func read() throws(SystemError) -> Int64 {
        var value: Int64 = 0
        _ = try unsafe withUnsafeMutableBytes(of: &value) { bytes throws(SystemError) in
            try unsafe file.read(into: bytes, at: 0)
        }
        return value
    }
}

struct Counts: Sendable {
    let broker: Counter
    let client: Counter

    /// What `body` makes both allocate: the least of three times, so that a timer of the broker
    /// or a first use of something does not count.
    func least(_ body: () async throws -> Void) async throws -> JSONValue {
        var least = (broker: Int64.max, client: Int64.max)
        for _ in 0..<3 {
            let (brokerBefore, clientBefore) = (try broker.read(), try client.read())
            try await body()
            least.broker = min(least.broker, try broker.read() - brokerBefore)
            least.client = min(least.client, try client.read() - clientBefore)
        }
        return ["broker": .integer(least.broker), "client": .integer(least.client)]
    }
}

struct Measurement {
    let client: MartletClient
    let counts: Counts

    private static let batches = 1000
    private static let value = [UInt8](repeating: 7, count: 100)

    func run() async throws -> JSONValue {
        var figures: JSONObject = [:]
        for (name, records) in [("few", 10), ("many", 100)] {
            let topic = "allocations-\(name)"
            _ = try await client.admin.createTopic(topic)
            figures["produce \(name)"] = try await client.withProducer { producer in
                let handle = try await producer.topic(topic)
                return try await produce(producer, handle, records)
            }
            // One batch a fetch: what a fetch costs, the client at most one ahead.
            let consuming = ConsumerConfiguration(
                [.topic(topic)], maxBytes: 1024, prefetchBytes: 1)
            figures["batches \(name)"] = try await client.withConsumer(consuming) { consumer in
                try await readBatches(consumer, records)
            }
            figures["records \(name)"] = try await client.withConsumer(consuming) { consumer in
                try await readRecords(consumer, records)
            }
        }
        let topic = "allocations-send"
        _ = try await client.admin.createTopic(topic)
        figures["send"] = try await client.withProducer { producer in
            try await send(producer, topic, on: nil)
        }
        figures["send there"] = try await client.withProducer { producer in
            try await send(producer, topic, on: producer.executor)
        }
        return .object(figures)
    }

    /// One request with one batch after the other, so that nothing depends on time.
    private func produce(
        _ producer: Producer, _ topic: TopicHandle, _ records: Int
    ) async throws -> JSONValue {
        try await counts.least {
            for _ in 0..<Self.batches {
                for _ in 0..<records {
                    try unsafe producer.enqueue(
                        to: topic, value: Self.value.span.bytes)
                }
                try await producer.flush()
            }
        }
    }

    private func readBatches(_ consumer: Consumer, _ records: Int) async throws -> JSONValue {
        var iterator = consumer.batches.makeAsyncIterator()
        return try await counts.least {
            var seen = 0
            while seen < Self.batches * records, let batch = try await iterator.next() {
                for record in batch where record.value?.byteCount == Self.value.count { seen += 1 }
            }
        }
    }

    private func readRecords(_ consumer: Consumer, _ records: Int) async throws -> JSONValue {
        var iterator = consumer.records.makeAsyncIterator()
        return try await counts.least {
            var seen = 0
            while seen < Self.batches * records, let record = try await iterator.next() {
                if record.value?.byteCount == Self.value.count { seen += 1 }
            }
        }
    }

    /// 10,000 records, each of which is awaited; 100 at a time, so that they share batches.
    private func send(
        _ producer: Producer, _ topic: String, on executor: (any TaskExecutor)?
    ) async throws -> JSONValue {
        try await counts.least {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<100 {
                    group.addTask(executorPreference: executor) {
                        for _ in 0..<100 {
                            try await producer.send(topic: topic, key: nil, value: Self.value)
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }
}
