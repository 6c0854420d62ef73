import MartletClient
import MartletConfiguration
import Testing

@testable import martlet

/// How lines become records.
@Suite struct InputTests {
    private static func input(_ words: [String]) throws -> RecordInput {
        try RecordInput(context(["produce", "orders"] + words))
    }

    static func context(_ words: [String]) throws -> CommandContext {
        guard case .run(let invocation) = try CommandTree.root.spec.parse(words) else {
            throw ToolError.failure("no invocation")
        }
        return CommandContext(
            invocation: invocation, environment: [:],
            output: Output(isTerminal: false, errorIsTerminal: false, width: nil))
    }

    @Test func `a record is tried for as long as the help says`() throws {
        func patience(_ words: [String]) throws -> Duration {
            try ProduceCommand.configuration(Self.context(["produce", "t"] + words)).deliveryTimeout
        }
        #expect(try patience([]) == .seconds(30))
        #expect(try patience(["--timeout", "90s"]) == .seconds(90))
        #expect(try patience(["--timeout", "250ms"]) == .milliseconds(250))
        let help = CommandTree.root.spec.flags.first { $0.name == "timeout" }?.help
        #expect(help?.contains("30s") == true)
    }

    /// A topic of which all is followed is read as a whole, so that partitions may be added.
    @Test func `where a tail begins and ends`() throws {
        let view = LogView(
            topic: "t",
            partitions: [
                LogView.Place(partition: 0, earliest: 5, latest: 100),
                LogView.Place(partition: 1, earliest: 0, latest: 0),
            ])
        let starts: [Int32: Int64] = [0: 90, 1: 0]
        let ends: [Int32: Int64] = [0: 100, 1: 0]
        let first = TopicPartition("t", 0)
        let second = TopicPartition("t", 1)

        let follow = try TailPlan(Self.context(["tail", "t", "-f"]))
        let whole = try #require(follow.range(of: view, isWhole: true, starts, ends))
        #expect(whole.configuration.assignments == [.topic("t", start: .earliest)])
        #expect(whole.starts == [first: 90, second: 0] && whole.ends == nil)
        #expect(whole.configuration.deadline == .seconds(60))
        let chosen = try #require(follow.range(of: view, isWhole: false, starts, ends))
        #expect(
            chosen.configuration.assignments == [
                .partition("t", 0, start: .offset(90)), .partition("t", 1, start: .offset(0)),
            ])
        #expect(chosen.starts.isEmpty && chosen.ends == nil)

