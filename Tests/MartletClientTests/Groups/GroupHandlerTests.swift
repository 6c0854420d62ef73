import MartletTestSupport
import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// Handlers of a group's records: how many run, in which order, and what is committed.
@Suite(.timeLimit(.minutes(1))) struct GroupHandlerTests {
    private struct Refused: Error {}

    /// A door that handlers wait behind.
    private final class Gate: Sendable {
        private struct State {
            var isOpen = false
            var waiters: [Promise<Void>] = []
        }

        private let state = Mutex(State())

        func pass() async {
            let promise = Promise<Void>()
            let isOpen = state.withLock { state in
                if !state.isOpen { state.waiters.append(promise) }
                return state.isOpen
            }
            if !isOpen { await promise.settled() }
        }

        func open() {
            let waiters = state.withLock { state in
                state.isOpen = true
                return state.waiters
            }
            for waiter in waiters { waiter.succeed(()) }
        }
    }

    /// How many handlers run, at most so far.
    private final class Load: Sendable {
        private let state = Mutex((now: 0, most: 0))

        func enter() {
            state.withLock { state in
                state.now += 1
                state.most = max(state.most, state.now)
            }
        }

        func leave() { state.withLock { $0.now -= 1 } }
        var most: Int { state.withLock { $0.most } }
    }

    private static func with(
        _ partitions: Int = 1, _ body: (MartletTestBroker, MartletClient) async throws -> Void
    ) async throws {
        try await GroupConsumerTests.with(["t": partitions], body)
    }

    /// Runs handlers until `body` has ended.
    private static func consume(
        _ client: MartletClient, _ handling: GroupHandling,
        _ member: GroupConsumerConfiguration = GroupTest.member(),
        _ handler: @escaping @Sendable (ConsumedRecord) async throws -> Void,
        until body: () async throws -> Void
    ) async throws {
        let task = Task {
            try await client.consumeGroup(member, handling: handling, handler)
        }
        try await body()
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }

    private static func partition(_ client: MartletClient) async throws -> GroupPartitionInfo {
        try #require(try await client.admin.describeGroup("g").partitions.first)
    }

    // MARK: - Order and number

    @Test func `serial: one after the other, and all is committed`() async throws {
        try await Self.with { _, client in
            try await GroupTest.fill(client, 0..<500, partitions: 1)
            let (seen, load) = (Sightings(), Load())
            try await Self.consume(client, .serial) { record in
                load.enter()
                await Task.yield()
                load.leave()
                seen.add(GroupTest.number(record), by: "a")
            } until: {
                try await seen.wait(for: 500)
            }
            #expect(seen.numbers == Array(0..<500))
            #expect(load.most == 1)
            let found = try await Self.partition(client)
            #expect(found.committed == 500 && found.finished.isEmpty)
        }
    }

    @Test func `per key: the order of each key, and several at a time`() async throws {
        let seed = UInt64.random(in: 0..<1_000_000)
        var random = SeededRandom(seed: seed)
        let keys = (0..<4_000).map { _ in Int.random(in: 0..<40, using: &random) }
        try await Self.with(2) { _, client in
            try await client.withProducer { producer in
                for (number, key) in keys.enumerated() {
                    // Some without a key, which are free.
                    try producer.enqueue(
                        topic: "t", key: key == 0 ? nil : "\(key)", value: "\(number)",
                        partition: Int32(key % 2))
                }
            }
            let (seen, load) = (Sightings(), Load())
            let busy = Mutex<Set<String>>([])
            try await Self.consume(client, .perKey(8)) { record in
                load.enter()
                if let key = record.keyString {
                    #expect(busy.withLock { $0.insert(key).inserted }, "seed \(seed)")
                }
                for _ in 0..<record.offset % 5 { await Task.yield() }
                if let key = record.keyString { _ = busy.withLock { $0.remove(key) } }
                load.leave()
                seen.add(GroupTest.number(record), by: record.keyString ?? "-")
            } until: {
                try await seen.wait(for: keys.count)
            }
            #expect(seen.numbers.sorted() == Array(0..<keys.count), "seed \(seed)")
            for key in 1..<40 {
                let found = seen.numbers(of: "\(key)")
                #expect(found == found.sorted(), "seed \(seed)")
            }
            #expect((2...8).contains(load.most), "seed \(seed)")
            let found = try await client.admin.describeGroup("g").lag
            #expect(found == 0)
        }
    }

    @Test func `unordered: as many as asked for, and no more`() async throws {
        try await Self.with { _, client in
            try await GroupTest.fill(client, 0..<100, partitions: 1)
            let (begun, seen, load, gate) = (Sightings(), Sightings(), Load(), Gate())
            try await Self.consume(client, .unordered(7)) { record in
                load.enter()
                begun.add(GroupTest.number(record), by: "a")
                await gate.pass()
                load.leave()
                seen.add(GroupTest.number(record), by: "a")
            } until: {
                try await begun.wait(for: 7)
                gate.open()
                try await seen.wait(for: 100)
            }
            #expect(load.most == 7)
            #expect(seen.numbers.sorted() == Array(0..<100))
        }
    }

    @Test func `a full line takes no more`() async throws {
        let lanes = HandlerLanes<Int64>(window: 2)
        try await Self.with { _, client in
            try await GroupTest.fill(client, 0..<3, partitions: 1)
            try await client.withGroupConsumer("g", topics: ["t"]) { consumer in
                var works: [HandlerLanes<Int64>.Work] = []
                for try await record in consumer.records {
                    works.append(HandlerLanes.Work(record.offset, lane: 1))
                    if works.count == 3 { break }
                }
                for work in works.prefix(2) {
                    #expect(await lanes.hasRoom())
                    lanes.put(work)
                }
                guard case .full = lanes.room() else {
                    Issue.record("there is room for a third")
                    return
                }
                let hasRoom = Task { await lanes.hasRoom() }
                let first = try #require(await lanes.next())
                #expect(first.item == 0)
                // The second one waits for its lane, and nobody else comes in.
                let second = Task { await lanes.next()?.item }
                lanes.done(first)
                #expect(await second.value == 1)
                #expect(await hasRoom.value)
                lanes.finish()
                #expect(await lanes.next() == nil)
                #expect(await !lanes.hasRoom())
            }
        }
    }

    // MARK: - What is committed

    @Test func `what is done above a record that failed is not handled again`() async throws {
        try await Self.with { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            let (seen, gate) = (Sightings(), Gate())
            async let failure: Void = client.consumeGroup(
                GroupTest.member(), handling: .unordered(10)
            ) { record in
                if record.offset % 5 == 0 {
                    await gate.pass()
                    throw Refused()
                }
                seen.add(GroupTest.number(record), by: "a")
            }
            try await seen.wait(for: 8)
            gate.open()
            do {
                try await failure
                Issue.record("no error")
            } catch is Refused {
                // As it should be.
            }
            let before = try await Self.partition(client)
            #expect(before.committed == 0)
            #expect(before.finished == [1..<5, 6..<10])
            let again = Sightings()
            try await Self.consume(client, .serial) { record in
                again.add(GroupTest.number(record), by: "b")
            } until: {
                try await again.wait(for: 2)
            }
            #expect(again.numbers == [0, 5])
            let after = try await Self.partition(client)
            #expect(after.committed == 10 && after.finished.isEmpty)
        }
    }

    @Test func `behind a record that failed none of its key begins`() async throws {
        try await Self.with { _, client in
            try await client.withProducer { producer in
                for number in 0..<20 {
                    try producer.enqueue(topic: "t", key: "k", value: "\(number)")
                }
            }
            let seen = Sightings()
            await #expect(throws: Refused.self) {
                try await client.consumeGroup(GroupTest.member(), handling: .perKey(4)) { record in
                    seen.add(GroupTest.number(record), by: "a")
                    if record.offset == 3 { throw Refused() }
                }
            }
            #expect(seen.numbers == [0, 1, 2, 3])
            let found = try await Self.partition(client)
            #expect(found.committed == 3)
        }
    }

    @Test func `at most once: what began is done, what did not is for others`() async throws {
        try await Self.with { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            let (begun, gate) = (Sightings(), Gate())
            let member = GroupTest.member(policy: .beforeProcessing)
            async let failure: Void = client.consumeGroup(member, handling: .unordered(4)) {
                record in
                begun.add(GroupTest.number(record), by: "a")
                await gate.pass()
                throw Refused()
            }
            try await begun.wait(for: 4)
            let during = try await Self.partition(client)
            #expect(during.committed == 10)
            gate.open()
            do {
                try await failure
                Issue.record("no error")
            } catch is Refused {
                // As it should be.
            }
            #expect(begun.numbers.sorted() == [0, 1, 2, 3])
            let after = try await Self.partition(client)
            #expect(after.committed == 4 && after.finished.isEmpty)
        }
    }

    // MARK: - Hand-over and end

    @Test func `a partition waits for handlers that began, and no other begins`() async throws {
        try await Self.with(2) { _, client in
            try await client.withProducer { producer in
                for number in 0..<20 {
                    try producer.enqueue(
                        topic: "t", key: "k", value: "\(number)", partition: Int32(number % 2))
                }
            }
            let (begun, seen, gate) = (Sightings(), Sightings(), Gate())
            try await Self.consume(client, .perKey(2)) { record in
                begun.add(GroupTest.number(record), by: "a")
                await gate.pass()
                seen.add(GroupTest.number(record), by: "a")
            } until: {
                // One of each partition; others wait behind it.
                try await begun.wait(for: 2)
                try await client.withGroupConsumer(GroupTest.member()) { other in
                    // The broker has asked for one of them; it is not given up yet.
                    let group = try await client.admin.describeGroup("g")
                    #expect(group.partitions.filter(\.isLeaving).count == 1)
                    let owned = await other.assignment()
                    #expect(owned.isEmpty)
                    gate.open()
                    try await withThrowingTaskGroup(of: Void.self) { tasks in
                        tasks.addTask { try await GroupTest.read(other, as: "b", into: seen) }
                        try await seen.wait(for: 20)
                        await other.close()
                        try await tasks.waitForAll()
                    }
                }
            }
            // Nothing twice, also not of the partition that passed on half-way.
            #expect(seen.numbers.sorted() == Array(0..<20))
            #expect(!seen.numbers(of: "b").isEmpty)
            let found = try await client.admin.describeGroup("g").lag
            #expect(found == 0)
        }
    }

    @Test func `cancelled, handlers that began may end, and are committed`() async throws {
        try await Self.with { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            let (begun, seen, gate) = (Sightings(), Sightings(), Gate())
            let task = Task {
                try await client.consumeGroup(GroupTest.member(), handling: .unordered(3)) {
                    record in
                    begun.add(GroupTest.number(record), by: "a")
                    await gate.pass()
                    #expect(!Task.isCancelled)
                    seen.add(GroupTest.number(record), by: "a")
                }
            }
            try await begun.wait(for: 3)
            task.cancel()
            gate.open()
            await #expect(throws: CancellationError.self) { try await task.value }
            #expect(seen.numbers.sorted() == [0, 1, 2])
            let found = try await Self.partition(client)
            #expect(found.committed == 3 && found.finished.isEmpty)
        }
    }

    @Test func `who does not end in time is cancelled, and comes again`() async throws {
        try await Self.with { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            let begun = Sightings()
            var member = GroupTest.member()
            member.drainTimeout = .milliseconds(50)
            try await Self.consume(client, .unordered(3), member) { record in
                begun.add(GroupTest.number(record), by: "a")
                // Until it is cancelled.
                try await Promise<Void>().value()
            } until: {
                try await begun.wait(for: 3)
            }
            #expect(begun.numbers.sorted() == [0, 1, 2])
            let found = try await Self.partition(client)
            #expect(found.committed == 0)
        }
    }

    @Test func `ends quietly when the client is closed`() async throws {
        try await MartletTestBroker.run(topics: ["t": 1]) { broker in
            let client = try MartletClient(broker.configuration)
            try await GroupTest.fill(client, 0..<3, partitions: 1)
            let seen = Sightings()
            async let all: Void = client.consumeGroup("g", topics: ["t"]) { record in
                seen.add(GroupTest.number(record), by: "a")
            }
            try await seen.wait(for: 3)
            await client.close()
            try await all
        }
    }

    @Test func `a handling that cannot be is refused`() async throws {
        try await Self.with { _, client in
            for handling in [GroupHandling.perKey(0), .unordered(513)] {
                let error = await #expect(throws: MartletError.self) {
                    try await client.consumeGroup("g", topics: ["t"], handling: handling) { _ in }
                }
                #expect(error?.code == .invalidArgument)
            }
            let error = await #expect(throws: MartletError.self) {
                try await client.consumeGroup(GroupTest.member(policy: .manual)) { _ in }
            }
            #expect(error?.context["field"] == "commitPolicy")
        }
    }
}
