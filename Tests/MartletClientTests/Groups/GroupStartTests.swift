import MartletTesting
import Testing

@testable import MartletClient

/// Members that come at the same moment.
@Suite(.timeLimit(.minutes(1))) struct GroupStartTests {
    /// The first one is given all partitions, and has to share them before it has heard of them. Were
    /// they waited for, each round would take a drain time.
    @Test func `members that come at once share the partitions without waiting`() async throws {
        try await GroupConsumerTests.with(["t": 4]) { _, client in
            try await GroupTest.fill(client, 0..<2_000)
            for round in 0..<5 {
                let seen = Sightings()
                let configuration = GroupTest.member("g\(round)")
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    for _ in 0..<3 {
                        tasks.addTask {
                            try await client.withGroupConsumer(configuration) { consumer in
                                try await GroupTest.read(consumer, as: "any", into: seen)
                            }
                        }
                    }
                    try await seen.wait(for: 2_000)
                    tasks.cancelAll()
                    do {
                        try await tasks.waitForAll()
                    } catch is CancellationError {
                        // As they were told to.
                    }
                }
            }
        }
    }
}
