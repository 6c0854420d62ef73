import MartletTesting
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// What a member is told of its partitions, whenever it loses them: each that was assigned is revoked
/// or lost once, and after its goodbye nothing happens to it any more.
@Suite(.timeLimit(.minutes(1))) struct GroupLeaveTests {
    /// Events in one line, calls of hooks in another; and a gate at which hooks wait.
    private final class Story: Sendable {
        private struct State {
            var events: [String] = []
            var hooks: [String] = []
            var gates: [String: Promise<Void>] = [:]
        }

        private let state = Mutex(State())

        var events: [String] { state.withLock { $0.events } }
        var hooks: [String] { state.withLock { $0.hooks } }

        func add(_ event: GroupEvent) {
            let words =
                switch event {
                case .assigned(let partitions): partitions.map { "assigned \($0.topic)" }
                case .revoked(let partitions): partitions.map { "revoked \($0.topic)" }
                case .lost(let partitions, _): partitions.map { "lost \($0.topic)" }
                case .fenced: ["fenced"]
                case .joined, .drainTimedOut, .reset, .commitFailed, .parked, .tooManyParked, .news,
                    .disconnected, .reconnected, .reading:
                    [String]()
                }
            state.withLock { $0.events += words }
        }

        /// The next such call of a hook ends when the promise is kept.
        func stop(at call: String) -> Promise<Void> {
            let gate = Promise<Void>()
            state.withLock { $0.gates[call] = gate }
            return gate
        }

        private func call(_ verb: String, _ partitions: [TopicPartition]) async {
            let calls = partitions.map { "\(verb) \($0.topic)" }
            let gates = state.withLock { state in
                state.hooks += calls
                return calls.compactMap { state.gates.removeValue(forKey: $0) }
            }
            for gate in gates { await gate.settled() }
        }

        func member() -> GroupConsumerConfiguration {
            var member = GroupTest.member(topics: ["*"])
            member.onAssign = { [self] _, partitions in await call("assign", partitions) }
            member.onRevoke = { [self] _, partitions, isLost in
                await call(isLost ? "lose" : "revoke", partitions)
            }
            return member
        }

        func wait(for words: String...) async {
            for word in words {
                while !events.contains(word), !hooks.contains(word) { await Task.yield() }
            }
        }
    }

    /// Runs a member until `body` is over; all that it was told is in the story then.
    private static func withMember(
        _ story: Story, _ broker: ScriptedBroker, _ member: GroupConsumerConfiguration? = nil,
        _ body: (GroupConsumer) async throws -> Void
    ) async throws {
        let configuration = ClientConfiguration(server: broker.address, deadline: .seconds(30))
        try await Martlet.withClient(configuration) { client in
            let events = Promise<GroupEvents>()
            let listener = Task {
                for await event in try await events.value() { story.add(event) }
            }
            do {
                try await client.withGroupConsumer(member ?? story.member()) { consumer in
                    events.succeed(consumer.events)
                    try await body(consumer)
                }
            } catch {
                try await listener.value
                throw error
            }
            try await listener.value
        }
    }

    /// The next heartbeat is answered with this, and who joins again is not answered.
    private static func refuse(_ broker: ScriptedBroker, _ error: ErrorCode = .fencedMember) {
        broker.script.withLock { script in
            script.group.onJoin = { _ in .hold(.none) }
            script.group.onHeartbeat = { _ in error }
        }
        broker.wakeMembers()
    }

    @Test func `after its goodbye a member is told of nothing but that`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        defer { broker.stop() }
        broker.assign("t", committed: 0)
        broker.script.withLock { $0.group.onLeave = .fencedMember }
        let story = Story()
        try await Self.withMember(story, broker) { _ in
            await story.wait(for: "assigned t")
            await broker.waitUntilHeard()
        }
        #expect(story.events == ["assigned t", "revoked t"])
        #expect(story.hooks == ["assign t", "revoke t"])
        #expect(broker.script.withLock { $0.group.leaves.count } == 1)
    }

    @Test func `what is asked back before it was told is neither assigned nor revoked`()
        async throws
    {
        let broker = try ScriptedBroker(topics: ["t": 1])
        defer { broker.stop() }
        broker.assign("t", committed: 0)
        let story = Story()
        let gate = story.stop(at: "assign t")
        try await Self.withMember(story, broker) { _ in
            await story.wait(for: "assign t")
            broker.assign(nil)
            await broker.waitUntilHeard()
            gate.succeed(())
            await story.wait(for: "revoke t")
            // Told anew, it is told.
            broker.assign("t", epoch: 2, committed: 0)
            await story.wait(for: "assigned t")
        }
        #expect(story.events == ["assigned t", "revoked t"])
        #expect(story.hooks == ["assign t", "revoke t", "assign t", "revoke t"])
    }

    @Test func `what is lost before it was told is neither assigned nor lost`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        defer { broker.stop() }
        broker.assign("t", committed: 0)
        let story = Story()
        let gate = story.stop(at: "assign t")
        try await Self.withMember(story, broker) { _ in
            await story.wait(for: "assign t")
            Self.refuse(broker)
            await story.wait(for: "fenced")
            gate.succeed(())
            await story.wait(for: "lose t")
        }
        #expect(story.events == ["fenced"])
        #expect(story.hooks == ["assign t", "lose t"])
    }

    @Test func `what is lost while it is given up is lost`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        defer { broker.stop() }
        broker.assign("t", committed: 0)
        let story = Story()
        let gate = story.stop(at: "revoke t")
        try await Self.withMember(story, broker) { _ in
            await story.wait(for: "assigned t")
            broker.assign(nil)
            await story.wait(for: "revoke t")
            Self.refuse(broker)
            await story.wait(for: "fenced")
            gate.succeed(())
        }
        #expect(story.events == ["assigned t", "lost t", "fenced"])
        #expect(story.hooks == ["assign t", "revoke t"])
    }

    @Test func `what is lost before its turn to be given up came is lost`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1, "u": 1])
        defer { broker.stop() }
        broker.assign("t", committed: 0)
        let story = Story()
        let gate = story.stop(at: "assign u")
        try await Self.withMember(story, broker) { _ in
            await story.wait(for: "assigned t")
            broker.assign(["t", "u"], committed: 0)
            await story.wait(for: "assign u")
            broker.assign("u", committed: 0)
            await broker.waitUntilHeard()
            Self.refuse(broker)
            await story.wait(for: "fenced")
            gate.succeed(())
        }
        #expect(story.events == ["assigned t", "lost t", "fenced"])
        #expect(story.hooks == ["assign t", "assign u", "lose t", "lose u"])
    }

    @Test func `who is fenced while it leaves has lost all, and says no goodbye`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        defer { broker.stop() }
        broker.assign("t", committed: 0)
        let story = Story()
        let gate = story.stop(at: "revoke t")
        try await Self.withMember(story, broker) { consumer in
            await story.wait(for: "assigned t")
            let end = Task { await consumer.close() }
            await story.wait(for: "revoke t")
            Self.refuse(broker)
            await story.wait(for: "fenced")
            gate.succeed(())
            await end.value
        }
        #expect(story.events == ["assigned t", "lost t", "fenced"])
        #expect(story.hooks == ["assign t", "revoke t"])
        #expect(broker.script.withLock { $0.group.leaves.isEmpty })
    }

    @Test(arguments: [false, true])
    func `who loses all while it waits for the application waits no longer`(
        losesSession: Bool
    ) async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        defer { broker.stop() }
        broker.append("t", values: ["in hand"])
        broker.assign("t", committed: 0)
        let story = Story()
        var member = story.member()
        member.drainTimeout = .seconds(3_000)
        if losesSession { member.sessionTimeout = .seconds(1) }
        try await Self.withMember(story, broker, member) { consumer in
            var records = consumer.records.makeAsyncIterator()
            let inHand = try await records.next()
            #expect(inHand != nil)
            let end = Task { await consumer.close() }
            while await consumer.core.onQueue({ $0.whenQuiet == nil }) { await Task.yield() }
            if losesSession { broker.stop() } else { Self.refuse(broker) }
            await end.value
        }
        #expect(story.events.prefix(2) == ["assigned t", "lost t"])
        #expect(story.hooks == ["assign t", "lose t"])
    }

    /// Others come and go while it waits: what it would own then it takes note of, and asks no more.
    @Test func `who waits for the application while it leaves asks for no news over and over`()
        async throws
    {
        let broker = try ScriptedBroker(topics: ["t": 1, "u": 1])
        defer { broker.stop() }
        broker.append("t", values: ["in hand"])
        broker.assign("t", committed: 0)
        let story = Story()
        try await Self.withMember(story, broker) { consumer in
            var records = consumer.records.makeAsyncIterator()
            let inHand = try await records.next()
            #expect(inHand != nil)
            let end = Task { await consumer.close() }
            while await consumer.core.onQueue({ $0.whenQuiet == nil }) { await Task.yield() }
            broker.assign(["t", "u"], committed: 0)
            await broker.waitUntilHeard()
            broker.assign("u", committed: 0)
            await broker.waitUntilHeard()
            let left = try await records.next()
            #expect(left == nil)
            await end.value
        }
        #expect(story.events == ["assigned t", "revoked t"])
        #expect(story.hooks == ["assign t", "revoke t"])
    }

    @Test func `who is refused for good has lost what it had`() async throws {
        let broker = try ScriptedBroker(topics: ["t": 1])
        defer { broker.stop() }
        broker.assign("t", committed: 0)
        let story = Story()
        let error = await #expect(throws: MartletError.self) {
            try await Self.withMember(story, broker) { consumer in
                await story.wait(for: "assigned t")
                Self.refuse(broker, .invalidGroupName)
                for try await _ in consumer.records {}
            }
        }
        #expect(error?.code == .invalidGroupName)
        #expect(story.events == ["assigned t", "lost t"])
        #expect(story.hooks == ["assign t", "lose t"])
    }
}
