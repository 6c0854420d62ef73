import MartletFormat
import MartletGroups
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker
@testable import MartletStorage

/// Retention `until-consumed`: records stay until all groups have handled them.
@Suite struct UntilConsumedTests {
    private static let settings = [
        ("retention.mode", "until-consumed"), ("segment.bytes", "65536"),
    ]

    private func create(_ client: RawClient, _ group: String) throws {
        var request = CreateGroupRequest()
        request.group = group
        #expect(try client.ask(request).error == .none)
    }

    /// A segment for each record.
    private func fill(_ client: RawClient, _ topic: TopicID, _ count: Int = 5) throws {
        for _ in 0..<count { _ = try client.produce(topic, makeBatch(1, bytes: 60_000)) }
    }

    private func describe(_ client: RawClient, _ topic: TopicID) throws -> PartitionDescription {
        var request = DescribeTopicRequest()
        request.id = topic
        return try #require(try client.ask(request).partitions.first)
    }

    /// What retention leaves.
    private func start(_ harness: BrokerHarness) throws -> Int64 {
        let log = try #require(harness.broker.engine.topic(named: "t")?.partition(0))
        log.upkeep { log.applyRetention() }
        return log.view.logStart
    }

    @Test func `space comes back only when all groups have committed`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, settings: Self.settings)
        try fill(client, topic)
        #expect(try start(harness) == 0)
        #expect(try describe(client, topic).heldBy.isEmpty)
        try create(client, "a")
        try create(client, "b")
        #expect(try client.commit(topic, 4, group: "a") == .none)
        // One that was made and has been nowhere yet may want all of it.
        #expect(try start(harness) == 0)
        #expect(try describe(client, topic).heldBy == "b")
        #expect(try client.commit(topic, 2, group: "b") == .none)
        #expect(try start(harness) == 2)
        let held = try describe(client, topic)
        #expect(held.heldBy == "b" && held.consumed == 2)
        var delete = DeleteGroupRequest()
        delete.group = "b"
        #expect(try client.ask(delete).error == .none)
        #expect(try start(harness) == 4)
        #expect(try describe(client, topic).heldBy == "a")
        let metrics = PrometheusText.render(harness.registry)
        #expect(metrics.contains("martlet_storage_overtaken_offsets_total 0"))
        try harness.stop()
    }

    @Test func `a group of other topics holds nothing, one with a member here does`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, settings: Self.settings)
        let other = try harness.makeTopic(client, "other")
        try fill(client, topic)
        try create(client, "a")
        #expect(try client.commit(topic, 4, group: "a") == .none)
        try create(client, "elsewhere")
        #expect(try client.commit(other, 0, group: "elsewhere") == .none)
        let member = RawMember(client, 1, group: "m")
        try member.join(["t"])
        try member.waitForChange()
        #expect(try start(harness) == 0)
        #expect(try describe(client, topic).heldBy == "m")
        #expect(try member.commit(member.owned[0], 3) == .none)
        #expect(try start(harness) == 3)
        try harness.stop()
    }

    @Test func `age and size of the topic itself count still, and say whom they take from`() throws
    {
        let sink = LogCapture()
        let harness = try BrokerHarness(setUp: {
            $0.logger = Logger(label: "test", level: .warning, sink: sink)
        })
        let client = try harness.hello()
        let topic = try harness.makeTopic(
            client, settings: Self.settings + [("retention.bytes", "130000")])
        try create(client, "slow")
        #expect(try client.commit(topic, 0, group: "slow") == .none)
        try fill(client, topic)
        #expect(try start(harness) > 0)
        let metrics = PrometheusText.render(harness.registry)
        #expect(!metrics.contains("martlet_storage_overtaken_offsets_total 0"))
        let line = try #require(sink.lines.first { $0.contains("GROUP_OVERTAKEN") })
        #expect(line.contains("group=slow"))
        try harness.stop()
    }

    @Test func `defaults of age and size do not count`() throws {
        var metadata = TopicMetadata(id: TopicID(high: 1, low: 1), name: "t", partitions: 1)
        metadata.overrides = ["retention.mode": "until-consumed", "retention.bytes": "7"]
        let settings = try metadata.settings(over: TopicSettings())
        #expect(settings.retentionMilliseconds == -1 && settings.retentionBytes == 7)
        metadata.overrides = ["retention.mode": "limits"]
        #expect(try metadata.settings(over: TopicSettings()).retentionMilliseconds > 0)
    }

    @Test func `what is held holds over a restart`() throws {
        let directory = try TemporaryDirectory("consumed")
        var harness = try BrokerHarness(directory: directory)
        var client = try harness.hello()
        let topic = try harness.makeTopic(client, settings: Self.settings)
        try fill(client, topic)
        try create(client, "a")
        #expect(try client.commit(topic, 3, group: "a") == .none)
        try harness.stop()
        harness = try BrokerHarness(directory: directory)
        client = try harness.hello()
        let held = try describe(client, topic)
        #expect(held.consumed == 3 && held.heldBy == "a")
        #expect(try start(harness) == 3)
        try harness.stop()
    }

    @Test func `a topic that comes while nobody is there is kept for the group`() throws {
        let directory = try TemporaryDirectory("consumed")
        var harness = try BrokerHarness(directory: directory)
        var client = try harness.hello()
        let member = RawMember(client, 1, group: "m")
        try member.join(["t*"])
        var leave = LeaveGroupRequest()
        leave.group = "m"
        leave.member = member.id
        #expect(try client.ask(leave).error == .none)
        let topic = try harness.makeTopic(client, settings: Self.settings)
        try fill(client, topic)
        try create(client, "quick")
        #expect(try client.commit(topic, 4, group: "quick") == .none)
        #expect(try start(harness) == 0)
        try harness.stop()
        harness = try BrokerHarness(directory: directory)
        client = try harness.hello()
        #expect(try describe(client, topic).heldBy == "m")
        #expect(try start(harness) == 0)
        #expect(try client.commit(topic, 3, group: "m") == .none)
        #expect(try start(harness) == 3)
        try harness.stop()
    }

    @Test func `what is not on disk yet does not count, and neither does what was taken back`() {
        let key = TopicPartition(TopicID(high: 1, low: 1), 0)
        var state = GroupShard.State(
            coordinator: Coordinator(limits: GroupLimits(), incarnation: 1), end: 0, footing: 0,
            replayed: 0, snapshotAfter: 100)
        func commit(_ offset: Int64) {
            state.coordinator.replay(
                .committed(group: "g", key, CommittedOffset(offset: offset, at: 0)))
            state.end += 1
        }
        func look(_ durableEnd: Int64) -> ConsumedMark? {
            state.consumed(key, durableEnd: durableEnd)
        }
        commit(5)
        #expect(look(1) == ConsumedMark(offset: 5, group: "g"))
        commit(8)
        #expect(look(1)?.offset == 0)
        commit(9)
        #expect(look(1)?.offset == 0)
        // What was there at the first look is on disk by now.
        #expect(look(2)?.offset == 8)
        commit(3)
        #expect(look(3)?.offset == 3)
        #expect(look(4)?.offset == 3)
        state.coordinator.replay(.deleted(group: "g"))
        state.end += 1
        #expect(look(4)?.offset == 0)
        #expect(look(5) == nil)
    }
}
