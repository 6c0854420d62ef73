import MartletJSON

/// The shape of a log line. Both escape every control character, so that one event is one line
/// whatever its values carry.
package enum LogFormat: String, CaseIterable, Sendable {
    /// `2026-01-22T12:00:00.123Z warning storage DISK_LOW: message name=value name="a value"`
    case text
    /// One JSON object a line; the fields stand under `fields`, apart from the fixed keys.
    case json

    /// Longer strings are cut: a peer must not be able to fill the log with one line.
    static let stringBytesMax = 2_048

    /// The line with its line feed.
    package func line(_ event: LogEvent) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(192)
        switch self {
        case .text: Self.appendText(event, to: &output)
        case .json: JSONWriter.append(Self.object(event), to: &output)
        }
        output.append(0x0A)
        return output
    }

    private static func appendText(_ event: LogEvent, to output: inout [UInt8]) {
        let time = Timestamp.text(wallMilliseconds: event.wallMilliseconds)
        output += "\(time) \(event.level.name) ".utf8
        appendEscaped(event.label, to: &output)
        output += " \(event.code): ".utf8
        appendEscaped(limited(event.message), to: &output)
        for (name, value) in event.fields {
            output.append(0x20)
            appendEscaped(name, to: &output)
            output.append(UInt8(ascii: "="))
            appendText(value, to: &output)
        }
    }

    private static func appendText(_ value: LogValue, to output: inout [UInt8]) {
        switch value {
        case .string(let text):
            let text = limited(text)
            if isPlain(text) {
                output += text.utf8
            } else {
                output.append(UInt8(ascii: "\""))
                appendEscaped(text, quote: true, to: &output)
                output.append(UInt8(ascii: "\""))
            }
        case .integer(let value): output += value.description.utf8
        case .unsigned(let value): output += value.description.utf8
        case .double(let value): output += value.description.utf8
        case .boolean(let value): output += value.description.utf8
        }
    }

    private static func isPlain(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                    UInt8(ascii: "A")...UInt8(ascii: "Z"):
                    true
                case _: "._-:/@+[]%,".utf8.contains(byte)
                }
            }
    }

    private static func appendEscaped(
        _ text: String,
        quote: Bool = false,
        to output: inout [UInt8]
    ) {
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": output += "\\n".utf8
            case "\r": output += "\\r".utf8
            case "\t": output += "\\t".utf8
            case "\\": output += "\\\\".utf8
            case "\"" where quote: output += "\\\"".utf8
            case _ where JSONWriter.isUnsafeToShow(scalar):
                output += "\\u{\(String(scalar.value, radix: 16))}".utf8
            case _: output += String(Character(scalar)).utf8
            }
        }
    }

    private static func limited(_ text: String) -> String {
        guard text.utf8.count > stringBytesMax else { return text }
        let kept = String(decoding: text.utf8.prefix(stringBytesMax), as: UTF8.self)
        return "\(kept)... (\(text.utf8.count) bytes)"
    }

    private static func object(_ event: LogEvent) -> JSONValue {
        var object: JSONObject = [
            "time": .string(Timestamp.text(wallMilliseconds: event.wallMilliseconds)),
            "level": .string(event.level.name),
            "label": .string(event.label),
            "code": .string(event.code.description),
            "message": .string(limited(event.message)),
        ]
        if !event.fields.isEmpty {
            var fields = JSONObject()
            for (name, value) in event.fields { fields[name] = json(value) }
            object["fields"] = .object(fields)
        }
        return .object(object)
    }

    private static func json(_ value: LogValue) -> JSONValue {
        switch value {
        case .string(let text): .string(limited(text))
        case .integer(let value): .integer(value)
        case .unsigned(let value): JSONValue(value)
        case .double(let value): .double(value)
        case .boolean(let value): .boolean(value)
        }
    }
}