        let once = try TailPlan(Self.context(["tail", "t"]))
        let bounded = try #require(once.range(of: view, isWhole: true, starts, ends))
        #expect(bounded.configuration.assignments == [.partition("t", 0, start: .offset(90))])
        #expect(bounded.starts.isEmpty && bounded.ends == [first: 100])
        #expect(bounded.configuration.deadline == nil)
        let patient = try TailPlan(Self.context(["tail", "t", "-f", "--connect-timeout", "5s"]))
        #expect(patient.deadline == nil)
    }

    private static func record(_ text: String, _ words: [String] = []) throws -> ProducerRecord? {
        try input(words).record(Array(text.utf8), number: 7)
    }

    @Test func `lines`() throws {
        #expect(
            try Self.record("a:b") == ProducerRecord(topic: "orders", key: nil, value: "a:b"))
        #expect(
            try Self.record("a:b:c", ["-K", ":"])
                == ProducerRecord(topic: "orders", key: "a", value: "b:c"))
        #expect(
            try Self.record("a\tb", ["-K", "\\t"])
                == ProducerRecord(topic: "orders", key: "a", value: "b"))
        #expect(
            try Self.record("ab", ["-K", "::", "-k", "z"])
                == ProducerRecord(topic: "orders", key: "z", value: "ab"))
        #expect(
            try Self.record("k:", ["-K", ":", "-Z"])
                == ProducerRecord(topic: "orders", key: "k", value: nil as String?))
        #expect(
            try Self.record("v", ["-H", "a=1=2", "-H", "b=", "-p", "3"])
                == ProducerRecord(
                    topic: "orders", key: nil, value: "v",
                    headers: [RecordHeader("a", "1=2"), RecordHeader("b", "")], partition: 3))
        #expect(try Self.record("") == ProducerRecord(topic: "orders", key: nil, value: ""))
    }

    @Test func `JSON lines`() throws {
        let json = ["--format", "jsonl"]
        #expect(
            try Self.record(
                #"{"key":"k","value":{"n":[1,2]},"headers":{"h":"x"},"partition":2,"#
                    + #""timestamp":"2026-01-22T12:00Z"}"#, json)
                == ProducerRecord(
                    topic: "orders", key: "k", value: #"{"n":[1,2]}"#,
                    headers: [RecordHeader("h", "x")], partition: 2,
                    timestamp: 1_769_083_200_000))
        #expect(
            try Self.record(#"{"value":null,"keyBase64":"/wAB"}"#, json)
                == ProducerRecord(topic: "orders", key: [0xFF, 0, 1], value: nil as [UInt8]?))
        #expect(
            try Self.record(
                #"{"value":"v","headers":[{"key":"a","value":"1"},{"key":"a","value":null}]}"#,
                json)
                == ProducerRecord(
                    topic: "orders", key: nil, value: "v",
                    headers: [RecordHeader("a", "1"), RecordHeader("a", nil as [UInt8]?)]))
        #expect(try Self.record("  ", json) == nil)
    }

    @Test(arguments: [
        ("{", "line 7"), ("[]", "line 7: not a JSON object"), (#"{"kee":"k"}"#, "'key'"),
        (#"{"partition":-1}"#, "partition"), (#"{"timestamp":"soon"}"#, "timestamp"),
        (#"{"valueBase64":"*"}"#, "valueBase64"), (#"{"headers":3}"#, "headers"),
    ])
    func `what is wrong with a JSON line is said with its number`(
        line: String, part: String
    ) throws {
        let error = #expect(throws: ToolError.self) {
            try Self.record(line, ["--format", "jsonl"])
        }
        #expect(error?.exitCode == .usage)
        #expect(error?.message.contains("line 7") == true)
        #expect(error?.message.contains(part) == true, "\(error?.message ?? "")")
    }

    @Test func `what tail prints can be produced again`() throws {
        let view = RecordView(
            topic: "orders", partition: 1, offset: 9, timestamp: 5, key: [0xFF],
            value: Array("v\n\"".utf8), headers: [RecordHeader("h", [0xFE])])
        let line = RecordPrinter.json(view)
        let text = JSONText.text(line)
        let record = try #require(try Self.record(text, ["--format", "jsonl"]))
        #expect(record.key == view.key)
        #expect(record.value == view.value)
        #expect(record.headers == view.headers)
        #expect(record.timestamp == view.timestamp)
        #expect(record.partition == view.partition)
    }

    @Test(arguments: [
        ["tail", "t", "--from", "1", "-n", "2"], ["tail", "t", "-f", "-e"],
        ["tail", "t", "--from", "soon"], ["tail", "t", "-f", "--until", "5"],
    ])
    func `tail refuses what makes no sense`(words: [String]) throws {
        let context = try Self.context(words)
        let error = #expect(throws: CommandLineError.self) { try TailPlan(context) }
        #expect(error?.command == "martlet tail")
    }

    @Test(arguments: [
        (["tail", "t"], false), (["tail", "t", "-f"], true),
        (["tail", "t", "--from", "latest"], true), (["tail", "t", "-c", "1"], true),
        (["tail", "t", "-c", "1", "-e"], false), (["tail", "t", "--from", "latest", "-e"], false),
        (["tail", "t", "--until", "5", "-c", "1"], false),
    ])
    func `when tail follows`(words: [String], follows: Bool) throws {
        #expect(try TailPlan(Self.context(words)).follows == follows)
    }

    @Test func `settings have two names and one value`() throws {
        #expect(try TopicSettingNames.wireKey("retention.time") == "retention.ms")
        #expect(try TopicSettingNames.wireKey("retention.ms") == "retention.ms")
        #expect(try TopicSettingNames.wireValue("7d", of: "retention.time") == "604800000")
        #expect(try TopicSettingNames.wireValue("7d", of: "retention.ms") == "604800000")
        #expect(try TopicSettingNames.wireValue("5", of: "retention.ms") == "5")
        #expect(try TopicSettingNames.wireValue("forever", of: "retention.time") == "-1")
        #expect(try TopicSettingNames.wireValue("64MiB", of: "segment.bytes") == "67108864")
        #expect(try TopicSettingNames.wireValue("compact", of: "cleanup") == "compact")
        #expect(TopicSettingNames.humanValue("604800000", of: "retention.ms") == "7d")
        #expect(throws: ToolError.self) { try TopicSettingNames.wireKey("retentoin.time") }
        // Five what? A name without a unit wants one in the value.
        #expect(throws: ToolError.self) {
            try TopicSettingNames.wireValue("5", of: "retention.time")
        }
    }
}
