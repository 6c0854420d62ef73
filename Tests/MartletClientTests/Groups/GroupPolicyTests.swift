import MartletTesting
import Synchronization
import Testing

@testable import MartletClient

/// When a group commits, where it begins, and what the application is told.
struct GroupPolicyTests {
    private func with(
        _ body: (MartletTestBroker, MartletClient) async throws -> Void
    ) async throws {
        try await GroupConsumerTests.with(["t": 1], body)
    }

    private func committed(_ client: MartletClient) async throws -> Int64? {
        try await client.admin.describeGroup("g").partitions.first?.committed
    }

    // MARK: - Commits

    @Test func `at most once: committed before it is handed out, and never again`() async throws {
        try await with { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            var member = GroupTest.member(policy: .beforeProcessing)
            member.instance = "one"
            try await client.withGroupConsumer(member) { consumer in
                var records = consumer.records.makeAsyncIterator()
                let found1 = try await records.next()?.offset
                #expect(found1 == 0)
                let found2 = try await committed(client)
                #expect(found2 == 10)
                await GroupTest.kill(consumer)
            }
            let found3 = try await committed(client)
            #expect(found3 == 10)
            try await GroupTest.fill(client, 10..<20, partitions: 1)
            // The name of the dead one: what it had is taken over at once.
            try await client.withGroupConsumer(member) { consumer in
                let found4 = try await GroupConsumerTests.take(5, of: consumer)
                #expect(found4 == Array(10..<15))
            }
            // What was not handed out is not lost when a member leaves in order.
            let found5 = try await committed(client)
            #expect(found5 == 15)
        }
    }

    @Test func `manual: nothing is committed but what the application says`() async throws {
        try await with { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            let member = GroupTest.member(policy: .manual)
            try await client.withGroupConsumer(member) { consumer in
                for try await record in consumer.records {
                    if record.offset == 2 { try await consumer.commit(record) }
                    if record.offset == 4 { break }
                }
            }
            let found6 = try await committed(client)
            #expect(found6 == 3)
            try await client.withGroupConsumer(member) { consumer in
                for try await record in consumer.records where record.offset == 6 {
                    try await consumer.commit()
                    break
                }
            }
            let found7 = try await committed(client)
            #expect(found7 == 7)
        }
    }

