import MartletFormat
import MartletTesting
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// What members hear of their group as a whole.
@Suite(.timeLimit(.minutes(2))) struct GroupNewsTests {
    /// News in the order in which they came.
    private final class Heard: Sendable {
        private let state = Mutex<[GroupNews]>([])

        func add(_ news: GroupNews) { state.withLock { $0.append(news) } }

        var all: [GroupNews] { state.withLock { $0 } }

        /// Waits for them, in any order, and forgets them.
        func wait(for news: [GroupNews]) async {
            while all.count < news.count { await Task.yield() }
            #expect(all.count == news.count && news.allSatisfy(all.contains), "\(all)")
            state.withLock { $0 = [] }
        }
    }

    private static func queue(_ heard: Heard, _ joined: Promise<Void>) -> QueueConfiguration {
        var configuration = QueueConfiguration("g", topics: ["t"])
        configuration.onEvent = { event in
            switch event {
            case .joined: joined.succeed(())
            case .fenced, .damaged, .disconnected, .reconnected: break
            case .news(let news): heard.add(news)
            }
        }
        return configuration
    }

    /// Runs a member of a queue group beside `body`.
    private static func withMember(
        _ client: MartletClient, _ heard: Heard, _ body: () async throws -> Void
    ) async throws {
        let joined = Promise<Void>()
        let member = Task {
            try await client.consumeQueue(queue(heard, joined)) { _ in .done }
        }
        await joined.settled()
        try await body()
        member.cancel()
        await #expect(throws: CancellationError.self) { try await member.value }
    }

    /// Records that come while nobody takes any, and go before somebody does.
    private static func expire(
        _ numbers: Range<Int>, _ client: MartletClient, _ heard: Heard
    ) async throws {
        try await client.admin.pauseGroup("g")
        await heard.wait(for: [.paused(nil)])
        try await GroupTest.fill(client, numbers, partitions: 1)
        try await client.admin.deleteRecords("t", before: [0: Int64(numbers.upperBound)])
        try await client.admin.resumeGroup("g")
        await heard.wait(for: [.resumed(nil), .expired(records: Int64(numbers.count))])
    }

    @Test func `a member of a queue hears of pauses, the breaker and what expired, each once`()
        async throws
    {
        try await GroupConsumerTests.with(["t": 2]) { broker, client in
            let heard = Heard()
            let part = GroupPart("t", 1)
            try await Self.withMember(client, heard) {
                try await client.admin.pauseGroup("g", [part])
                await heard.wait(for: [.paused(part)])
                try await client.admin.resumeGroup("g")
                await heard.wait(for: [.resumed(part)])
                try await client.admin.openBreaker(of: "g")
                await heard.wait(for: [.breaker(.open)])
                try await client.admin.closeBreaker(of: "g")
                await heard.wait(for: [.breaker(.closed)])
                try await GroupTest.fill(client, 0..<1, partitions: 1)
                while try await client.admin.describeGroup("g").lag > 0 { await Task.yield() }
                try await Self.expire(1..<5, client, heard)
                // Told once, also by a broker that was started anew.
                try await broker.restart()
                try await client.admin.pauseGroup("g")
                await heard.wait(for: [.paused(nil)])
                try await broker.restart()
                try await client.admin.resumeGroup("g")
                await heard.wait(for: [.resumed(nil)])
                try await Self.expire(5..<8, client, heard)
            }
            // Who comes later hears how the group is, and not what it lost before.
            try await client.admin.pauseGroup("g", [part])
            try await Self.withMember(client, heard) {
                await heard.wait(for: [.paused(part)])
            }
        }
    }

    @Test func `a member of a stream group hears of pauses and the breaker`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await client.withGroupConsumer(GroupTest.member()) { consumer in
                func next() async throws -> GroupNews? {
                    let event = try await GroupTest.event(of: consumer) {
                        if case .news = $0 { true } else { false }
                    }
                    guard case .news(let news) = event else { return nil }
                    return news
                }
                try await GroupTest.owns(consumer, 1)
                try await client.admin.pauseGroup("g", [GroupPart("t")])
                #expect(try await next() == .paused(GroupPart("t")))
                try await client.admin.resumeGroup("g")
                #expect(try await next() == .resumed(GroupPart("t")))
                try await client.admin.openBreaker(of: "g")
                #expect(try await next() == .breaker(.open))
            }
        }
    }

    /// Words for what came, in its order.
    private final class Told: Sendable {
        private let state = Mutex<[String]>([])

        func add(_ event: GroupEvent) {
            let word: String? =
                switch event {
                case .joined: "joined"
                case .assigned(let partitions): "assigned \(partitions.map(\.partition))"
                case .revoked(let partitions): "revoked \(partitions.map(\.partition))"
                case .reset(let partition, let from, let to):
                    "reset \(partition.partition) from \(from ?? -1) to \(to)"
                case .fenced: "fenced"
                case .news(let news): "\(news)"
                case .drainTimedOut, .lost, .commitFailed, .parked, .tooManyParked, .disconnected,
                    .reconnected, .reading:
                    nil
                }
            if let word { state.withLock { $0.append(word) } }
        }

        var all: [String] { state.withLock { $0 } }

        /// What was told of the partition, in its order.
        private var changes: [String] {
            all.filter { $0 == "assigned [0]" || $0 == "revoked [0]" }
        }

        /// Whether the partition was given up once each time that it was taken.
        var isInTurn: Bool {
            changes.enumerated().allSatisfy { index, word in
                word == (index.isMultiple(of: 2) ? "assigned [0]" : "revoked [0]")
            }
        }

        func wait(for word: String) async {
            while !all.contains(word) { await Task.yield() }
        }

        func waitUntilTaken() async {
            while changes.last != "assigned [0]" { await Task.yield() }
        }
    }

    @Test func `handlers of a stream group have the same events as who reads sequences`()
        async throws
    {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            try await client.admin.createGroup("g")
            try await client.admin.commitOffsets("g", [TopicPartition("t", 0): 2])
            _ = try await client.admin.deleteRecords("t", before: [0: 5])
            let told = Told()
            let seen = Sightings()
            var configuration = GroupTest.member()
            configuration.onEvent = { told.add($0) }
            let asked = configuration
            let member = Task {
                try await client.consumeGroup(asked) { record in
                    seen.add(GroupTest.number(record), by: "a")
                }
            }
            try await seen.wait(for: 5)
            await told.wait(for: "assigned [0]")
            await told.wait(for: "reset 0 from 2 to 5")
            #expect(told.all.first == "joined")
            try await client.admin.openBreaker(of: "g")
            await told.wait(for: "\(GroupNews.breaker(.open))")
            try await client.admin.closeBreaker(of: "g")
            await told.wait(for: "\(GroupNews.breaker(.closed))")
            try await client.admin.pauseGroup("g")
            await told.wait(for: "\(GroupNews.paused(nil))")
            try await client.admin.resumeGroup("g")
            await told.wait(for: "\(GroupNews.resumed(nil))")
            await told.waitUntilTaken()
            member.cancel()
            await #expect(throws: CancellationError.self) { try await member.value }
            // What it gave up at its end was told before the call was over.
            #expect(told.isInTurn && told.all.last == "revoked [0]", "\(told.all)")
        }
    }

    // MARK: - What is read of an answer

    private static func reply(
        _ news: UInt64, expired: Int64 = 0, breaker: UInt8 = 0, pauses: [GroupPlace] = []
    ) -> HeartbeatReply {
        var reply = HeartbeatReply()
        (reply.news, reply.expired, reply.breaker, reply.pauses) = (
            news, expired, breaker, pauses
        )
        return reply
    }

    @Test func `nothing is told twice, and nothing of a group that is another one`() {
        var reader = NewsReader()
        #expect(reader.read(Self.reply(0, expired: 9)).isEmpty && reader.number == 1)
        #expect(reader.read(Self.reply(7, expired: 9)).isEmpty && reader.number == 7)
        #expect(reader.read(Self.reply(7, expired: 12)).isEmpty)
        #expect(reader.read(Self.reply(8, expired: 12)) == [.expired(records: 3)])
        #expect(reader.read(Self.reply(9, expired: 12)).isEmpty)
        let whole = GroupPlace()
        #expect(reader.read(Self.reply(10, expired: 12, pauses: [whole])) == [.paused(nil)])
        #expect(reader.read(Self.reply(11, expired: 12, pauses: [whole, whole])).isEmpty)
        // Deleted, and made again.
        #expect(reader.read(Self.reply(12, expired: 2)) == [.resumed(nil)])
        #expect(reader.read(Self.reply(13, expired: 3)) == [.expired(records: 1)])
        // What no broker says.
        #expect(reader.read(Self.reply(14, expired: .min, breaker: 9)).isEmpty)
        #expect(reader.read(Self.reply(15, expired: .max)) == [.expired(records: .max)])
    }
}
