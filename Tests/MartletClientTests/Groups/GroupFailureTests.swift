import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// Handlers of stream groups that fail, and the policy that the broker holds, with the real broker.
@Suite(.timeLimit(.minutes(2))) struct GroupFailureTests {
    private struct Refused: Error {}

    /// Offsets in the order in which handlers began with them.
    private final class Calls: Sendable {
        private let state = Mutex<[Int64]>([])

        func add(_ offset: Int64) { state.withLock { $0.append(offset) } }
        var all: [Int64] { state.withLock { $0 } }
        func count(of offset: Int64) -> Int { all.count { $0 == offset } }
    }

    private static func with(
        _ policy: FailurePolicy, _ body: (MartletClient) async throws -> Void
    ) async throws {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await client.admin.createGroup("g")
            try await client.admin.setFailurePolicy(policy, of: "g")
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            try await body(client)
        }
    }

    private static func policy(
        _ backoff: Duration, last: FailurePolicy.Last = .deadLetter
    ) -> FailurePolicy {
        FailurePolicy(attempts: 3, backoff: backoff, jitter: 0, last: last)
    }

    /// Runs a member until `isOver` says so.
    private static func handle(
        _ client: MartletClient, _ handling: GroupHandling = .serial,
        until isOver: () async throws -> Bool,
        _ handler: @escaping @Sendable (ConsumedRecord) async throws -> Void
    ) async throws {
        var member = GroupTest.member()
        member.failures = .byPolicy
        member.commitPolicy = .afterProcessing(interval: .milliseconds(10))
        let configuration = member
        let task = Task {
            try await client.consumeGroup(configuration, handling: handling, handler)
        }
        while !(try await isOver()) { await Task.yield() }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }

    private static func isDone(_ client: MartletClient) async throws -> Bool {
        let group = try await client.admin.describeGroup("g")
        return !group.partitions.isEmpty && group.lag == 0
    }

    @Test func `what fails is tried again in its place, and then passed as a dead letter`()
        async throws
    {
        try await Self.with(Self.policy(.milliseconds(1))) { client in
            let calls = Calls()
            try await Self.handle(client) {
                try await Self.isDone(client)
            } _: { record in
                calls.add(record.offset)
                if record.offset == 3 { throw Refused() }
            }
            #expect(calls.all == [0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9])
            let letters = try await client.admin.deadLetters(of: "g")
            #expect(letters.map(\.offset) == [3] && letters.map(\.attempts) == [3])
        }
    }

    @Test func `a record that waits for its next attempt is told, until it is done`() async throws {
        try await Self.with(Self.policy(.milliseconds(500))) { client in
            func failing() async throws -> Int64 {
                try await client.admin.describeGroup("g").partitions.first?.failing ?? -1
            }
            let calls = Calls()
            let most = Mutex<Int64>(0)
            try await Self.handle(client) {
                let found = try await failing()
                most.withLock { $0 = max($0, found) }
                return try await Self.isDone(client)
            } _: { record in
                calls.add(record.offset)
                if record.offset == 3, calls.count(of: 3) < 2 { throw Refused() }
            }
            #expect(most.withLock { $0 } == 1)
            let left = try await failing()
            #expect(left == 0)
        }
    }

    @Test func `what fails for ever is not tried again, and others go on meanwhile`() async throws {
        try await Self.with(Self.policy(.milliseconds(1))) { client in
            let calls = Calls()
            try await Self.handle(client, .unordered(4)) {
                try await Self.isDone(client)
            } _: { record in
                calls.add(record.offset)
                if record.offset % 2 == 1 { throw PermanentError("odd") }
            }
            #expect(calls.all.sorted() == Array(0..<10))
            let letters = try await client.admin.deadLetters(of: "g")
            #expect(Set(letters.map(\.offset)) == [1, 3, 5, 7, 9])
        }
    }

    @Test func `attempts are counted over members`() async throws {
        try await Self.with(Self.policy(.milliseconds(200))) { client in
            let calls = Calls()
            for _ in 0..<2 {
                let before = calls.count(of: 0)
                try await Self.handle(client) {
                    calls.count(of: 0) > before
                } _: { record in
                    calls.add(record.offset)
                    throw Refused()
                }
            }
            try await Self.handle(client) {
                try await Self.isDone(client)
            } _: { record in
                calls.add(record.offset)
                if record.offset == 0 { throw Refused() }
            }
            // Who is cancelled while it says so may have been heard or not.
            #expect((3...5).contains(calls.count(of: 0)))
            #expect(try await client.admin.deadLetters(of: "g").map(\.attempts) == [3])
        }
    }

    @Test func `a group that is to stand still does, and goes on when it is resumed`() async throws
    {
        try await Self.with(Self.policy(.milliseconds(1), last: .pause)) { client in
            let calls = Calls()
            let isMended = Mutex(false)
            try await Self.handle(client) {
                let group = try await client.admin.describeGroup("g")
                if !group.pauses.isEmpty, !isMended.withLock({ $0 }) {
                    #expect(calls.all == [0, 1, 2, 3, 3, 3])
                    isMended.withLock { $0 = true }
                    try await client.admin.resumeGroup("g", group.pauses.compactMap(\.part))
                }
                return try await Self.isDone(client)
            } _: { record in
                calls.add(record.offset)
                if record.offset == 3, !isMended.withLock({ $0 }) { throw Refused() }
            }
            #expect(calls.all == [0, 1, 2, 3, 3, 3, 3, 4, 5, 6, 7, 8, 9])
            #expect(try await client.admin.deadLetters(of: "g").isEmpty)
        }
    }
}
