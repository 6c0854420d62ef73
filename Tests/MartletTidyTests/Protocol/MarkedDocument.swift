import FoundationEssentials

/// A document with parts that come from the code: everything between `<!-- generated: NAME -->`
/// and `<!-- end -->`.
struct MarkedDocument {
    private static let opening = "<!-- generated: "
    private static let closing = " -->"
    private static let end = "<!-- end -->"

    struct Problem: Error, CustomStringConvertible {
        let description: String
    }

    let path: String
    /// Names of the parts, in order.
    private(set) var names: [String] = []
    /// Text of each part, without the marker lines.
    private(set) var parts: [String: String] = [:]
    private let lines: [Substring]

    init(_ path: String) throws {
        self.path = path
        lines = try SourceTree.file(path).lines
        var open: String?
        var content: [Substring] = []
        for (index, line) in lines.enumerated() {
            if let name = Self.name(line) {
                guard open == nil, parts[name] == nil else {
                    throw Problem(description: "\(path):\(index + 1): \(name) begins here again")
                }
                open = name
                content = []
            } else if line == Self.end {
                guard let name = open else {
                    throw Problem(description: "\(path):\(index + 1): nothing to end")
                }
                names.append(name)
                parts[name] = content.joined(separator: "\n")
                open = nil
            } else if open != nil {
                content.append(line)
            }
        }
        if let open { throw Problem(description: "\(path): part \(open) does not end") }
    }

    private static func name(_ line: Substring) -> String? {
        guard line.hasPrefix(opening), line.hasSuffix(closing) else { return nil }
        return String(line.dropFirst(opening.count).dropLast(closing.count))
    }

    /// Puts new text into the parts, in place.
    func rewrite(_ texts: [String: String]) throws {
        var result: [String] = []
        var isSkipping = false
        for line in lines {
            if line == Self.end { isSkipping = false }
            if !isSkipping { result.append(String(line)) }
            guard let name = Self.name(line), let text = texts[name] else { continue }
            result.append(text)
            isSkipping = true
        }
        try result.joined(separator: "\n").write(
            toFile: "\(SourceTree.root)/\(path)", atomically: true, encoding: .utf8)
    }

    /// What stands in blocks of the given language, each with the line where it begins.
    func blocks(of language: String) -> [(line: Int, text: [Substring])] {
        var result: [(line: Int, text: [Substring])] = []
        var open: (line: Int, text: [Substring])?
        for (index, line) in lines.enumerated() {
            if var block = open {
                if line == "```" {
                    result.append(block)
                    open = nil
                } else {
                    block.text.append(line)
                    open = block
                }
            } else if line == "```" + language {
                open = (index + 2, [])
            }
        }
        return result
    }
}
