import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet group parked` and `martlet group release`.
enum GroupParkedCommands {
    static let parked: Command = Command(
        CommandSpec(
            "parked", "List the records of a group that are set aside.",
            discussion: [
                "A group whose policy parks ('martlet group policy --then park-record') sets a record "
                    + "aside when it is not tried any more; with park-key all later records of its key "
                    + "wait behind it. 'martlet group release' hands them out again."
            ],
            arguments: [GroupCommands.argument],
            flags: [
                FlagSpec("limit", short: "n", value: "N", "So many at most."),
                CommonFlags.output(
                    [.table, .json, .jsonl, .name],
                    "table (default), json, jsonl, or name for TOPIC:PARTITION:OFFSET alone."),
                CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec("martlet group parked notify", "All of them, with why"),
                ExampleSpec(
                    "martlet group parked notify -o name | xargs -r martlet group release notify",
                    "One by one"),
            ])
    ) { context in
        let name = try context.argument(0)
        let limit = try context.invocation.integer("limit", in: 1...1_000_000)
        let records = try await context.withClient {
            try await $0.admin.parkedRecords(of: name, limit: limit.map { Int($0) })
        }
        var table = Table([
            .left("TOPIC"), .right("PARTITION"), .right("OFFSET"), .left("WITH ITS KEY"),
            .left("SINCE"), .right("ATTEMPTS"), .left("FAILURE"), .left("TEXT"),
        ])
        for record in records {
            table.add([
                record.partition.topic, "\(record.partition.partition)", "\(record.offset)",
                record.parksKey ? "yes" : "no", TimeText.text(record.parkedAt),
                "\(record.attempts)", record.failure, record.text,
            ])
        }
        try context.show(table, objects: records.map(json), names: records.map(place))
    }

    private static func place(_ record: ParkedRecord) -> String {
        "\(record.partition.topic):\(record.partition.partition):\(record.offset)"
    }

    private static func json(_ record: ParkedRecord) -> JSONValue {
        [
            "topic": .string(record.partition.topic),
            "partition": JSONValue(record.partition.partition),
            "offset": .integer(record.offset), "parksKey": .boolean(record.parksKey),
            "parkedAt": .integer(record.parkedAt), "attempts": JSONValue(record.attempts),
            "failure": .string(record.failure), "text": .string(record.text),
        ]
    }

    static let release: Command = Command(
        CommandSpec(
            "release", "Hand records out again that are set aside.",
            discussion: [
                "Each comes in its turn, as if nobody had tried it, and what waits behind its key "
                    + "comes after it."
            ],
            arguments: [
                GroupCommands.argument,
                ArgumentSpec(
                    "TOPIC:PARTITION:OFFSET", optional: true, repeated: true,
                    "Which; as 'martlet group parked' lists them."),
            ],
            flags: [
                FlagSpec("all", "Everything that the group has set aside."), CommonFlags.result,
            ],
            examples: [
                ExampleSpec("martlet group release notify --all", "When the cause is mended"),
                ExampleSpec("martlet group release notify orders:0:117", "One record"),
            ]), runRelease)

    private static func runRelease(_ context: CommandContext) async throws {
        let name = try context.argument(0)
        let words = context.invocation.arguments.dropFirst()
        let isAll = context.invocation.has("all")
        guard isAll != !words.isEmpty else {
            throw context.usage("name records as TOPIC:PARTITION:OFFSET, or --all")
        }
        var places: [TopicPartition: [Int64]] = [:]
        for word in words {
            let (partition, offset) = try parse(word, context)
            places[partition, default: []].append(offset)
        }
        let wantsJSON = context.wantsJSON
        let asked = places
        let (released, refused) = try await context.withClient { client in
            if isAll { return (try await client.admin.releaseAllParked(of: name), 0) }
            let refused = try await client.admin.releaseParked(asked, of: name)
            for (partition, errors) in refused.sorted(by: { $0.key < $1.key }) {
                for (offset, error) in errors.sorted(by: { $0.key < $1.key }) {
                    context.output.message(
                        "\(partition.topic):\(partition.partition):\(offset): \(error.message)")
                }
            }
            let count = refused.values.reduce(0) { $0 + $1.count }
            return (words.count - count, count)
        }
        if wantsJSON {
            try context.output.jsonLine([
                "group": .string(name), "released": JSONValue(released),
                "refused": JSONValue(refused),
            ])
        } else if released > 0 || refused == 0 {
            context.output.message("released \(Shown.plural(released, "record")) to group \(name)")
        }
        if refused > 0 {
            throw ToolError(
                .notFound, "\(Shown.plural(refused, "record", "was", "were")) not parked")
        }
    }

    private static func parse(
        _ word: String, _ context: CommandContext
    ) throws -> (TopicPartition, Int64) {
        let parts = word.placeParts
        guard parts.count == 3, !parts[0].isEmpty, let partition = Int32(parts[1]), partition >= 0,
            let offset = Int64(parts[2]), offset >= 0
        else { throw context.usage("'\(word)' is not TOPIC:PARTITION:OFFSET") }
        return (TopicPartition(String(parts[0]), partition), offset)
    }
}
