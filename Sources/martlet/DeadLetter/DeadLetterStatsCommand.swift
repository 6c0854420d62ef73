import MartletClient
import MartletConfiguration
import MartletJSON
import MartletSystem

/// `martlet dlq stats`.
enum DeadLetterStatsCommand {
    static let command: Command = Command(
        CommandSpec(
            "stats",
            "Count the dead letters of a group: by reason, error, cause, topic, type and age.",
            discussion: [
                "An error is the kind of the last failure. A cause is its kind and words, with <n> for "
                    + "numbers, <hex> for hexadecimal digits and <uuid> for UUIDs: what differs in "
                    + "nothing else is one line."
            ],
            arguments: [GroupCommands.argument],
            flags: LetterFilter.flags + [
                FlagSpec(
                    "by", value: "AXIS", choices: LetterCounts.Axis.allCases.map(\.rawValue),
                    "In this way alone; else in all of them."), CommonFlags.output,
                CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec("martlet dlq stats notify", "What fails, and how often"),
                ExampleSpec("martlet dlq stats notify --by cause", "What to mend first"),
                ExampleSpec("martlet dlq stats notify --since @-1h -o json", "Of the last hour"),
            ])
    ) { context in
        let name = try context.argument(0)
        let filter = try LetterFilter(context)
        var counts = LetterCounts(now: SystemClock().wallMilliseconds())
        let axis = context.invocation.value("by").flatMap(LetterCounts.Axis.init)
        let axes = axis.map { [$0] } ?? LetterCounts.Axis.allCases
        try await context.withClient { client in
            try await filter.each(of: name, client) { counts.add(LetterFacts($0)) }
        }
        switch context.format() {
        case .table, .name, .raw:
            try context.output.write(
                counts.table(axes).text(hasHeader: !context.invocation.has("no-headers")))
            context.output.message(counts.sum)
        case .json: try context.output.json(counts.json(name, axes))
        case .jsonl: try context.output.jsonLine(counts.json(name, axes))
        }
    }
}

/// Dead letters counted in several ways: what `stats` shows, and `replay` before it does anything.
struct LetterCounts {
    enum Axis: String, CaseIterable {
        case reason, error, cause, topic, type, age
    }

    struct Line: Equatable {
        let axis: Axis
        let value: String
        var count = 0
        var oldest: Int64
    }

    private(set) var dead = 0
    private(set) var replaying = 0
    private let now: Int64
    private var lines: [Axis: [String: Line]] = [:]

    init(now: Int64) {
        self.now = now
    }

    mutating func add(_ facts: LetterFacts) {
        let letter = facts.letter
        if letter.isReplaying { replaying += 1 } else { dead += 1 }
        for axis in Axis.allCases {
            let value =
                switch axis {
                case .reason: letter.reason.rawValue
                case .error: facts.errorKind ?? "?"
                case .cause: facts.cause ?? "?"
                case .topic: facts.topic.isEmpty ? "?" : facts.topic
                case .type: facts.eventType ?? "-"
                case .age: Self.age(now - letter.diedAt)
                }
            let new = Line(axis: axis, value: value, oldest: letter.diedAt)
            var line = lines[axis]?[value] ?? new
            line.count += 1
            line.oldest = min(line.oldest, letter.diedAt)
            lines[axis, default: [:]][value] = line
        }
    }

    /// The most frequent first; ages from the youngest on.
    func sorted(_ axis: Axis) -> [Line] {
        (lines[axis] ?? [:]).values.sorted { left, right in
            if axis == .age { return left.oldest > right.oldest }
            return left.count == right.count
                ? left.value < right.value : left.count > right.count
        }
    }

    private static func age(_ milliseconds: Int64) -> String {
        let hour: Int64 = 3_600_000
        switch milliseconds {
        case ..<hour: return "under 1h"
        case ..<(24 * hour): return "1h to 1d"
        case ..<(168 * hour): return "1d to 7d"
        case _: return "over 7d"
        }
    }

    var sum: String {
        Shown.plural(dead, "dead letter")
            + (replaying == 0 ? "" : ", and \(Shown.count(replaying)) with the group again")
    }

    func table(_ axes: [Axis] = Axis.allCases) -> Table {
        var table = Table([.left("BY"), .left("VALUE"), .right("COUNT"), .left("OLDEST")])
        for axis in axes {
            for line in sorted(axis) {
                table.add([
                    axis.rawValue, Shown.cut(line.value, to: axis == .cause ? 100 : 60),
                    Shown.count(line.count),
                    TimeText.text(line.oldest),
                ])
            }
        }
        return table
    }

    func json(_ group: String, _ axes: [Axis] = Axis.allCases) -> JSONValue {
        var object: JSONObject = [
            "group": .string(group), "dead": JSONValue(dead), "replaying": JSONValue(replaying),
        ]
        for axis in axes {
            object[axis.rawValue] = .array(
                sorted(axis).map { line in
                    [
                        "value": .string(line.value), "count": JSONValue(line.count),
                        "oldestAt": .integer(line.oldest),
                    ]
                })
        }
        return .object(object)
    }
}
