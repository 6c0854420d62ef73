import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet group ...`.
enum GroupCommands {
    static let group: Command = Command(
        "group", aliases: ["groups", "g"], "Make, list, look at, pause, reset and delete groups.",
        examples: [
            ExampleSpec("martlet group list", "All of them, with their lag"),
            ExampleSpec("martlet group describe board", "Who owns what, and how far it is"),
        ],
        commands: [
            create, list, GroupDescribeCommand.command, GroupPauseCommands.pause,
            GroupPauseCommands.resume, GroupResetCommand.command, GroupPolicyCommand.command,
            GroupBreakerCommand.command, GroupRecordsCommand.command, GroupParkedCommands.parked,
            GroupParkedCommands.release, GroupEventsCommand.command,
            delete,
        ])

    static let argument = ArgumentSpec("GROUP", offers: .group, "The group's name.")
    private static let newArgument = ArgumentSpec("GROUP", "The new group's name.")

    private static let create: Command = Command(
        CommandSpec(
            "create", "Make a group without members: its lag counts from then on.",
            discussion: [
                "The first member that joins makes its group too.",
                "With --topic the group is behind there from now on, also in topics that come later "
                    + "and match, until its first member says what it wants itself. Without, nothing "
                    + "is known of what it will read: it has no lag yet, and every topic that is kept "
                    + "until it is consumed is kept for it.",
                "The members of a queue share single records, and settle each. In order by key one "
                    + "record of a key is with a member at a time; that is said once, here.",
            ],
            arguments: [newArgument],
            flags: [
                FlagSpec(
                    "queue", value: "FROM", choices: ["earliest", "latest"],
                    "A queue, which begins with the oldest record, or with the next one."),
                FlagSpec(
                    "order", value: "ORDER", choices: ["key", "none"],
                    "Of a queue: key, or none (default)."),
                FlagSpec(
                    "topic", short: "t", value: "TOPIC", offers: .topic, repeatable: true,
                    "A topic that its members will want, or a pattern: * for any characters."),
                CommonFlags.result,
            ],
            examples: [
                ExampleSpec(
                    "martlet group create board --topic 'flights.*'", "Before its members come"),
                ExampleSpec(
                    "martlet group create notify --queue earliest", "Work that anyone may do"),
                ExampleSpec(
                    "martlet group create bookings --queue earliest --order key",
                    "The same, one record of a key at a time"),
            ])
    ) { context in
        let name = try context.argument(0)
        let wantsJSON = context.wantsJSON
        let kind: GroupKind
        let order: QueueOrder = context.invocation.value("order") == "key" ? .byKey : .free
        switch context.invocation.value("queue") {
        case "earliest": kind = .queue(.earliest, order: order)
        case "latest": kind = .queue(.latest, order: order)
        case .some, nil:
            guard !context.invocation.has("order") else {
                throw context.usage("--order: is for queues, with --queue")
            }
            kind = .stream
        }
        let topics = context.invocation.values("topic")
        try await context.withClient {
            try await $0.admin.createGroup(name, kind, topics: topics)
        }
        if wantsJSON {
            try context.output.jsonLine(["group": .string(name), "created": .boolean(true)])
        } else {
            context.output.message("created group \(name)")
        }
    }

    private static let list: Command = Command(
        CommandSpec(
            "list", aliases: ["ls"], "List the groups, with their lag.",
            discussion: [
                "STATE is 'breaker open', 'breaker half-open', 'paused' or 'paused in part' for a "
                    + "group that does not go on everywhere; 'martlet group describe' shows where. "
                    + "'martlet group parked' lists the PARKED records, 'martlet dlq list' the DEAD."
            ],
            flags: [
                CommonFlags.output(
                    [.table, .json, .jsonl, .name],
                    "table (default), json, jsonl, or name for the names alone."),
                CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec("martlet group list", "All of them"),
                ExampleSpec("martlet group list -o name", "For a shell loop"),
            ])
    ) { context in
        let groups = try await context.withClient { try await $0.admin.listGroups() }
        try context.show(
            GroupListView.table(groups), objects: groups.map(GroupListView.json),
            names: groups.map(\.name))
    }

    /// Why the group cannot be deleted now; nil: nothing is in the way.
    private static func hindrance(_ group: GroupDescription) -> String? {
        if !group.members.isEmpty {
            return "it has \(Shown.plural(group.members.count, "member")): "
                + "stop \(group.members.count == 1 ? "it" : "them") first"
        }
        let letters = group.deadLetters
        let open = letters.dead &+ letters.replaying
        guard open > 0 else {
            guard letters.notStored > 0 else { return nil }
            return "what became of its last dead letters is not in \(group.name).dlq yet: "
                + "try again soon"
        }
        return "it has \(Shown.plural(open, "dead letter")) neither handled nor resolved: 'martlet "
            + "dlq list \(group.name)' shows what waits"
    }

    /// What goes with the group.
    private static func loss(_ group: GroupDescription) -> String {
        let parked =
            group.partitions.reduce(Int64(0)) { $0 &+ $1.parked }
            &+ group.queues.reduce(0) { $0 &+ $1.parked }
        return "this deletes group \(group.name) and its offsets in "
            + Shown.plural(group.partitions.count, "partition")
            + (parked > 0 ? ", and forgets \(Shown.plural(parked, "parked record"))" : "")
    }

    private static let delete: Command = Command(
        CommandSpec(
            "delete", aliases: ["rm"], "Delete a group, and how far it was.",
            discussion: [
                "A group with members is refused: stop them first. So is one with dead letters that "
                    + "nobody has handled or resolved. The topic GROUP.dlq stays, with all that ever "
                    + "died, until 'martlet topic delete' removes it. Asks for the name to be typed "
                    + "again; a script adds --yes."
            ],
            arguments: [argument],
            flags: [CommonFlags.yes, CommonFlags.dryRun, CommonFlags.result],
            examples: [ExampleSpec("martlet group delete board", "Asks first")])
    ) { context in
        let name = try context.argument(0)
        let wantsJSON = context.wantsJSON
        let isDryRun = context.invocation.has("dry-run")
        let letters: String? = try await context.withClient { client in
            let group = try await client.admin.describeGroup(name)
            let letters = try await DeadLetterTopic.name(of: name, client.admin)
            let what = loss(group)
            if isDryRun {
                // What would refuse it, is said here too.
                let holds = hindrance(group).map { "; it would be refused: \($0)" } ?? ""
                context.output.message("\(what)\(holds) (dry run: nothing was done)")
            } else {
                try context.confirm(name, what)
                try await client.admin.deleteGroup(name)
            }
            return letters
        }
        if wantsJSON {
            try context.output.jsonLine([
                "group": .string(name), "deleted": .boolean(!isDryRun),
                "deadLetterTopic": letters.map { .string($0) } ?? .null,
            ])
            return
        }
        if !isDryRun { context.output.message("deleted group \(name)") }
        if let letters {
            context.output.message(
                "its dead letters of before \(isDryRun ? "would stay" : "stay") in topic \(letters): "
                    + "'martlet topic delete \(letters)' removes them")
        }
    }
}
