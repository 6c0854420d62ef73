import MartletSystem
import MartletTesting
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// Members of groups when answers come late, or not as hoped for.
@Suite(.timeLimit(.minutes(1))) struct GroupFaultTests {
    static func with(
        _ body: (ScriptedBroker, MartletClient) async throws -> Void
    ) async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        defer { broker.stop() }
        let configuration = ClientConfiguration(server: broker.address, deadline: .seconds(30))
        try await Martlet.withClient(configuration) { client in try await body(broker, client) }
    }

    static func values(_ range: Range<Int>) -> [String] { range.map(String.init) }

    // MARK: - Commits

    @Test func `cancelled while its commit is under way, a batch is not lost`() async throws {
        try await Self.with { broker, client in
            broker.append("t", values: Self.values(0..<10))
            broker.assign("t", committed: 0)
            let isAsked = Promise<Void>()
            broker.script.withLock { script in
                script.group.onCommit = { request in
                    guard request.entries.first?.position.offset == 10 else { return .normal }
                    isAsked.succeed(())
                    return .hold(.none)
                }
            }
            let member = GroupTest.member(policy: .beforeProcessing)
            let task = Task {
                try await client.withGroupConsumer(member) { consumer in
                    try await GroupConsumerTests.take(1, of: consumer)
                }
            }
            try await isAsked.value()
            task.cancel()
            // Whatever comes first, the answer or the end: what was not handed out is put back.
            broker.releaseHeld()
            await #expect(throws: CancellationError.self) { try await task.value }
            let group = broker.script.withLock { $0.group }
            #expect(group.offsets == [10, 0])
            #expect(group.leaves.count == 1)
        }
    }

    @Test func `a commit that failed is handed out again in the same member`() async throws {
        try await Self.with { broker, client in
            broker.append("t", values: Self.values(0..<10))
            broker.assign("t", committed: 0)
            let isFirst = Atomic(true)
            broker.script.withLock { script in
                script.group.onCommit = { _ in
                    isFirst.exchange(false, ordering: .relaxed) ? .refuse(.invalidRequest) : .normal
                }
            }
            let member = GroupTest.member(policy: .beforeProcessing)
            try await client.withGroupConsumer(member) { consumer in
                await #expect(throws: MartletError.self) {
                    _ = try await GroupConsumerTests.take(1, of: consumer)
                }
                let found = try await GroupConsumerTests.take(10, of: consumer)
                #expect(found == Array(0..<10))
            }
            #expect(broker.script.withLock { $0.group.offsets } == [10, 10])
        }
    }

    @Test func `an answer to what it was before is not for what it is now`() async throws {
        try await Self.with { broker, client in
            broker.append("t", values: Self.values(0..<10))
            broker.assign("t", committed: 0)
            let isAsked = Promise<Void>()
            let isFenced = Atomic(false)
            broker.script.withLock { script in
                script.group.onCommit = { _ in
                    isAsked.succeed(()) ? .hold(.fencedMember) : .normal
                }
                script.group.onHeartbeat = { _ in
                    isFenced.exchange(false, ordering: .relaxed) ? .fencedMember : .none
                }
            }
            let member = GroupTest.member(policy: .manual)
            try await client.withGroupConsumer(member) { consumer in
                let first = try await GroupConsumerTests.take(1, of: consumer)
                #expect(first == [0])
                let late = Task { try await consumer.commit() }
                try await isAsked.value()
                isFenced.store(true, ordering: .relaxed)
                broker.assign("t", epoch: 2, committed: 0)
                _ = try await GroupTest.event(of: consumer) { event in
                    if case .fenced = event { true } else { false }
                }
                try await GroupTest.owns(consumer, 1)
                broker.releaseHeld()
                let error = await #expect(throws: MartletError.self) { try await late.value }
                #expect(error?.code == .staleMemberEpoch)
                // It is still the second member that it was, and what it has, it can commit.
                let again = try await GroupConsumerTests.take(1, of: consumer)
                #expect(again == [0])
                try await consumer.commit()
                #expect(broker.script.withLock { $0.group.joins.count } == 2)
            }
        }
    }

    // MARK: - Coming and going

    @Test func `who ends while joining leaves`() async throws {
        try await Self.with { broker, client in
            let isAsked = Promise<Void>()
            broker.script.withLock { script in
                script.group.onJoin = { _ in
                    isAsked.succeed(())
                    return .hold(.none)
                }
            }
            let task = Task {
                try await client.withGroupConsumer(GroupTest.member()) { _ in }
            }
            try await isAsked.value()
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
            let group = broker.script.withLock { $0.group }
            #expect(group.leaves.map(\.member) == group.joins.map(\.member))
            #expect(group.leaves.count == 1)
        }
    }

    @Test func `who cannot learn whether its name is taken does not take it back`() async throws {
        try await Self.with { broker, client in
            let isFenced = Atomic(true)
            var other = GroupMemberLine()
            other.instance = "one"
            broker.script.withLock { [other] script in
                script.group.onHeartbeat = { _ in
                    isFenced.exchange(false, ordering: .relaxed) ? .fencedMember : .none
                }
                script.group.onDescribe = { $0 < 3 ? (.invalidRequest, []) : (.none, [other]) }
                script.group.onJoin = { $0 == 1 ? .normal : .refuse(.invalidGroupName) }
            }
            var member = GroupTest.member()
            member.instance = "one"
            let error = await #expect(throws: MartletError.self) {
                try await client.withGroupConsumer(member) { consumer in
                    _ = try await GroupConsumerTests.take(1, of: consumer)
                }
            }
            #expect(error?.code == .fencedMember)
            #expect(broker.script.withLock { $0.group.joins.count } == 1)
        }
    }

    @Test func `a hook may close its consumer`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            var member = GroupTest.member()
            member.onAssign = { consumer, _ in await consumer.close() }
            member.onRevoke = { consumer, _, _ in await consumer.close() }
            try await client.withGroupConsumer(member) { consumer in
                for try await _ in consumer.records {}
            }
            let members = try await client.admin.describeGroup("g").members
            #expect(members.isEmpty)
        }
    }

    @Test func `a hook may close the client`() async throws {
        try await MartletTestBroker.run(topics: ["t": 1]) { broker in
            let client = try MartletClient(broker.configuration)
            var member = GroupTest.member()
            member.onAssign = { _, _ in await client.close() }
            try await client.withGroupConsumer(member) { consumer in
                for try await _ in consumer.records {}
            }
        }
    }

    // MARK: - Where it begins

    @Test func `a passing error delays the start, no more`() async throws {
        try await Self.with { broker, client in
            broker.append("t", values: Self.values(0..<10))
            broker.assign("t")
            broker.script.withLock { $0.onListOffsets = { $0 < 3 ? .loading : .none } }
            try await client.withGroupConsumer(GroupTest.member()) { consumer in
                let found = try await GroupConsumerTests.take(10, of: consumer)
                #expect(found == Array(0..<10))
                let event = try await GroupTest.event(of: consumer) { event in
                    if case .reset = event { true } else { false }
                }
                guard case .reset(_, let from, let to) = event else { return }
                #expect(from == nil && to == 0)
            }
            #expect(broker.script.withLock { $0.group.offsets } == [0, 10])
        }
    }

    @Test(arguments: [CommitPolicy.afterProcessing(interval: .seconds(300)), .manual])
    func `what is in hand of a log's past does not count when it goes back`(
        _ policy: CommitPolicy
    ) async throws {
        try await Self.with { broker, client in
            broker.append("t", values: Self.values(0..<10))
            broker.assign("t", committed: 5)
            try await client.withGroupConsumer(GroupTest.member(policy: policy)) { consumer in
                var records = consumer.records.makeAsyncIterator()
                let inHand = try await records.next()?.offset
                #expect(inHand == 5)
                broker.change("t", 0) { log in
                    log.batches = []
                    log.next = 0
                }
                _ = try await GroupTest.event(of: consumer) { event in
                    if case .reset(_, from: 10, to: 0) = event { true } else { false }
                }
                broker.append("t", values: ["a", "b"])
                let found = [
                    try await records.next()?.valueString, try await records.next()?.valueString,
                ]
                #expect(found == ["a", "b"])
                if policy == .manual { try await consumer.commit() }
            }
            let commits = broker.script.withLock { $0.group.commits }
            #expect(commits.map { $0.entries.map(\.position.offset) } == [[0], [2]])
            #expect(commits.allSatisfy { $0.entries.allSatisfy(\.position.finished.isEmpty) })
        }
    }

    // MARK: - Time

    /// The machine's clock, with time in which it is said to have slept.
    private final class SleepyClock: Clock {
        let slept = Atomic<Int64>(0)

        func monotonicNanoseconds() -> Int64 { SystemClock().monotonicNanoseconds() }
        func wallMilliseconds() -> Int64 { SystemClock().wallMilliseconds() }
        func bootNanoseconds() -> Int64 {
            SystemClock().bootNanoseconds() + slept.load(ordering: .relaxed)
        }
    }

    @Test func `what was fetched before a sleep is not handed out after it`() async throws {
        try await MartletTestBroker.run(topics: ["t": 1]) { broker in
            let clock = SleepyClock()
            let client = try MartletClient(broker.configuration, clock: clock)
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            let revoked = Mutex<[Bool]>([])
            var member = GroupTest.member(session: .seconds(10))
            member.onRevoke = { _, _, isLost in revoked.withLock { $0.append(isLost) } }
            try await client.withGroupConsumer(member) { consumer in
                _ = try await GroupTest.event(of: consumer) { event in
                    if case .reading(.caughtUp) = event { true } else { false }
                }
                clock.slept.store(11_000_000_000, ordering: .relaxed)
                var records = consumer.records.makeAsyncIterator()
                let first = try await records.next()?.offset
                // Others could have had the partition: it was given up, and begun anew.
                #expect(first == 0)
                #expect(revoked.withLock { $0 } == [true])
            }
            await client.close()
        }
    }
}
