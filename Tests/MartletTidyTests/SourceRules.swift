import Testing

/// House rules that a formatter does not know.
@Suite struct SourceRules {
    private static let fileLinesMax = 600
    private static let functionLinesMax = 70

    @Test func `no source file is too long`() throws {
        for file in try SourceTree.files(below: "Sources", ending: ".swift") {
            #expect(
                file.lines.count <= Self.fileLinesMax,
                "\(file.path) has \(file.lines.count) lines, \(Self.fileLinesMax) are the most")
        }
    }

    @Test func `no function is too long`() throws {
        for file in try SourceTree.files(below: "Sources", ending: ".swift") {
            for function in Self.functions(file.lines) {
                #expect(
                    function.length <= Self.functionLinesMax,
                    "\(file.path):\(function.line) is \(function.length) lines long")
            }
        }
    }

    @Test func `banned words stay out of the sources`() throws {
        let banned = [
            "try!", "as!", "fatalError(", "print(", "import Foundation", "unowned(unsafe)",
            "-Ounchecked", "TODO", "FIXME", "XXX",
        ]
        for file in try SourceTree.files(below: "Sources", ending: ".swift") {
            for (index, line) in file.lines.enumerated() {
                for word in banned where Self.contains(line, word) {
                    Issue.record("\(file.path):\(index + 1) has \(word)")
                }
            }
        }
    }

    @Test func `every unchecked Sendable says whose the state is`() throws {
        for file in try SourceTree.files(below: "Sources", ending: ".swift") {
            for (index, line) in file.lines.enumerated() where line.contains("@unchecked Sendable")
            {
                guard !line.trimmed.hasPrefix("//") else { continue }
                let around = file.lines[max(0, index - 12)..<min(file.lines.count, index + 4)]
                let says = around.contains {
                    $0.trimmed.hasPrefix("//") && $0.contains("Sendable")
                }
                #expect(says, "\(file.path):\(index + 1): say in a comment who owns the state")
            }
        }
    }

    @Test func `tests do not sleep`() throws {
        for file in try SourceTree.files(below: "Tests", ending: ".swift")
        where file.name != "SourceRules.swift" && !file.path.hasPrefix("Tests/Verify/") {
            for (index, line) in file.lines.enumerated() where !line.trimmed.hasPrefix("//") {
                for word in ["Task.sleep", "usleep(", "nanosleep(", " sleep("]
                where line.contains(word) {
                    Issue.record("\(file.path):\(index + 1) sleeps: wait for what you wait for")
                }
            }
        }
    }

    private static func contains(_ line: Substring, _ word: String) -> Bool {
        guard line.contains(word), !line.trimmed.hasPrefix("//") else { return false }
        guard let first = word.first, first.isLetter else { return true }
        // A word of its own, not the end of a longer one.
        var rest = line
        while let range = rest.firstRange(of: word) {
            let before =
                range.lowerBound == rest.startIndex
                ? nil : rest[rest.index(before: range.lowerBound)]
            if before.map({ !$0.isLetter && !$0.isNumber && $0 != "_" && $0 != "." }) ?? true {
                return true
            }
            rest = rest[range.upperBound...]
        }
        return false
    }

    /// Functions by their indentation: from the line with `func` or `init` to the closing brace.
    private static func functions(_ lines: [Substring]) -> [(line: Int, length: Int)] {
        var result: [(line: Int, length: Int)] = []
        for (index, line) in lines.enumerated() {
            let text = line.trimmed
            guard text.contains("func ") || text.hasPrefix("init(") || text.contains(" init("),
                !text.hasPrefix("//"), !text.contains("\"")
            else { continue }
            let indent = line.prefix { $0 == " " }
            // A requirement of a protocol has no body: its scope ends before a closing brace comes.
            let scope = lines[(index + 1)...].prefix {
                $0.isEmpty || $0.prefix { $0 == " " }.count >= indent.count
            }
            let end = scope.firstIndex {
                $0 == indent + "}" || ($0.hasPrefix(indent + "}") && $0.count <= indent.count + 2)
            }
            let opens = lines[index..<(end ?? index)].contains { $0.hasSuffix("{") }
            guard opens else { continue }
            if let end, end > index { result.append((index + 1, end - index + 1)) }
        }
        return result
    }
}

extension Substring {
    var trimmed: Substring { drop { $0 == " " } }
}
