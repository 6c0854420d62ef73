import MartletClient
import MartletConfiguration
import MartletJSON
import MartletSystem

/// `martlet dlq resolve`.
enum DeadLetterResolveCommand {
    static let command: Command = Command(
        CommandSpec(
            "resolve", aliases: ["ack"],
            "Say that dead letters need no handling any more: shows which, and does it with --execute.",
            discussion: [
                "They count as handled from then on. Their records stay in GROUP.dlq, and who resolved "
                    + "them, when and why stands there too."
            ],
            arguments: [GroupCommands.argument],
            flags: LetterFilter.flags + [
                FlagSpec("all", "All of them."),
                FlagSpec("note", value: "TEXT", required: true, "Why; it is kept."),
                CommandContext.authorFlag,
                FlagSpec("execute", "Do it."),
                CommonFlags.output([.json, .jsonl], "json or jsonl: the plan, or what was done."),
                CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec(
                    "martlet dlq resolve notify --id 17 --note 'refunded by hand' --execute",
                    "One that was done by hand")
            ]), run)

    private static func run(_ context: CommandContext) async throws {
        let name = try context.argument(0)
        let filter = try LetterFilter(context)
        try filter.hold(context)
        guard let note = context.invocation.value("note"), !note.isEmpty else {
            throw context.usage("--note is missing: say why they need no handling")
        }
        let isExecuted = context.invocation.has("execute")
        let author = context.author
        var counts = LetterCounts(now: SystemClock().wallMilliseconds())
        var numbers: [UInt64] = []
        var refused: [UInt64: MartletError] = [:]
        try await context.withClient { client in
            try await filter.each(of: name, client) { view in
                counts.add(LetterFacts(view))
                numbers.append(view.letter.number)
            }
            numbers.sort()
            guard isExecuted else { return }
            refused = try await client.admin.resolveDeadLetters(
                numbers, of: name, author: author, note: note)
        }
        let object: JSONValue = [
            "group": .string(name), "executed": .boolean(isExecuted), "author": .string(author),
            "note": .string(note),
            "resolved": .array(numbers.filter { refused[$0] == nil }.map { JSONValue($0) }),
            "refused": .array(refused.keys.sorted().map { JSONValue($0) }),
        ]
        switch context.wantsJSON ? context.format() : .table {
        case .json: try context.output.json(object)
        case .jsonl: try context.output.jsonLine(object)
        case .table, .name, .raw:
            if !numbers.isEmpty {
                try context.output.write(
                    counts.table().text(hasHeader: !context.invocation.has("no-headers")))
            }
        }
        let count = Shown.plural(numbers.count - refused.count, "dead letter")
        context.output.message(
            isExecuted
                ? "resolved \(count) of group \(name)"
                : "\(count) of group \(name) would be resolved (dry run: nothing was done; add "
                    + "--execute)")
        guard refused.isEmpty else {
            throw ToolError(
                .notFound,
                "\(Shown.plural(refused.count, "dead letter", "was", "were")) handled or resolved "
                    + "meanwhile "
                    + "(UNKNOWN_DEAD_LETTER)")
        }
    }
}
