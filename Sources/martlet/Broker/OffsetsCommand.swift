import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet offsets`.
enum OffsetsCommand {
    static let command: Command = Command(
        CommandSpec(
            "offsets", "Show where the partitions of a topic begin and end.",
            discussion: [
                "SPAN is the number of offsets between the two: as many as there are records, "
                    + "unless compaction took some or offsets were skipped.",
                "With --at also the offset that a place has: of the first record with an event time "
                    + "(@2026-01-22T12:00Z, @1769083200000, @-15m), or so many before the end (-100).",
            ],
            arguments: [TopicCommands.topicArgument],
            flags: [
                FlagSpec(
                    "at", value: "WHERE", suggestions: ["earliest", "latest"],
                    "@TIME, -N, earliest or latest."),
                CommonFlags.partition, CommonFlags.output, CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec("martlet offsets orders", "How much is there?"),
                ExampleSpec("martlet offsets orders --at @-1h", "Where did the last hour begin?"),
            ]), run)

    private static func run(_ context: CommandContext) async throws {
        let name = try context.argument(0)
        let place = try context.invocation.value("at").map {
            try LogPlace(parsing: $0, "--at", context)
        }
        let (view, found) = try await context.withClient { client in
            let topic = try await client.admin.topic(name)
            let partitions = try context.partitions(of: topic) ?? topic.allPartitions
            let view = try await LogView.load(client.admin, name, partitions)
            return (view, try await place?.offsets(in: view, client.admin))
        }
        try show(view, found, context)
    }

    private static func show(
        _ view: LogView, _ found: [Int32: Int64]?, _ context: CommandContext
    ) throws {
        var columns: [Table.Column] = [
            .right("PARTITION"), .right("EARLIEST"), .right("LATEST"), .right("SPAN"),
        ]
        if found != nil { columns.append(.right("OFFSET")) }
        var table = Table(columns)
        var objects: [JSONValue] = []
        for place in view.partitions {
            let span = max(0, place.latest &- place.earliest)
            var cells = ["\(place.partition)", "\(place.earliest)", "\(place.latest)", "\(span)"]
            var object: JSONObject = [
                "partition": JSONValue(place.partition), "earliest": .integer(place.earliest),
                "latest": .integer(place.latest), "span": .integer(span),
            ]
            if let offset = found?[place.partition] {
                cells.append("\(offset)")
                object["offset"] = .integer(offset)
            }
            table.add(cells)
            objects.append(.object(object))
        }
        try context.show(table, objects: objects)
    }
}

extension TopicInfo {
    var allPartitions: [Int32] { Array(0..<Int32(clamping: partitions)) }
}
