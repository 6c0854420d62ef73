import MartletFormat
import MartletTesting
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// Handlers of a queue that are done with a record when it is a dead letter already.
@Suite(.timeLimit(.minutes(2))) struct LateOutcomeTests {
    private static let records = 16

    /// What a member holds and what it is told that it does not.
    private final class Told: Sendable {
        let delivered = Mutex<MemberTrace.Delivered?>(nil)
        let lost = Mutex<[Range<Int64>]>([])
    }

    private static func configuration(_ told: Told) -> QueueConfiguration {
        var configuration = QueueConfiguration(
            "q", topics: ["t"], concurrency: records, prefetch: 0)
        configuration.trace = { trace in
            guard case .delivered(let delivered, _) = trace else { return }
            told.delivered.withLock { $0 = $0 ?? delivered }
        }
        configuration.onLost = { partition, range in
            #expect(partition == TopicPartition("t", 0))
            told.lost.withLock { $0.append(range) }
        }
        return configuration
    }

    /// As if another had the same delivery: its record is a dead letter then.
    private static func kill(
        _ offset: Int64, of delivered: MemberTrace.Delivered, _ client: MartletClient
    ) async throws {
        var entry = SettleEntry()
        entry.topic = try await client.admin.metadata("t").id
        entry.delivery = delivered.number
        entry.range = OffsetRange(offset, offset + 1)
        (entry.verb, entry.failure, entry.text) = (6, "Broken", "it is")
        var request = SettleRequest()
        (request.group, request.entries) = ("q", [entry])
        let reply = try await client.admin.port.call(request, isRepeatable: true)
        #expect(reply.results.map(\.error) == [.none])
    }

    @Test func `one dead letter costs no outcome beside it, and its handler is told`() async throws
    {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            let (told, seen) = (Told(), Sightings())
            let doors = (0..<Self.records).map { _ in Promise<Void>() }
            try await client.admin.createGroup("q", .queue(.earliest))
            try await GroupTest.fill(client, 0..<Self.records, partitions: 1)
            let member = Task {
                try await client.consumeQueue(Self.configuration(told)) { record in
                    let number = GroupTest.number(record.record)
                    seen.add(number, by: "a")
                    if seen.numbers.count <= doors.count { await doors[number].settled() }
                    return .done
                }
            }
            try await seen.wait(for: Self.records)
            let delivered = try #require(told.delivered.withLock { $0 })
            #expect(delivered.range == 0..<Int64(Self.records))
            try await Self.kill(7, of: delivered, client)
            for door in doors { door.succeed(()) }
            while told.lost.withLock({ $0.isEmpty }) {
                try Task.checkCancellation()
                await Task.yield()
            }
            while try await client.admin.describeGroup("q").lag > 0 { await Task.yield() }
            member.cancel()
            await #expect(throws: CancellationError.self) { try await member.value }
            #expect(told.lost.withLock { $0 } == [7..<8])
            #expect(seen.numbers.count == Self.records)
            let queue = try #require(try await client.admin.describeGroup("q").queues.first)
            #expect(queue.acked == Int64(Self.records) - 1 && queue.dead == 1)
            #expect(try await client.admin.deadLetters(of: "q").map(\.offset) == [7])
        }
    }
}
