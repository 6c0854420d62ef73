import MartletClient
import MartletConfiguration
import MartletSystem

/// Which dead letters a command is about.
struct LetterFilter: Sendable {
    static let flags = [
        FlagSpec("id", value: "N", repeatable: true, "This one, by its number."),
        FlagSpec("type", value: "TYPE", "Only events of this type: the header 'type'."),
        FlagSpec(
            "error", value: "TEXT", "Only with this text in the kind or the words of the failure."),
        FlagSpec(
            "trace", value: "ID", "Only records of this trace, by 32 hexadecimal digits."),
        FlagSpec("since", value: "@TIME", "Only what died then or later: @2026-01-22, @-2h."),
        FlagSpec("until", value: "@TIME", "Only what died before."),
        FlagSpec("key", short: "k", value: "KEY", "Only records with this key."),
        FlagSpec("assigned", value: "NAME", "Only what is assigned to this one."),
        FlagSpec("unassigned", "Only what is assigned to nobody."),
        FlagSpec(
            "topic", short: "t", value: "TOPIC[:N]", offers: .topic, repeatable: true,
            "Only records of this topic, or of one partition of it."),
    ]

    private let numbers: Set<UInt64>
    private let type: String?
    private let error: String?
    private let trace: String?
    private let since: Int64?
    private let until: Int64?
    private let key: [UInt8]?
    private let assignee: Assignee?
    private let parts: [GroupPart]
    /// What was asked for, as it was written.
    private let asked: String

    private enum Assignee: Equatable {
        case nobody
        case somebody(String)
    }

    init(
        _ context: CommandContext, now: Int64 = SystemClock().wallMilliseconds()
    ) throws {
        let invocation = context.invocation
        numbers = Set(try invocation.values("id").map { try Self.number($0, "--id", context) })
        type = invocation.value("type")
        error = invocation.value("error")
        trace = invocation.value("trace").map { $0.lowercased() }
        key = invocation.value("key").map { Array($0.utf8) }
        assignee = try Self.assignee(context)
        parts = try context.groupParts()
        func time(_ flag: String) throws -> Int64? {
            try invocation.value(flag).map { word in
                let text = word.hasPrefix("@") ? word.dropFirst() : word[...]
                guard let time = TimeText.parse(text, now: now) else {
                    throw context.usage(
                        "--\(flag): '\(word)' is not @TIME (@2026-01-22T12:00Z, @-15m)")
                }
                return time
            }
        }
        since = try time("since")
        until = try time("until")
        asked = Self.flags.flatMap { flag in
            invocation.values(flag.name).map { "--\(flag.name) \($0)" }
                + (flag.value == nil && invocation.has(flag.name) ? ["--\(flag.name)"] : [])
        }.joined(separator: " ")
    }

    private static func assignee(_ context: CommandContext) throws -> Assignee? {
        let name = context.invocation.value("assigned")
        guard context.invocation.has("unassigned") else { return name.map { .somebody($0) } }
        if name != nil { throw context.usage("--assigned and --unassigned exclude each other") }
        return .nobody
    }

    static func number(
        _ word: String, _ what: String, _ context: CommandContext
    ) throws -> UInt64 {
        guard let number = UInt64(word), number > 0 else {
            throw context.usage("\(what): '\(word)' is not a dead letter's number")
        }
        return number
    }

    /// Whether it leaves anything out.
    var isEmpty: Bool {
        numbers.isEmpty && type == nil && error == nil && trace == nil && since == nil
            && until == nil && assignee == nil
            && key == nil && parts.isEmpty
    }

    /// What to say when nothing was found, so that a mistyped filter is not taken for good news.
    func none(of group: String) -> String {
        isEmpty
            ? "group \(group) has no dead letters"
            : "no dead letter of group \(group) is like \(Shown.text(asked))"
    }

    /// By what the broker has in mind: before anything is read.
    func accepts(_ letter: DeadLetter) -> Bool {
        if !numbers.isEmpty, !numbers.contains(letter.number) { return false }
        if let since, letter.diedAt < since { return false }
        if let until, letter.diedAt >= until { return false }
        switch assignee {
        case nil: return true
        case .nobody: return letter.assignee == nil
        case .somebody(let name): return letter.assignee == name
        }
    }

    /// Whether the records have to be read to know.
    private var looksIntoRecords: Bool {
        type != nil || error != nil || trace != nil || key != nil || !parts.isEmpty
    }

    func accepts(_ view: LetterView) -> Bool {
        guard accepts(view.letter) else { return false }
        if let type, view.eventType != type { return false }
        if let key, view.newest?.record.keyBytes != key { return false }
        if let trace, view.traceID != trace { return false }
        if let error, !Self.contains(view, error) { return false }
        guard !parts.isEmpty else { return true }
        return parts.contains { part in
            part.topic == view.partition.topic
                && (part.partition ?? view.partition.partition) == view.partition.partition
        }
    }

    private static func contains(_ view: LetterView, _ text: String) -> Bool {
        [view.died?.firstFailure, view.died?.lastFailure].contains { failure in
            failure.map { $0.kind.contains(text) || $0.text.contains(text) } ?? false
        }
    }

    /// Calls `body` with what it accepts, in the order in which the newest entries came. Numbers
    /// that are not there are an error.
    ///
    /// - Parameter limit: the first so many by number are enough; `body` may get more.
    func each(
        of group: String, _ client: MartletClient, limit: Int = .max,
        _ body: (LetterView) async throws -> Void
    ) async throws {
        let letters = try await client.admin.deadLetters(of: group)
        let missing = numbers.subtracting(letters.map(\.number)).sorted()
        if let first = missing.first { throw Self.unknown(first, group) }
        let reader = LetterReader(client: client, group: group)
        let chosen = letters.filter(accepts)
        let wanted = looksIntoRecords ? chosen : Array(chosen.prefix(limit))
        try await reader.each(wanted) { view in
            if accepts(view) { try await body(view) }
        }
    }

    static func unknown(_ number: UInt64, _ group: String) -> ToolError {
        ToolError(
            .notFound,
            "group \(group) has no dead letter \(number): it is handled or resolved, or never was "
                + "(UNKNOWN_DEAD_LETTER)")
    }
}
