import MartletClient
import MartletJSON

/// What the topic tells of a dead letter that is none any more: somebody resolved it, or the group
/// handled what was sent again.
struct GoneLetter: Sendable {
    let entries: [DeadLetterEntry]
    private let last: DeadLetterEntry

    /// nil: the topic knows nothing of it.
    ///
    /// - Parameter entries: its own, oldest first.
    init?(_ entries: [DeadLetterEntry]) {
        guard let last = entries.last else { return nil }
        self.entries = entries
        self.last = last
    }

    /// What was sent again last, or would have been.
    var newest: DeadLetterEntry? { entries.last { $0.kind == .died || $0.kind == .edited } }

    private var isResolved: Bool { last.kind == .resolved }

    private var assignee: String? { entries.last { $0.kind == .assigned }?.assignee }

    func text(_ group: String) -> String {
        var facts = Facts()
        facts.add("dead letter", "\(last.letter) of group \(group), not any more")
        facts.add("state", isResolved ? "resolved" : "sent again and handled, or lost to retention")
        if !isResolved {
            // The broker counts what is sent again, and does not note it letter by letter.
            facts.add(
                "sent again by",
                "'martlet group events \(group) --type letters.replayed --since "
                    + "@\(last.at)' has who sent letters since")
        }
        facts.add(
            "from", "\(last.partition.topic):\(last.partition.partition) @\(last.offset)")
        facts.add("assigned to", assignee ?? "nobody")
        if let record = newest?.record {
            facts.add("key", record.keyBytes.map { Shown.bytes($0) } ?? "(none)")
            facts.add("value", record.valueBytes.map { Shown.bytes($0) } ?? "(null)")
        }
        return facts.text + "\n" + DeadLetterShowCommand.table(entries)
    }

    func json(_ group: String) -> JSONValue {
        var object: JSONObject = [
            "number": JSONValue(last.letter), "group": .string(group),
            "topic": .string(last.partition.topic),
            "partition": JSONValue(last.partition.partition), "offset": .integer(last.offset),
            "state": .string(isResolved ? "resolved" : "handled"),
            "assignee": assignee.map { .string($0) } ?? .null,
            "history": .array(entries.map(LetterJSON.entry)),
        ]
        RecordJSON.add("key", newest?.record.keyBytes, to: &object)
        RecordJSON.add("value", newest?.record.valueBytes, to: &object)
        return .object(object)
    }
}
