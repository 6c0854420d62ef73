import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet topic skip-damage`.
enum TopicSkipDamageCommand {
    static let command: Command = Command(
        CommandSpec(
            "skip-damage", "Let readers pass damaged records.",
            discussion: [
                "Readers of a damaged range get an error until the range is restored from a backup "
                    + "or passed with this command. Nothing is deleted. Without --execute it only "
                    + "shows what would be passed."
            ],
            arguments: [TopicCommands.topicArgument],
            flags: [
                FlagSpec("partition", short: "p", value: "N", required: true, "The partition."),
                FlagSpec(
                    "from", value: "OFFSET", required: true, "The first offset that may be passed."
                ),
                FlagSpec(
                    "to", value: "OFFSET", required: true, "The offset behind the last one."),
                FlagSpec("execute", "Do it."), CommonFlags.output, CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec(
                    "martlet topic skip-damage orders -p 0 --from 1200 --to 1300", "Look"),
                ExampleSpec(
                    "martlet topic skip-damage orders -p 0 --from 1200 --to 1300 --execute", "Do"),
            ])
    ) { context in
        let name = try context.argument(0)
        let offsets: ClosedRange<Int64> = 0 ... .max
        guard let partition = try context.invocation.integer("partition", in: 0...999_999),
            let from = try context.invocation.integer("from", in: offsets),
            let to = try context.invocation.integer("to", in: offsets)
        else { throw context.usage("--partition, --from and --to must be there") }
        guard from < to else { throw context.usage("--to must be above --from") }
        let executes = context.invocation.has("execute")
        let ranges = try await context.withClient { client in
            try await client.admin.skipDamage(
                name, partition: Int32(clamping: partition), from: from, to: to, execute: executes)
        }
        var table = Table([.right("FROM"), .right("UP TO"), .right("OFFSETS")])
        for range in ranges {
            table.add(["\(range.lowerBound)", "\(range.upperBound)", "\(range.count)"])
        }
        try context.show(table, objects: ranges.map(RangeJSON.value))
        if ranges.isEmpty {
            context.output.message("no damaged records are known in that range")
        } else {
            context.output.message(
                executes
                    ? "readers now pass these offsets"
                    : "nothing was done; add --execute to let readers pass these offsets")
        }
    }
}
