import MartletBroker
import MartletConfiguration
import MartletFormat
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletStorage

@Suite struct TopicTests {
    private func delete(_ client: RawClient, _ id: TopicID) throws {
        var request = DeleteTopicRequest()
        request.id = id
        #expect(try client.ask(request).error == .none)
    }

    @Test func `F-52 an old id means the old topic, also when its name exists again`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let reader = try harness.hello()
        let old = try harness.makeTopic(client, "orders")
        _ = try client.produce(old, makeBatch(3))
        try reader.send(try fetchRequest(old, from: 3, wait: 25_000).frame(correlation: 1))
        #expect(try reader.ask(PingRequest()).error == .none)
        try delete(client, old)
        let new = try harness.makeTopic(client, "orders")
        #expect(new != old)
        // Who waited for the old one is told at once, not when its time is over.
        let parked = try reader.receive(FetchReply.self).reply
        #expect(parked.partitions.first?.error == .unknownTopicID)
        #expect(try client.produce(old, makeBatch()).error == .unknownTopicID)
        let fetched = try client.ask(fetchRequest(old, from: 0))
        #expect(fetched.partitions.first?.error == .unknownTopicID)
        #expect(try client.produce(new, makeBatch()).baseOffset == 0)
        var metadata = MetadataRequest()
        metadata.names = [TopicNameItem("orders")]
        metadata.ids = [TopicIDItem(old), TopicIDItem(new)]
        let topics = try client.ask(metadata).topics
        #expect(topics.map(\.error) == [.none, .unknownTopicID, .none])
        #expect(topics.map(\.id) == [new, old, new])
        try harness.stop()
    }

    @Test func `who finds a topic just before it is deleted is told that it is gone`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let id = try harness.makeTopic(client)
        _ = try client.produce(id, makeBatch(3))
        let topic = try #require(harness.broker.engine.topic(id: id))
        func errors() throws -> [ErrorCode?] {
            var entry = ListOffsetsEntry()
            entry.topic = id
            entry.kind = OffsetKind.time.rawValue
            var offsets = ListOffsetsRequest()
            offsets.entries = [entry]
            var verified = fetchRequest(id, from: 0)
            verified.verify = true
            return [
                try client.produce(id, makeBatch()).error,
                try client.ask(fetchRequest(id, from: 0)).partitions.first?.error,
                try client.ask(verified).partitions.first?.error,
                try client.ask(offsets).results.first?.error,
            ]
        }
        // The catalog has it, its log has ended already.
        try #require(topic.partition(0)).goOffline(.deleted)
        #expect(try errors() == Array(repeating: .unknownTopicID, count: 4))
        topic.goOffline(.deleted)
        #expect(try errors() == Array(repeating: .unknownTopicID, count: 4))
        #expect(try client.ask(DoctorRequest()).findings.allSatisfy { $0.severity < 2 })
        try harness.stop()
    }

    @Test func `topics are changed while a compaction is under way`() throws {
        let disk = FaultyFileSystem()
        let harness = try BrokerHarness(setUp: { $0.fileSystem = disk })
        let client = try harness.hello()
        let busy = try harness.makeTopic(
            client, "busy", settings: [("segment.bytes", "65536"), ("batch.bytes.max", "65536")])
        let other = try harness.makeTopic(client, "other")
        for _ in 0..<6 { _ = try client.produce(busy, makeBatch(1, bytes: 30_000)) }
        let (reached, mayGoOn) = (Latch(), Latch())
        defer { mayGoOn.arrive() }
        disk.set { $0.compaction = (reached, mayGoOn) }
        var alter = AlterTopicRequest()
        alter.id = busy
        alter.changes = [TopicSettingChange("cleanup.policy", "compact")]
        #expect(try client.ask(alter).error == .none)
        #expect(reached.wait())
        // Held: each of these would wait for its end.
        alter.changes = [TopicSettingChange("retention.ms", "60000")]
        #expect(try client.ask(alter).error == .none)
        _ = try harness.makeTopic(client, "new")
        var add = AddPartitionsRequest()
        add.id = busy
        add.total = 2
        #expect(try client.ask(add).partitions == 2)
        var entry = DeleteRecordsEntry()
        entry.topic = busy
        entry.before = 1
        var records = DeleteRecordsRequest()
        records.entries = [entry]
        #expect(try client.ask(records).results.first?.logStart == 1)
        try delete(client, other)
        // This one alone waits, for the batch that the compaction is at.
        disk.set { $0.compaction = nil }
        mayGoOn.arrive()
        try delete(client, busy)
        #expect(try client.ask(PingRequest()).error == .none)
        try harness.stop()
    }

    @Test func `topics are made, described, changed, grown and listed`() throws {
        let harness = try BrokerHarness(configure: { $0.topic.partitions = 3 })
        let client = try harness.hello()
        let id = try harness.makeTopic(
            client, "a", partitions: -1, settings: [("retention.ms", "60000")])
        var describe = DescribeTopicRequest()
        describe.id = id
        var topic = try client.ask(describe)
        #expect(topic.name == "a" && topic.partitions.map(\.partition) == [0, 1, 2])
        let retention = topic.settings.first { $0.key == "retention.ms" }
        #expect(retention?.value == "60000" && retention?.source == 2)
        var alter = AlterTopicRequest()
        alter.id = id
        alter.changes = [TopicSettingChange("retention.ms", nil)]
        let change = try #require(try client.ask(alter).settings.first)
        #expect(change.before == "60000" && change.source != 2)
        alter.changes = [TopicSettingChange("no.such.key", "1")]
        #expect(try client.ask(alter).error == .invalidConfig)
        var add = AddPartitionsRequest()
        add.id = id
        add.total = 5
        #expect(try client.ask(add).partitions == 5)
        #expect(try client.ask(add).error == .invalidPartitions)
        add.total = 10_001
        #expect(try client.ask(add).error == .limitReached)
        topic = try client.ask(describe)
        #expect(topic.partitions.count == 5)
        #expect(try client.produce(id, makeBatch(), partition: 4).error == .none)
        var list = ListTopicsRequest()
        #expect(try client.ask(list).topics.map(\.name) == ["a"])
        list.includeInternal = true
        #expect(try client.ask(list).topics.map(\.name) == ["$producers", "a"])
        try harness.stop()
    }

    @Test(arguments: [
        ("", Int32(1), ErrorCode.invalidTopicName), ("$mine", 1, .invalidTopicName),
        ("a/b", 1, .invalidTopicName), ("..", 1, .invalidTopicName),
        ("t", 0, .invalidPartitions), ("t", -2, .invalidPartitions),
        ("t", Int32.max, .limitReached), ("t", 10_001, .limitReached),
    ])
    func `a topic that may not be is refused`(
        name: String, partitions: Int32, error: ErrorCode
    ) throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        var request = CreateTopicRequest()
        request.name = name
        request.partitions = partitions
        #expect(try client.ask(request).error == error)
        #expect(try client.ask(ListTopicsRequest()).topics.isEmpty)
        try harness.stop()
    }

    @Test func `validateOnly makes nothing, and a name is given once`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        var request = CreateTopicRequest()
        request.name = "x"
        request.validateOnly = true
        #expect(try client.ask(request).error == .none)
        #expect(try client.ask(ListTopicsRequest()).topics.isEmpty)
        request.validateOnly = false
        #expect(try client.ask(request).error == .none)
        #expect(try client.ask(request).error == .topicExists)
        try harness.stop()
    }

    @Test func `connections never take the descriptors of files, also after a reload`() throws {
        var configuration = BrokerConfiguration()
        configuration.listener.connectionsMax = 100_000_000
        let harness = try BrokerHarness(configure: {
            $0.listener.connectionsMax = configuration.listener.connectionsMax
        })
        let client = try harness.hello()
        func isLimited() throws -> Bool {
            try client.ask(DoctorRequest()).findings.contains { $0.code == "descriptor-limit" }
        }
        #expect(try isLimited())
        harness.broker.reload(configuration)
        #expect(try isLimited())
        configuration.listener.connectionsMax = 10
        harness.broker.reload(configuration)
        #expect(try !isLimited())
        try harness.stop()
    }

    @Test func `limits of connections change while it runs`() throws {
        let harness = try BrokerHarness()
        let first = try harness.hello()
        var configuration = BrokerConfiguration()
        configuration.listener.connectionsMax = 1
        configuration.listener.connectionsPerAddressMax = 1
        harness.broker.reload(configuration)
        let refused = try harness.connect()
        #expect(try refused.receiveUntilClosed().isEmpty)
        #expect(try first.ask(PingRequest()).error == .none)
        configuration.listener.connectionsMax = 10
        configuration.listener.connectionsPerAddressMax = 10
        harness.broker.reload(configuration)
        _ = try harness.hello()
        try harness.stop()
    }
}
