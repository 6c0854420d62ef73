import MartletClient
import MartletConfiguration
import MartletJSON
import MartletSystem

/// `martlet dlq replay`.
enum DeadLetterReplayCommand {
    static let command: Command = Command(
        CommandSpec(
            "replay",
            "Send dead letters to their group again: shows what, and does it with --execute.",
            discussion: [
                "They go to that group alone, beside its normal flow and without touching its "
                    + "offsets, as they were or as they were edited. A member handles them like any "
                    + "record; what fails is dead again, under the same number.",
                "What was sent --max-replays times stays; --force sends it all the same. Asking "
                    + "twice is asking once: what is with the group already is not sent again.",
            ],
            arguments: [GroupCommands.argument],
            flags: LetterFilter.flags + [
                FlagSpec("all", "All of them."),
                FlagSpec("max", value: "N", "The first N of them at most."),
                FlagSpec("max-replays", value: "N", "What was sent so often stays; 3."),
                FlagSpec("force", "Also what was sent too often."),
                FlagSpec("execute", "Do it."),
                CommonFlags.output([.json, .jsonl], "json or jsonl: the plan, or what was done."),
                CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec("martlet dlq replay notify --error Timeout", "What would be sent?"),
                ExampleSpec("martlet dlq replay notify --id 17 --execute", "Send one"),
                ExampleSpec(
                    "martlet dlq replay notify --all --max 100 --execute", "A hundred first"),
            ]), run)

    private static func run(_ context: CommandContext) async throws {
        let name = try context.argument(0)
        let filter = try LetterFilter(context)
        try filter.hold(context)
        let isExecuted = context.invocation.has("execute")
        let most = try context.invocation.integer("max", in: 0 ... .max)
        let replays = try context.invocation.integer("max-replays", in: 1...65_535)
        let isForced = context.invocation.has("force")
        if isForced, replays != nil {
            throw context.usage("--force and --max-replays exclude each other")
        }
        let replaysMax = isForced ? nil : Int(replays ?? 3)
        let outcome = try await context.withClient { client in
            var plan = ReplayPlan(
                replaysMax: replaysMax, most: most.map { Int(clamping: $0) } ?? .max)
            try await filter.each(of: name, client) { plan.add(LetterFacts($0)) }
            plan.settle()
            if isExecuted {
                plan.refused = try await client.admin.replayDeadLetters(
                    plan.sent, of: name, replaysMax: replaysMax)
            }
            return plan
        }
        try show(outcome, isExecuted, name, context)
        if isExecuted, let error = outcome.error { throw error }
    }

    private static func show(
        _ plan: ReplayPlan, _ isExecuted: Bool, _ group: String, _ context: CommandContext
    ) throws {
        switch context.wantsJSON ? context.format() : .table {
        case .json: try context.output.json(plan.json(group, isExecuted: isExecuted))
        case .jsonl: try context.output.jsonLine(plan.json(group, isExecuted: isExecuted))
        case .table, .name, .raw:
            if !plan.sent.isEmpty {
                try context.output.write(
                    plan.counts.table().text(hasHeader: !context.invocation.has("no-headers")))
            }
            for line in plan.remarks { context.output.message(line) }
        }
        let count = Shown.plural(plan.sent.count - plan.refused.count, "dead letter")
        context.output.message(
            isExecuted
                ? "sent \(count) to group \(group) again"
                : "\(count) would be sent to group \(group) again (dry run: nothing was done; add "
                    + "--execute)")
    }
}

/// What a replay sends, and what it leaves where it is.
struct ReplayPlan {
    let replaysMax: Int?
    let most: Int
    /// Of what is sent.
    private(set) var counts = LetterCounts(now: SystemClock().wallMilliseconds())
    private(set) var sent: [UInt64] = []
    private(set) var replaying: [UInt64] = []
    private(set) var quarantined: [UInt64] = []
    private(set) var notStored: [UInt64] = []
    /// What the broker refused after all.
    var refused: [UInt64: MartletError] = [:]
    private(set) var left = 0
    private var candidates: [LetterFacts] = []

    init(replaysMax: Int?, most: Int) {
        self.replaysMax = replaysMax
        self.most = most
    }

    mutating func add(_ facts: LetterFacts) {
        let letter = facts.letter
        if letter.isReplaying {
            replaying.append(letter.number)
        } else if let replaysMax, letter.replays >= replaysMax {
            quarantined.append(letter.number)
        } else if letter.place == nil {
            notStored.append(letter.number)
        } else {
            candidates.append(facts)
        }
    }

    /// Takes the first of them.
    mutating func settle() {
        candidates.sort { $0.letter.number < $1.letter.number }
        for facts in candidates.prefix(most) {
            sent.append(facts.letter.number)
            counts.add(facts)
        }
        left = candidates.count - sent.count
        candidates = []
    }

    var remarks: [String] {
        var lines: [String] = []
        if left > 0 {
            lines.append("\(Shown.plural(left, "more dead letter", "waits", "wait")) (--max)")
        }
        if !replaying.isEmpty {
            lines.append("\(Shown.count(replaying.count)) with the group already: not sent twice")
        }
        if !quarantined.isEmpty {
            lines.append(
                "\(Shown.plural(quarantined.count, "dead letter", "was", "were")) sent "
                    + "\(Shown.plural(replaysMax ?? 0, "time")) or more before: left alone "
                    + "(--force sends them)")
        }
        if !notStored.isEmpty {
            lines.append("\(Shown.count(notStored.count)) not in their topic yet: try again soon")
        }
        for (number, error) in refused.sorted(by: { $0.key < $1.key }).prefix(10) {
            lines.append("dead letter \(number) was refused: \(error.message) (\(error.code.name))")
        }
        return lines
    }

    /// What was asked for and did not happen.
    var error: ToolError? {
        let isWhole = quarantined.isEmpty && notStored.isEmpty && refused.isEmpty
        return isWhole ? nil : .silent(.conflict)
    }

    func json(_ group: String, isExecuted: Bool) -> JSONValue {
        func numbers(_ numbers: [UInt64]) -> JSONValue {
            .array(numbers.sorted().map { JSONValue($0) })
        }
        return [
            "group": .string(group), "executed": .boolean(isExecuted),
            "sent": numbers(sent.filter { refused[$0] == nil }), "left": JSONValue(left),
            "replaying": numbers(replaying), "quarantined": numbers(quarantined),
            "notStored": numbers(notStored), "refused": numbers(Array(refused.keys)),
            "counts": counts.json(group),
        ]
    }
}

extension LetterFilter {
    /// Nothing is chosen by saying nothing.
    func hold(_ context: CommandContext) throws {
        guard isEmpty == context.invocation.has("all") else {
            throw context.usage(
                isEmpty
                    ? "say which: --id, another filter, or --all"
                    : "--all and the other filters exclude each other")
        }
    }
}
