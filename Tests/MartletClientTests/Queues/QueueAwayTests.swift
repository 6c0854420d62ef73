import Synchronization
import Testing

@testable import MartletClient

/// Members of a queue whose broker is away.
@Suite(.timeLimit(.minutes(1))) struct QueueAwayTests {
    private final class Told: Sendable {
        private let names = Mutex<[String]>([])

        func add(_ event: QueueEvent) {
            switch event {
            case .joined, .fenced, .damaged, .news: break
            case .disconnected(let error):
                names.withLock { $0.append("disconnected \(error.isRetriable)") }
            case .reconnected: names.withLock { $0.append("reconnected") }
            }
        }

        var all: [String] { names.withLock { $0 } }

        func wait(for count: Int) async throws {
            while all.count < count {
                try Task.checkCancellation()
                await Task.yield()
            }
        }
    }

    private static func client(
        _ broker: ScriptedBroker, deadline: Duration
    ) -> ClientConfiguration {
        ClientConfiguration(
            server: broker.address, deadline: deadline,
            retry: RetryPolicy(base: .milliseconds(1), cap: .milliseconds(5)))
    }

    private static func queue(_ told: Told) -> QueueConfiguration {
        var configuration = QueueConfiguration("q", topics: ["t"])
        configuration.onEvent = { told.add($0) }
        return configuration
    }

    @Test func `that the broker is away is told once, and that it is back`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: ["a", "b"])
        let (told, seen) = (Told(), Sightings())
        try await Martlet.withClient(Self.client(broker, deadline: .seconds(60))) { client in
            let member = Task {
                try await client.consumeQueue(Self.queue(told)) { record in
                    seen.add(Int(record.record.offset), by: "a")
                    return .done
                }
            }
            broker.hand("t", 0..<1, delivery: 1)
            try await seen.wait(for: 1)
            #expect(told.all.isEmpty)
            broker.stop()
            try await told.wait(for: 1)
            try broker.start()
            try await told.wait(for: 2)
            broker.hand("t", 1..<2, delivery: 2)
            try await seen.wait(for: 2)
            #expect(told.all == ["disconnected true", "reconnected"])
            member.cancel()
            await #expect(throws: CancellationError.self) { try await member.value }
        }
    }

    /// With a record that is handled and cannot be said, and a goodbye that nobody would hear: none of
    /// them waits for a deadline of its own.
    @Test func `a broker that stays away ends the member with an error`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        broker.append("t", values: ["a"])
        let (told, seen, door) = (Told(), Sightings(), Promise<Void>())
        let deadline = Duration.seconds(2)
        try await Martlet.withClient(Self.client(broker, deadline: deadline)) { client in
            let member = Task {
                try await client.consumeQueue(Self.queue(told)) { record in
                    seen.add(Int(record.record.offset), by: "a")
                    await door.settled()
                    return .done
                }
            }
            broker.hand("t", 0..<1, delivery: 1)
            try await seen.wait(for: 1)
            let clock = ContinuousClock()
            let began = clock.now
            broker.stop()
            try await told.wait(for: 1)
            door.succeed(())
            let error = await #expect(throws: MartletError.self) { try await member.value }
            #expect(error?.code == .connectionFailed)
            #expect(told.all == ["disconnected true"])
            #expect(clock.now - began < deadline * 1.9)
        }
    }
}
