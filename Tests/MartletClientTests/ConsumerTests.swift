import MartletFormat
import MartletSystem
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// The consumer against a scripted broker over loopback.
struct ConsumerTests {
    static func withConsumer(
        _ broker: ScriptedBroker, _ configuration: ConsumerConfiguration,
        _ body: (Consumer) async throws -> Void
    ) async throws {
        try await Martlet.withClient(.testing(broker)) { client in
            try await body(try await client.consumer(configuration))
        }
    }

    /// The next `count` records as (offset, value).
    static func take(_ count: Int, of consumer: Consumer) async throws -> [(Int64, String)] {
        var found: [(Int64, String)] = []
        if count == 0 { return found }
        for try await record in consumer.records {
            found.append((record.offset, record.valueString ?? ""))
            if found.count == count { break }
        }
        return found
    }

    @Test func `reads everything from the start, then what comes`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        for batch in 0..<20 {
            broker.append("t", values: (0..<50).map { "v\(batch * 50 + $0)" })
        }
        try await Self.withConsumer(broker, .init(topic: "t")) { consumer in
            var batches = consumer.batches.makeAsyncIterator()
            var values: [String] = []
            var offsets: [Int64] = []
            while values.count < 1_000 {
                let batch = try #require(try await batches.next())
                for record in batch {
                    offsets.append(record.offset)
                    values.append(record.valueString ?? "")
                    #expect(record.topic == "t" && record.partition == 0)
                    #expect(record.timestamp == 1_000)
                }
                #expect(batch.nextOffset == Int64(values.count))
            }
            #expect(offsets == Array(0..<1_000))
            #expect(values == (0..<1_000).map { "v\($0)" })
            broker.append("t", values: ["later"])
            let batch = try #require(try await batches.next())
            #expect(batch.map(\.valueString) == ["later"])
            #expect(batch.isCaughtUp)
            #expect(consumer.positions() == [TopicPartition("t", 0): 1_001])
        }
    }

    @Test(arguments: [0, 1, 49, 50, 51, 99])
    func `drops what lies before the offset asked for`(start: Int64) async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: (0..<50).map { "v\($0)" })
        broker.append("t", values: (50..<100).map { "v\($0)" })
        try await Self.withConsumer(broker, .init(topic: "t", start: .offset(start))) { consumer in
            let found = try await Self.take(100 - Int(start), of: consumer)
            #expect(found.map(\.0) == Array(start..<100))
            #expect(found.first?.1 == "v\(start)")
        }
    }

    @Test func `latest begins with the next record`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 2])
        broker.append("t", 0, values: ["old"])
        try await Self.withConsumer(broker, .init(topic: "t", start: .latest)) { consumer in
            broker.append("t", 1, values: ["new"])
            let found = try await Self.take(1, of: consumer)
            #expect(found.map(\.1) == ["new"])
        }
    }

    @Test func `goes on where it was after the connection broke`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: (0..<10).map { "v\($0)" })
        try await Self.withConsumer(broker, .init(topic: "t")) { consumer in
            let found1 = try await Self.take(10, of: consumer).count
            #expect(found1 == 10)
            broker.disconnectAll()
            broker.append("t", values: (10..<20).map { "v\($0)" })
            let found = try await Self.take(10, of: consumer)
            #expect(found.map(\.0) == Array(10..<20))
            var events = consumer.events.makeAsyncIterator()
            var names: [String] = []
            while !names.contains("reconnected") {
                let event = try #require(await events.next(isolation: nil))
                names.append(event.name)
            }
            #expect(names.contains("disconnected"))
        }
    }

    @Test func `throws when the broker is gone for longer than the deadline`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: ["a"])
        var configuration = ConsumerConfiguration(topic: "t")
        configuration.deadline = .milliseconds(100)
        try await Self.withConsumer(broker, configuration) { consumer in
            let found2 = try await Self.take(1, of: consumer).count
            #expect(found2 == 1)
            broker.stop()
            let error = await #expect(throws: MartletError.self) {
                _ = try await Self.take(1, of: consumer)
            }
            #expect(error?.code == .connectionFailed)
            #expect(error?.isFatal == true)
            // It says so again, it does not fall silent.
            await #expect(throws: MartletError.self) { _ = try await Self.take(1, of: consumer) }
        }
    }

    @Test func `a flipped byte is fetched again, and thrown when it stays`() async throws {
        for damages in [1, 1_000] {
            let broker = try ScriptedBroker(topics: ["t": 1])
            broker.append("t", values: ["a", "b", "c"])
            let count = Counter()
            broker.script.withLock {
                $0.onFetch = { _, _, _, attachment in
                    guard !attachment.isEmpty else { return }
                    let number = count.next()
                    guard number <= damages else { return }
                    attachment[attachment.count - 3] ^= 1
                }
            }
            try await Self.withConsumer(broker, .init(topic: "t")) { consumer in
                if damages == 1 {
                    let found3 = try await Self.take(3, of: consumer).map(\.1)
                    #expect(found3 == ["a", "b", "c"])
                    return
                }
                let error = await #expect(throws: MartletError.self) {
                    _ = try await Self.take(3, of: consumer)
                }
                #expect(error?.code == .corruptMessage)
                #expect(error?.context["from"] == "0")
                #expect(error?.context["to"] == "3")
                #expect(error?.context["topic"] == "t")
            }
            #expect(broker.script.withLock { $0.fetchRequests.contains { $0.verify } })
        }
    }

    /// The batch's checksum does not cover its first 17 bytes.
    @Test(arguments: 0..<17)
    func `no byte of the prefix can change unseen`(index: Int) async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        for number in 0..<4 { broker.append("t", values: ["v\(number)"]) }
        broker.script.withLock {
            $0.onFetch = { _, _, _, attachment in
                guard !attachment.isEmpty else { return }
                // The second batch of four equally long ones.
                attachment[attachment.count / 4 + index] ^= 1
            }
        }
        try await Self.withConsumer(broker, .init(topic: "t")) { consumer in
            let error = await #expect(throws: MartletError.self) {
                _ = try await Self.take(4, of: consumer)
            }
            #expect(error?.code == .corruptMessage)
        }
    }

    @Test func `a damaged partition stops alone`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 2])
        for number in 0..<3 {
            broker.append("t", 0, values: ["bad\(number)"])
            broker.append("t", 1, values: ["good\(number)"])
        }
        broker.change("t", 0) { log in log.batches.remove(at: 0) }
        try await Self.withConsumer(broker, .init(topic: "t")) { consumer in
            var values: [String] = []
            var errors: [MartletError] = []
            while values.count < 4 || errors.isEmpty {
                do {
                    for try await record in consumer.records {
                        values.append(record.valueString ?? "")
                        if values.count == 3 { broker.append("t", 1, values: ["good3"]) }
                        if values.count == 4 { break }
                    }
                } catch let error as MartletError {
                    errors.append(error)
                }
            }
            #expect(values == ["good0", "good1", "good2", "good3"])
            #expect(errors.map(\.code) == [.corruptMessage])
            #expect(errors.first?.context["partition"] == "0")
            try await consumer.seek(TopicPartition("t", 0), to: .offset(1))
            let found = try await Self.take(2, of: consumer)
            #expect(found.map(\.1) == ["bad1", "bad2"])
        }
    }

    @Test func `a missing batch is not passed in silence`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        for number in 0..<3 { broker.append("t", values: ["v\(number)"]) }
        broker.change("t", 0) { log in log.batches.remove(at: 1) }
        try await Self.withConsumer(broker, .init(topic: "t")) { consumer in
            let error = await #expect(throws: MartletError.self) {
                _ = try await Self.take(2, of: consumer)
            }
            #expect(error?.code == .corruptMessage)
            #expect(error?.context["from"] == "1")
            #expect(error?.context["to"] == "2")
        }
    }

    @Test func `a compacted topic may have holes`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        for number in 0..<3 { broker.append("t", values: ["v\(number)"]) }
        broker.change("t", 0) { log in log.batches.remove(at: 1) }
        broker.setCompacted("t")
        try await Self.withConsumer(broker, .init(topic: "t")) { consumer in
            let found4 = try await Self.take(2, of: consumer).map(\.0)
            #expect(found4 == [0, 2])
        }
    }

    @Test func `a topic that became compacted may have holes`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: ["v0"])
        try await Self.withConsumer(broker, .init(topic: "t")) { consumer in
            let found5 = try await Self.take(1, of: consumer).map(\.0)
            #expect(found5 == [0])
            broker.setCompacted("t")
            broker.change("t", 0) { log in log.next = 7 }
            broker.append("t", values: ["v7"])
            let found6 = try await Self.take(1, of: consumer).map(\.0)
            #expect(found6 == [7])
        }
    }

    @Test func `a gap is crossed with an event, from below and from inside`() async throws {
        for start: Int64 in [0, 1, 50] {
            let broker = try ScriptedBroker(topics: ["t": 1])
            broker.append("t", values: ["a"])
            broker.change("t", 0) { log in
                log.gaps = [OffsetRange(1, 100)]
                log.next = 100
            }
            broker.append("t", values: ["b"])
            try await Self.withConsumer(broker, .init(topic: "t", start: .offset(start))) {
                consumer in
                let found = try await Self.take(start == 0 ? 2 : 1, of: consumer)
                #expect(found.last?.0 == 100)
                var events = consumer.events.makeAsyncIterator()
                while let event = await events.next(isolation: nil) {
                    guard case .offsetsLost(_, let range) = event else { continue }
                    #expect(range == max(start, 1)..<100)
                    break
                }
            }
        }
    }

    @Test(arguments: [ResetPolicy.earliest, .latest, .fail])
    func `an offset that is gone is handled by the policy`(policy: ResetPolicy) async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        for number in 0..<10 { broker.append("t", values: ["v\(number)"]) }
        broker.change("t", 0) { log in
            log.start = 5
            log.batches.removeFirst(5)
        }
        let configuration = ConsumerConfiguration(
            [.topic("t")], start: .offset(2), resetPolicy: policy)
        try await Self.withConsumer(broker, configuration) { consumer in
            switch policy {
            case .earliest:
                let found7 = try await Self.take(1, of: consumer).map(\.0)
                #expect(found7 == [5])
            case .latest:
                var events = consumer.events.makeAsyncIterator()
                while let event = await events.next(isolation: nil) {
                    if case .reset(_, 2, 10) = event { break }
                }
                broker.append("t", values: ["new"])
                let found8 = try await Self.take(1, of: consumer).map(\.0)
                #expect(found8 == [10])
            case .fail:
                let error = await #expect(throws: MartletError.self) {
                    _ = try await Self.take(1, of: consumer)
                }
                #expect(error?.code == .offsetOutOfRange)
            }
        }
    }

    @Test func `a topic that was made anew gives no data to the old cursor`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: ["old"])
        try await Self.withConsumer(broker, .init(topic: "t")) { consumer in
            let found9 = try await Self.take(1, of: consumer).map(\.1)
            #expect(found9 == ["old"])
            broker.remake("t", 1)
            broker.append("t", values: ["new0", "new1"])
            broker.disconnectAll()
            let error = await #expect(throws: MartletError.self) {
                _ = try await Self.take(1, of: consumer)
            }
            #expect(error?.code == .unknownTopicID)
        }
    }

    @Test func `seek goes elsewhere and forgets what was fetched`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        for number in 0..<100 { broker.append("t", values: ["v\(number)"]) }
        try await Self.withConsumer(broker, .init(topic: "t")) { consumer in
            _ = try await Self.take(1, of: consumer)
            try await consumer.seek(TopicPartition("t", 0), to: .offset(90))
            let found10 = try await Self.take(10, of: consumer).map(\.0)
            #expect(found10 == Array(90..<100))
            try await consumer.seek(TopicPartition("t", 0), to: .earliest)
            let found11 = try await Self.take(1, of: consumer).map(\.0)
            #expect(found11 == [0])
            await #expect(throws: MartletError.self) {
                try await consumer.seek(TopicPartition("t", 9), to: .earliest)
            }
        }
    }

    @Test func `an unknown topic or partition is told at once`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Martlet.withClient(.testing(broker)) { client in
            let error = await #expect(throws: MartletError.self) {
                _ = try await client.consumer(.init(topic: "nowhere"))
            }
            #expect(error?.code == .unknownTopic)
            let other = await #expect(throws: MartletError.self) {
                _ = try await client.consumer(.init([.partition("t", 3)]))
            }
            #expect(other?.code == .unknownPartition)
            for number in [Int32.max, -1, .min] {
                let none = await #expect(throws: MartletError.self) {
                    _ = try await client.consumer(.init([.partition("t", number)]))
                }
                #expect(none?.code == .unknownPartition)
            }
            let twice = await #expect(throws: MartletError.self) {
                _ = try await client.consumer(.init([.partition("t", 0), .topic("t")]))
            }
            #expect(twice?.code == .invalidArgument)
        }
    }

    @Test func `prefetching is bounded`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        let large = String(repeating: "x", count: 4_000)
        for _ in 0..<200 { broker.append("t", values: [large]) }
        let configuration = ConsumerConfiguration(
            [.topic("t")], maxBytes: 8_192, prefetchBytes: 16_384)
        try await Self.withConsumer(broker, configuration) { consumer in
            var batches = consumer.batches.makeAsyncIterator()
            _ = try await batches.next()
            // Three fetches fill the shelf; another may have left when the first was taken.
            for _ in 0..<100 { await Task.yield() }
            #expect(broker.script.withLock { $0.fetchRequests.count } <= 5)
            var count = 1
            while count < 100, let batch = try await batches.next() {
                count += batch.map(\.offset).count
            }
        }
    }

    @Test func `closing ends the loop, cancelling throws`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        try await Self.withConsumer(broker, .init(topic: "t")) { consumer in
            let waiting = Task { () -> Int in
                var count = 0
                for try await _ in consumer.batches { count += 1 }
                return count
            }
            let cancelled = Task {
                for try await _ in consumer.batches {}
            }
            cancelled.cancel()
            await #expect(throws: CancellationError.self) { try await cancelled.value }
            await consumer.close()
            let found12 = try await waiting.value
            #expect(found12 == 0)
        }
    }

    @Test func `several partitions are all read`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 5])
        for partition in 0..<5 {
            for number in 0..<20 {
                broker.append("t", partition, values: ["\(partition)-\(number)"])
            }
        }
        try await Self.withConsumer(broker, .init(topic: "t")) { consumer in
            var next = [Int64](repeating: 0, count: 5)
            for try await record in consumer.records {
                let partition = Int(record.partition)
                #expect(record.offset == next[partition])
                #expect(record.valueString == "\(partition)-\(record.offset)")
                next[partition] += 1
                if next.reduce(0, +) == 100 { break }
            }
            #expect(next == [20, 20, 20, 20, 20])
        }
    }

    @Test func `a hello that is refused is told`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.script.withLock { $0.onHello = { _ in .unsupportedVersion } }
        try await Martlet.withClient(.testing(broker)) { client in
            let error = await #expect(throws: MartletError.self) {
                _ = try await client.admin.ping()
            }
            #expect(error?.code == .unsupportedVersion)
        }
    }
}

/// Counts from 1.
final class Counter: Sendable {
    private let count = Mutex(0)

    func next() -> Int {
        count.withLock { count in
            count += 1
            return count
        }
    }
}

extension ConsumerEvent {
    var name: String {
        switch self {
        case .caughtUp: "caughtUp"
        case .offsetsLost: "offsetsLost"
        case .damageSkipped: "damageSkipped"
        case .reset: "reset"
        case .disconnected: "disconnected"
        case .reconnected: "reconnected"
        case .partitionsAdded: "partitionsAdded"
        }
    }
}
