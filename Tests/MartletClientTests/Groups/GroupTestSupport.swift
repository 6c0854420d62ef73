import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// What members of a group have seen, in the order in which they saw it.
final class Sightings: Sendable {
    private struct State {
        var numbers: [Int] = []
        var byMember: [String: [Int]] = [:]
        var waiters: [(count: Int, promise: Promise<Void>)] = []
    }

    private let state = Mutex(State())

    func add(_ number: Int, by member: String) {
        let ready = state.withLock { state in
            state.numbers.append(number)
            state.byMember[member, default: []].append(number)
            let count = state.numbers.count
            let ready = state.waiters.filter { $0.count <= count }
            state.waiters.removeAll { $0.count <= count }
            return ready
        }
        for waiter in ready { waiter.promise.succeed(()) }
    }

    var numbers: [Int] { state.withLock { $0.numbers } }

    func numbers(of member: String) -> [Int] { state.withLock { $0.byMember[member] ?? [] } }

    /// Waits until so many were seen, by all together.
    func wait(for count: Int) async throws {
        let promise = Promise<Void>()
        state.withLock { state in
            if state.numbers.count >= count {
                promise.succeed(())
            } else {
                state.waiters.append((count, promise))
            }
        }
        try await promise.value()
    }
}

enum GroupTest {
    /// Sends records with these numbers as values, to all partitions in turn.
    static func fill(
        _ client: MartletClient, _ numbers: Range<Int>, topic: String = "t",
        partitions: Int32 = 4
    ) async throws {
        try await client.withProducer { producer in
            for number in numbers {
                try producer.enqueue(
                    topic: topic, value: "\(number)", partition: Int32(number) % partitions,
                    timestamp: 1_000)
            }
        }
    }

    static func number(_ record: ConsumedRecord) -> Int {
        Int(record.valueString ?? "") ?? -1
    }

    /// Reads until the consumer is closed.
    static func read(
        _ consumer: GroupConsumer, as name: String, into seen: Sightings
    ) async throws {
        for try await record in consumer.records { seen.add(number(record), by: name) }
    }

    /// A member that commits only when it has to, and lives for long.
    static func member(
        _ group: String = "g", topics: [String] = ["t"],
        session: Duration = .seconds(300), policy: CommitPolicy = .afterProcessing
    ) -> GroupConsumerConfiguration {
        GroupConsumerConfiguration(
            group, topics: topics, sessionTimeout: session, commitPolicy: policy)
    }

    /// Waits until the member reads so many partitions.
    static func owns(_ consumer: GroupConsumer, _ count: Int) async throws {
        var events = consumer.events.makeAsyncIterator()
        while await consumer.assignment().count != count {
            _ = try #require(await events.next(isolation: nil))
        }
    }

    /// Waits for an event.
    static func event(
        of consumer: GroupConsumer, _ isWanted: (GroupEvent) -> Bool
    ) async throws -> GroupEvent {
        for await event in consumer.events where isWanted(event) { return event }
        throw MartletError.closed("consumer")
    }

    /// What a process that was killed does: nothing more.
    static func kill(_ consumer: GroupConsumer) async {
        await consumer.core.onQueue { $0.end() }
    }

    /// Lets the broker see a clock that was moved: a command that changes nothing.
    static func poke(_ client: MartletClient, _ group: String = "g") async throws {
        let error = await #expect(throws: MartletError.self) {
            try await client.admin.createGroup(group)
        }
        #expect(error?.code == .groupExists)
    }

    /// Runs two members, each with a task that reads; then closes both.
    static func withTwo(
        _ client: MartletClient, _ first: GroupConsumerConfiguration,
        _ second: GroupConsumerConfiguration, _ seen: Sightings,
        _ body: (GroupConsumer, GroupConsumer) async throws -> Void
    ) async throws {
        try await client.withGroupConsumer(first) { a in
            try await client.withGroupConsumer(second) { b in
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    tasks.addTask { try await read(a, as: "a", into: seen) }
                    tasks.addTask { try await read(b, as: "b", into: seen) }
                    try await body(a, b)
                    await a.close()
                    await b.close()
                    try await tasks.waitForAll()
                }
            }
        }
    }
}
