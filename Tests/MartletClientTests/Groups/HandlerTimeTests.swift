import MartletTesting
import Testing

@testable import MartletClient

/// How long handlers ran, from the handler to `describeGroup`.
@Suite(.timeLimit(.minutes(1))) struct HandlerTimeTests {
    private struct Refused: Error {}

    private static let least = Duration.milliseconds(30)

    /// Runs for at least so long.
    private static func work() async {
        let clock = ContinuousClock()
        let begin = clock.now
        while clock.now - begin < least { await Task.yield() }
    }

    private static func check(_ times: HandlerTimeSummary, count: UInt64) {
        #expect(times.count == count)
        #expect(times.mean >= least && times.p50 >= least)
        #expect(times.p99 >= times.p50 && times.max >= times.mean && times.max >= least)
    }

    /// Ends the call once `body` is over.
    private static func run(
        _ handlers: @escaping @Sendable () async throws -> Void, _ body: () async throws -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                do {
                    try await handlers()
                } catch is CancellationError {
                    // As it is told to.
                }
            }
            try await body()
            tasks.cancelAll()
            try await tasks.waitForAll()
        }
    }

    @Test(arguments: [GroupHandling.serial, .perKey(4)])
    func `handlers of a stream group tell with the commit`(_ handling: GroupHandling) async throws {
        try await GroupConsumerTests.with(["t": 4]) { _, client in
            try await GroupTest.fill(client, 0..<8)
            let seen = Sightings()
            try await Self.run {
                try await client.consumeGroup(GroupTest.member(), handling: handling) { record in
                    await Self.work()
                    seen.add(GroupTest.number(record), by: "a")
                }
            } _: {
                try await seen.wait(for: 8)
            }
            Self.check(try await client.admin.describeGroup("g").handlerTime, count: 8)
        }
    }

    @Test func `handlers of a queue tell with what they settle, also what failed`() async throws {
        try await GroupConsumerTests.with(["t": 4]) { _, client in
            try await client.admin.createGroup("q", .queue(.earliest))
            try await client.admin.setFailurePolicy(
                FailurePolicy(backoff: .milliseconds(1)), of: "q")
            try await GroupTest.fill(client, 0..<8)
            let seen = Sightings()
            try await Self.run {
                try await client.consumeQueue(QueueConfiguration("q", topics: ["t"])) { record in
                    await Self.work()
                    let number = GroupTest.number(record.record)
                    if number == 3, record.attempt == 1 { throw Refused() }
                    seen.add(number, by: "a")
                    return .done
                }
            } _: {
                try await seen.wait(for: 8)
            }
            Self.check(try await client.admin.describeGroup("q").handlerTime, count: 9)
        }
    }

    @Test func `what is sent again to a stream group counts too`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await GroupTest.fill(client, 0..<3, partitions: 1)
            let seen = Sightings()
            try await Self.run {
                try await client.consumeGroup(GroupTest.member()) { record in
                    await Self.work()
                    seen.add(GroupTest.number(record), by: "a")
                }
            } _: {
                try await seen.wait(for: 3)
                _ = try await client.admin.replayRecords(
                    [TopicPartition("t", 0): [0..<2]], to: "g")
                try await seen.wait(for: 5)
            }
            Self.check(try await client.admin.describeGroup("g").handlerTime, count: 5)
        }
    }

    /// Twelve records: half of a type, one of a type that is no text, the rest without one.
    private static func fillTypes(_ client: MartletClient) async throws {
        try await client.withProducer { producer in
            for number in 0..<12 {
                let type: [RecordHeader] =
                    number == 11
                    ? [RecordHeader("type", [0xFF])]
                    : number % 2 == 0 ? [RecordHeader("a", "b"), RecordHeader("type", "sold")] : []
                _ = try await producer.send(
                    ProducerRecord(topic: "t", value: "\(number)", headers: type))
            }
        }
    }

    private static func counts(_ times: [String: HandlerTimeSummary]) -> [String: UInt64] {
        times.mapValues(\.count)
    }

    @Test func `types of events are told apart, by the client and by the broker`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await Self.fillTypes(client)
            try await client.admin.createGroup("q", .queue(.earliest))
            #expect(client.handlerTimes(of: "g").isEmpty)
            let seen = Sightings()
            try await Self.run {
                try await client.consumeGroup(GroupTest.member()) { record in
                    seen.add(Int(record.offset), by: "a")
                }
            } _: {
                try await seen.wait(for: 12)
            }
            let other = Sightings()
            try await Self.run {
                try await client.consumeQueue("q", topics: ["t"]) { record in
                    other.add(Int(record.record.offset), by: "a")
                }
            } _: {
                try await other.wait(for: 12)
            }
            for group in ["g", "q"] {
                let found = try await client.admin.describeGroup(group)
                #expect(Self.counts(found.handlerTimeByType) == ["sold": 6, "": 6], "\(group)")
                #expect(found.handlerTime.count == 12)
                #expect(Self.counts(client.handlerTimes(of: group)) == ["sold": 6, "": 6])
            }
        }
    }

    @Test func `nothing is told without handlers`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await GroupTest.fill(client, 0..<3, partitions: 1)
            try await client.withGroupConsumer("g", topics: ["t"]) { consumer in
                for try await record in consumer.records where GroupTest.number(record) == 2 {
                    break
                }
            }
            let times = try await client.admin.describeGroup("g").handlerTime
            #expect(times.count == 0 && times.max == .zero)
        }
    }
}
