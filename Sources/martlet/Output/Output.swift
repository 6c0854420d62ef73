import MartletClient
import MartletConfiguration
import MartletJSON
import MartletSystem

/// How a command shows its data.
enum OutputFormat: String, CaseIterable, Sendable {
    case table
    /// One JSON document.
    case json
    /// One JSON value a line.
    case jsonl
    /// Names only, one a line.
    case name
    /// The values of records, one a line.
    case raw
}

/// Where a command's words go: data to standard output, messages to standard error.
struct Output: Sendable {
    let isTerminal: Bool
    let errorIsTerminal: Bool
    /// Columns of the terminal; nil when there is none.
    let width: Int?

    static func system() -> Output {
        Output(
            isTerminal: StandardStream.output.isTerminal,
            errorIsTerminal: StandardStream.error.isTerminal,
            width: StandardStream.output.terminalWidth)
    }

    /// Writes data. A reader that is gone ends the command without a word.
    func write(_ bytes: [UInt8]) throws {
        do throws(SystemError) {
            try StandardStream.output.write(bytes)
        } catch {
            if error.isDisconnect { throw OutputClosed() }
            throw ToolError.failure("cannot write to standard output: \(error)")
        }
    }

    func write(_ text: String) throws { try write(Array(text.utf8)) }

    func line(_ text: String) throws { try write(text + "\n") }

    /// A message for people. Nobody is told when it cannot be written.
    func message(_ text: String) {
        do throws(SystemError) {
            try StandardStream.error.write(text + "\n")
        } catch {
            // There is no better place to say so.
        }
    }

    /// One JSON document on several lines.
    func json(_ value: JSONValue) throws {
        try write(JSONWriter.bytes(value, style: .pretty) + [0x0A])
    }

    /// One JSON value on one line.
    func jsonLine(_ value: JSONValue) throws {
        try write(JSONWriter.bytes(value) + [0x0A])
    }
}

extension CommandContext {
    /// The format asked for with `-o`; without it a table, or what `elsewhere` says when nobody
    /// watches. Only streams of records and measurements have such another form: `martlet status |
    /// less` and the same in a CI log are still read by people.
    func format(elsewhere: OutputFormat = .table) -> OutputFormat {
        if let format = invocation.value("output").flatMap({ OutputFormat(rawValue: $0) }) {
            return format
        }
        return output.isTerminal ? .table : elsewhere
    }

    /// Whether `-o json` or `-o jsonl` was asked for, for commands whose result is a message.
    var wantsJSON: Bool { invocation.has("output") }

    /// Shows rows in the format asked for. `rows` and `objects` belong together one by one.
    func show(_ table: Table, objects: [JSONValue], names: [String]? = nil) throws {
        switch format() {
        case .table, .raw:
            try output.write(table.text(hasHeader: !invocation.has("no-headers")))
        case .json: try output.json(.array(objects))
        case .jsonl: for object in objects { try output.jsonLine(object) }
        case .name: for name in names ?? [] { try output.line(name) }
        }
    }
}

/// Flags that several commands have.
enum CommonFlags {
    static let output = output([.table, .json, .jsonl], "table (default), json or jsonl.")
    /// Of commands with `format(elsewhere: .jsonl)`.
    static let streamedOutput = output(
        [.table, .json, .jsonl],
        "table, json or jsonl; without it a table on a terminal and jsonl elsewhere.")
    static let result = output(
        [.json, .jsonl],
        "json or jsonl prints the result on standard output; without it a message tells it.")
    static func output(_ formats: [OutputFormat], _ help: String) -> FlagSpec {
        FlagSpec(
            "output", short: "o", value: "FORMAT", choices: formats.map(\.rawValue), help)
    }

    static let acks = FlagSpec(
        "acks", value: "WORD", choices: AckLevel.allCases.map(\.name),
        "durable (default), written or none.")
    static func durability(_ help: String) -> FlagSpec {
        FlagSpec("durability", value: "WORD", choices: ["durable", "written"], help)
    }

    static let noHeaders = FlagSpec("no-headers", "Leave the line with the column names out.")
    static let yes = FlagSpec("yes", short: "y", "Do not ask for the name to be typed.")
    static let dryRun = FlagSpec("dry-run", "Check and show what would happen, change nothing.")
    static let partition = FlagSpec(
        "partition", short: "p", value: "N", repeatable: true, "Only this partition.")
}
