import MartletFormat
import MartletTesting
import MartletWire
import Synchronization
import Testing

@testable import MartletClient

/// What is sent to a group again, with the real broker: to stream groups and to queue groups, beside
/// what comes new.
@Suite(.timeLimit(.minutes(3))) struct GroupReplayTests {
    private struct Refused: Error {}

    /// How often each place was handed out.
    private final class Places: Sendable {
        private let state = Mutex<[TopicPartition: [Int64: Int]]>([:])

        func add(_ record: ConsumedRecord) {
            let partition = TopicPartition(record.topic, record.partition)
            state.withLock { $0[partition, default: [:]][record.offset, default: 0] += 1 }
        }

        /// Those that came `times` times.
        func came(_ times: Int) -> [TopicPartition: Set<Int64>] {
            state.withLock { places in
                places.mapValues { Set($0.filter { $0.value == times }.keys) }
                    .filter { !$0.value.isEmpty }
            }
        }

        var count: Int { state.withLock { $0.values.reduce(0) { $0 + $1.count } } }
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

    /// Members of both kinds of group, by one handler.
    private enum Kind: CaseIterable {
        case stream
        case queue

        func consume(
            _ client: MartletClient, _ handler: @escaping @Sendable (ConsumedRecord) -> Void
        ) async throws {
            switch self {
            case .stream:
                var member = GroupTest.member()
                member.commitPolicy = .afterProcessing(interval: .milliseconds(10))
                try await client.consumeGroup(member, handling: .unordered(8)) { handler($0) }
            case .queue:
                try await client.consumeQueue("g", topics: ["t"]) { handler($0.record) }
            }
        }
    }

    private static func wait(
        _ client: MartletClient, until isOver: (GroupDescription) -> Bool
    ) async throws {
        while true {
            do {
                if isOver(try await client.admin.describeGroup("g")) { return }
            } catch let error as MartletError where error.code == .unknownGroup {
                // Its first member is on its way.
            }
            await Task.yield()
        }
    }

    private static func isDone(_ group: GroupDescription, _ partitions: Int = 4) -> Bool {
        group.partitions.count(where: { ($0.highWatermark ?? 0) > 0 }) == partitions
            && group.lag == 0
            && group.replays.allSatisfy { $0.open == 0 }
    }

    private static func end(_ task: Task<Void, any Error>) async {
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }

    @Test(arguments: [20_000])
    func `exactly the chosen records of a log come again, while the flow goes on`(
        _ records: Int
    ) async throws {
        for kind in Kind.allCases {
            try await GroupConsumerTests.with(["t": 4]) { _, client in
                try await GroupTest.fill(client, 0..<records)
                let places = Places()
                let task = Task { try await kind.consume(client) { places.add($0) } }
                try await Self.wait(client) { Self.isDone($0) }
                let each = Int64(records) / 4
                var wanted: [TopicPartition: [Range<Int64>]] = [
                    TopicPartition("t", 0): [0..<each],
                    TopicPartition("t", 1): [7..<9, 100..<each - 10],
                ]
                // One key of many has many ranges.
                wanted[TopicPartition("t", 2)] = stride(from: Int64(0), to: each, by: 3)
                    .map { $0..<$0 + 1 }
                let expected = wanted.mapValues { Set($0.joined()) }
                async let fresh: Void = GroupTest.fill(client, records..<records + 2_000)
                let sent = try await client.admin.replayRecords(wanted, to: "g")
                #expect(sent == expected.values.reduce(Int64(0)) { $0 + Int64($1.count) })
                try await fresh
                try await Self.wait(client) {
                    Self.isDone($0) && $0.replays.reduce(0) { $0 + $1.handled } == sent
                }
                await Self.end(task)
                #expect(places.count == records + 2_000)
                #expect(places.came(2) == expected, "\(kind)")
                #expect(places.came(3).isEmpty)
                let group = try await client.admin.describeGroup("g")
                #expect(group.lag == 0 && group.deadLetters.dead == 0)
                #expect(
                    group.queues.reduce(0) { $0 + $1.acked }
                        == (kind == .queue ? Int64(records) + 2_000 : 0))
            }
        }
    }

    @Test func `dead letters of a stream group go back to it, as they were`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await client.admin.createGroup("g")
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            let isMended = Mutex(false)
            let seen = Mutex<[Int64]>([])
            let task = Task {
                var member = GroupTest.member()
                member.failures = .byPolicy
                try await client.consumeGroup(member) { record in
                    if !isMended.withLock({ $0 }), record.offset == 3 || record.offset == 5 {
                        throw PermanentError("not yet")
                    }
                    #expect(record.topic == "t" && GroupTest.number(record) == Int(record.offset))
                    seen.withLock { $0.append(record.offset) }
                }
            }
            try await Self.wait(client) {
                $0.deadLetters.dead == 2 && $0.deadLetters.notStored == 0
            }
            while seen.withLock({ $0.count }) < 8 { await Task.yield() }
            #expect(try await client.admin.replayDeadLetters([1], of: "g").isEmpty)
            // It dies again, under its number.
            try await Self.wait(client) {
                $0.deadLetters.dead == 2 && $0.deadLetters.notStored == 0
            }
            let letter = try #require(
                try await client.admin.deadLetters(of: "g").first { $0.number == 1 })
            #expect(letter.offset == 3 && letter.replays == 1)
            isMended.withLock { $0 = true }
            try await Self.wait(client) { group in
                group.deadLetters.replaying == 0 && group.deadLetters.notStored == 0
            }
            #expect(try await client.admin.replayDeadLetters([1, 2], of: "g").isEmpty)
            try await Self.wait(client) { $0.deadLetters.dead + $0.deadLetters.replaying == 0 }
            await Self.end(task)
            #expect(seen.withLock { $0.prefix(8) } == [0, 1, 2, 4, 6, 7, 8, 9])
            #expect(Set(seen.withLock { $0.dropFirst(8) }) == [3, 5])
            let group = try await client.admin.describeGroup("g")
            #expect(group.partitions.first?.committed == 10 && group.lag == 0)
        }
    }

    @Test func `one handler at a time is one, whatever it is called with`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await GroupTest.fill(client, 0..<200, partitions: 1)
            let (load, places) = (Load(), Places())
            let task = Task {
                try await client.consumeGroup(GroupTest.member(), handling: .serial) { record in
                    load.enter()
                    await Task.yield()
                    places.add(record)
                    load.leave()
                }
            }
            try await Self.wait(client) { !$0.members.isEmpty }
            try await client.admin.replayRecords([TopicPartition("t", 0): [0..<100]], to: "g")
            try await GroupTest.fill(client, 200..<300, partitions: 1)
            try await Self.wait(client) { $0.replays.first?.handled == 100 }
            while places.count < 300 { await Task.yield() }
            await Self.end(task)
            #expect(load.most == 1)
            #expect(places.came(2) == [TopicPartition("t", 0): Set(0..<100)])
        }
    }

    @Test func `a member that was fenced and came back is handed what is sent again`() async throws
    {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            let places = Places()
            let task = Task {
                try await client.consumeGroup(GroupTest.member()) { places.add($0) }
            }
            try await Self.wait(client) { $0.members.count == 1 }
            let first = try #require(
                try await client.admin.describeGroup("g").members.first?.id)
            // What its session's end does.
            var leave = LeaveGroupRequest()
            leave.group = "g"
            leave.member = try #require(TopicID(first))
            _ = try await client.admin.port.call(leave, isRepeatable: true)
            try await Self.wait(client) { $0.members.contains { $0.id != first } }
            try await client.admin.replayRecords([TopicPartition("t", 0): [4..<6]], to: "g")
            try await Self.wait(client) { $0.replays.first?.handled == 2 }
            await Self.end(task)
        }
    }

    @Test func `a handler that has begun may end, and its record does not come again`() async throws
    {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            try await client.admin.createGroup("g")
            try await client.admin.commitOffsets("g", [TopicPartition("t", 0): 10])
            let (begun, mayEnd) = (Promise<Void>(), Promise<Void>())
            let task = Task {
                try await client.consumeGroup(GroupTest.member()) { record in
                    begun.succeed(())
                    await mayEnd.settled()
                }
            }
            try await Self.wait(client) { $0.members.count == 1 }
            try await client.admin.replayRecords([TopicPartition("t", 0): [4..<6]], to: "g")
            await begun.settled()
            task.cancel()
            mayEnd.succeed(())
            await #expect(throws: CancellationError.self) { try await task.value }
            let replay = try #require(try await client.admin.describeGroup("g").replays.first)
            #expect(replay.handled == 1 && replay.ready == 1 && replay.inFlight == 0)
        }
    }

    @Test func `an error of the handler ends the call, and its record comes again`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            try await client.admin.createGroup("g")
            try await client.admin.commitOffsets("g", [TopicPartition("t", 0): 10])
            try await client.admin.replayRecords([TopicPartition("t", 0): [4..<6]], to: "g")
            await #expect(throws: Refused.self) {
                try await client.consumeGroup(GroupTest.member()) { _ in throw Refused() }
            }
            let places = Places()
            let task = Task {
                try await client.consumeGroup(GroupTest.member()) { places.add($0) }
            }
            try await Self.wait(client) { $0.replays.first?.handled == 2 }
            await Self.end(task)
            #expect(places.came(1) == [TopicPartition("t", 0): [4, 5]])
        }
    }

    @Test func `who commits before handling is handed nothing again`() async throws {
        try await GroupConsumerTests.with(["t": 1]) { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            let places = Places()
            let task = Task {
                try await client.consumeGroup(GroupTest.member(policy: .beforeProcessing)) {
                    places.add($0)
                }
            }
            try await Self.wait(client) { Self.isDone($0, 1) }
            try await client.admin.replayRecords([TopicPartition("t", 0): [4..<6]], to: "g")
            try await GroupTest.fill(client, 10..<20, partitions: 1)
            while places.count < 20 { await Task.yield() }
            await Self.end(task)
            #expect(places.came(2).isEmpty)
            #expect(try await client.admin.cancelReplay(of: "g") == 2)
        }
    }
}
