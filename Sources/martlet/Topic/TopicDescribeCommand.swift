import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet topic describe`.
enum TopicDescribeCommand {
    static let command: Command = Command(
        CommandSpec(
            "describe", aliases: ["show"], "Show a topic's settings and partitions.",
            discussion: [TopicSettingNames.jsonMeaning],
            arguments: [TopicCommands.topicArgument],
            flags: [CommonFlags.output, CommonFlags.noHeaders],
            examples: [
                ExampleSpec("martlet topic describe orders", "For people"),
                ExampleSpec("martlet topic describe orders -o json", "For programs"),
            ])
    ) { context in
        let name = try context.argument(0)
        let format = context.format()
        let topic = try await context.withClient { try await $0.admin.describeTopic(name) }
        switch format {
        case .table, .name, .raw: try context.output.write(text(topic, context))
        case .json: try context.output.json(json(topic))
        case .jsonl: try context.output.jsonLine(json(topic))
        }
    }

    private static func text(_ topic: TopicDescription, _ context: CommandContext) -> String {
        var facts = Facts()
        facts.add("topic", topic.name)
        facts.add("id", topic.id)
        facts.add("partitions", "\(topic.partitions.count)")
        facts.add("size", Shown.bytes(topic.partitions.reduce(0) { $0 &+ $1.bytes }))
        var settings = Table([.left("SETTING"), .left("VALUE"), .left("SOURCE")])
        for setting in topic.settings {
            settings.add([
                TopicSettingNames.humanKey(setting.key),
                TopicSettingNames.humanValue(setting.value, of: setting.key),
                setting.source.description,
            ])
        }
        let hasHeader = !context.invocation.has("no-headers")
        return facts.text + "\n" + settings.text(hasHeader: hasHeader) + "\n"
            + partitions(topic).text(hasHeader: hasHeader) + ranges(topic)
    }

    private static func partitions(_ topic: TopicDescription) -> Table {
        var table = Table([
            .right("PARTITION"), .left("STATE"), .right("START"), .right("END"),
            .right("NOT DURABLE"), .right("SEGMENTS"), .right("SIZE"), .right("EPOCH"),
            .left("LAST APPEND"),
        ])
        for partition in topic.partitions {
            table.add([
                "\(partition.partition)", partition.state.description, "\(partition.logStart)",
                "\(partition.highWatermark)",
                "\(max(0, partition.logEnd &- partition.durableEnd))",
                "\(partition.segments)", Shown.bytes(partition.bytes),
                "\(partition.leaderEpoch)", partition.lastAppendTime.map(TimeText.text) ?? "",
            ])
        }
        return table
    }

    private static func ranges(_ topic: TopicDescription) -> String {
        var text = ""
        for partition in topic.partitions {
            for range in partition.damaged {
                text += "damaged: partition \(partition.partition), offsets \(shown(range))\n"
            }
            for range in partition.gaps {
                text += "gap: partition \(partition.partition), offsets \(shown(range))\n"
            }
        }
        for partition in topic.partitions {
            guard let consumed = partition.consumed else { continue }
            let who = partition.heldBy.map { "held by group \($0)" } ?? "no group: everything stays"
            text += "consumed: partition \(partition.partition), up to \(consumed), \(who)\n"
        }
        return text.isEmpty ? "" : "\n" + text
    }

    private static func shown(_ range: Range<Int64>) -> String {
        "\(range.lowerBound) up to \(range.upperBound)"
    }

    private static func json(_ topic: TopicDescription) -> JSONValue {
        [
            "name": .string(topic.name), "id": .string(topic.id),
            "settings": .array(
                topic.settings.map { setting in
                    [
                        "name": .string(TopicSettingNames.humanKey(setting.key)),
                        "key": .string(setting.key), "value": .string(setting.value),
                        "source": .string(setting.source.description),
                    ]
                }),
            "partitions": .array(topic.partitions.map(json)),
        ]
    }

    private static func json(_ partition: PartitionStatus) -> JSONValue {
        [
            "partition": JSONValue(partition.partition),
            "state": .string(partition.state.description),
            "logStart": .integer(partition.logStart),
            "highWatermark": .integer(partition.highWatermark),
            "durableEnd": .integer(partition.durableEnd), "logEnd": .integer(partition.logEnd),
            "leaderEpoch": JSONValue(partition.leaderEpoch),
            "segments": JSONValue(partition.segments), "bytes": .integer(partition.bytes),
            "firstAppendTime": partition.firstAppendTime.map { .integer($0) } ?? .null,
            "lastAppendTime": partition.lastAppendTime.map { .integer($0) } ?? .null,
            "gaps": .array(partition.gaps.map(RangeJSON.value)),
            "damaged": .array(partition.damaged.map(RangeJSON.value)),
            "consumed": partition.consumed.map { .integer($0) } ?? .null,
            "heldBy": partition.heldBy.map { .string($0) } ?? .null,
        ]
    }
}

/// Offsets from `from` up to, not with, `to`.
enum RangeJSON {
    static func value(_ range: Range<Int64>) -> JSONValue {
        ["from": .integer(range.lowerBound), "to": .integer(range.upperBound)]
    }
}
