import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet topic list`.
enum TopicListCommand {
    static let command: Command = Command(
        CommandSpec(
            "list", aliases: ["ls"], "List the topics.",
            flags: [
                FlagSpec("internal", "The broker's own topics too."),
                CommonFlags.output(
                    [.table, .json, .jsonl, .name],
                    "table (default), json, jsonl, or name for the names alone."),
                CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec("martlet topic list", "All of them"),
                ExampleSpec("martlet topic list -o name", "For a shell loop"),
            ])
    ) { context in
        let topics = try await context.withClient { client in
            try await client.admin.listTopics(includeInternal: context.invocation.has("internal"))
        }.sorted { $0.name < $1.name }
        var table = Table([
            .left("NAME"), .right("PARTITIONS"), .left("DURABILITY"), .left("STATE"),
            .right("SIZE"), .left("ID"),
        ])
        for topic in topics {
            table.add([
                topic.name, "\(topic.partitions)", topic.durability?.name ?? "?",
                topic.isOnline ? "online" : "offline", Shown.bytes(topic.bytes), topic.id,
            ])
        }
        try context.show(table, objects: topics.map(json), names: topics.map(\.name))
    }

    private static func json(_ topic: TopicListing) -> JSONValue {
        [
            "name": .string(topic.name), "id": .string(topic.id),
            "partitions": JSONValue(topic.partitions),
            "durability": topic.durability.map { .string($0.name) } ?? .null,
            "isInternal": .boolean(topic.isInternal), "isOnline": .boolean(topic.isOnline),
            "bytes": .integer(topic.bytes),
        ]
    }
}
