import MartletClient
import MartletConfiguration
import MartletJSON
import MartletSystem

/// `martlet produce`.
enum ProduceCommand {
    static let command: Command = Command(
        CommandSpec(
            "produce", aliases: ["p"], "Write records from standard input to a topic.",
            discussion: [
                "Each line is the value of a record. With --format jsonl each line is an object "
                    + "with any of key, value, headers, partition and timestamp (milliseconds or "
                    + "ISO 8601); keyBase64 and valueBase64 carry bytes that are no text. What "
                    + "'martlet tail -o jsonl' prints can be produced again.",
                "Ends with the input, with the first record that cannot be written, and with "
                    + "Ctrl-C; what was read until then is sent and told. With -v each receipt is "
                    + "printed as soon as it is there, in the order of the input.",
                "A record is tried for as long as --timeout says, 30s without it, also while the "
                    + "broker is away or refuses it for now; then its last error is told.",
            ],
            arguments: [TopicCommands.topicArgument], flags: flags,
            examples: [
                ExampleSpec("echo hello | martlet produce orders", "One record without a key"),
                ExampleSpec("martlet produce orders -K : < lines", "Lines such as key:value"),
                ExampleSpec(
                    "echo '{\"key\":\"k\",\"value\":{\"n\":1}}' | martlet produce orders --format jsonl",
                    "JSON lines"),
                ExampleSpec(
                    "echo hello | martlet produce orders -H source=shell -p 2 -v",
                    "With a header, into partition 2, and say where it is"),
            ]), run)

    private static let flags = [
        FlagSpec(
            "key-separator", short: "K", value: "TEXT",
            "What stands between key and value; lines without it have no key."),
        FlagSpec("key", short: "k", value: "KEY", "The key of records that have none."),
        FlagSpec(
            "header", short: "H", value: "NAME=VALUE", repeatable: true,
            "A header of every record."),
        FlagSpec("format", value: "FORM", choices: ["lines", "jsonl"], "lines or jsonl."),
        FlagSpec(
            "delimiter", short: "D", value: "BYTE", "What ends a record instead of a new line."),
        FlagSpec(
            "empty-is-null", short: "Z", "Empty keys are none, and empty values are tombstones."),
        FlagSpec("partition", short: "p", value: "N", "All into this partition."),
        CommonFlags.acks,
        FlagSpec("verbose", short: "v", "Print where each record is."),
        CommonFlags.output(
            [.table, .json, .jsonl],
            "With -v: table, json or jsonl; without it a table on a terminal and jsonl elsewhere."),
    ]

    private static func run(_ context: CommandContext) async throws {
        let input = try RecordInput(context)
        let printsReceipts = context.invocation.has("verbose")
        let receipts = try ReceiptPrinter(context)
        if StandardStream.input.isTerminal, context.output.errorIsTerminal {
            context.output.message("one record a line; Ctrl-D ends")
        }
        let result = try await context.withClient { client in
            // Without this a missing topic is told only after the delivery timeout.
            let topic = try await client.admin.topic(input.topic)
            if let partition = input.partition, Int(partition) >= topic.partitions {
                throw ToolError(
                    .notFound,
                    "topic \(topic.name) has no partition \(partition), only 0 to "
                        + "\(topic.partitions - 1)")
            }
            let run = ProduceRun(
                try await client.producer(try configuration(context)), input, context.output,
                receipts: printsReceipts ? receipts : nil)
            return try await run.run()
        }
        if context.output.errorIsTerminal || result.duplicates > 0 {
            context.output.message(summary(of: result, input.topic))
        }
    }

    static func configuration(_ context: CommandContext) throws -> ProducerConfiguration {
        let acks = context.invocation.value("acks").flatMap { AckLevel(name: $0) } ?? .durable
        // What --timeout says, or its default.
        let patience = try context.clientConfiguration().requestTimeout
        return ProducerConfiguration(acks: acks, deliveryTimeout: patience)
    }

    private static func summary(of result: ProduceRun.Written, _ topic: String) -> String {
        let stored = Shown.plural(result.records - result.duplicates, "record")
        guard result.duplicates > 0 else { return "\(stored) written to \(topic)" }
        let duplicates = Shown.plural(result.duplicates, "duplicate")
        return "\(stored) written to \(topic), \(duplicates) left out"
    }
}

/// Shows where records are.
struct ReceiptPrinter {
    private let format: OutputFormat
    private let output: Output
    private var isFirst = true

    init(_ context: CommandContext) throws {
        format = context.format(elsewhere: .jsonl)
        output = context.output
    }

    mutating func show(_ receipt: DeliveryReceipt) throws {
        let value: JSONValue = [
            "topic": .string(receipt.topic), "partition": JSONValue(receipt.partition),
            "offset": receipt.offset < 0 ? .null : .integer(receipt.offset),
            "durability": .string(receipt.durability.name),
            "isDuplicate": .boolean(receipt.isDuplicate),
        ]
        switch format {
        case .json: try output.write((isFirst ? "[\n" : ",\n") + JSONWriter.text(value))
        case .jsonl: try output.jsonLine(value)
        case .table, .name, .raw:
            let offset = receipt.offset < 0 ? "unknown" : "\(receipt.offset)"
            let duplicate = receipt.isDuplicate ? ", was there already" : ""
            try output.line(
                "\(receipt.topic) partition \(receipt.partition) offset \(offset) "
                    + "\(receipt.durability.name)\(duplicate)")
        }
        isFirst = false
    }

    func finish() throws {
        if format == .json { try output.write(isFirst ? "[]\n" : "\n]\n") }
    }
}
