import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// Outages of what handlers need, which end, with the real broker.
@Suite(.timeLimit(.minutes(2))) struct OutageTests {
    private struct Down: Error {}

    /// Whether what the handlers need is there.
    private final class Service: Sendable {
        private let state = Mutex((isUp: false, handled: [Int: Int](), failed: 0))

        func call(_ number: Int) throws {
            try state.withLock { state in
                guard state.isUp else {
                    state.failed += 1
                    throw Down()
                }
                state.handled[number, default: 0] += 1
            }
        }

        func recover() { state.withLock { $0.isUp = true } }
        var handled: [Int: Int] { state.withLock { $0.handled } }
        var failed: Int { state.withLock { $0.failed } }
    }

    private static let policy = FailurePolicy(
        attempts: 2, backoff: .milliseconds(1), backoffMax: .milliseconds(2), jitter: 0,
        breaker: BreakerPolicy(
            share: 0.5, window: 10, openTime: .milliseconds(40), probes: 3))

    @Test func `an outage that ends costs no record, and no attempts`() async throws {
        try await GroupConsumerTests.with(["t": 4]) { _, client in
            try await client.admin.createGroup("q", .queue(.earliest))
            try await client.admin.setFailurePolicy(Self.policy, of: "q")
            try await GroupTest.fill(client, 0..<400)
            let service = Service()
            let configuration = QueueConfiguration("q", topics: ["t"], concurrency: 4, prefetch: 8)
            let member = Task {
                try await client.consumeQueue(configuration) { record in
                    try service.call(GroupTest.number(record.record))
                    return .done
                }
            }
            // It opens, is tried, and opens again and again.
            var group = try await client.admin.describeGroup("q")
            while group.breaker.openings < 4 {
                group = try await client.admin.describeGroup("q")
                await Task.yield()
            }
            let calls = service.failed
            #expect(calls < 100, "an open breaker hands out nothing: \(calls) calls")
            service.recover()
            while group.lag > 0 {
                group = try await client.admin.describeGroup("q")
                await Task.yield()
            }
            member.cancel()
            await #expect(throws: CancellationError.self) { try await member.value }
            #expect(group.deadLetters.dead == 0 && group.breaker.state == .closed)
            #expect(service.handled.count == 400 && service.handled.values.allSatisfy { $0 == 1 })
        }
    }

    @Test func `a stream group waits for the end of an outage`() async throws {
        try await GroupConsumerTests.with(["t": 8]) { _, client in
            try await client.admin.createGroup("g")
            var policy = Self.policy
            policy.attempts = 3
            policy.breaker.window = 8
            try await client.admin.setFailurePolicy(policy, of: "g")
            try await GroupTest.fill(client, 0..<400, partitions: 8)
            let service = Service()
            var member = GroupTest.member()
            member.failures = .byPolicy
            member.commitPolicy = .afterProcessing(interval: .milliseconds(10))
            let configuration = member
            let task = Task {
                try await client.consumeGroup(configuration, handling: .perKey(8)) { record in
                    try service.call(GroupTest.number(record))
                }
            }
            var group = try await client.admin.describeGroup("g")
            while group.breaker.openings < 3 {
                group = try await client.admin.describeGroup("g")
                await Task.yield()
            }
            service.recover()
            while group.lag > 0 || group.breaker.state != .closed {
                group = try await client.admin.describeGroup("g")
                await Task.yield()
            }
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
            #expect(group.deadLetters.dead == 0)
            #expect(service.handled.count == 400)
        }
    }

    @Test func `a breaker is opened and closed by hand, and told with its policy`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await client.admin.createGroup("q", .queue(.earliest))
            var group = try await client.admin.describeGroup("q")
            #expect(group.policy == FailurePolicy() && group.breaker.state == .closed)
            #expect(group.policy.breaker == BreakerPolicy())
            try await client.admin.openBreaker(of: "q")
            group = try await client.admin.describeGroup("q")
            let breaker = group.breaker
            #expect(breaker.state == .open && breaker.openings == 1)
            let (since, until) = (try #require(breaker.since), try #require(breaker.until))
            #expect(until - since == 30_000)
            try await client.admin.closeBreaker(of: "q")
            #expect(try await client.admin.describeGroup("q").breaker.since == nil)
            var off = FailurePolicy()
            off.breaker.share = nil
            try await client.admin.setFailurePolicy(off, of: "q")
            #expect(try await client.admin.describeGroup("q").policy == off)
            await #expect(throws: MartletError.self) {
                try await client.admin.openBreaker(of: "q")
            }
            await #expect(throws: MartletError.self) {
                try await client.admin.closeBreaker(of: "nobody")
            }
        }
    }

    @Test(arguments: [
        BreakerPolicy(share: 1.01), BreakerPolicy(share: .nan), BreakerPolicy(share: 0),
        BreakerPolicy(window: 0), BreakerPolicy(window: 10_001), BreakerPolicy(probes: 0),
        BreakerPolicy(probes: 1_001), BreakerPolicy(openTime: .zero),
        BreakerPolicy(openTime: .seconds(86_401)),
    ])
    func `what no breaker has is refused`(_ policy: BreakerPolicy) {
        #expect(throws: MartletError.self) { try FailurePolicy(breaker: policy).item() }
    }
}
