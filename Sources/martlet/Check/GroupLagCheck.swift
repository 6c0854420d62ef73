import MartletClient
import MartletConfiguration

/// `martlet check group-lag`.
enum GroupLagCheck {
    static let command: Command = Command(
        CommandSpec(
            "group-lag", "Is a group too far behind?",
            discussion: [
                "Each bound is its own; the worst counts. Without any bound it only tells the "
                    + "figures. Headroom is the time until retention by age may take a record that "
                    + "the group has not handled: there it is too little that alarms.",
                "A TIME without a unit is in seconds.",
            ],
            arguments: [GroupCommands.argument],
            flags: [
                FlagSpec("warn", value: "N", "Warn above so many records."),
                FlagSpec("crit", value: "N", "Critical above so many records."),
                FlagSpec("warn-seconds", value: "TIME", "Warn when the oldest is older: 300, 5m."),
                FlagSpec("crit-seconds", value: "TIME", "Critical when the oldest is older."),
                FlagSpec("warn-headroom", value: "TIME", "Warn with less headroom: 12h, 43200."),
                FlagSpec("crit-headroom", value: "TIME", "Critical with less headroom."),
            ],
            examples: [
                ExampleSpec(
                    "martlet check group-lag board --warn 1000 --crit 100000", "In records"),
                ExampleSpec(
                    "martlet check group-lag board --crit-seconds 300 --warn-headroom 12h",
                    "In time"),
            ])
    ) { context in
        let name = try context.argument(0)
        let bounds = try Bounds(context)
        let group: GroupDescription
        do {
            group = try await context.withClient { try await $0.admin.describeGroup(name) }
        } catch {
            let message = Shown.text(ToolError(describing: error).message)
            let isNamed = message.contains("'\(name)'") || message.hasPrefix("group \(name): ")
            let about = isNamed ? "" : "group \(name): "
            try context.output.line("LAG \(CheckState.unknown.word): \(about)\(message)")
            throw ToolError.silent(CheckState.unknown.exitCode)
        }
        let figures = bounds.figures(of: group)
        let state = figures.map(\.state).max() ?? .ok
        try context.output.line(line(group, state, figures))
        if state != .ok { throw ToolError.silent(state.exitCode) }
    }

    private static func line(
        _ group: GroupDescription, _ state: CheckState, _ figures: [CheckFigure]
    ) -> String {
        var text = "LAG \(state.word): group \(group.name) "
        if group.lag == 0 {
            text += "has handled everything"
        } else {
            text += "is \(Shown.plural(group.lag, "record")) behind, the oldest "
            text += Shown.duration(milliseconds: group.lagTime.inMilliseconds) + " old"
        }
        if group.members.isEmpty { text += ", without members" }
        return text + " | " + figures.map(\.text).joined(separator: " ")
    }

    private struct Bounds {
        let records: [Int64?]
        let seconds: [Int64?]
        let headroom: [Int64?]

        init(_ context: CommandContext) throws {
            let invocation = context.invocation
            records = try ["warn", "crit"].map { try invocation.integer($0, in: 0 ... .max) }
            seconds = try ["warn-seconds", "crit-seconds"].map { try Self.seconds($0, invocation) }
            headroom = try ["warn-headroom", "crit-headroom"].map {
                try Self.seconds($0, invocation)
            }
        }

        /// `300` or `5m`: some flags say seconds in their names, and others do not.
        private static func seconds(
            _ flag: String, _ invocation: Invocation
        ) throws(CommandLineError) -> Int64? {
            if let word = invocation.value(flag), let number = Int64(word), number >= 0 {
                return number
            }
            return try invocation.milliseconds(flag).map { $0 / 1_000 }
        }

        func figures(of group: GroupDescription) -> [CheckFigure] {
            var figures = [
                CheckFigure(
                    name: "lag", value: group.lag, warning: records[0], critical: records[1]),
                CheckFigure(
                    name: "age", value: group.lagTime.inMilliseconds / 1_000, unit: "s",
                    warning: seconds[0], critical: seconds[1]),
            ]
            if let left = group.retentionHeadroom {
                figures.append(
                    CheckFigure(
                        name: "headroom", value: left.inMilliseconds / 1_000, unit: "s",
                        warning: headroom[0], critical: headroom[1], isWorseBelow: true))
            }
            return figures
        }
    }
}
