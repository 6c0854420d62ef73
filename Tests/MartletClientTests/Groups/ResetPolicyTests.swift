import MartletTesting
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// A log that begins behind a group, a topic that was made again, and records that were lost: the reset
/// policy answers all three, the application is told, and so is the broker.
@Suite(.timeLimit(.minutes(1))) struct ResetPolicyTests {
    /// A policy, and where it leads from 3 in a log of ten records that begins at 7; nil: nowhere.
    private static let answers: [(GroupResetPolicy, Int64?)] = [
        (.earliest, 7), (.latest, 10), (.time(1_008), 8), (.fail, nil),
    ]

    private static func member(_ policy: GroupResetPolicy) -> GroupConsumerConfiguration {
        var member = GroupTest.member()
        member.resetPolicy = policy
        return member
    }

    /// What happened to a member until its reset, and where it went on; the error when it did not.
    private static func reset(
        _ client: MartletClient, _ policy: GroupResetPolicy
    ) async throws -> (from: Int64?, to: Int64) {
        try await client.withGroupConsumer(member(policy)) { consumer in
            try await withThrowingTaskGroup(of: (from: Int64?, to: Int64)?.self) { tasks in
                tasks.addTask {
                    for await case .reset(_, let from, let to) in consumer.events {
                        return (from, to)
                    }
                    return nil
                }
                tasks.addTask {
                    for try await _ in consumer.records {}
                    return nil
                }
                defer { tasks.cancelAll() }
                let found = try await tasks.next() ?? nil
                return try #require(found)
            }
        }
    }

    private static func fill(_ client: MartletClient) async throws {
        try await client.withProducer { producer in
            for number in 0..<10 {
                try await producer.send(
                    topic: "t", value: "\(number)", timestamp: 1_000 + Int64(number))
            }
        }
    }

    @Test func `a log that begins behind the group`() async throws {
        for (policy, target) in Self.answers {
            try await GroupConsumerTests.with(["t": 1]) { _, client in
                try await Self.fill(client)
                try await client.admin.createGroup("g")
                try await client.admin.commitOffsets("g", [TopicPartition("t", 0): 3])
                try await client.admin.deleteRecords("t", before: [0: 7])
                try await Self.check(client, policy, from: 3, to: target, .offsetOutOfRange)
            }
        }
    }

    @Test func `a topic that was made again`() async throws {
        for (policy, _) in Self.answers {
            try await GroupConsumerTests.with(["t": 1]) { _, client in
                try await Self.fill(client)
                try await client.admin.createGroup("g")
                try await client.admin.commitOffsets("g", [TopicPartition("t", 0): 3])
                try await client.admin.deleteTopic("t")
                try await client.admin.createTopic("t", partitions: 1)
                try await Self.fill(client)
                let target: Int64? =
                    switch policy {
                    case .earliest: 0
                    case .latest: 10
                    case .time: 8
                    case .fail: nil
                    }
                try await Self.check(client, policy, from: nil, to: target, .offsetOutOfRange)
            }
        }
    }

    private static func check(
        _ client: MartletClient, _ policy: GroupResetPolicy, from: Int64?, to target: Int64?,
        _ code: MartletErrorCode
    ) async throws {
        guard let target else {
            let error = await #expect(throws: MartletError.self) {
                _ = try await reset(client, policy)
            }
            #expect(error?.code == code)
            return
        }
        let found = try await reset(client, policy)
        #expect(found.from == from && found.to == target, "\(policy)")
        let group = try await client.admin.describeGroup("g")
        let committed = try #require(group.partitions.last { $0.partition.topic == "t" }?.committed)
        #expect(committed >= target)
    }

    // MARK: - With a scripted broker

    /// A member whose group has committed 50; the log lacks 1 to 99, and ends at 110.
    private static func lost(
        _ policy: GroupResetPolicy,
        _ body: (ScriptedBroker, MartletClient) async throws -> Void
    ) async throws {
        try await GroupFaultTests.with { broker, client in
            broker.append("t", values: ["0"])
            broker.change("t", 0) { log in
                log.gaps = [OffsetRange(1, 100)]
                log.next = 100
            }
            broker.append("t", values: (100..<110).map { "\($0)" })
            broker.assign("t", committed: 50)
            try await body(broker, client)
        }
    }

    @Test func `records that were lost`() async throws {
        for (policy, target) in [(GroupResetPolicy.earliest, Int64(100)), (.latest, 110)] {
            try await Self.lost(policy) { broker, client in
                let found = try await Self.reset(client, policy)
                #expect(found.from == 50 && found.to == target)
                let told = broker.script.withLock { $0.group.commits.flatMap(\.resets) }
                #expect(told.map(\.reason) == [3])
                #expect(told.map(\.from) == [50] && told.map(\.to) == [target])
                #expect(told.map(\.owned.epoch) == [1])
            }
        }
        try await Self.lost(.fail) { broker, client in
            let error = await #expect(throws: MartletError.self) {
                _ = try await Self.reset(client, .fail)
            }
            #expect(error?.code == .offsetsLost)
            #expect(broker.script.withLock { $0.group.commits.allSatisfy(\.resets.isEmpty) })
        }
    }

    @Test func `which records were lost is told too`() async throws {
        try await Self.lost(.earliest) { _, client in
            try await client.withGroupConsumer(Self.member(.earliest)) { consumer in
                let found = try await GroupConsumerTests.take(2, of: consumer)
                #expect(found == [100, 101])
                _ = try await GroupTest.event(of: consumer) { event in
                    if case .reading(.offsetsLost(_, 50..<100)) = event { true } else { false }
                }
            }
        }
    }

    @Test func `a word that was lost on the way is said again, with its reason`() async throws {
        try await GroupFaultTests.with { broker, client in
            broker.append("t", values: GroupFaultTests.values(0..<10))
            broker.assign("t", committed: 50)
            broker.script.withLock { script in
                script.group.onCommit = { _ in .refuse(.loading) }
            }
            try await client.withGroupConsumer(Self.member(.earliest)) { consumer in
                let found = try await GroupConsumerTests.take(10, of: consumer)
                #expect(found == Array(0..<10))
                broker.script.withLock { $0.group.onCommit = { _ in .normal } }
                try await consumer.commit()
                let told = broker.script.withLock { $0.group.commits.map(\.resets) }
                #expect(told.first?.map(\.reason) == [2])
                #expect(told.allSatisfy { $0.isEmpty || $0 == told.first })
                #expect(told.contains { !$0.isEmpty })
            }
        }
    }
}
