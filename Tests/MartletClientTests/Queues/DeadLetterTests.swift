import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// Handlers that fail, and what becomes of their records, with the real broker.
@Suite(.timeLimit(.minutes(2))) struct DeadLetterTests {
    private struct Refused: Error, CustomStringConvertible {
        let description: String
    }

    private static let policy = FailurePolicy(attempts: 3, backoff: .milliseconds(1), jitter: 0)

    /// The group `q` on four partitions, with so many records.
    private static func with(
        _ records: Int, _ body: (MartletClient) async throws -> Void
    ) async throws {
        try await GroupConsumerTests.with(["t": 4]) { _, client in
            try await client.admin.createGroup("q", .queue(.earliest))
            try await client.admin.setFailurePolicy(policy, of: "q")
            try await GroupTest.fill(client, 0..<records)
            try await body(client)
        }
    }

    /// Runs a member until the group owes nothing and `isOver` says so.
    private static func handle(
        _ client: MartletClient,
        until isOver: (GroupDescription) -> Bool = { _ in true },
        _ handler: @escaping @Sendable (QueueRecord) async throws -> QueueOutcome
    ) async throws {
        let configuration = QueueConfiguration("q", topics: ["t"], concurrency: 4)
        let member = Task { try await client.consumeQueue(configuration, handler) }
        while true {
            let group = try await client.admin.describeGroup("q")
            let isIdle = group.queues.allSatisfy { $0.inFlight == 0 && $0.delayed == 0 }
            if group.queues.count >= 4, group.lag == 0, isIdle, isOver(group) { break }
            await Task.yield()
        }
        member.cancel()
        await #expect(throws: CancellationError.self) { try await member.value }
    }

    /// The dead letters, once the topic has them all.
    private static func stored(_ client: MartletClient) async throws -> [DeadLetter] {
        while true {
            let letters = try await client.admin.deadLetters(of: "q")
            if letters.allSatisfy({ $0.place != nil }) { return letters }
            await Task.yield()
        }
    }

    /// What the topic says, in its order.
    private static func entries(
        _ client: MartletClient, _ count: Int
    ) async throws -> [DeadLetterEntry] {
        var entries: [DeadLetterEntry] = []
        let topic = DeadLetterEntry.topic(of: "q")
        try await client.withConsumer(
            ConsumerConfiguration(topic: topic)
        ) { consumer in
            for try await record in consumer.records {
                entries.append(try #require(DeadLetterEntry(record)))
                if entries.count == count { break }
            }
        }
        return entries
    }

    private static func dead(_ group: GroupDescription) -> Int64 {
        group.queues.reduce(0) { $0 + $1.dead }
    }

    @Test func `what fails again and again becomes a dead letter with its words`() async throws {
        try await Self.with(40) { client in
            let attempts = Mutex<[Int]>([])
            try await Self.handle(client, until: { Self.dead($0) == 1 }) { record in
                guard GroupTest.number(record.record) == 7 else { return .done }
                attempts.withLock { $0.append(record.attempt) }
                throw Refused(description: "attempt \(record.attempt)")
            }
            #expect(attempts.withLock { $0 } == [1, 2, 3])
            let letters = try await Self.stored(client)
            let letter = try #require(letters.first)
            #expect(letters.count == 1 && letter.number == 1 && letter.reason == .attempts)
            #expect(letter.attempts == 3 && letter.deaths == 1 && !letter.isReplaying)
            let entry = try #require(try await Self.entries(client, 1).first)
            #expect(entry.kind == .died && entry.letter == 1 && entry.group == "q")
            #expect(entry.partition == letter.partition && entry.offset == letter.offset)
            #expect(
                entry.firstFailure?.text == "attempt 1" && entry.firstFailure?.kind == "Refused")
            #expect(entry.lastFailure?.text == "attempt 3")
            #expect(GroupTest.number(entry.record) == 7 && entry.record.offset == letter.offset)
            let group = try await client.admin.describeGroup("q")
            #expect(group.policy == Self.policy && group.deadLetters.dead == 1)
            #expect(group.deadLetters.oldestAt == letter.diedAt)
        }
    }

    @Test func `for ever and set aside are dead at once`() async throws {
        try await Self.with(8) { client in
            try await Self.handle(client, until: { Self.dead($0) == 2 }) { record in
                #expect(record.attempt == 1)
                switch GroupTest.number(record.record) {
                case 3: throw PermanentError("no tail number")
                case 4: return .reject(String(repeating: "é", count: 1_000))
                case _: return .done
                }
            }
            _ = try await Self.stored(client)
            let entries = try await Self.entries(client, 2)
            let permanent = try #require(entries.first { $0.reason == .permanent })
            #expect(permanent.lastFailure?.kind == "PermanentError")
            #expect(permanent.lastFailure?.text == "no tail number")
            #expect(permanent.lastFailure?.severity == .permanent)
            let rejected = try #require(entries.first { $0.reason == .rejected })
            #expect(rejected.lastFailure?.text == String(repeating: "é", count: 500))
        }
    }

    @Test func `a replay shows the original, as it was or as it was edited`() async throws {
        try await Self.with(8) { client in
            try await Self.handle(client, until: { Self.dead($0) == 2 }) { record in
                let number = GroupTest.number(record.record)
                if number == 3 || number == 4 { throw PermanentError("\(number)") }
                return .done
            }
            let letters = try await Self.stored(client)
            let entries = try await Self.entries(client, 2)
            let edited = try #require(entries.first { GroupTest.number($0.record) == 4 })
            try await client.admin.editDeadLetter(
                edited.letter, of: "q", key: edited.record.keyBytes, value: Array("44".utf8),
                headers: edited.record.headers + [RecordHeader("mended", "yes")],
                timestamp: edited.record.timestamp, author: "ann", note: "a typo")
            _ = try await Self.stored(client)
            let refused = try await client.admin.replayDeadLetters([1, 2, 9], of: "q")
            #expect(refused.mapValues(\.code) == [9: .unknownDeadLetter])
            let seen = Mutex<[QueueRecord]>([])
            try await Self.handle(client, until: { Self.dead($0) == 0 }) { record in
                seen.withLock { $0.append(record) }
                return .done
            }
            let records = seen.withLock { $0.sorted { $0.record.offset < $1.record.offset } }
            #expect(records.count == 2)
            for record in records {
                let letter = try #require(record.deadLetter)
                let line = try #require(letters.first { $0.number == letter.letter })
                #expect(record.attempt == 1 && record.record.topic == "t")
                #expect(
                    record.record.partition == line.partition.partition
                        && record.record.offset == line.offset)
                if letter.kind == .edited {
                    #expect(letter.author == "ann" && letter.note == "a typo")
                    #expect(record.record.valueString == "44")
                    #expect(record.record.headers == [RecordHeader("mended", "yes")])
                } else {
                    #expect(letter.lastFailure?.text == "3" && record.record.headers.isEmpty)
                    #expect(GroupTest.number(record.record) == 3)
                }
            }
            let group = try await client.admin.describeGroup("q")
            #expect(group.queues.reduce(0) { $0 + $1.acked } >= 8 && group.lag == 0)
            #expect(group.deadLetters.dead == 0 && group.deadLetters.replaying == 0)
            #expect(group.deadLetters.oldestAt == nil)
        }
    }

    @Test func `what dies again is quarantined, what is with the group is busy`() async throws {
        try await Self.with(4) { client in
            let fails: @Sendable (QueueRecord) async throws -> QueueOutcome = { record in
                if GroupTest.number(record.record) == 2 { throw PermanentError("again") }
                return .done
            }
            try await Self.handle(client, until: { Self.dead($0) == 1 }, fails)
            _ = try await Self.stored(client)
            #expect(try await client.admin.replayDeadLetters([1], of: "q").isEmpty)
            let busy = await #expect(throws: MartletError.self) {
                try await client.admin.editDeadLetter(
                    1, of: "q", key: nil, value: nil, headers: [], timestamp: 0, author: "",
                    note: "")
            }
            #expect(busy?.code == .deadLetterBusy)
            try await Self.handle(client, until: { Self.dead($0) == 1 }, fails)
            let letter = try #require(try await Self.stored(client).first)
            #expect(letter.number == 1 && letter.deaths == 2 && letter.replays == 1)
            let refused = try await client.admin.replayDeadLetters([1], of: "q", replaysMax: 1)
            #expect(refused[1]?.code == .deadLetterQuarantined)
            let resolved = try await client.admin.resolveDeadLetters(
                [1, 5], of: "q", author: "ann", note: "by hand")
            #expect(resolved.mapValues(\.code) == [5: .unknownDeadLetter])
            #expect(try await client.admin.deadLetters(of: "q").isEmpty)
            let last = try #require(try await Self.entries(client, 3).last)
            #expect(last.kind == .resolved && last.author == "ann" && last.note == "by hand")
            let group = try await client.admin.describeGroup("q")
            #expect(group.queues.reduce(0) { $0 + $1.acked } >= 4)
        }
    }

    @Test func `what is said about dead letters is in their topic, and only there and in the list`()
        async throws
    {
        try await Self.with(120) { client in
            try await Self.handle(client, until: { Self.dead($0) == 120 }) { _ in .reject("all") }
            _ = try await Self.stored(client)
            // More than one request takes.
            let refused = try await client.admin.assignDeadLetters(
                Array(1...121), of: "q", to: "bob", author: "ann")
            #expect(refused.mapValues(\.code) == [121: .unknownDeadLetter])
            #expect(
                try await client.admin.commentDeadLetters(
                    [120], of: "q", author: "bob", note: "seen"
                ).isEmpty)
            let letters = try await client.admin.deadLetters(of: "q")
            #expect(letters.allSatisfy { $0.assignee == "bob" })
            #expect(letters.map(\.remarks) == Array(repeating: 1, count: 119) + [2])
            let entries = try await Self.entries(client, 241)
            #expect(entries[120...239].allSatisfy { $0.kind == .assigned && $0.assignee == "bob" })
            #expect(entries[120].author == "ann" && entries[120].note == nil)
            #expect(entries[240].kind == .commented && entries[240].note == "seen")
            #expect(entries[240].letter == 120 && entries[240].author == "bob")
            try await client.admin.assignDeadLetters([1], of: "q", to: nil, author: "ann")
            #expect(try await client.admin.deadLetters(of: "q", limit: 1).first?.assignee == nil)
            let long = String(repeating: "x", count: 1_001)
            for note in ["", long] {
                let error = await #expect(throws: MartletError.self) {
                    try await client.admin.commentDeadLetters([1], of: "q", author: "", note: note)
                }
                #expect(error?.code == .invalidArgument)
            }
            let name = await #expect(throws: MartletError.self) {
                try await client.admin.assignDeadLetters([1], of: "q", to: long, author: "")
            }
            #expect(name?.code == .invalidArgument)
        }
    }

    @Test func `pages, and what is not allowed`() async throws {
        try await Self.with(40) { client in
            try await Self.handle(client, until: { Self.dead($0) == 40 }) { _ in .reject("all") }
            let all = try await client.admin.deadLetters(of: "q")
            #expect(all.map(\.number) == Array(1...40))
            let page = try await client.admin.deadLetters(of: "q", after: 10, limit: 5)
            #expect(page.map(\.number) == Array(11...15))
            for policy in [
                FailurePolicy(attempts: -1), FailurePolicy(backoff: .zero),
                FailurePolicy(factor: .nan), FailurePolicy(jitter: 2),
                FailurePolicy(backoffMax: .seconds(31 * 86_400)),
            ] {
                let error = await #expect(throws: MartletError.self) {
                    try await client.admin.setFailurePolicy(policy, of: "q")
                }
                #expect(error?.code == .invalidArgument)
            }
            let unknown = await #expect(throws: MartletError.self) {
                try await client.admin.deadLetters(of: "nobody")
            }
            #expect(unknown?.code == .unknownGroup)
        }
    }

    @Test func `with the policy 'pause' the group stands still at what fails`() async throws {
        try await Self.with(4) { client in
            var policy = Self.policy
            policy.last = .pause
            try await client.admin.setFailurePolicy(policy, of: "q")
            let member = Task {
                try await client.consumeQueue("q", topics: ["t"]) { record in
                    if GroupTest.number(record.record) == 2 { throw PermanentError("stop") }
                }
            }
            while try await client.admin.describeGroup("q").pauses.isEmpty { await Task.yield() }
            member.cancel()
            await #expect(throws: CancellationError.self) { try await member.value }
            let group = try await client.admin.describeGroup("q")
            #expect(group.policy.last == .pause && group.deadLetters.dead == 0)
        }
    }
}
