import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet dlq show`.
enum DeadLetterShowCommand {
    static let command: Command = Command(
        CommandSpec(
            "show", "Show all about one dead letter.",
            discussion: [
                "With all that was done about it, in order of time. One that is handled or resolved is "
                    + "shown as far as GROUP.dlq goes back.",
                "--format: " + RecordFormat.meaning,
            ],
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
        let story = try await context.withClient { try await Story(of: number, name, $0, context) }
        if hasFormat || context.format() == .raw {
            guard let record = story.record else { throw missing(number, name) }
            if hasFormat {
                try printer?.show(RecordView(record))
                try printer?.flush()
            } else {
                try context.output.write((record.valueBytes ?? []) + [0x0A])
            }
            return
        }
        switch context.format() {
        case .table, .name, .raw: try context.output.write(story.text(name))
        case .json: try context.output.json(story.json(name))
        case .jsonl: try context.output.jsonLine(story.json(name))
        }
    }

    /// What there is to know of a number.
    private enum Story {
        case letter(LetterView, [DeadLetterEntry])
        case gone(GoneLetter)

        init(
            of number: UInt64, _ group: String, _ client: MartletClient, _ context: CommandContext
        ) async throws {
            let reader = LetterReader(client: client, group: group)
            guard let view = try await context.findLetter(client, group, number) else {
                let entries = try await reader.story(ofGone: number)
                guard let gone = GoneLetter(entries) else {
                    throw LetterFilter.unknown(number, group)
                }
                self = .gone(gone)
                return
            }
            var history: [DeadLetterEntry] = []
            if let newest = view.newest {
                history = try await reader.history(of: view.letter, upTo: newest)
            }
            self = .letter(view, history)
        }

        var record: ConsumedRecord? {
            switch self {
            case .letter(let view, _): view.newest?.record
            case .gone(let letter): letter.newest?.record
            }
        }

        func text(_ group: String) -> String {
            switch self {
            case .letter(let view, let history):
                DeadLetterShowCommand.text(view, history, group)
            case .gone(let letter): letter.text(group)
            }
        }

        func json(_ group: String) -> JSONValue {
            switch self {
            case .letter(let view, let history):
                var object = LetterJSON.whole(view, group)
                object["history"] = .array(history.map(LetterJSON.entry))
                return .object(object)
            case .gone(let letter): return letter.json(group)
            }
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
        facts.add("assigned to", letter.assignee ?? "nobody")
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
        return facts.text + "\n" + table(history)
    }

    /// What was done about a letter, line by line.
    static func table(_ history: [DeadLetterEntry]) -> String {
        var table = Table([
            .right("ENTRY"), .left("AT"), .left("WHAT"), .left("WHO"), .left("WHY"),
        ])
        for entry in history {
            table.add([
                "\(entry.number)", TimeText.text(entry.at), entry.kind.rawValue,
                entry.author ?? entry.client ?? "", words(entry),
            ])
        }
        return table.text()
    }

    private static func words(_ entry: DeadLetterEntry) -> String {
        switch entry.kind {
        case .died: LetterView.words(entry.lastFailure)
        case .edited, .resolved, .commented: entry.note ?? ""
        case .assigned: "to \(entry.assignee ?? "nobody")"
        }
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
