import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// Members of a queue group, with the real broker.
@Suite(.timeLimit(.minutes(2))) struct QueueConsumerTests {
    private struct Refused: Error {}

    private static func with(
        _ body: (MartletTestBroker, MartletClient) async throws -> Void
    ) async throws {
        try await GroupConsumerTests.with(["t": 4], body)
    }

    /// Runs members until `body` ends; throws what a member threw before.
    private static func members(
        _ count: Int, _ client: MartletClient, _ configuration: QueueConfiguration,
        handler: @escaping @Sendable (Int, QueueRecord) async throws -> QueueOutcome,
        _ body: () async throws -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for number in 0..<count {
                tasks.addTask {
                    do {
                        try await client.consumeQueue(configuration) {
                            try await handler(number, $0)
                        }
                    } catch is CancellationError {
                        // As it is told to.
                    }
                }
            }
            try await body()
            tasks.cancelAll()
            try await tasks.waitForAll()
        }
    }

    private static func queue(_ concurrency: Int = 4, prefetch: Int = 20) -> QueueConfiguration {
        QueueConfiguration("q", topics: ["t"], concurrency: concurrency, prefetch: prefetch)
    }

    /// Waits until the group owes nothing.
    private static func drained(_ client: MartletClient, _ group: String = "q") async throws {
        while true {
            let found = try await client.admin.describeGroup(group)
            if found.queues.count == 4, found.lag == 0 { return }
            await Task.yield()
        }
    }

    @Test func `members share the records, and each is handled once`() async throws {
        try await Self.with { _, client in
            let seen = Sightings()
            try await GroupTest.fill(client, 0..<2_000)
            try await Self.members(3, client, Self.queue()) { member, record in
                #expect(record.attempt == 1)
                seen.add(GroupTest.number(record.record), by: "\(member)")
                return .done
            } _: {
                try await seen.wait(for: 2_000)
                try await Self.drained(client)
            }
            #expect(seen.numbers.sorted() == Array(0..<2_000))
            let group = try await client.admin.describeGroup("q")
            #expect(group.kind == .queue(.earliest))
            #expect(group.queues.allSatisfy { $0.acked == 500 && $0.inFlight == 0 })
        }
    }

    @Test func `a record whose handler throws comes again, and holds up no other`() async throws {
        try await Self.with { _, client in
            let seen = Sightings()
            let failures = Mutex<[Int]>([])
            try await GroupTest.fill(client, 0..<100)
            var configuration = Self.queue()
            try await client.admin.createGroup("q", .queue(.earliest))
            try await client.admin.setFailurePolicy(
                FailurePolicy(backoff: .milliseconds(1)), of: "q")
            configuration.onFailure = { record, error in
                #expect(error is Refused)
                failures.withLock { $0.append(record.attempt) }
            }
            try await Self.members(2, client, configuration) { member, record in
                let number = GroupTest.number(record.record)
                if number == 17, record.attempt < 3 { throw Refused() }
                if number == 18, record.attempt == 1 { return .again(after: .milliseconds(1)) }
                seen.add(number, by: "\(member)")
                return .done
            } _: {
                try await seen.wait(for: 100)
                try await Self.drained(client)
            }
            #expect(seen.numbers.sorted() == Array(0..<100))
            #expect(failures.withLock { $0 } == [1, 2])
        }
    }

    @Test func `a record that hangs its handlers is set aside, and holds up no other`()
        async throws
    {
        try await Self.with { _, client in
            let (seen, hung) = (Sightings(), Sightings())
            let doors = (0..<3).map { _ in Promise<Void>() }
            try await GroupTest.fill(client, 0..<40)
            var configuration = Self.queue()
            configuration.lease = .milliseconds(500)
            configuration.handlerTimeout = .milliseconds(200)
            try await Self.members(2, client, configuration) { member, record in
                let number = GroupTest.number(record.record)
                if number == 17 {
                    hung.add(record.attempt, by: "\(member)")
                    await doors[min(record.attempt, 3) - 1].settled()
                } else {
                    seen.add(number, by: "\(member)")
                }
                return .done
            } _: {
                try await seen.wait(for: 39)
                try await Self.drained(client)
                for door in doors { door.succeed(()) }
            }
            // A start that counts, and whose lease is over before its handler runs, is seen by nobody.
            #expect(hung.numbers.contains(1) && hung.numbers.allSatisfy { $0 <= 3 })
            #expect(Set(seen.numbers).count == 39)
            let letters = try await client.admin.deadLetters(of: "q")
            #expect(letters.map(\.attempts) == [3])
        }
    }

    @Test func `cancelled, what has begun is finished, and the rest is others' at once`()
        async throws
    {
        try await Self.with { _, client in
            let (begun, seen) = (Sightings(), Sightings())
            let door = Promise<Void>()
            try await GroupTest.fill(client, 0..<40)
            let first = Task {
                try await client.consumeQueue(Self.queue(1, prefetch: 39)) { record in
                    begun.add(GroupTest.number(record.record), by: "first")
                    await door.settled()
                    seen.add(GroupTest.number(record.record), by: "first")
                    return .done
                }
            }
            try await begun.wait(for: 1)
            first.cancel()
            door.succeed(())
            await #expect(throws: CancellationError.self) { try await first.value }
            #expect(seen.numbers == begun.numbers && seen.numbers.count == 1)
            try await Self.members(1, client, Self.queue()) { _, record in
                #expect(record.attempt == 1)
                seen.add(GroupTest.number(record.record), by: "second")
                return .done
            } _: {
                try await seen.wait(for: 40)
                try await Self.drained(client)
            }
            #expect(seen.numbers.sorted() == Array(0..<40))
        }
    }

    @Test
    func `a handler that may end after the cancel keeps its record for longer than a session`()
        async throws
    {
        try await Self.with { _, client in
            let (begun, seen) = (Sightings(), Sightings())
            let door = Promise<Void>()
            try await GroupTest.fill(client, 0..<2)
            var configuration = Self.queue(1, prefetch: 0)
            configuration.lease = .seconds(1)
            configuration.sessionTimeout = .seconds(1)
            let first = Task { [configuration] in
                try await client.consumeQueue(configuration) { record in
                    begun.add(GroupTest.number(record.record), by: "first")
                    await door.settled()
                    return .done
                }
            }
            try await begun.wait(for: 1)
            first.cancel()
            try await Self.members(1, client, configuration) { _, record in
                // The other record comes back when a session and some leases would be over.
                if record.attempt == 1 { return .again(after: .milliseconds(2_500)) }
                seen.add(GroupTest.number(record.record), by: "second")
                return .done
            } _: {
                try await seen.wait(for: 1)
                door.succeed(())
                await #expect(throws: CancellationError.self) { try await first.value }
                try await Self.drained(client)
            }
            #expect(begun.numbers.count == 1)
            #expect(Set(begun.numbers + seen.numbers) == [0, 1] && seen.numbers.count == 1)
        }
    }

    @Test func `over a restart of the broker nothing is left out, and what was done stays done`()
        async throws
    {
        try await Self.with { broker, client in
            let seen = Sightings()
            try await GroupTest.fill(client, 0..<200)
            try await Self.members(2, client, Self.queue()) { member, record in
                seen.add(GroupTest.number(record.record), by: "\(member)")
                return .done
            } _: {
                try await seen.wait(for: 200)
                try await Self.drained(client)
                try await broker.restart()
                try await GroupTest.fill(client, 200..<300)
                try await seen.wait(for: 300)
                try await Self.drained(client)
            }
            #expect(seen.numbers.sorted() == Array(0..<300))
        }
    }

    @Test func `closing the client ends its members, and kinds are not confused`() async throws {
        try await Self.with { _, client in
            let other = try MartletClient(client.configuration)
            let seen = Sightings()
            try await GroupTest.fill(client, 0..<4)
            let member = Task {
                try await other.consumeQueue("q", topics: ["t"]) { record in
                    seen.add(GroupTest.number(record.record), by: "a")
                }
            }
            try await seen.wait(for: 4)
            await other.close()
            try await member.value
            let error = await #expect(throws: MartletError.self) {
                try await client.withGroupConsumer("q", topics: ["t"]) { _ in }
            }
            #expect(error?.code == .wrongGroupKind)
            try await client.admin.createGroup("late", .queue(.latest))
            let invalid = await #expect(throws: MartletError.self) {
                try await client.consumeQueue(QueueConfiguration("q", topics: [])) { _ in .done }
            }
            #expect(
                invalid?.context["field"] == "topics" || invalid?.message.contains("topics") == true
            )
        }
    }

    @Test func `records that were deleted before they were handled are counted, not waited for`()
        async throws
    {
        try await Self.with { _, client in
            try await client.admin.createGroup("q", .queue(.earliest))
            try await GroupTest.fill(client, 0..<40)
            let seen = Sightings()
            _ = try await client.admin.deleteRecords("t", before: [0: 5])
            try await Self.members(1, client, Self.queue()) { _, record in
                seen.add(GroupTest.number(record.record), by: "a")
                return .done
            } _: {
                try await Self.drained(client)
            }
            #expect(seen.numbers.count == 35)
        }
    }
}
