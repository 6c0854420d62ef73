import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet topic delete`.
enum TopicDeleteCommand {
    static let command: Command = Command(
        CommandSpec(
            "delete", aliases: ["rm"], "Delete a topic and all of its records.",
            discussion: ["Asks for the name to be typed again; a script adds --yes."],
            arguments: [TopicCommands.topicArgument],
            flags: [
                CommonFlags.yes, CommonFlags.dryRun, CommonFlags.result,
                FlagSpec("if-exists", "Be content when there is no such topic."),
            ],
            examples: [
                ExampleSpec("martlet topic delete orders", "Asks first"),
                ExampleSpec("martlet topic delete orders --dry-run", "What would go"),
            ])
    ) { context in
        let name = try context.argument(0)
        let wantsJSON = context.wantsJSON
        let isDryRun = context.invocation.has("dry-run")
        let bytes: Int64? = try await context.withClient { client in
            let topics = try await client.admin.listTopics()
            guard let topic = topics.first(where: { $0.name == name }) else {
                if context.invocation.has("if-exists") { return nil }
                let hint = NearestName.suggestion(for: name, in: topics.map(\.name))
                throw ToolError(.notFound, "there is no topic '\(name)'\(hint)")
            }
            let what =
                "this deletes topic \(name) with \(Shown.plural(topic.partitions, "partition")) "
                + "and \(Shown.bytes(topic.bytes))"
            if isDryRun {
                context.output.message("\(what) (dry run: nothing was done)")
            } else {
                try context.confirm(name, what)
                try await client.admin.deleteTopic(name)
            }
            return topic.bytes
        }
        if wantsJSON {
            try context.output.jsonLine([
                "topic": .string(name), "deleted": .boolean(bytes != nil && !isDryRun),
                "bytes": .integer(bytes ?? 0),
            ])
        } else if !isDryRun {
            context.output.message(
                bytes == nil ? "there is no topic \(name)" : "deleted topic \(name)")
        }
    }
}
