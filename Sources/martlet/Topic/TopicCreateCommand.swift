import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet topic create`.
enum TopicCreateCommand {
    static let command: Command = Command(
        CommandSpec(
            "create", "Make a topic.",
            discussion: [
                "Settings: \(TopicSettingNames.list). Times such as 30s, 12h, 7d; sizes such as "
                    + "64MiB; -1 or forever where there need not be an end. What is not set follows "
                    + "the broker's configuration."
            ],
            arguments: [ArgumentSpec("TOPIC", repeated: true, "Names of the topics.")],
            flags: [
                FlagSpec(
                    "partitions", short: "p", value: "N", "Partitions; else the broker's default."),
                FlagSpec(
                    "set", short: "c", value: "KEY=VALUE", repeatable: true,
                    "A setting, such as retention.time=7d."),
                CommonFlags.durability("durable or written: --set durability=WORD."),
                FlagSpec("if-not-exists", "Be content when the topic is there already."),
                CommonFlags.dryRun, CommonFlags.result,
            ],
            examples: [
                ExampleSpec("martlet topic create orders --partitions 4", "Four partitions"),
                ExampleSpec(
                    "martlet topic create audit --set retention.time=-1", "Keep for ever"),
                ExampleSpec(
                    "martlet topic create ticks --durability written",
                    "Lower latency; a power cut may take the newest records"),
            ]), run)

    private static func run(_ context: CommandContext) async throws {
        let settings = try settings(context)
        let partitions = try context.invocation.integer("partitions", in: 1...100_000)
        let wantsJSON = context.wantsJSON
        try await context.withClient { client in
            for name in context.invocation.arguments {
                let created = try await create(client, name, partitions, settings, context)
                if wantsJSON {
                    try context.output.jsonLine(
                        json(created.topic, isNew: created.isNew, context))
                } else {
                    tell(created.topic, isNew: created.isNew, context)
                }
            }
        }
    }

    private static func settings(_ context: CommandContext) throws -> [String: String] {
        var settings: [String: String] = [:]
        for text in context.invocation.values("set") {
            let setting = try KeyValue(parsing: text, context)
            let key = try TopicSettingNames.wireKey(setting.key)
            let value = try TopicSettingNames.wireValue(setting.value, of: setting.key)
            guard settings.updateValue(value, forKey: key) == nil else {
                throw context.usage("--set: \(setting.key) is given twice")
            }
        }
        if let word = context.invocation.value("durability") {
            guard settings.updateValue(word, forKey: "durability") == nil else {
                throw context.usage("the durability is given twice")
            }
        }
        return settings
    }

    private static func create(
        _ client: MartletClient, _ name: String, _ partitions: Int64?,
        _ settings: [String: String], _ context: CommandContext
    ) async throws -> (topic: TopicInfo, isNew: Bool) {
        do {
            let topic = try await client.admin.createTopic(
                name, partitions: partitions.map { Int($0) }, settings: settings,
                validateOnly: context.invocation.has("dry-run"))
            return (topic, true)
        } catch let error as MartletError
            where error.code == .topicExists && context.invocation.has("if-not-exists")
        {
            return (try await client.admin.topic(name), false)
        }
    }

    private static func tell(_ topic: TopicInfo, isNew: Bool, _ context: CommandContext) {
        let partitions = Shown.plural(topic.partitions, "partition")
        if !isNew {
            context.output.message("topic \(topic.name) is there already, with \(partitions)")
        } else if context.invocation.has("dry-run") {
            context.output.message("topic \(topic.name) could be created, with \(partitions)")
        } else {
            context.output.message("created topic \(topic.name) with \(partitions)")
        }
    }

    private static func json(
        _ topic: TopicInfo, isNew: Bool, _ context: CommandContext
    ) -> JSONValue {
        [
            "topic": .string(topic.name), "id": .string(topic.id),
            "partitions": JSONValue(topic.partitions),
            "created": .boolean(isNew && !context.invocation.has("dry-run")),
        ]
    }
}
