import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet topic add-partitions`.
enum TopicAddPartitionsCommand {
    static let command: Command = Command(
        CommandSpec(
            "add-partitions", "Give a topic more partitions.",
            discussion: [
                "Records of a key may go to another partition from then on, and partitions cannot "
                    + "be taken away again."
            ],
            arguments: [TopicCommands.topicArgument],
            flags: [
                FlagSpec(
                    "total", value: "N", required: true, "Partitions that the topic then has."),
                CommonFlags.dryRun, CommonFlags.result,
            ],
            examples: [
                ExampleSpec("martlet topic add-partitions orders --total 8", "Eight of them")
            ]
        )
    ) { context in
        let name = try context.argument(0)
        guard let total = try context.invocation.integer("total", in: 1...100_000) else {
            throw context.usage("--total is missing")
        }
        let wantsJSON = context.wantsJSON
        let isDryRun = context.invocation.has("dry-run")
        let (before, after) = try await context.withClient { client in
            let before = try await client.admin.topic(name).partitions
            guard Int(total) > before else {
                let refusal = Int(total) == before ? " already" : ", and none can be taken away"
                throw ToolError.usage(
                    "topic \(name) has \(Shown.plural(before, "partition"))\(refusal)")
            }
            guard !isDryRun else { return (before, Int(total)) }
            return (before, try await client.admin.addPartitions(name, total: Int(total)))
        }
        if wantsJSON {
            try context.output.jsonLine([
                "topic": .string(name), "before": JSONValue(before), "after": JSONValue(after),
            ])
        } else {
            let has = isDryRun ? "would have" : "has"
            context.output.message(
                "topic \(name) \(has) \(Shown.plural(after, "partition")), before \(before)")
        }
    }
}