    @Test func `words of the application are kept with its commit`() async throws {
        func words(_ client: MartletClient) async throws -> [String] {
            try await client.admin.describeGroup("g").partitions.map(\.metadata)
        }
        try await with { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            try await client.admin.createGroup("g")
            let partition = TopicPartition("t", 0)
            try await client.admin.commitOffsets("g", [partition: 2], metadata: "by hand")
            #expect(try await words(client) == ["by hand"])
            let most = String(repeating: "é", count: 2_048)
            let member = GroupTest.member(policy: .manual)
            try await client.withGroupConsumer(member) { consumer in
                for try await record in consumer.records {
                    switch record.offset {
                    case 2: try await consumer.commit(record, metadata: "two")
                    case 3: try await consumer.commit(metadata: "three")
                    // The same place with other words, and other words alone.
                    case 4:
                        try await consumer.commit(record)
                        #expect(try await words(client) == [""])
                        try await consumer.commit(record, metadata: "four")
                        let error = await #expect(throws: MartletError.self) {
                            try await consumer.commit(metadata: most + "!")
                        }
                        #expect(error?.code == .invalidArgument)
                    default:
                        try await consumer.commit(metadata: most)
                        return
                    }
                    #expect(
                        try await words(client) == [
                            ["two", "three", "four"][Int(record.offset) - 2]
                        ])
                }
            }
            #expect(try await words(client) == [most])
            #expect(try await committed(client) == 6)
            let error = await #expect(throws: MartletError.self) {
                try await client.admin.commitOffsets("g", [partition: 1], metadata: most + "!")
            }
            #expect(error?.code == .invalidArgument)
            #expect(try await words(client) == [most])
        }
    }

    @Test func `what was committed before it was handed out takes no words`() async throws {
        try await with { _, client in
            let member = GroupTest.member(policy: .beforeProcessing)
            try await client.withGroupConsumer(member) { consumer in
                try await consumer.commit()
                let error = await #expect(throws: MartletError.self) {
                    try await consumer.commit(metadata: "late")
                }
                #expect(error?.code == .invalidArgument)
            }
        }
    }

    @Test func `what is done out of order is not handed out again`() async throws {
        try await with { _, client in
            try await client.withGroupConsumer(GroupTest.member()) { consumer in
                var first = consumer.batches.makeAsyncIterator()
                var second = consumer.batches.makeAsyncIterator()
                try await GroupTest.fill(client, 0..<1, partitions: 1)
                let found8 = try await first.next()?.nextOffset
                #expect(found8 == 1)
                try await GroupTest.fill(client, 1..<3, partitions: 1)
                let found9 = try await second.next()?.nextOffset
                #expect(found9 == 3)
                try await GroupTest.fill(client, 3..<4, partitions: 1)
                let found10 = try await second.next()?.nextOffset
                #expect(found10 == 4)
                try await consumer.commit()
            }
            let partition = try #require(
                try await client.admin.describeGroup("g").partitions.first)
            #expect(partition.committed == 0)
            #expect(partition.finished == [1..<3])
            #expect(partition.lag == 2)
            try await client.withGroupConsumer(GroupTest.member()) { consumer in
                let found11 = try await GroupConsumerTests.take(2, of: consumer)
                #expect(found11 == [0, 3])
            }
            let found12 = try await committed(client)
            #expect(found12 == 4)
        }
    }

    // MARK: - Where it begins

    @Test func `earliest and latest, told and committed`() async throws {
        try await with { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            for (policy, start) in [(GroupResetPolicy.earliest, 0), (.latest, 10)] {
                var member = GroupTest.member("g-\(start)")
                member.resetPolicy = policy
                try await client.withGroupConsumer(member) { consumer in
                    let event = try await GroupTest.event(of: consumer) { event in
                        if case .reset = event { true } else { false }
                    }
                    guard case .reset(_, let from, let to) = event else { return }
                    #expect(from == nil && to == Int64(start))
                    try await consumer.commit()
                }
                let group = try await client.admin.describeGroup("g-\(start)")
                #expect(group.partitions.map(\.committed) == [Int64(start)])
            }
        }
    }

    @Test func `by time`() async throws {
        try await with { _, client in
            try await client.withProducer { producer in
                for number in 0..<10 {
                    try await producer.send(
                        topic: "t", value: "\(number)", timestamp: 1_000 + Int64(number))
                }
            }
            var member = GroupTest.member()
            member.resetPolicy = .time(1_004)
            try await client.withGroupConsumer(member) { consumer in
                let found13 = try await GroupConsumerTests.take(2, of: consumer)
                #expect(found13 == [4, 5])
            }
        }
    }

    @Test func `fail throws, for the partition`() async throws {
        try await with { _, client in
            var member = GroupTest.member()
            member.resetPolicy = .fail
            let error = await #expect(throws: MartletError.self) {
                try await client.withGroupConsumer(member) { consumer in
                    _ = try await GroupConsumerTests.take(1, of: consumer)
                }
            }
            #expect(error?.code == .offsetOutOfRange)
            #expect(error?.context["topic"] == "t")
        }
    }

    @Test func `an offset that is gone is reset, and told`() async throws {
        try await with { _, client in
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            try await client.admin.createGroup("g")
            try await client.admin.commitOffsets("g", [TopicPartition("t", 0): 3])
            try await client.admin.deleteRecords("t", before: [0: 7])
            try await client.withGroupConsumer(GroupTest.member()) { consumer in
                let found14 = try await GroupConsumerTests.take(3, of: consumer)
                #expect(found14 == [7, 8, 9])
                let event = try await GroupTest.event(of: consumer) { event in
                    if case .reset = event { true } else { false }
                }
                guard case .reset(let partition, let from, let to) = event else { return }
                #expect(partition == TopicPartition("t", 0) && from == 3 && to == 7)
            }
        }
    }

    // MARK: - What the application is told

    @Test func `hooks are awaited before the first record and before a hand-over`() async throws {
        try await with { _, client in
            try await GroupTest.fill(client, 0..<3, partitions: 1)
            let log = Mutex<[String]>([])
            var member = GroupTest.member(policy: .manual)
            member.onAssign = { _, partitions in
                log.withLock { $0.append("assign \(partitions)") }
            }
            member.onRevoke = { consumer, partitions, isLost in
                // The last moment to commit.
                do { try await consumer.commit() } catch { Issue.record(error) }
                log.withLock { $0.append("revoke \(partitions) \(isLost)") }
            }
            try await client.withGroupConsumer(member) { consumer in
                for number in try await GroupConsumerTests.take(3, of: consumer) {
                    log.withLock { $0.append("\(number)") }
                }
            }
            #expect(
                log.withLock { $0 } == [
                    "assign [t/0]", "0", "1", "2", "revoke [t/0] false",
                ])
            let found15 = try await committed(client)
            #expect(found15 == 3)
        }
    }

    // MARK: - Administration

    @Test func `groups are made, listed, described, set and deleted`() async throws {
        try await with { _, client in
            let admin = client.admin
            try await GroupTest.fill(client, 0..<10, partitions: 1)
            try await admin.createGroup("b")
            try await admin.createGroup("a")
            try await admin.commitOffsets("a", [TopicPartition("t", 0): 4])
            let found16 = try await admin.listGroups().map(\.name)
            #expect(found16 == ["a", "b"])
            let found17 = try await admin.listGroups().map(\.lag)
            #expect(found17 == [6, 0])
            let group = try await admin.describeGroup("a")
            #expect(group.lag == 6 && group.members.isEmpty)
            #expect(group.partitions.map(\.partition) == [TopicPartition("t", 0)])
            #expect(group.partitions.map(\.owner) == [nil])
            #expect(group.partitions.map(\.lag) == [6])
            try await client.withGroupConsumer(GroupTest.member("a")) { consumer in
                try await GroupTest.owns(consumer, 1)
                let line = try #require(try await admin.describeGroup("a").members.first)
                #expect(line.partitions == 1 && line.topics == ["t"])
                #expect(line.sessionTimeout == .seconds(300) && line.instance == nil)
                let error = await #expect(throws: MartletError.self) {
                    try await admin.deleteGroup("a")
                }
                #expect(error?.code == .groupNotEmpty)
            }
            try await admin.deleteGroup("a")
            let error = await #expect(throws: MartletError.self) {
                _ = try await admin.describeGroup("a")
            }
            #expect(error?.code == .unknownGroup)
        }
    }

    @Test func `a configuration that cannot be is refused by its field`() {
        var member = GroupTest.member()
        member.topics = []
        #expect(throws: MartletError.self) { try member.validate() }
        member = GroupTest.member(session: .milliseconds(999))
        #expect(throws: MartletError.self) { try member.validate() }
        member = GroupTest.member(policy: .afterProcessing(interval: .zero))
        #expect(throws: MartletError.self) { try member.validate() }
    }
}
