import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// Records of stream groups that are parked with their keys, with the real broker.
@Suite(.timeLimit(.minutes(3))) struct GroupParkingTests {
    /// Offsets that handlers began with, in order, and whether the failing key is mended.
    private final class Calls: Sendable {
        struct State {
            var offsets: [Int64] = []
            var isMended = false
        }

        private let state = Mutex(State())

        func begin(_ offset: Int64) -> Bool {
            state.withLock { state in
                state.offsets.append(offset)
                return state.isMended
            }
        }

        func mend() { state.withLock { $0.isMended = true } }
        var all: [Int64] { state.withLock { $0.offsets } }
        func of(_ key: Int64) -> [Int64] { all.filter { $0 % 5 == key } }
    }

    private static let badKey: Int64 = 2

    private static func with(
        _ body: (MartletTestBroker, MartletClient) async throws -> Void
    ) async throws {
        try await GroupConsumerTests.with(["t": 1]) { broker, client in
            try await client.admin.createGroup("g")
            var policy = FailurePolicy(attempts: 1, last: .parkKey)
            policy.breaker.share = nil
            try await client.admin.setFailurePolicy(policy, of: "g")
            try await body(broker, client)
        }
    }

    /// Keys in turn: the key of a record is its offset by 5.
    private static func fill(_ client: MartletClient, _ offsets: Range<Int64>) async throws {
        try await client.withProducer { producer in
            for offset in offsets {
                try producer.enqueue(
                    topic: "t", key: "k\(offset % 5)", value: "\(offset)", partition: 0,
                    timestamp: 1_000)
            }
        }
    }

    private static func configuration() -> GroupConsumerConfiguration {
        var member = GroupTest.member()
        member.failures = .byPolicy
        member.commitPolicy = .afterProcessing(interval: .milliseconds(10))
        return member
    }

    /// Runs a member until `isOver` says so; then it leaves.
    private static func handle(
        _ client: MartletClient, _ handling: GroupHandling, _ calls: Calls,
        _ configuration: GroupConsumerConfiguration = configuration(),
        isBad: @escaping @Sendable (Int64) -> Bool = { $0 % 5 == badKey },
        until isOver: () async throws -> Bool
    ) async throws {
        let task = Task {
            try await client.consumeGroup(configuration, handling: handling) { record in
                let isMended = calls.begin(record.offset)
                if isBad(record.offset), !isMended { throw PermanentError("bad") }
            }
        }
        while !(try await isOver()) { await Task.yield() }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }

    private static func line(_ client: MartletClient) async throws -> GroupPartitionInfo? {
        try await client.admin.describeGroup("g").partitions.first
    }

    @Test(arguments: [GroupHandling.serial, .perKey(4)])
    func `a parked key waits, all others are handled once, and it comes in order in the end`(
        _ handling: GroupHandling
    ) async throws {
        try await Self.with { broker, client in
            let calls = Calls()
            var end: Int64 = 0
            // Each time by another member, and once from a broker that was started again.
            for life in 0..<3 {
                try await Self.fill(client, end..<end + 50)
                end += 50
                let waiting = end / 5
                try await Self.handle(client, handling, calls) {
                    try await Self.line(client)?.lag == waiting
                }
                #expect(calls.of(Self.badKey) == [2], "life \(life)")
                let others = calls.all.filter { $0 % 5 != Self.badKey }
                #expect(others.sorted() == (0..<end).filter { $0 % 5 != Self.badKey })
                for key in 0..<Int64(5) where handling == .serial || key != Self.badKey {
                    #expect(calls.of(key) == calls.of(key).sorted())
                }
                let line = try #require(try await Self.line(client))
                #expect(line.parked == 1 && line.failing == 0 && line.committed == 2)
                let parked = try await client.admin.parkedRecords(of: "g")
                #expect(parked.map(\.offset) == [2] && parked.map(\.parksKey) == [true])
                if life == 1 { try await broker.restart() }
            }
            #expect(try await client.admin.deadLetters(of: "g").isEmpty)
            calls.mend()
            try await Self.handle(client, handling, calls) {
                // With nobody in the group, or while its owner is at work.
                _ = try await client.admin.releaseAllParked(of: "g")
                return try await Self.line(client)?.lag == 0
            }
            // The first of them once in vain.
            #expect(calls.of(Self.badKey) == [2] + (0..<end).filter { $0 % 5 == Self.badKey })
            #expect(Int64(calls.all.count) == end + 1)
        }
    }

    @Test func `what is released comes to its owner before all later ones, and the rest once`()
        async throws
    {
        try await Self.with { _, client in
            try await Self.fill(client, 0..<50)
            let calls = Calls()
            let step = Mutex(0)
            try await Self.handle(client, .perKey(4), calls) {
                guard let line = try await Self.line(client) else { return false }
                switch step.withLock({ $0 }) {
                case 0 where line.lag == 10:
                    // Once in vain: it is parked again, and the others still wait.
                    #expect(
                        try await client.admin.releaseParked([line.partition: [2]], of: "g").isEmpty
                    )
                    step.withLock { $0 = 1 }
                case 1 where calls.of(2) == [2, 2] && line.parked == 1:
                    try await Self.fill(client, 50..<60)
                    step.withLock { $0 = 2 }
                case 2 where line.lag == 12:
                    calls.mend()
                    #expect(try await client.admin.releaseAllParked(of: "g") == 1)
                    step.withLock { $0 = 3 }
                case 3: return line.lag == 0
                default: break
                }
                return false
            }
            #expect(calls.of(2) == [2, 2] + (0..<60).filter { $0 % 5 == 2 })
            for key in [0, 1, 3, 4] as [Int64] {
                #expect(calls.of(key) == (0..<60).filter { $0 % 5 == key })
            }
        }
    }

    @Test func `in any order nothing of a parked key begins any more`() async throws {
        try await Self.with { _, client in
            try await Self.fill(client, 0..<200)
            let calls = Calls()
            try await Self.handle(client, .unordered(4), calls) {
                try await Self.line(client)?.lag == 40
            }
            // What had begun when the first was parked may be parked, too.
            let bad = calls.of(Self.badKey)
            let line = try #require(try await Self.line(client))
            #expect(bad.count <= 4 && Int64(bad.count) == line.parked, "\(bad)")
            #expect(calls.all.count == 160 + bad.count)
            calls.mend()
            _ = try await client.admin.releaseAllParked(of: "g")
            try await Self.handle(client, .serial, calls) { try await Self.line(client)?.lag == 0 }
            #expect(
                calls.of(Self.badKey).dropFirst(bad.count).map(\.self)
                    == (0..<200).filter { $0 % 5 == Self.badKey })
        }
    }

    @Test func `a reader of sequences takes no notice, and what it commits is not parked any more`()
        async throws
    {
        try await Self.with { _, client in
            try await Self.fill(client, 0..<10)
            let calls = Calls()
            try await Self.handle(client, .serial, calls) { try await Self.line(client)?.lag == 2 }
            let seen = try await client.withGroupConsumer(GroupTest.member()) { consumer in
                try await GroupConsumerTests.take(2, of: consumer)
            }
            #expect(seen == [2, 7])
            let line = try #require(try await Self.line(client))
            #expect(line.lag == 0 && line.parked == 0)
        }
    }

    @Test func `what retention or a person took of them is left behind, whatever the reset policy`()
        async throws
    {
        try await Self.with { _, client in
            try await Self.fill(client, 0..<50)
            let calls = Calls()
            try await Self.handle(client, .serial, calls) { try await Self.line(client)?.lag == 10 }
            _ = try await client.admin.deleteRecords("t", before: [0: 10])
            try await Self.fill(client, 50..<60)
            let before = calls.all.count
            calls.mend()
            var configuration = Self.configuration()
            configuration.resetPolicy = .latest
            try await Self.handle(client, .serial, calls, configuration) {
                try await Self.line(client)?.lag == 0
            }
            // What waited behind a record that is gone waits no more.
            let waited = (10..<50).filter { $0 % 5 == Self.badKey }
            #expect(Array(calls.all.dropFirst(before)) == waited + Array(50..<60))
            #expect(try await Self.line(client)?.parked == 0)
        }
    }

    /// Several times: a commit that says the same may just be on its way.
    @Test(arguments: 0..<5)
    func `with too much behind a parked key the group stands still there, and nothing is lost`(
        _ round: Int
    ) async throws {
        try await Self.with { _, client in
            let count = Int64(2 * RecordsAside.holesMax + 200)
            try await client.withProducer { producer in
                for offset in 0..<count {
                    try producer.enqueue(
                        topic: "t", key: "k\(offset % 2)", value: "", partition: 0,
                        timestamp: 1_000)
                }
            }
            let calls = Calls()
            let isStopped = Mutex(false)
            try await Self.handle(client, .perKey(4), calls, isBad: { $0 % 2 == 0 }) {
                let group = try await client.admin.describeGroup("g")
                guard let line = group.partitions.first else { return false }
                if !group.pauses.isEmpty, line.owner == nil, !isStopped.withLock({ $0 }) {
                    #expect(line.parked == 1 && line.committed == 0)
                    // But for what handlers had not begun with.
                    #expect(line.finished.count > RecordsAside.holesMax - 100)
                    isStopped.withLock { $0 = true }
                    calls.mend()
                    #expect(try await client.admin.releaseAllParked(of: "g") == 1)
                    try await client.admin.resumeGroup("g", group.pauses.compactMap(\.part))
                }
                return line.lag == 0
            }
            #expect(isStopped.withLock { $0 })
            // One of them once in vain, all others once.
            #expect(calls.all.sorted() == [0] + Array(0..<count))
            let bad = calls.all.filter { $0 % 2 == 0 }
            #expect(bad == [0] + (0..<count).filter { $0 % 2 == 0 })
        }
    }
}
