import MartletBroker
import MartletConfiguration
import MartletTestSupport
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

    @Test func `nothing is kept for longer than the broker allows`() throws {
        let directory = try TemporaryDirectory("longest")
        let day: Int64 = 86_400_000
        var harness = try BrokerHarness(directory: directory)
        var client = try harness.hello()
        let old = try harness.makeTopic(client, "old", settings: [("retention.time", "30d")])
        try harness.stop()
        harness = try BrokerHarness(directory: directory) {
            $0.storage.retentionMillisecondsMax = 14 * day
        }
        client = try harness.hello()
        func create(_ settings: [(String, String)]) throws -> CreateTopicReply {
            var request = CreateTopicRequest()
            request.name = "new"
            request.partitions = 1
            request.settings = settings.map { TopicSettingChange($0.0, $0.1) }
            request.validateOnly = true
            return try client.ask(request)
        }
        for (settings, reason) in [
            ([("retention.time", "15d")], "1296000000 ms is too long"),
            ([("retention.time", "-1")], "-1 keeps records for ever"),
            ([("retention.mode", "until-consumed")], "until-consumed keeps records for ever"),
        ] {
            let reply = try create(settings)
            #expect(reply.error == .invalidConfig)
            #expect(reply.message.contains(reason) && reply.message.contains("retention.time.max"))
        }
        #expect(try create([]).error == .none)
        #expect(try create([("retention.time", "14d")]).error == .none)
        #expect(
            try create([("retention.mode", "until-consumed"), ("retention.time", "14d")]).error
                == .none)
        func alter(_ key: String, _ value: String?) throws -> ErrorCode {
            var request = AlterTopicRequest()
            request.id = old
            request.changes = [TopicSettingChange(key, value)]
            return try client.ask(request).error
        }
        // What is there from before stays, and whatever else it has can be changed.
        #expect(try alter("segment.bytes", "1MiB") == .none)
        #expect(try alter("retention.time", "29d") == .invalidConfig)
        #expect(try alter("retention.time", nil) == .none)
        #expect(try alter("retention.time", "30d") == .invalidConfig)
        try harness.stop()
    }
}
