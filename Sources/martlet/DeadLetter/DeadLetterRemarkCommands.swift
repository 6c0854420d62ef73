import MartletClient
import MartletConfiguration
import MartletJSON
import MartletSystem

/// `martlet dlq assign` and `martlet dlq comment`: what people say about dead letters, without doing
/// anything with their records.
enum DeadLetterRemarkCommands {
    private static let numbers = ArgumentSpec(
        "N", optional: true, repeated: true, "Their numbers; or choose by the flags.")

    private static let choosing =
        "With numbers it is done at once. With other filters, or --all, the command shows which they "
        + "are, and does it with --execute."

    private static func flags(_ own: [FlagSpec]) -> [FlagSpec] {
        own + LetterFilter.flags + [
            FlagSpec("all", "All of them."), CommandContext.authorFlag,
            FlagSpec("execute", "Do it."),
            CommonFlags.output([.json, .jsonl], "json or jsonl: the plan, or what was done."),
            CommonFlags.noHeaders,
        ]
    }

    static let assign: Command = Command(
        CommandSpec(
            "assign", "Say who is to look after dead letters.",
            discussion: [
                choosing,
                "It changes nothing of what a replay sends, and holds until somebody says otherwise, "
                    + "also when the letter dies again. Who said so and when stands in GROUP.dlq "
                    + "('martlet dlq show').",
            ],
            arguments: [GroupCommands.argument, numbers],
            flags: flags([
                FlagSpec("to", value: "NAME", "Who; up to 200 bytes."),
                FlagSpec("nobody", "Nobody any more."),
            ]),
            examples: [
                ExampleSpec("martlet dlq assign notify 17 18 --to ann", "Two of them"),
                ExampleSpec(
                    "martlet dlq assign notify --unassigned --type flight.departed.v1 --to bob "
                        + "--execute", "All of a type that nobody looks after"),
                ExampleSpec("martlet dlq assign notify 17 --nobody", "Take it back"),
            ])
    ) { context in
        let to = context.invocation.value("to")
        guard (to == nil) == context.invocation.has("nobody") else {
            throw context.usage("say who: --to NAME, or --nobody")
        }
        let name = to ?? ""
        let author = context.author
        let said: JSONObject = [
            "author": .string(author), "assignee": name.isEmpty ? .null : .string(name),
        ]
        let words = "assigned to \(name.isEmpty ? "nobody" : Shown.text(name))"
        try await run(context, said, words) { client, group, numbers in
            try await client.admin.assignDeadLetters(
                numbers, of: group, to: name, author: author)
        }
    }

    static let comment: Command = Command(
        CommandSpec(
            "comment", "Say something about dead letters.",
            discussion: [
                choosing,
                "What was said, by whom and when stands in GROUP.dlq, and 'martlet dlq show' shows it. "
                    + "A dead letter takes up to 1,000 comments and assignments.",
            ],
            arguments: [GroupCommands.argument, numbers],
            flags: flags([
                FlagSpec(
                    "note", value: "TEXT", required: true,
                    "What there is to know; up to 1,000 bytes.")
            ]),
            examples: [
                ExampleSpec(
                    "martlet dlq comment notify 17 --note 'the airline looks into it'", "One"),
                ExampleSpec(
                    "martlet dlq comment notify --error Timeout --note 'INC-1042' --execute",
                    "All of one cause"),
            ])
    ) { context in
        guard let note = context.invocation.value("note"), !note.isEmpty else {
            throw context.usage("--note is missing: say what there is to know")
        }
        let author = context.author
        let said: JSONObject = ["author": .string(author), "note": .string(note)]
        try await run(context, said, "commented") { client, group, numbers in
            try await client.admin.commentDeadLetters(
                numbers, of: group, author: author, note: note)
        }
    }

    private typealias Refusals = [UInt64: MartletError]

    private static func run(
        _ context: CommandContext, _ said: JSONObject, _ words: String,
        _ change: (MartletClient, String, [UInt64]) async throws -> Refusals
    ) async throws {
        let name = try context.argument(0)
        let filter = try LetterFilter(context)
        let named = try context.invocation.arguments.dropFirst().map {
            try LetterFilter.number($0, "N", context)
        }
        guard named.isEmpty || (filter.isEmpty && !context.invocation.has("all")) else {
            throw context.usage("name dead letters by their numbers, or choose them by the flags")
        }
        if named.isEmpty { try filter.hold(context) }
        let isExecuted = !named.isEmpty || context.invocation.has("execute")
        var counts = LetterCounts(now: SystemClock().wallMilliseconds())
        var numbers = named
        var refused: Refusals = [:]
        try await context.withClient { client in
            if named.isEmpty {
                try await filter.each(of: name, client) { view in
                    counts.add(LetterFacts(view))
                    numbers.append(view.letter.number)
                }
            }
            numbers = Set(numbers).sorted()
            if isExecuted { refused = try await change(client, name, numbers) }
        }
        let words = Words(said: said, done: words, isExecuted: isExecuted)
        try show(words, name, numbers, refused, named.isEmpty ? counts : nil, context)
        try tell(refused, context)
    }

    private struct Words {
        let said: JSONObject
        let done: String
        let isExecuted: Bool
    }

    private static func show(
        _ words: Words, _ name: String, _ numbers: [UInt64], _ refused: Refusals,
        _ counts: LetterCounts?, _ context: CommandContext
    ) throws {
        var object = words.said
        object["group"] = .string(name)
        object["executed"] = .boolean(words.isExecuted)
        object["letters"] = .array(numbers.filter { refused[$0] == nil }.map { JSONValue($0) })
        object["refused"] = .array(refused.keys.sorted().map { JSONValue($0) })
        switch context.wantsJSON ? context.format() : .table {
        case .json: try context.output.json(.object(object))
        case .jsonl: try context.output.jsonLine(.object(object))
        case .table, .name, .raw:
            if let counts, !numbers.isEmpty {
                try context.output.write(
                    counts.table().text(hasHeader: !context.invocation.has("no-headers")))
            }
        }
        let count = Shown.plural(numbers.count - refused.count, "dead letter")
        context.output.message(
            words.isExecuted
                ? "\(words.done): \(count) of group \(name)"
                : "\(count) of group \(name) would be \(words.done) (dry run: nothing was done; "
                    + "add --execute)")
    }

    private static func tell(_ refused: Refusals, _ context: CommandContext) throws {
        let sorted = refused.sorted { $0.key < $1.key }
        for (number, error) in sorted.prefix(10) {
            context.output.message(
                "dead letter \(number) was refused: \(error.message) (\(error.code.name))")
        }
        guard !sorted.isEmpty else { return }
        let isGone = sorted.allSatisfy { $0.value.code == .unknownDeadLetter }
        throw ToolError.silent(isGone ? .notFound : .conflict)
    }
}
