import MartletBroker
import MartletWire
import Testing

@testable import MartletStorage

/// Topic settings as people write them, and as programs do.
@Suite struct TopicSettingTests {
    @Test(arguments: [
        ("retention.time", "7d", "retention.ms", "604800000"),
        ("retention.time", "-1", "retention.ms", "-1"),
        ("retention.time", "forever", "retention.ms", "-1"),
        ("retention.ms", "604800000", "retention.ms", "604800000"),
        ("segment.bytes", "64MiB", "segment.bytes", "67108864"),
        ("segment.bytes", "67108864", "segment.bytes", "67108864"),
        ("cleanup", "compact,delete", "cleanup.policy", "compact,delete"),
        ("cleanup.policy", "compact", "cleanup.policy", "compact"),
        ("durability", "written", "durability", "written"),
        ("event.time.future.max", "0s", "event.time.future.max.ms", "0"),
        ("no.such.setting", "7d", "no.such.setting", "7d"),
    ])
    func `both spellings of a setting are understood`(
        key: String, value: String, canonicalKey: String, canonicalValue: String
    ) throws {
        let (name, text) = try TopicSettingText.canonical(key, value)
        #expect(name == canonicalKey)
        #expect(text == canonicalValue)
        #expect(try TopicSettingText.canonical(key, nil).key == canonicalKey)
    }

    @Test(arguments: [
        ("retention.time", "7"), ("retention.time", "soon"), ("segment.bytes", "64MB"),
        ("durability", "maybe"), ("cleanup", ""),
    ])
    func `a value that is none is refused with its key`(key: String, value: String) throws {
        let error = #expect(throws: StorageError.self) {
            _ = try TopicSettingText.canonical(key, value)
        }
        #expect(error?.message.hasPrefix("\(key): ") == true)
    }

    @Test func `each canonical setting has a name in the configuration`() throws {
        for key in TopicSettings.keys {
            let name = TopicSettingText.configured(key.name)
            #expect(try TopicSettingText.canonical(name, nil).key == key.name)
        }
    }

    @Test func `a topic that was compacted stays one with holes, whatever its policy becomes`()
        throws
    {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let id = try harness.makeTopic(client, partitions: 2)
        var metadata = MetadataRequest()
        metadata.ids = [TopicIDItem(id)]
        func isCompacted() throws -> Bool? { try client.ask(metadata).topics.first?.compacted }
        #expect(try isCompacted() == false)
        var alter = AlterTopicRequest()
        alter.id = id
        for policy in ["compact", "delete"] {
            alter.changes = [TopicSettingChange("cleanup.policy", policy)]
            #expect(try client.ask(alter).error == .none)
            #expect(try isCompacted() == (policy == "compact"))
        }
        // As when a segment is rewritten; `CompactionTests` sees to it that it is noted then.
        harness.broker.engine.topic(named: "t")?.partition(1)?.noteCompacted()
        #expect(try isCompacted() == true)
        try harness.stop()
    }

    @Test func `a topic is made and changed with times and sizes, and shows numbers`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let id = try harness.makeTopic(
            client, settings: [("retention.time", "2d"), ("segment.bytes", "1MiB")])
        var describe = DescribeTopicRequest()
        describe.id = id
        let settings = try client.ask(describe).settings
        #expect(settings.first { $0.key == "retention.ms" }?.value == "172800000")
        #expect(settings.first { $0.key == "segment.bytes" }?.value == "1048576")

        var alter = AlterTopicRequest()
        alter.id = id
        alter.changes = [TopicSettingChange("retention.time", "1h")]
        let changed = try client.ask(alter)
        #expect(changed.error == .none, "\(changed.message)")
        #expect(changed.settings.map(\.after) == ["3600000"])
        #expect(changed.settings.map(\.source) == [SettingSource.topic.rawValue])
        alter.changes = [TopicSettingChange("retention.time", nil)]
        let unset = try client.ask(alter).settings
        #expect(unset.map(\.source) == [SettingSource.builtIn.rawValue])
        #expect(unset.map(\.after) == ["604800000"])
        alter.changes = [TopicSettingChange("retention.time", "often")]
        #expect(try client.ask(alter).error == .invalidConfig)
        try harness.stop()
    }
}
