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
                    + "or 'end' for everything there is. Partitions that refuse it are named, and "
                    + "the others are trimmed."
            ],
            arguments: [TopicCommands.topicArgument],
            flags: [
                FlagSpec("before", value: "WHERE", required: true, "An offset, @TIME or end."),
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
            if isDryRun { return try plan(view, targets, context) }
            try context.confirm(name, "this deletes records of topic \(name) below \(word)")
            let results = try await client.admin.deleteRecordsOfEach(name, before: targets)
            try show(view, results, context)
            try tell(results, context)
        }
    }

    /// What would be refused stays where it is.
    private static func plan(
        _ view: LogView, _ targets: [Int32: Int64], _ context: CommandContext
    ) throws {
        var results: [Int32: Result<Int64, MartletError>] = [:]
        for place in view.partitions {
            guard let target = targets[place.partition] else { continue }
            let isRefused = target > place.latest
            results[place.partition] = .success(
                isRefused ? place.earliest : max(place.earliest, target))
            guard isRefused else { continue }
            context.output.message(
                "partition \(place.partition) would be refused: it ends at \(place.latest)")
        }
        try show(view, results, context)
        context.output.message("dry run: nothing was done")
    }

    /// Names the partitions that were refused; the command fails with the first.
    private static func tell(
        _ results: [Int32: Result<Int64, MartletError>], _ context: CommandContext
    ) throws {
        var first: MartletError?
        for (partition, result) in results.sorted(by: { $0.key < $1.key }) {
            guard case .failure(let error) = result else { continue }
            context.output.message("martlet: partition \(partition) is not trimmed")
            first = first ?? error
        }
        if let first { throw first }
    }

    private static func show(
        _ view: LogView, _ results: [Int32: Result<Int64, MartletError>],
        _ context: CommandContext
    ) throws {
        var table = Table([
            .right("PARTITION"), .right("START BEFORE"), .right("START AFTER"), .right("END"),
        ])
        var objects: [JSONValue] = []
        for place in view.partitions {
            let result = results[place.partition] ?? .success(place.earliest)
            let after: Int64
            var refusal = JSONValue.null
            switch result {
            case .success(let start): after = max(place.earliest, start)
            case .failure(let error):
                after = place.earliest
                refusal = .string(error.code.name)
            }
            table.add([
                "\(place.partition)", "\(place.earliest)", "\(after)", "\(place.latest)",
            ])
            objects.append([
                "partition": JSONValue(place.partition), "before": .integer(place.earliest),
                "after": .integer(after), "end": .integer(place.latest), "error": refusal,
            ])
        }
        try context.show(table, objects: objects)
    }
}
