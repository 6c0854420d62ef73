import MartletClient
import MartletConfiguration
import MartletJSON
import MartletSystem

/// `martlet dlq ...`.
enum DeadLetterCommands {
    static let group: Command = Command(
        "dlq", aliases: ["dead-letters"],
        "Look at records that a group cannot handle; mend, replay and resolve them.",
        discussion: [
            "A record whose handlers fail as often as the group's policy allows ('martlet group "
                + "policy') becomes a dead letter: it has a number in its group, and lies with all "
                + "that it had, and why, in the topic GROUP.dlq. It goes on to count as dead until "
                + "it is replayed and handled, or resolved. Until then people may say who looks after "
                + "it, and what they found out."
        ],
        examples: [
            ExampleSpec("martlet dlq stats notify", "What fails, how often, since when"),
            ExampleSpec("martlet dlq show notify 17", "All about one of them"),
            ExampleSpec("martlet dlq assign notify 17 --to ann", "Say who looks after it"),
            ExampleSpec("martlet dlq edit notify 17", "Mend it with your editor"),
            ExampleSpec("martlet dlq replay notify --id 17 --execute", "Send it again"),
        ],
        commands: [
            list, DeadLetterShowCommand.command, DeadLetterRemarkCommands.assign,
            DeadLetterRemarkCommands.comment, DeadLetterEditCommand.command,
            DeadLetterReplayCommand.command, DeadLetterResolveCommand.command,
            DeadLetterStatsCommand.command, export,
        ])

    static let number = ArgumentSpec("N", "The dead letter's number.")

    private static let list: Command = Command(
        CommandSpec(
            "list", aliases: ["ls"], "List the dead letters of a group.",
            arguments: [GroupCommands.argument],
            flags: LetterFilter.flags + [
                FlagSpec("limit", short: "n", value: "N", "The first N of them."),
                CommonFlags.output(
                    [.table, .json, .jsonl, .name],
                    "table (default), json, jsonl, or name for the numbers alone."),
                CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec("martlet dlq list notify", "All of them"),
                ExampleSpec(
                    "martlet dlq list notify --error Timeout --since @-1h",
                    "What ran out of time in the last hour"),
                ExampleSpec("martlet dlq list notify --unassigned", "What nobody looks after"),
            ])
    ) { context in
        let name = try context.argument(0)
        let filter = try LetterFilter(context)
        let limit = Int(
            clamping: try context.invocation.integer("limit", in: 0 ... .max) ?? .max)
        var rows: [(number: UInt64, cells: [String], object: JSONValue)] = []
        try await context.withClient { client in
            try await filter.each(of: name, client, limit: limit) { view in
                rows.append(
                    (view.letter.number, cells(view), .object(LetterJSON.summary(view, name))))
            }
        }
        rows.sort { $0.number < $1.number }
        rows = Array(rows.prefix(limit))
        var table = Table([
            .right("N"), .left("STATE"), .left("REASON"), .right("TRIES"), .right("REPLAYS"),
            .left("DIED"), .left("ASSIGNEE"), .left("FROM"), .left("TYPE"), .left("KEY"),
            .left("ERROR"),
        ])
        for row in rows { table.add(row.cells) }
        try context.show(table, objects: rows.map(\.object), names: rows.map { "\($0.number)" })
        if rows.isEmpty, limit > 0 { context.output.message(filter.none(of: name)) }
    }

    private static func cells(_ view: LetterView) -> [String] {
        let letter = view.letter
        return [
            "\(letter.number)", view.state, letter.reason.rawValue, "\(letter.attempts)",
            "\(letter.replays)", TimeText.text(letter.diedAt),
            Shown.cut(letter.assignee ?? "-", to: 24), place(view),
            Shown.cut(view.eventType ?? "", to: 32),
            Shown.cut(view.newest?.record.keyBytes.map { Shown.bytes($0) } ?? "", to: 24),
            Shown.cut(LetterView.words(view.failure), to: 60)
                + (view.newest?.kind == .edited ? " (edited)" : ""),
        ]
    }

    /// `flights:2 @1041`.
    static func place(_ view: LetterView) -> String {
        let topic = view.partition.topic.isEmpty ? "?" : view.partition.topic
        return "\(topic):\(view.partition.partition) @\(view.letter.offset)"
    }

    private static let export: Command = Command(
        CommandSpec(
            "export", "Write dead letters out whole, as JSON lines.",
            discussion: [
                "Each line has the record (key, value and headers, with the suffix Base64 where they "
                    + "are no text), where it comes from, and what it failed with. 'martlet produce "
                    + "--format jsonl' does not take it: dead letters go back with 'martlet dlq "
                    + "replay'. What was assigned or commented has its 'history', too.",
                "They come in the order in which they were written to GROUP.dlq.",
            ],
            arguments: [GroupCommands.argument], flags: LetterFilter.flags,
            examples: [
                ExampleSpec("martlet dlq export notify > dead.jsonl", "All of them, to keep")
            ])
    ) { context in
        let name = try context.argument(0)
        let filter = try LetterFilter(context)
        try await context.withClient { client in
            let reader = LetterReader(client: client, group: name)
            var count = 0
            try await filter.each(of: name, client) { view in
                count += 1
                var object = LetterJSON.whole(view, name)
                if view.letter.remarks > 0, let newest = view.newest {
                    let history = try await reader.history(of: view.letter, upTo: newest)
                    object["history"] = .array(history.map(LetterJSON.entry))
                }
                try context.output.jsonLine(.object(object))
            }
            if count == 0 { context.output.message(filter.none(of: name)) }
        }
    }
}

extension CommandContext {
    static let authorFlag = FlagSpec(
        "author", value: "NAME", "Who does it; without it the user and the machine.")

    /// Who does something by hand: `--author`, or `user@machine`.
    var author: String {
        if let author = invocation.value("author") { return author }
        let user = environment["USER"] ?? environment["LOGNAME"] ?? "unknown"
        let host = CurrentProcess.hostName
        return host.isEmpty ? user : "\(user)@\(host)"
    }

    /// A single dead letter, by the command's second argument, with what its topic says of it.
    func letter(
        _ client: MartletClient, _ group: String, _ number: UInt64
    ) async throws -> LetterView {
        guard let found = try await findLetter(client, group, number) else {
            throw LetterFilter.unknown(number, group)
        }
        return found
    }

    /// nil: it is none any more, or never was.
    func findLetter(
        _ client: MartletClient, _ group: String, _ number: UInt64
    ) async throws -> LetterView? {
        let letters = try await client.admin.deadLetters(
            of: group, after: number - 1, limit: 1)
        guard let letter = letters.first, letter.number == number else { return nil }
        var found = LetterView(letter: letter, newest: nil, died: nil)
        try await LetterReader(client: client, group: group).each([letter]) { found = $0 }
        return found
    }
}
