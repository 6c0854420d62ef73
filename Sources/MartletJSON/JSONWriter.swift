/// Writes JSON. The output is valid JSON for every value, also for strings that carry control
/// characters: those, and the ones that can move a terminal's cursor or turn its text around,
/// leave as escapes.
package enum JSONWriter {
    package enum Style: Sendable {
        /// No white space: one line.
        case compact
        /// Two spaces per level.
        case pretty
    }

    package static func bytes(_ value: JSONValue, style: Style = .compact) -> [UInt8] {
        var output: [UInt8] = []
        append(value, style: style, to: &output)
        return output
    }

    package static func text(_ value: JSONValue, style: Style = .compact) -> String {
        String(decoding: bytes(value, style: style), as: UTF8.self)
    }

    package static func append(
        _ value: JSONValue,
        style: Style = .compact,
        to output: inout [UInt8]
    ) {
        append(value, style: style, depth: 0, to: &output)
    }

    private static func append(
        _ value: JSONValue,
        style: Style,
        depth: Int,
        to output: inout [UInt8]
    ) {
        switch value {
        case .null: output += "null".utf8
        case .boolean(let value): output += (value ? "true" : "false").utf8
        case .integer(let value): output += value.description.utf8
        case .unsigned(let value): output += value.description.utf8
        case .double(let value): append(value, to: &output)
        case .string(let value): append(value, to: &output)
        case .array(let elements):
            list(elements, "[", "]", style, depth, &output) { element, output in
                append(element, style: style, depth: depth + 1, to: &output)
            }
        case .object(let object):
            list(object.members, "{", "}", style, depth, &output) { member, output in
                append(member.key, to: &output)
                output += (style == .pretty ? ": " : ":").utf8
                append(member.value, style: style, depth: depth + 1, to: &output)
            }
        }
    }

    private static func list<Element>(
        _ elements: [Element],
        _ open: String,
        _ close: String,
        _ style: Style,
        _ depth: Int,
        _ output: inout [UInt8],
        _ body: (Element, inout [UInt8]) -> Void
    ) {
        output += open.utf8
        for (index, element) in elements.enumerated() {
            if index > 0 { output.append(UInt8(ascii: ",")) }
            newLine(style, depth + 1, &output)
            body(element, &output)
        }
        if !elements.isEmpty { newLine(style, depth, &output) }
        output += close.utf8
    }

    private static func newLine(_ style: Style, _ depth: Int, _ output: inout [UInt8]) {
        guard style == .pretty else { return }
        output.append(0x0A)
        output += repeatElement(0x20, count: depth * 2)
    }

    /// JSON has no word for infinity and not-a-number; `null` is what readers expect there.
    package static func append(_ value: Double, to output: inout [UInt8]) {
        output += (value.isFinite ? value.description : "null").utf8
    }

    /// A string in quotes.
    package static func append(_ text: String, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        defer { output.append(UInt8(ascii: "\"")) }
        // Nearly every string is plain ASCII and goes out as it is.
        guard !text.utf8.allSatisfy({ (0x20..<0x7F).contains($0) && $0 != 0x22 && $0 != 0x5C })
        else {
            output += text.utf8
            return
        }
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x22: output += "\\\"".utf8
            case 0x5C: output += "\\\\".utf8
            case 0x08: output += "\\b".utf8
            case 0x0C: output += "\\f".utf8
            case 0x0A: output += "\\n".utf8
            case 0x0D: output += "\\r".utf8
            case 0x09: output += "\\t".utf8
            case 0x20..<0x7F: output.append(UInt8(truncatingIfNeeded: scalar.value))
            case _ where isUnsafeToShow(scalar): appendEscape(scalar, to: &output)
            case _: output += String(Character(scalar)).utf8
            }
        }
    }

    /// Control characters (C0, DEL, C1), the line separators that some readers take for a new
    /// line, and the marks that turn the direction of text around.
    package static func isUnsafeToShow(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F...0x9F, 0x2028, 0x2029: true
        case 0x200E, 0x200F, 0x202A...0x202E, 0x2066...0x2069: true
        case _: false
        }
    }

    /// All of the above lie below U+10000, so four digits are enough.
    private static func appendEscape(_ scalar: Unicode.Scalar, to output: inout [UInt8]) {
        let digits = String(scalar.value, radix: 16)
        output += "\\u".utf8
        output += repeatElement(UInt8(ascii: "0"), count: max(0, 4 - digits.utf8.count))
        output += digits.utf8
    }
}
