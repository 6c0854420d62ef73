import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet topic trim`: delete records below an offset.
enum TopicTrimCommand {
    static let command: Command = Command(
        CommandSpec(
            "trim", aliases: ["delete-records"], "Delete the records of a topic below an offset.",
            discussion: [
                "--before takes an offset, @TIME for the first record of that event time or later, "
                    + "or 'end' for everything there is."
            ],
            arguments: [TopicCommands.topicArgument],
            flags: [
                FlagSpec("before", value: "WHERE", "An offset, @TIME or end."),
                CommonFlags.partition, CommonFlags.yes, CommonFlags.dryRun, CommonFlags.output,
                CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec("martlet topic trim orders --before @-30d", "What is older than that"),
                ExampleSpec("martlet topic trim orders -p 3 --before 1000 --yes", "One partition"),
            ]), run)

    private static func run(_ context: CommandContext) async throws {
        let name = try context.argument(0)
        guard let word = context.invocation.value("before") else {
            throw context.usage("--before is missing")
        }
        let place = try LogPlace(parsing: word, "--before", context)
        let isDryRun = context.invocation.has("dry-run")
        try await context.withClient { client in
            let topic = try await client.admin.topic(name)
            let partitions =
                try context.partitions(of: topic) ?? topic.allPartitions
            let view = try await LogView.load(client.admin, name, partitions)
            let targets = try await place.offsets(in: view, client.admin)
            if !isDryRun {
                try context.confirm(name, "this deletes records of topic \(name) below \(word)")
            }
            let starts =
                isDryRun
                ? targets : try await client.admin.deleteRecords(name, before: targets)
            try show(view, starts, context)
        }
    }

    private static func show(
        _ view: LogView, _ starts: [Int32: Int64], _ context: CommandContext
    ) throws {
        var table = Table([
            .right("PARTITION"), .right("START BEFORE"), .right("START AFTER"), .right("END"),
        ])
        var objects: [JSONValue] = []
        for place in view.partitions {
            let after = max(place.earliest, starts[place.partition] ?? place.earliest)
            table.add([
                "\(place.partition)", "\(place.earliest)", "\(after)", "\(place.latest)",
            ])
            objects.append([
                "partition": JSONValue(place.partition), "before": .integer(place.earliest),
                "after": .integer(after), "end": .integer(place.latest),
            ])
        }
        try context.show(table, objects: objects)
    }
}
