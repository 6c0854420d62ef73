import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet topic set` and `unset`.
enum TopicSettingsCommands {
    static let set: Command = Command(
        CommandSpec(
            "set", "Change settings of a topic.",
            discussion: [
                "Settings: \(TopicSettingNames.list).",
                "Shows each setting before and after. With --dry-run nothing changes, and the exit "
                    + "code is 2 when something would.",
            ],
            arguments: [
                TopicCommands.topicArgument,
                ArgumentSpec("KEY=VALUE", repeated: true, "Settings, such as retention.time=7d."),
            ],
            flags: [CommonFlags.dryRun, CommonFlags.output, CommonFlags.noHeaders],
            examples: [
                ExampleSpec("martlet topic set orders retention.time=30d", "Keep for 30 days"),
                ExampleSpec(
                    "martlet topic set orders cleanup=compact --dry-run", "Would that be right?"),
            ])
    ) { context in
        var changes: [String: String?] = [:]
        for text in context.invocation.arguments.dropFirst() {
            let setting = try KeyValue(parsing: text, context)
            let key = try TopicSettingNames.wireKey(setting.key)
            let value = try TopicSettingNames.wireValue(setting.value, of: setting.key)
            guard changes.updateValue(.some(value), forKey: key) == nil else {
                throw context.usage("\(setting.key) is given twice")
            }
        }
        try await alter(changes, context)
    }

    static let unset: Command = Command(
        CommandSpec(
            "unset", "Give settings of a topic back to the broker's defaults.",
            discussion: [TopicSettingNames.jsonMeaning],
            arguments: [
                TopicCommands.topicArgument,
                ArgumentSpec("KEY", repeated: true, "Names of settings."),
            ],
            flags: [CommonFlags.dryRun, CommonFlags.output, CommonFlags.noHeaders],
            examples: [ExampleSpec("martlet topic unset orders retention.time", "Default age")])
    ) { context in
        var changes: [String: String?] = [:]
        for key in context.invocation.arguments.dropFirst() {
            changes[try TopicSettingNames.wireKey(key)] = .some(nil)
        }
        try await alter(changes, context)
    }

    private static func alter(
        _ changes: [String: String?], _ context: CommandContext
    ) async throws {
        let name = try context.argument(0)
        let isDryRun = context.invocation.has("dry-run")
        let result = try await context.withClient { client in
            try await client.admin.alterTopic(name, changes: changes, validateOnly: isDryRun)
        }
        var table = Table([.left("SETTING"), .left("BEFORE"), .left("AFTER"), .left("SOURCE")])
        for change in result {
            func shown(_ value: String?) -> String {
                value.map { TopicSettingNames.humanValue($0, of: change.key) } ?? ""
            }
            table.add([
                TopicSettingNames.humanKey(change.key), shown(change.before), shown(change.after),
                change.source.description,
            ])
        }
        try context.show(table, objects: result.map(json))
        guard isDryRun else { return }
        context.output.message("dry run: nothing was done")
        if result.contains(where: { $0.before != $0.after }) { throw ToolError.silent(.usage) }
    }

    private static func json(_ change: SettingChange) -> JSONValue {
        [
            "name": .string(TopicSettingNames.humanKey(change.key)),
            "key": .string(change.key), "before": change.before.map { .string($0) } ?? .null,
            "after": change.after.map { .string($0) } ?? .null,
            "source": .string(change.source.description),
        ]
    }
}
