import MartletBroker
import MartletFormat
import MartletStorage
import MartletTestSupport
import MartletWire
import Testing

/// Commits of what is not in the log, which Kafka takes: what comes there later would never be read.
@Suite struct CommitAboveEndTests {
    private func owner(_ harness: BrokerHarness) throws -> (RawMember, AssignedPartition) {
        let member = RawMember(try harness.hello(), 1)
        try member.join()
        while member.owned.isEmpty { try #require(try member.waitForChange() == .none) }
        return (member, try #require(member.owned.first))
    }

    private func commit(
        _ client: RawClient, as member: TopicID = .zero, _ entries: [CommitEntry]
    ) throws -> [CommitResult] {
        var request = CommitOffsetsRequest()
        (request.group, request.member, request.entries) = ("g", member, entries)
        let reply = try client.ask(request)
        #expect(reply.error == .none)
        return reply.results
    }

    private func entry(
        _ owned: OwnedPartition, _ offset: Int64, finished: [OffsetRange] = []
    ) -> CommitEntry {
        var entry = CommitEntry()
        entry.owned = owned
        (entry.position.offset, entry.position.finished) = (offset, finished)
        return entry
    }

    private func committed(_ client: RawClient) throws -> [Int64] {
        var request = DescribeGroupRequest()
        request.group = "g"
        return try client.ask(request).partitions.map(\.committed.offset)
    }

    @Test func `a commit above the log's end is refused, and one at it is taken`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(5))
        let (member, owned) = try owner(harness)
        #expect(try member.commit(owned, 5) == .none)
        let results = try commit(
            member.client, as: member.id,
            [
                entry(owned.owned, 6), entry(owned.owned, 2, finished: [OffsetRange(4, 6)]),
                entry(owned.owned, 4),
            ])
        #expect(results.map(\.error) == [.offsetOutOfRange, .offsetOutOfRange, .none])
        #expect(results[0].message == "offset 6 of partition 0 of t lies above its end, 5")
        #expect(
            results[1].message
                == "offsets 4 to 5 of partition 0 of t cannot be finished: its end is 5")
        #expect(try committed(client) == [4])
        _ = try client.produce(topic, makeBatch(1))
        #expect(try member.commit(owned, 6) == .none)
        #expect(try member.commit(owned, .max) == .offsetOutOfRange)
        #expect(try committed(client) == [6])
        try harness.stop()
    }

    /// Readers of such a topic see what is not on the disk yet, and commit it.
    @Test func `what a reader of a written topic saw can be committed`() throws {
        let directory = try TemporaryDirectory("commit-end")
        var harness = try BrokerHarness(directory: directory)
        var client = try harness.hello()
        let topic = try harness.makeTopic(client, settings: [("durability", "written")])
        var (member, owned) = try owner(harness)
        var end: Int64 = 0
        for _ in 0..<50 {
            end = try client.produce(topic, makeBatch(2), acks: .written).baseOffset + 2
            #expect(try member.fetch(owned, from: end - 2).recordsLength > 0)
            #expect(try member.commit(owned, end) == .none)
            #expect(try member.commit(owned, end + 1) == .offsetOutOfRange)
        }
        try harness.stop()
        harness = try BrokerHarness(directory: directory)
        client = try harness.hello()
        (member, owned) = try owner(harness)
        #expect(owned.committed.offset == end)
        #expect(try member.commit(owned, end) == .none)
        #expect(try member.commit(owned, end + 1) == .offsetOutOfRange)
        try harness.stop()
    }

    @Test func `what was handled of a topic is not committed of one that was made again`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        var create = CreateGroupRequest()
        create.group = "g"
        #expect(try client.ask(create).error == .none)
        let former = try harness.makeTopic(client)
        _ = try client.produce(former, makeBatch(5))
        var owned = OwnedPartition()
        owned.topic = former
        #expect(try commit(client, [entry(owned, 5)]).map(\.error) == [.none])
        var delete = DeleteTopicRequest()
        delete.id = former
        #expect(try client.ask(delete).error == .none)
        let topic = try harness.makeTopic(client)
        // The groups hear of both a moment later.
        #expect(
            try eventually {
                try commit(client, [entry(owned, 5)]).map(\.error) == [.unknownTopicID]
            })
        owned.topic = topic
        #expect(
            try eventually {
                try commit(client, [entry(owned, 5)]).map(\.error) == [.offsetOutOfRange]
            })
        #expect(try commit(client, [entry(owned, 0)]).map(\.error) == [.none])
        try harness.stop()
    }

    /// A dead letter topic is one as all others for who reads it with a group.
    @Test func `a commit above the end of dead letters is refused`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(2))
        let queue = try RawLetters(client)
        for delivered in try queue.receiveAll(2) {
            for offset in delivered.range.from..<delivered.range.to {
                #expect(try queue.fail(delivered, offset, verb: 6, "Broken", "it is") == .none)
            }
        }
        let letters = try #require(
            eventually {
                harness.broker.engine.topic(named: "q.dlq")?.partition(0)?.view.highWatermark == 2
            }
                ? harness.broker.engine.topic(named: "q.dlq") : nil)
        let member = RawMember(try harness.hello(), 7)
        #expect(try member.join(["q.dlq"]) == .none)
        while member.owned.isEmpty { try #require(try member.waitForChange() == .none) }
        let owned = try #require(member.owned.first)
        #expect(owned.owned.topic == letters.id)
        #expect(try member.commit(owned, 2) == .none)
        #expect(try member.commit(owned, 3) == .offsetOutOfRange)
        try harness.stop()
    }
}
