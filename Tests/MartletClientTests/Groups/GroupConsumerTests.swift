import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// Members of groups against a real broker in this process.
struct GroupConsumerTests {
    static func with(
        _ topics: [String: Int] = ["t": 4], clock: ManualClock? = nil,
        _ body: (MartletTestBroker, MartletClient) async throws -> Void
    ) async throws {
        try await MartletTestBroker.run(topics: topics, clock: clock) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                try await body(broker, client)
            }
        }
    }

    /// Reads so many records and returns their numbers.
    static func take(_ count: Int, of consumer: GroupConsumer) async throws -> [Int] {
        var found: [Int] = []
        for try await record in consumer.records {
            found.append(GroupTest.number(record))
            if found.count == count { break }
        }
        return found
    }

    @Test func `joins, reads, commits and leaves, and the next one goes on`() async throws {
        try await Self.with { _, client in
            try await GroupTest.fill(client, 0..<100)
            var seen: [Int] = []
            for count in [60, 40] {
                seen += try await client.withGroupConsumer("g", topics: ["t"]) { consumer in
                    try await Self.take(count, of: consumer)
                }
                let group = try await client.admin.describeGroup("g")
                #expect(group.members.isEmpty)
                #expect(group.lag == 100 - Int64(seen.count))
            }
            #expect(seen.sorted() == Array(0..<100))
        }
    }

    @Test func `a loop that was left goes on where it was`() async throws {
        try await Self.with(["t": 1]) { _, client in
            try await GroupTest.fill(client, 0..<30, partitions: 1)
            try await client.withGroupConsumer("g", topics: ["t"]) { consumer in
                var seen: [Int] = []
                for _ in 0..<3 { seen += try await Self.take(10, of: consumer) }
                #expect(seen == Array(0..<30))
            }
            let found1 = try await client.admin.describeGroup("g").lag
            #expect(found1 == 0)
        }
    }

    @Test func `a record whose handler throws comes again`() async throws {
        struct Refused: Error {}
        try await Self.with(["t": 1]) { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            await #expect(throws: Refused.self) {
                try await client.withGroupConsumer("g", topics: ["t"]) { consumer in
                    for try await record in consumer.records where record.offset == 6 {
                        throw Refused()
                    }
                }
            }
            let group = try await client.admin.describeGroup("g")
            #expect(group.partitions.map(\.committed) == [6])
            try await client.withGroupConsumer("g", topics: ["t"]) { consumer in
                let found2 = try await Self.take(4, of: consumer)
                #expect(found2 == [6, 7, 8, 9])
            }
        }
    }

    @Test func `batches count as done when the next is asked for`() async throws {
        try await Self.with(["t": 1]) { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            try await client.withGroupConsumer("g", topics: ["t"]) { consumer in
                var batches = consumer.batches.makeAsyncIterator()
                let first = try #require(try await batches.next())
                #expect(first.map(GroupTest.number) == Array(0..<10))
                try await consumer.commit()
                let found3 = try await client.admin.describeGroup("g").partitions[0].committed
                #expect(found3 == 0)
                try await GroupTest.fill(client, 10..<20, partitions: 1)
                let second = try #require(try await batches.next())
                #expect(second.map(GroupTest.number) == Array(10..<20))
            }
            let found4 = try await client.admin.describeGroup("g").partitions[0].committed
            #expect(found4 == 10)
        }
    }

    @Test func `two members share the partitions and see every record once`() async throws {
        try await Self.with { _, client in
            let seen = Sightings()
            let member = GroupTest.member()
            try await GroupTest.withTwo(client, member, member, seen) { a, b in
                try await GroupTest.owns(a, 2)
                try await GroupTest.owns(b, 2)
                try await GroupTest.fill(client, 0..<1_000)
                try await seen.wait(for: 1_000)
            }
            #expect(seen.numbers.sorted() == Array(0..<1_000))
            #expect(seen.numbers(of: "a").count == 500)
            let found5 = try await client.admin.describeGroup("g").lag
            #expect(found5 == 0)
        }
    }

    @Test func `a third joins and one leaves while records flow`() async throws {
        try await Self.with(["t": 6]) { _, client in
            let seen = Sightings()
            let member = GroupTest.member()
            try await GroupTest.withTwo(client, member, member, seen) { a, b in
                try await GroupTest.fill(client, 0..<1_000, partitions: 6)
                try await client.withGroupConsumer(member) { c in
                    try await withThrowingTaskGroup(of: Void.self) { tasks in
                        tasks.addTask {
                            try await GroupTest.fill(client, 1_000..<20_000, partitions: 6)
                        }
                        tasks.addTask { try await GroupTest.read(c, as: "c", into: seen) }
                        try await GroupTest.owns(c, 2)
                        try await GroupTest.owns(a, 2)
                        try await GroupTest.fill(client, 20_000..<21_000, partitions: 6)
                        try await seen.wait(for: 21_000)
                        await c.close()
                        try await tasks.waitForAll()
                    }
                }
                try await GroupTest.owns(a, 3)
                try await GroupTest.fill(client, 21_000..<22_000, partitions: 6)
                try await seen.wait(for: 22_000)
                _ = b
            }
            #expect(seen.numbers.sorted() == Array(0..<22_000))
            let found6 = try await client.admin.describeGroup("g").lag
            #expect(found6 == 0)
        }
    }

    @Test func `a record in hand is finished before its partition goes to another`() async throws {
        try await Self.with(["t": 2]) { _, client in
            try await GroupTest.fill(client, 0..<2, partitions: 2)
            let member = GroupTest.member()
            try await client.withGroupConsumer(member) { a in
                var records = a.records.makeAsyncIterator()
                let first = try #require(try await records.next())
                let second = try #require(try await records.next())
                try await client.withGroupConsumer(member) { b in
                    // The one that is done with goes, if it is that one; the other waits.
                    try await withThrowingTaskGroup(of: Void.self) { tasks in
                        tasks.addTask { try await GroupTest.owns(b, 1) }
                        try await GroupTest.owns(a, 1)
                        let group = try await client.admin.describeGroup("g")
                        let inHand = group.partitions.first {
                            $0.partition.partition == second.partition
                        }
                        if inHand?.isLeaving == true {
                            let owned = await b.assignment()
                            #expect(owned.isEmpty)
                        }
                        try await GroupTest.fill(client, 2..<4, partitions: 2)
                        _ = try await records.next()
                        try await tasks.waitForAll()
                    }
                }
                _ = first
            }
        }
    }

    @Test func `throws when the broker stays away longer than the deadline`() async throws {
        try await Self.with(["t": 1]) { broker, client in
            var member = GroupTest.member()
            member.deadline = .milliseconds(100)
            let error = await #expect(throws: MartletError.self) {
                try await client.withGroupConsumer(member) { consumer in
                    try await GroupTest.owns(consumer, 1)
                    await broker.stop()
                    _ = try await Self.take(1, of: consumer)
                }
            }
            #expect(error?.code == .connectionFailed)
            #expect(error?.isFatal == true)
        }
    }

    @Test func `who joins under another's name takes its place, for good`() async throws {
        try await Self.with(["t": 2]) { _, client in
            var member = GroupTest.member()
            member.instance = "one"
            try await GroupTest.fill(client, 0..<4, partitions: 2)
            let error = await #expect(throws: MartletError.self) {
                try await client.withGroupConsumer(member) { old in
                    try await GroupTest.owns(old, 2)
                    try await client.withGroupConsumer(member) { new in
                        let found = try await Self.take(4, of: new)
                        #expect(found.sorted() == Array(0..<4))
                    }
                    for try await _ in old.batches {}
                }
            }
            #expect(error?.code == .fencedMember)
            let group = try await client.admin.describeGroup("g")
            #expect(group.members.map(\.instance) == ["one"] && group.lag == 0)
        }
    }

    @Test func `topics of a pattern come and go`() async throws {
        try await Self.with(["a.1": 1, "a.2": 1, "b": 1]) { _, client in
            let member = GroupTest.member(topics: ["a.*"])
            try await client.withGroupConsumer(member) { consumer in
                try await GroupTest.owns(consumer, 2)
                try await client.admin.createTopic("a.3", partitions: 2)
                try await GroupTest.owns(consumer, 4)
                try await GroupTest.fill(client, 0..<10, topic: "a.1", partitions: 1)
                let found = try await Self.take(10, of: consumer)
                #expect(found == Array(0..<10))
                try await client.admin.deleteTopic("a.1")
                try await GroupTest.owns(consumer, 3)
                try await GroupTest.fill(client, 10..<20, topic: "a.3", partitions: 2)
                let later = try await Self.take(10, of: consumer)
                #expect(later.sorted() == Array(10..<20))
            }
        }
    }

    @Test func `the partitions of a member that died go to others`() async throws {
        let clock = ManualClock()
        try await Self.with(clock: clock) { _, client in
            let seen = Sightings()
            let mortal = GroupTest.member(session: .seconds(10))
            try await GroupTest.withTwo(client, mortal, GroupTest.member(), seen) { a, b in
                try await GroupTest.owns(a, 2)
                try await GroupTest.owns(b, 2)
                try await GroupTest.fill(client, 0..<100)
                try await seen.wait(for: 100)
                await GroupTest.kill(a)
                clock.advance(by: .seconds(11))
                try await GroupTest.poke(client)
                try await GroupTest.owns(b, 4)
                try await GroupTest.fill(client, 100..<200)
                // Nothing of the dead one's was committed but the starts.
                try await seen.wait(for: 250)
            }
            #expect(Set(seen.numbers) == Set(0..<200))
            #expect(Set(seen.numbers(of: "b")) == Set(0..<200))
        }
    }

    @Test func `who has no time left to finish hears of it`() async throws {
        let gate = Promise<Void>()
        let calls = Mutex(0)
        var slow = GroupTest.member()
        slow.drainTimeout = .milliseconds(20)
        // What the application does last takes too long.
        slow.onRevoke = { _, _, _ in
            let isFirst = calls.withLock { calls in
                calls += 1
                return calls == 1
            }
            if isFirst { await gate.settled() }
        }
        try await Self.with(["t": 2]) { _, client in
            try await client.withGroupConsumer(slow) { consumer in
                try await GroupTest.owns(consumer, 2)
                try await client.withGroupConsumer(GroupTest.member()) { other in
                    let event = try await GroupTest.event(of: consumer) { event in
                        if case .drainTimedOut = event { true } else { false }
                    }
                    // The group takes it all the same.
                    try await GroupTest.owns(other, 1)
                    let owned = await other.assignment()
                    if case .drainTimedOut(let partition) = event {
                        #expect(owned.contains(partition))
                    }
                    gate.succeed(())
                }
            }
        }
    }

    @Test func `a member that was fenced joins again as another`() async throws {
        let clock = ManualClock()
        let revoked = Mutex<[Bool]>([])
        var member = GroupTest.member(session: .seconds(10))
        member.onRevoke = { _, _, isLost in revoked.withLock { $0.append(isLost) } }
        try await Self.with(["t": 1], clock: clock) { _, client in
            try await GroupTest.fill(client, 0..<5, partitions: 1)
            try await client.withGroupConsumer(member) { consumer in
                let found7 = try await Self.take(5, of: consumer)
                #expect(found7 == Array(0..<5))
                let before = try await client.admin.describeGroup("g").members.map(\.id)
                clock.advance(by: .seconds(11))
                try await GroupTest.poke(client)
                _ = try await GroupTest.event(of: consumer) { event in
                    if case .fenced = event { true } else { false }
                }
                // It did not commit what it had: it comes again.
                let found8 = try await Self.take(5, of: consumer)
                #expect(found8 == Array(0..<5))
                let after = try await client.admin.describeGroup("g").members.map(\.id)
                #expect(before.count == 1 && after.count == 1 && before != after)
            }
            #expect(revoked.withLock { $0 } == [true, false])
            let found9 = try await client.admin.describeGroup("g").lag
            #expect(found9 == 0)
        }
    }

    @Test func `goes on after a restart of the broker`() async throws {
        try await Self.with(["t": 1]) { broker, client in
            try await GroupTest.fill(client, 0..<100, partitions: 1)
            try await client.withGroupConsumer(GroupTest.member()) { consumer in
                let found10 = try await Self.take(50, of: consumer)
                #expect(found10 == Array(0..<50))
                let before = try await client.admin.describeGroup("g")
                try await broker.restart()
                let found11 = try await Self.take(50, of: consumer)
                #expect(found11 == Array(50..<100))
                try await consumer.commit()
                let after = try await client.admin.describeGroup("g")
                #expect(before.members.map(\.id) == after.members.map(\.id))
                #expect(after.partitions[0].epoch == 1)
                #expect(after.partitions[0].committed == 99)
                try await broker.restart()
                let found12 = try await client.admin.describeGroup("g").partitions[0].committed
                #expect(found12 == 99)
            }
        }
    }

    @Test func `a member that is cancelled commits and leaves`() async throws {
        try await Self.with(["t": 1]) { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            let seen = Sightings()
            let task = Task {
                try await client.withGroupConsumer(GroupTest.member()) { consumer in
                    try await GroupTest.read(consumer, as: "a", into: seen)
                }
            }
            try await seen.wait(for: 10)
            task.cancel()
            _ = await task.result
            let group = try await client.admin.describeGroup("g")
            #expect(group.members.isEmpty)
            // The last one may have been in hand.
            #expect([9, 10].contains(group.partitions[0].committed))
        }
    }
}
