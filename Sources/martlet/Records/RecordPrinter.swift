import MartletClient
import MartletConfiguration
import MartletJSON

/// Shows records one by one in the form asked for.
struct RecordPrinter: ~Copyable {
    enum Form: Sendable {
        case table(width: Int?)
        case json
        case jsonLines
        case raw
        case custom(RecordFormat)
    }

    private let form: Form
    private let output: Output
    private let hasHeader: Bool
    private var buffer: [UInt8] = []
    private var isFirst = true

    init(_ context: CommandContext) throws {
        output = context.output
        hasHeader = !context.invocation.has("no-headers")
        if let text = context.invocation.value("format") {
            guard !context.invocation.has("output") else {
                throw context.usage("--format and --output exclude each other")
            }
            do throws(FormatStringError) {
                form = .custom(try RecordFormat(parsing: text))
            } catch {
                throw context.usage("--format: \(error)")
            }
            return
        }
        switch context.format(elsewhere: .jsonl) {
        case .table: form = .table(width: output.isTerminal ? output.width : nil)
        case .json: form = .json
        case .jsonl, .name: form = .jsonLines
        case .raw: form = .raw
        }
    }

    mutating func show(_ record: RecordView) throws {
        switch form {
        case .table(let width): row(record, width)
        case .json:
            buffer += (isFirst ? "[\n" : ",\n").utf8
            JSONWriter.append(Self.json(record), to: &buffer)
        case .jsonLines:
            JSONWriter.append(Self.json(record), to: &buffer)
            buffer.append(0x0A)
        case .raw:
            buffer += record.value ?? []
            buffer.append(0x0A)
        case .custom(let format): format.append(record, to: &buffer)
        }
        isFirst = false
        if buffer.count >= 1 << 16 { try flush() }
    }

    /// Writes what waits: called whenever no more is at hand.
    mutating func flush() throws {
        if buffer.isEmpty { return }
        try output.write(buffer)
        buffer.removeAll(keepingCapacity: true)
    }

    mutating func finish() throws {
        if case .json = form { buffer += (isFirst ? "[]\n" : "\n]\n").utf8 }
        try flush()
    }

    /// After an error: what was shown stays valid.
    mutating func abandon() throws {
        if isFirst { try flush() } else { try finish() }
    }

    static func json(_ record: RecordView) -> JSONValue {
        var object: JSONObject = [
            "topic": .string(record.topic), "partition": JSONValue(record.partition),
            "offset": .integer(record.offset), "timestamp": .integer(record.timestamp),
        ]
        RecordJSON.add("key", record.key, to: &object)
        RecordJSON.add("value", record.value, to: &object)
        object["headers"] = .array(
            record.headers.map { header in
                var item: JSONObject = ["key": .string(header.key)]
                RecordJSON.add("value", header.value, to: &item)
                return .object(item)
            })
        return .object(object)
    }

    private mutating func row(_ record: RecordView, _ width: Int?) {
        if isFirst, hasHeader {
            buffer += "TIME                      PART        OFFSET  KEY               VALUE\n".utf8
        }
        let key = record.key.map { Shown.bytes($0) } ?? "-"
        let value = record.value.map { Shown.bytes($0) } ?? "-"
        var line = Self.padded(TimeText.text(record.timestamp), 24, right: false)
        line += Self.padded("\(record.partition)", 6, right: true)
        line += Self.padded("\(record.offset)", 14, right: true) + "  "
        line += Self.padded(key, 16, right: false) + "  " + value
        if let width { line = Shown.cut(line, to: max(width, 40)) }
        buffer += line.utf8
        buffer.append(0x0A)
    }

    private static func padded(_ text: String, _ width: Int, right: Bool) -> String {
        let space = String(repeating: " ", count: max(0, width - Shown.width(text)))
        return right ? space + text : text + space
    }
}
