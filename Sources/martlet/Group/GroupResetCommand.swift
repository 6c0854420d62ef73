import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet group reset`: set how far a group is, by a plan that is shown first.
enum GroupResetCommand {
    static let command: Command = Command(
        CommandSpec(
            "reset", "Set how far a group is: shows the plan, and does it with --execute.",
            discussion: [
                "The plan says for each partition where the group is and where it would go on. With "
                    + "-o json it can be kept and given back with --plan, which then does exactly "
                    + "that: it is refused when the group has moved on meanwhile.",
                "Partitions that a member reads, or of a queue has records of, are refused: "
                    + "'martlet group pause' first, or --force. Either way what members commit or "
                    + "ack late does not count.",
                "A queue group begins anew: it owes nothing below, and all the rest again, also "
                    + "what was acked. Dead letters stay dead letters, and what was sent again "
                    + "stays sent again. Offsets that the log does not have become the nearest, and the "
                    + "plan says so.",
            ],
            arguments: [GroupCommands.argument],
            flags: [
                GroupPauseCommands.topic,
                FlagSpec("all-topics", "All topics that the group knows."),
                FlagSpec(
                    "to", value: "WHERE", suggestions: ["earliest", "latest"],
                    "earliest, latest, an offset, -N or @TIME."),
                FlagSpec("shift", value: "N", "So many records on, or back with -N."),
                FlagSpec("plan", value: "FILE", "Do what this plan says; - is standard input."),
                FlagSpec("execute", "Do it."),
                FlagSpec("force", "Also where members are at work, or the group has moved on."),
                CommonFlags.output([.table, .json], "table (default), or json: the plan."),
                CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec(
                    "martlet group reset board -t flights --to @-1h", "What would the last hour be?"
                ),
                ExampleSpec(
                    "martlet group reset board -t flights:3 --shift -100 --execute",
                    "A hundred again"),
                ExampleSpec(
                    "martlet group reset board --plan plan.json --execute", "As it was planned"),
            ]), run)

    private static func run(_ context: CommandContext) async throws {
        let name = try context.argument(0)
        let isExecuted = context.invocation.has("execute")
        let given = try await GroupResetPlan.given(
            context, for: name, insteadOf: ["to", "shift", "topic", "all-topics"])
        let plan = try await context.withClient { client in
            let group = try await client.admin.describeGroup(name)
            var plan: GroupResetPlan
            if let given {
                plan = given
            } else {
                plan = try await GroupResetPlan.make(group, Target(context), client.admin)
            }
            plan.noteMembers(of: group)
            if isExecuted { try await execute(&plan, context, client.admin) }
            return plan
        }
        try show(plan, isExecuted, context)
    }

    private static func execute(
        _ plan: inout GroupResetPlan, _ context: CommandContext, _ admin: AdminClient
    ) async throws {
        let force = context.invocation.has("force")
        let done = try await admin.resetGroup(
            plan.group, plan.lines.map(\.change), force: force)
        for (index, change) in done.enumerated() where change.to != plan.lines[index].to {
            plan.lines[index].note("\(plan.lines[index].to) is not in the log any more")
            plan.lines[index].to = change.to
        }
    }

    /// What to plan for, by the flags.
    struct Target {
        enum Place {
            case to(LogPlace)
            case shift(Int64)
        }

        let parts: [GroupPart]
        let place: Place

        init(_ context: CommandContext) throws {
            parts = try context.groupParts()
            guard parts.isEmpty == context.invocation.has("all-topics") else {
                throw context.usage("name what to reset: either --topic or --all-topics")
            }
            let shift = try context.invocation.integer("shift")
            switch (context.invocation.value("to"), shift) {
            case (let word?, nil): place = .to(try LogPlace(parsing: word, "--to", context))
            case (nil, let shift?): place = .shift(shift)
            case (nil, nil), (.some, .some):
                throw context.usage("say where to: one of --to, --shift and --plan")
            }
        }
    }

    private static func show(
        _ plan: GroupResetPlan, _ isExecuted: Bool, _ context: CommandContext
    ) throws {
        if context.wantsJSON, context.format() == .json {
            try context.output.json(plan.json(isExecuted: isExecuted))
        } else {
            try context.output.write(
                plan.table.text(hasHeader: !context.invocation.has("no-headers")))
        }
        let count = Shown.plural(plan.lines.count, "partition")
        context.output.message(
            isExecuted
                ? "reset group \(plan.group) in \(count)"
                : "\(count) (dry run: nothing was done; add --execute)")
    }
}
