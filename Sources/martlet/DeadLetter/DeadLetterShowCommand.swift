import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet dlq show`.
enum DeadLetterShowCommand {
    static let command: Command = Command(
        CommandSpec(
            "show", "Show all about one dead letter.",
            discussion: ["--format: " + RecordFormat.meaning],
            arguments: [GroupCommands.argument, DeadLetterCommands.number],
            flags: [
                CommonFlags.output(
                    [.table, .json, .jsonl, .raw],
                    "table (default), json, jsonl, or raw for the value alone."),
                FlagSpec("format", value: "TEXT", "The record in a form of your own, see above."),
            ],
            examples: [
                ExampleSpec("martlet dlq show notify 17", "For people"),
                ExampleSpec("martlet dlq show notify 17 -o raw | jq .", "Its value"),
            ]), run)

    private static func run(_ context: CommandContext) async throws {
        let name = try context.argument(0)
        let number = try LetterFilter.number(try context.argument(1), "N", context)
        let hasFormat = context.invocation.has("format")
        // It is checked before anything is asked for.
        var printer = hasFormat ? try RecordPrinter(context) : nil
        let (view, history) = try await context.withClient { client in
            let view = try await context.letter(client, name, number)
            let reader = LetterReader(client: client, group: name)
            var history: [DeadLetterEntry] = []
            if let newest = view.newest {
                history = try await reader.history(of: view.letter, upTo: newest)
            }
            return (view, history)
        }
        if hasFormat || context.format() == .raw {
            guard let record = view.newest?.record else { throw missing(number, name) }
            if hasFormat {
                try printer?.show(RecordView(record))
                try printer?.flush()
            } else {
                try context.output.write((record.valueBytes ?? []) + [0x0A])
            }
            return
        }
        var object = LetterJSON.whole(view, name)
        object["history"] = .array(history.map(LetterJSON.entry))
        switch context.format() {
        case .table, .name, .raw: try context.output.write(text(view, history, name))
        case .json: try context.output.json(.object(object))
        case .jsonl: try context.output.jsonLine(.object(object))
        }
    }

    static func missing(_ number: UInt64, _ group: String) -> ToolError {
        ToolError(
            .notFound,
            "dead letter \(number) is not in topic \(DeadLetterEntry.topic(of: group)): it is on "
                + "its way, or was deleted there")
    }

    static func text(
        _ view: LetterView, _ history: [DeadLetterEntry], _ group: String
    ) -> String {
        let letter = view.letter
        var facts = Facts()
        facts.add("dead letter", "\(letter.number) of group \(group)")
        facts.add("state", letter.isReplaying ? "with the group again" : "dead")
        facts.add("reason", words(letter.reason))
        facts.add("from", DeadLetterCommands.place(view))
        facts.add("died", "\(TimeText.text(letter.diedAt)), \(times(letter.deaths))")
        facts.add("tries", "\(letter.attempts)")
        facts.add("replays", "\(letter.replays)")
        if let died = view.died {
            facts.add(
                "member", [died.member, died.client].compactMap(\.self).joined(separator: " "))
            if died.firstFailure != died.lastFailure {
                add("first error", died.firstFailure, &facts)
            }
            add("error", died.lastFailure, &facts)
        }
        guard let record = view.newest?.record else {
            facts.add("record", "not in topic \(DeadLetterEntry.topic(of: group))")
            return facts.text
        }
        if let trace = view.traceID { facts.add("trace", trace) }
        facts.add("event time", TimeText.text(record.timestamp))
        for header in record.headers {
            facts.add("header", "\(header.key)=\(header.value.map { Shown.bytes($0) } ?? "(null)")")
        }
        facts.add("key", record.keyBytes.map { Shown.bytes($0) } ?? "(none)")
        facts.add("value", record.valueBytes.map { Shown.bytes($0) } ?? "(null)")
        var table = Table([
            .right("ENTRY"), .left("AT"), .left("WHAT"), .left("WHO"), .left("WHY"),
        ])
        for entry in history {
            table.add([
                "\(entry.number)", TimeText.text(entry.at), entry.kind.rawValue,
                entry.author ?? entry.client ?? "",
                entry.note ?? LetterView.words(entry.lastFailure),
            ])
        }
        return facts.text + "\n" + table.text()
    }

    private static func add(_ name: String, _ failure: HandlerFailure?, _ facts: inout Facts) {
        guard let failure else { return }
        facts.add(
            name,
            "\(LetterView.words(failure)) (\(failure.severity.rawValue), "
                + "\(TimeText.text(failure.at)))")
    }

    private static func times(_ count: Int) -> String { count == 1 ? "once" : "\(count) times" }

    static func words(_ reason: DeadLetterReason) -> String {
        switch reason {
        case .permanent: "a handler failed for ever"
        case .attempts: "its attempts are used up"
        case .rejected: "a handler set it aside"
        case .retention: "retention was about to take it"
        }
    }
}
