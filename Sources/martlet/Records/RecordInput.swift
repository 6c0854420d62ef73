import MartletClient
import MartletConfiguration
import MartletJSON
import MartletSystem

/// How a piece of standard input becomes a record.
struct RecordInput: Sendable {
    enum Form: Sendable {
        /// The piece is the value, with a key in front when there is a separator.
        case lines(keySeparator: [UInt8]?)
        case jsonLines
    }

    let topic: String
    let form: Form
    let delimiter: UInt8
    let key: [UInt8]?
    let headers: [RecordHeader]
    let partition: Int32?
    let emptyIsNull: Bool

    init(_ context: CommandContext) throws {
        topic = try context.argument(0)
        let word = context.invocation.value("format") ?? "lines"
        let separator = try Self.escaped("key-separator", context)
        if word == "jsonl", separator != nil {
            throw context.usage("--key-separator is for lines, and --format is jsonl")
        }
        form = word == "jsonl" ? .jsonLines : .lines(keySeparator: separator)
        let delimiter = try Self.escaped("delimiter", context) ?? [0x0A]
        guard let byte = delimiter.first, delimiter.count == 1 else {
            throw context.usage("--delimiter must be one byte")
        }
        self.delimiter = byte
        key = context.invocation.value("key").map { Array($0.utf8) }
        headers = try context.invocation.values("header").map { text in
            let pair = try KeyValue(parsing: text, context)
            return RecordHeader(pair.key, pair.value)
        }
        partition = try context.invocation.integer("partition", in: 0...999_999).map {
            Int32(clamping: $0)
        }
        emptyIsNull = context.invocation.has("empty-is-null")
    }

    private static func escaped(_ flag: String, _ context: CommandContext) throws -> [UInt8]? {
        guard let text = context.invocation.value(flag) else { return nil }
        guard let bytes = Escapes.bytes(text), !bytes.isEmpty else {
            throw context.usage("--\(flag): '\(text)' has an unknown escape or is empty")
        }
        return bytes
    }

    /// The record; `number` counts the pieces from 1. Nil for a blank JSON line.
    func record(_ piece: [UInt8], number: Int) throws -> ProducerRecord? {
        switch form {
        case .lines(let separator): return line(piece, separator)
        case .jsonLines:
            if piece.allSatisfy({ $0 == 0x20 || $0 == 0x0D || $0 == 0x09 }) { return nil }
            do {
                return try json(JSONValue(parsing: piece))
            } catch let error as JSONError {
                throw ToolError.usage("line \(number), column \(error.column): \(error.reason)")
            } catch let error as ToolError {
                throw ToolError.usage("line \(number): \(error.message)")
            }
        }
    }

    private func line(_ piece: [UInt8], _ separator: [UInt8]?) -> ProducerRecord {
        var key = key
        var value: [UInt8]? = piece
        if let separator, let found = piece[...].firstRange(of: separator) {
            key = Array(piece[..<found.lowerBound])
            value = Array(piece[found.upperBound...])
        }
        if emptyIsNull {
            if key?.isEmpty == true { key = nil }
            if value?.isEmpty == true { value = nil }
        }
        return ProducerRecord(
            topic: topic, key: key, value: value, headers: headers, partition: partition)
    }

    // MARK: JSON

    private static let fields = [
        "key", "keyBase64", "value", "valueBase64", "headers", "partition", "timestamp", "topic",
        "offset",
    ]

    private func json(_ value: JSONValue) throws -> ProducerRecord {
        guard let object = value.objectValue else {
            throw ToolError.usage("not a JSON object such as {\"key\":\"k\",\"value\":\"v\"}")
        }
        if let unknown = object.keys.first(where: { !Self.fields.contains($0) }) {
            let hint = NearestName.suggestion(for: unknown, in: Self.fields)
            throw ToolError.usage("unknown field '\(unknown)'\(hint)")
        }
        return ProducerRecord(
            topic: topic, key: try Self.bytes("key", in: object) ?? key,
            value: try Self.bytes("value", in: object),
            headers: try headers + Self.headers(object["headers"]),
            partition: try partition ?? Self.partition(object["partition"]),
            timestamp: try Self.timestamp(object["timestamp"]))
    }

    /// Text as it is; other JSON values as JSON text; the Base64 field as its bytes.
    private static func bytes(_ name: String, in object: JSONObject) throws -> [UInt8]? {
        if let encoded = object[name + "Base64"] {
            guard object[name] == nil, let text = encoded.stringValue,
                let bytes = Base64.bytes(text)
            else { throw ToolError.usage("\(name)Base64 is not Base64, or \(name) is there too") }
            return bytes
        }
        switch object[name] {
        case nil, .null?: return nil
        case .string(let text)?: return Array(text.utf8)
        case let value?: return JSONWriter.bytes(value)
        }
    }

    private static func headers(_ value: JSONValue?) throws -> [RecordHeader] {
        switch value {
        case nil, .null?: return []
        case .object(let object)?:
            return try object.members.map { member in
                var holder = JSONObject()
                holder["value"] = member.value
                return RecordHeader(member.key, try bytes("value", in: holder))
            }
        case .array(let items)?:
            return try items.map { item in
                guard let object = item.objectValue, let key = object["key"]?.stringValue else {
                    throw ToolError.usage("a header is not {\"key\":\"k\",\"value\":\"v\"}")
                }
                return RecordHeader(key, try bytes("value", in: object))
            }
        case _: throw ToolError.usage("headers are neither an object nor an array")
        }
    }

    private static func partition(_ value: JSONValue?) throws -> Int32? {
        guard let value, !value.isNull else { return nil }
        guard let number = value.integerValue, let partition = Int32(exactly: number),
            partition >= 0
        else { throw ToolError.usage("partition is not a partition's number") }
        return partition
    }

    private static func timestamp(_ value: JSONValue?) throws -> Int64? {
        guard let value, !value.isNull else { return nil }
        if let number = value.integerValue { return number }
        let now = SystemClock().wallMilliseconds()
        guard let text = value.stringValue, let time = TimeText.parse(text, now: now) else {
            throw ToolError.usage("timestamp is neither milliseconds nor ISO 8601")
        }
        return time
    }
}

extension ArraySlice<UInt8> {
    /// Where `wanted` comes first.
    func firstRange(of wanted: [UInt8]) -> Range<Int>? {
        guard let first = wanted.first, wanted.count <= count else { return nil }
        var start = startIndex
        while let found = self[start...].firstIndex(of: first), found + wanted.count <= endIndex {
            if self[found..<(found + wanted.count)].elementsEqual(wanted) {
                return found..<(found + wanted.count)
            }
            start = found + 1
        }
        return nil
    }
}
