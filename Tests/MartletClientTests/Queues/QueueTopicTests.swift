import MartletTestSupport
import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// Members of queues and topics that go.
@Suite(.timeLimit(.minutes(1))) struct QueueTopicTests {
    /// Between the answer with the records' places and the one with the records.
    @Test func `a topic that is deleted while its records are read takes no member along`()
        async throws
    {
        try await GroupConsumerTests.with(["a": 1, "b": 1]) { _, client in
            let (isHanded, isDeleted) = (Promise<Void>(), Latch())
            let seen = Sightings()
            _ = try await client.withProducer { try await $0.send(topic: "a", value: "1") }
            var configuration = QueueConfiguration("q", topics: ["a", "b"])
            configuration.trace = { event in
                guard case .delivered = event, isHanded.succeed(()) else { return }
                _ = isDeleted.wait()
            }
            try await withThrowingTaskGroup(of: Void.self) { [configuration] tasks in
                tasks.addTask {
                    try await client.consumeQueue(configuration) { item in
                        seen.add(GroupTest.number(item.record), by: item.record.topic)
                        return .done
                    }
                }
                try await isHanded.value()
                try await client.admin.deleteTopic("a")
                isDeleted.arrive()
                _ = try await client.withProducer { try await $0.send(topic: "b", value: "2") }
                tasks.addTask { try await seen.wait(for: 1) }
                // Who ends first must not be the member.
                try await tasks.next()
                tasks.cancelAll()
                await #expect(throws: CancellationError.self) { try await tasks.next() }
            }
            #expect(seen.numbers == [2])
        }
    }

    @Test func `a member is told that what it did was lost with its topic`() async throws {
        try await GroupConsumerTests.with(["a": 1]) { _, client in
            let (began, isDeleted) = (Promise<Void>(), Promise<Void>())
            let lost = Promise<(TopicPartition, Range<Int64>)>()
            _ = try await client.withProducer { try await $0.send(topic: "a", value: "1") }
            var configuration = QueueConfiguration("q", topics: ["a"])
            configuration.onLost = { partition, range in _ = lost.succeed((partition, range)) }
            let member = Task { [configuration] in
                try await client.consumeQueue(configuration) { _ in
                    _ = began.succeed(())
                    await isDeleted.settled()
                    return .done
                }
            }
            try await began.value()
            try await client.admin.deleteTopic("a")
            _ = isDeleted.succeed(())
            let (partition, range) = try await lost.value()
            #expect(partition == TopicPartition("a", 0) && range == 0..<1)
            member.cancel()
            await #expect(throws: CancellationError.self) { try await member.value }
        }
    }
}
