import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// Several groups on one topic.
@Suite(.timeLimit(.minutes(1))) struct ManyGroupsTests {
    private static let count = 1_000

    /// Calls `handler` with all that the group gets; every other one is a queue.
    private static func consume(
        _ client: MartletClient, _ group: Int, _ handler: @escaping @Sendable (Int) async -> Void
    ) async throws {
        if group.isMultiple(of: 2) {
            try await client.consumeGroup(GroupTest.member("g\(group)"), handling: .serial) {
                await handler(GroupTest.number($0))
            }
        } else {
            let member = QueueConfiguration("g\(group)", topics: ["t"], concurrency: 1)
            try await client.consumeQueue(member) {
                await handler(GroupTest.number($0.record))
                return .done
            }
        }
    }

    @Test(arguments: 0..<3)
    func `each of three groups gets every record, and one that stands still holds up no other`(
        _ standing: Int
    ) async throws {
        try await GroupConsumerTests.with { _, client in
            let (gate, door) = AsyncStream.makeStream(of: Void.self)
            let seen = (0..<3).map { _ in Sightings() }
            let tasks = (0..<3).map { group in
                Task {
                    try await Self.consume(client, group) { number in
                        if group == standing { for await _ in gate {} }
                        seen[group].add(number, by: "g\(group)")
                    }
                }
            }
            try await GroupTest.fill(client, 0..<Self.count)
            for group in 0..<3 where group != standing {
                try await seen[group].wait(for: Self.count)
                #expect(seen[group].numbers.sorted() == Array(0..<Self.count))
            }
            // All of it is there for the one that stood still.
            #expect(seen[standing].numbers.isEmpty)
            let lag = try await client.admin.describeGroup("g\(standing)").lag
            #expect(lag == Int64(Self.count))
            door.finish()
            try await seen[standing].wait(for: Self.count)
            for task in tasks { task.cancel() }
            for task in tasks { _ = await task.result }
            for group in 0..<3 {
                #expect(seen[group].numbers.sorted() == Array(0..<Self.count))
                let left = try await client.admin.describeGroup("g\(group)").lag
                #expect(left == 0)
            }
        }
    }
}
