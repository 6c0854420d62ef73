import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet replay`: send records of a topic to one group again, by a plan that is shown first.
enum ReplayCommand {
    static let command: Command = Command(
        CommandSpec(
            "replay",
            "Send records to one group again, beside its flow: shows the plan, and does it with "
                + "--execute.",
            discussion: [
                "The group's members are handed them beside what comes new; no other group is, and "
                    + "the group's offsets stay where they are. What fails becomes a dead letter as "
                    + "the group's policy has it.",
                "Times are those of the records, and every record is looked at when something is "
                    + "chosen by time, key or id. With -o json the plan can be kept and given back "
                    + "with --plan, which then sends exactly that. A record that is with the group "
                    + "already is not sent twice; one that was handled is.",
                "What the group has not handled yet comes in its flow anyway: of a queue what is "
                    + "ready, in flight, delayed or parked, of a stream what lies above its commit. "
                    + "The plan tells how much of what was chosen that is, and leaves it out; with "
                    + "--unhandled it is sent all the same, and may be handled twice, also at once. "
                    + "A stream group that commits now and then has handled a little more than that.",
                "--cancel takes back what is not handled yet; handlers that have begun go on.",
            ],
            flags: [
                FlagSpec("to", value: "GROUP", offers: .group, "The group that is sent them."),
                FlagSpec("topic", short: "t", value: "TOPIC", offers: .topic, "Where they are."),
                CommonFlags.partition,
                FlagSpec("from", value: "WHERE", "From this OFFSET or @TIME on; else the oldest."),
                FlagSpec(
                    "until", value: "WHERE", "Up to this OFFSET or @TIME, without it; else the end."
                ),
                FlagSpec("key", short: "k", value: "KEY", "Only records with this key."),
                FlagSpec(
                    "correlation-id", value: "ID", "Only records with this id in a header."),
                FlagSpec(
                    "correlation-header", value: "NAME",
                    "That header's name; correlation-id."),
                FlagSpec(
                    "unhandled", "Also records that the group has not handled yet (see above)."),
                FlagSpec("plan", value: "FILE", "Send what this plan says; - is standard input."),
                FlagSpec("cancel", "Take back what was sent and is not handled."),
                FlagSpec("execute", "Do it."),
                CommonFlags.output([.table, .json], "table (default), or json: the plan."),
                CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec(
                    "martlet replay --topic flights --to board --from @-1h", "How many are they?"),
                ExampleSpec(
                    "martlet replay --topic flights --to notify --key N14228 --execute",
                    "All of one key"),
                ExampleSpec(
                    "martlet replay --to board --plan plan.json --execute", "As it was planned"),
                ExampleSpec("martlet replay --to board --cancel --execute", "Enough"),
            ]), run)

    private static func run(_ context: CommandContext) async throws {
        guard let group = context.invocation.value("to") else {
            throw context.usage("say to which group: --to")
        }
        if context.invocation.has("cancel") { return try await cancel(group, context) }
        let isExecuted = context.invocation.has("execute")
        let given = try await RecordReplayPlan.given(
            context, for: group,
            insteadOf: [
                "topic", "partition", "from", "until", "key", "correlation-id",
                "correlation-header", "unhandled",
            ])
        let selection = try given == nil ? ReplaySelection(context) : nil
        let plan = try await Interruption.cancelling {
            try await context.withClient { client in
                // A group that is not there is told before a topic is read.
                let description = try await client.admin.describeGroup(group)
                var plan = given ?? RecordReplayPlan(group: group)
                let topics = Set(
                    selection.map { [$0.topic] } ?? plan.lines.map(\.partition.topic))
                let open = try await OpenRecords(of: description, topics, client)
                if let selection {
                    plan.hasUnhandled = context.invocation.has("unhandled")
                    try await selection.fill(&plan, open, client, context)
                } else {
                    plan.count(open)
                }
                if isExecuted {
                    plan.sent = try await client.admin.replayRecords(plan.ranges, to: group)
                }
                return plan
            }
        }
        try show(plan, context)
    }

    private static func show(_ plan: RecordReplayPlan, _ context: CommandContext) throws {
        if context.wantsJSON, context.format() == .json {
            try context.output.json(plan.json)
        } else if !plan.lines.isEmpty {
            try context.output.write(
                plan.table.text(hasHeader: !context.invocation.has("no-headers")))
        }
        if plan.unhandled > 0 { context.output.message(unhandled(plan)) }
        if let sent = plan.sent {
            let already = plan.records - sent
            context.output.message(
                "sent \(Shown.plural(sent, "record")) to group \(plan.group) again"
                    + (already > 0
                        ? "; \(Shown.count(already)) \(already == 1 ? "was" : "were") with it already"
                        : ""))
        } else {
            context.output.message(
                "\(Shown.plural(plan.records, "record")) would be sent to group \(plan.group) again "
                    + "(dry run: nothing was done; add --execute)")
        }
    }

    private static func unhandled(_ plan: RecordReplayPlan) -> String {
        let many = Shown.plural(plan.unhandled, "record")
        return plan.hasUnhandled
            ? "\(many) of the plan group \(plan.group) has not handled yet: they come in its flow, "
                + "too, and may be handled twice at once"
            : "left out: \(many) that group \(plan.group) has not handled yet; they come in its "
                + "flow anyway (--unhandled sends them all the same)"
    }

    // MARK: - Taking back

    private static func cancel(_ group: String, _ context: CommandContext) async throws {
        let others = [
            "from", "until", "key", "correlation-id", "correlation-header", "unhandled", "plan",
        ].filter { context.invocation.has($0) }
        guard others.isEmpty else {
            throw context.usage(
                "--cancel takes all of a partition: --\(others[0]) does not go with it")
        }
        let topic = context.invocation.value("topic")
        guard topic != nil || !context.invocation.has("partition") else {
            throw context.usage("say of which topic: --topic")
        }
        let isExecuted = context.invocation.has("execute")
        let count = try await context.withClient { client in
            let lines = try await client.admin.describeGroup(group).replays
            let numbers =
                try await topic.asyncMap { name in
                    try context.partitions(of: try await client.admin.topic(name))
                } ?? nil
            let chosen = lines.filter { line in
                (topic == nil || line.partition.topic == topic)
                    && numbers?.contains(line.partition.partition) != false && line.open > 0
            }
            guard isExecuted, !chosen.isEmpty else {
                return chosen.reduce(Int64(0)) { $0 &+ $1.open }
            }
            return try await client.admin.cancelReplay(of: group, chosen.map(\.partition))
        }
        if context.wantsJSON {
            try context.output.json([
                "group": .string(group), "executed": .boolean(isExecuted),
                "records": .integer(count),
            ])
        }
        context.output.message(
            isExecuted
                ? "took \(Shown.plural(count, "record")) back from group \(group)"
                : "\(Shown.plural(count, "record")) would be taken back from group \(group) (dry "
                    + "run: nothing was done; add --execute)")
    }
}

extension Optional {
    fileprivate func asyncMap<Value>(
        _ body: (Wrapped) async throws -> Value
    ) async throws -> Value? {
        guard let self else { return nil }
        return try await body(self)
    }
}
