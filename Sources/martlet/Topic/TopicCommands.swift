import MartletConfiguration

/// `martlet topic ...`.
enum TopicCommands {
    static let topicArgument = ArgumentSpec(
        "TOPIC", offers: .topic, "The topic's name.")

    static let group: Command = Command(
        "topic", aliases: ["topics", "t"], "Make, list, look at, change and delete topics.",
        examples: [
            ExampleSpec("martlet topic create orders --partitions 4", "Make one"),
            ExampleSpec("martlet topic describe orders", "Settings, offsets, damage"),
        ],
        commands: [
            TopicCreateCommand.command, TopicListCommand.command, TopicDescribeCommand.command,
            TopicSettingsCommands.set, TopicSettingsCommands.unset,
            TopicAddPartitionsCommand.command, TopicDeleteCommand.command,
            TopicTrimCommand.command, TopicVerifyCommand.command, TopicSkipDamageCommand.command,
        ])
}
