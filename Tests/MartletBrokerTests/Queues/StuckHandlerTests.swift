import MartletClient
import MartletTelemetry
import Synchronization
import Testing

@testable import MartletBroker

/// Members whose handlers do not return, with the real broker and the real client.
@Suite(.timeLimit(.minutes(1))) struct StuckHandlerTests {
    private struct Bench {
        let sink = LogCapture()
        let harness: BrokerHarness

        init() throws {
            let sink = sink
            harness = try BrokerHarness(setUp: {
                $0.logger = Logger(label: "test", level: .notice, sink: sink)
            })
        }

        func with(_ body: (MartletClient) async throws -> Void) async throws {
            let configuration = ClientConfiguration(server: "127.0.0.1:\(harness.port)")
            try await Martlet.withClient(configuration) { client in
                try await client.admin.createTopic("t", partitions: 1)
                try await client.withProducer { producer in
                    for number in 0..<3 {
                        _ = try await producer.send(
                            ProducerRecord(topic: "t", value: "\(number)", partition: 0))
                    }
                }
                try await body(client)
            }
            try harness.stop()
        }
    }

    /// Lives for long, and takes something every so often.
    private static func member(
        progress: Duration, _ policy: CommitPolicy
    ) -> GroupConsumerConfiguration {
        GroupConsumerConfiguration(
            "g", topics: ["t"], sessionTimeout: .seconds(60), progressTimeout: progress,
            commitPolicy: policy)
    }

    private static let long = Duration.seconds(300)

    /// Reads the records as another member, and commits the first only.
    private static func takeOver(_ client: MartletClient) async throws -> [Int64] {
        try await client.withGroupConsumer(member(progress: long, .manual)) { other in
            var seen: [Int64] = []
            for try await record in other.records {
                seen.append(record.offset)
                if seen.count == 1 { try await other.commit(record) }
                if seen.count == 3 { break }
            }
            return seen
        }
    }

    @Test
    func `a handler that does not return loses its partition, and its end counts for nothing`()
        async throws
    {
        let bench = try Bench()
        let (gate, door) = AsyncStream.makeStream(of: Void.self)
        let (begun, beginning) = AsyncStream.makeStream(of: Int64.self)
        let lost = Mutex<[Bool]>([])
        // The member, and what it had.
        let had = Mutex<[(member: String, part: MemberTrace.Part)]>([])
        try await bench.with { client in
            var stuck = Self.member(
                progress: .milliseconds(300), .afterProcessing(interval: Self.long))
            stuck.onRevoke = { _, _, isLost in lost.withLock { $0.append(isLost) } }
            stuck.trace = { event in
                if case .assigned(let member, let part, _, _) = event {
                    had.withLock { $0.append((member, part)) }
                }
            }
            let task = Task { [stuck] in
                try await client.consumeGroup(stuck) { record in
                    beginning.yield(record.offset)
                    for await _ in gate {}
                }
            }
            let first = await begun.first { _ in true }
            #expect(first == 0)
            let seen = try await Self.takeOver(client)
            #expect(seen == [0, 1, 2])
            #expect(bench.sink.codes.contains("MEMBER_STUCK"))
            #expect(lost.withLock { $0.first } == true)
            // Whatever it would commit of that, the broker takes none of it.
            let (member, part) = try #require(had.withLock { $0.first })
            let outcome = try await client.admin.commit("g", as: member, "t", part, offset: 3)
            guard case .refused(let code) = outcome else {
                Issue.record("a commit of who lost the partition was taken")
                return
            }
            #expect(code == .fencedMember || code == .staleMemberEpoch)
            task.cancel()
            door.finish()
            await #expect(throws: CancellationError.self) { try await task.value }
            let group = try await client.admin.describeGroup("g")
            #expect(group.partitions.map(\.committed) == [1])
        }
    }

    @Test func `who commits after it was taken for stuck is told so, by error and event`()
        async throws
    {
        let bench = try Bench()
        try await bench.with { client in
            let stuck = Self.member(progress: .milliseconds(300), .manual)
            try await client.withGroupConsumer(stuck) { consumer in
                var records = consumer.records.makeAsyncIterator()
                let inHand = try #require(try await records.next())
                let seen = try await Self.takeOver(client)
                #expect(seen == [0, 1, 2])
                let error = await #expect(throws: MartletError.self) {
                    try await consumer.commit(inHand)
                }
                #expect(error?.code == .staleMemberEpoch)
                var (isLost, isFenced) = (false, false)
                for await event in consumer.events {
                    if case .lost(let parts, let why) = event {
                        isLost = parts.map(\.partition) == [0] && why.code == .fencedMember
                    }
                    if case .fenced = event { isFenced = true }
                    if isFenced { break }
                }
                #expect(isLost)
            }
            #expect(bench.sink.codes.contains("MEMBER_STUCK"))
        }
    }
}
