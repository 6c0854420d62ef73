import MartletJSON

/// Writes a value as YAML in blocks. Every text is in double quotes with JSON's escapes, which YAML
/// reads alike: so no text can be taken for a number, a truth value or the start of a block.
enum YAMLWriter {
    static func text(_ value: JSONValue) -> String {
        var lines: [String] = []
        append(value, indent: 0, first: "", to: &lines)
        return lines.map { $0 + "\n" }.joined()
    }

    /// `first` stands before the first line instead of its indent: `key:` or the dash of a list.
    private static func append(
        _ value: JSONValue, indent: Int, first: String, to lines: inout [String]
    ) {
        let spaces = String(repeating: " ", count: indent)
        switch value {
        case .object(let object) where !object.isEmpty:
            for (index, member) in object.members.enumerated() {
                let start = index == 0 && !first.isEmpty ? first : spaces
                member.value.isBlock
                    ? block(member, indent, start, &lines)
                    : lines.append("\(start)\(key(member.key)): \(JSONWriter.text(member.value))")
            }
        case .array(let elements) where !elements.isEmpty:
            for element in elements {
                append(element, indent: indent + 2, first: spaces + "- ", to: &lines)
            }
        case .null, .boolean, .integer, .unsigned, .double, .string, .array, .object:
            lines.append((first.isEmpty ? spaces : first) + JSONWriter.text(value))
        }
    }

    private static func block(
        _ member: JSONObject.Member, _ indent: Int, _ start: String, _ lines: inout [String]
    ) {
        lines.append("\(start)\(key(member.key)):")
        append(member.value, indent: indent + 2, first: "", to: &lines)
    }

    /// Names that YAML reads as text stand without quotes.
    private static func key(_ name: String) -> String {
        let isPlain =
            name.utf8.count > 1
            && name.utf8.allSatisfy { (0x61...0x7A).contains($0) || $0 == 0x5F }
            && !["true", "false", "yes", "no", "on", "off", "null"].contains(name)
        return isPlain ? name : JSONWriter.text(.string(name))
    }
}

extension JSONValue {
    /// Whether it takes lines of its own.
    fileprivate var isBlock: Bool {
        switch self {
        case .object(let object): !object.isEmpty
        case .array(let elements): !elements.isEmpty
        case .null, .boolean, .integer, .unsigned, .double, .string: false
        }
    }
}
