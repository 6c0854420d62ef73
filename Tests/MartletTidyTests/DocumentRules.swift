import FoundationEssentials
import Testing

/// What holds for every document: one title, links that lead somewhere, and names that exist.
@Suite struct DocumentRules {
    /// All documents of the repository, by their paths.
    private static func documents() throws -> [SourceTree.File] {
        let manager = FileManager.default
        let top = try manager.contentsOfDirectory(atPath: SourceTree.root)
            .filter { $0.hasSuffix(".md") }.sorted()
        var files = try top.map { try SourceTree.file($0) }
        for folder in ["docs", "examples", "bench"]
        where manager.fileExists(atPath: "\(SourceTree.root)/\(folder)") {
            files += try SourceTree.files(below: folder, ending: ".md")
        }
        return files
    }

    /// The lines outside blocks of code, with their numbers.
    private static func prose(_ file: SourceTree.File) -> [(number: Int, text: Substring)] {
        var isCode = false
        var result: [(number: Int, text: Substring)] = []
        for (index, line) in file.lines.enumerated() {
            if line.hasPrefix("```") {
                isCode.toggle()
            } else if !isCode {
                result.append((index + 1, line))
            }
        }
        return result
    }

    @Test func `every document has exactly one title, and it comes first`() throws {
        for file in try Self.documents() {
            let titles = Self.prose(file).filter { $0.text.hasPrefix("# ") }
            #expect(titles.map(\.number) == [1], "\(file.path) has \(titles.count) titles")
        }
    }

    @Test func `every link inside the repository leads to something`() throws {
        for file in try Self.documents() {
            let anchors = Set(Self.prose(file).compactMap { Self.anchor(ofHeading: $0.text) })
            let folder = file.path.split(separator: "/").dropLast().joined(separator: "/")
            for line in Self.prose(file) {
                for target in Self.links(in: line.text) where !target.contains("://") {
                    let place = "\(file.path):\(line.number)"
                    if target.hasPrefix("#") {
                        #expect(anchors.contains(String(target.dropFirst())), "\(place): \(target)")
                    } else {
                        try expectFile(target, from: folder, place)
                    }
                }
            }
        }
    }

    @Test(arguments: [
        "examples/quickstart/Main.swift", "Tests/MartletClientTests/ReadmeTests.swift",
        "Tests/MartletClientTests/PaymentsReadmeTests.swift",
    ])
    func `the README shows code as it is built`(path: String) throws {
        let program = try SourceTree.file(path).lines.joined(separator: "\n")
        let blocks = try MarkedDocument("README.md").blocks(of: "swift")
        let shown = blocks.contains { $0.text.joined(separator: "\n") + "\n" == program }
        #expect(shown, "README.md must show \(path) as it is")
    }

    private func expectFile(_ target: Substring, from folder: String, _ place: String) throws {
        let parts = target.split(separator: "#", maxSplits: 1)
        var path = folder.split(separator: "/")
        for step in parts[0].split(separator: "/") {
            if step == ".." { path.removeLast() } else if step != "." { path.append(step) }
        }
        let file = path.joined(separator: "/")
        let exists = FileManager.default.fileExists(atPath: "\(SourceTree.root)/\(file)")
        #expect(exists, "\(place): there is no \(target)")
        guard exists, parts.count == 2, file.hasSuffix(".md") else { return }
        let anchors = Self.prose(try SourceTree.file(file)).compactMap {
            Self.anchor(ofHeading: $0.text)
        }
        #expect(anchors.contains(String(parts[1])), "\(place): no heading \(parts[1]) in \(file)")
    }

    /// Targets of `[text](target)`.
    private static func links(in line: Substring) -> [Substring] {
        var result: [Substring] = []
        var rest = line
        while let open = rest.firstRange(of: "](") {
            rest = rest[open.upperBound...]
            guard let close = rest.firstIndex(of: ")") else { break }
            result.append(rest[..<close])
            rest = rest[close...]
        }
        return result
    }

    /// The anchor that a heading has on the usual hosts: lower case, words joined by `-`, everything
    /// else left out.
    private static func anchor(ofHeading line: Substring) -> String? {
        guard line.hasPrefix("#") else { return nil }
        let text = line.drop { $0 == "#" }.trimmed.lowercased()
        return String(
            text.compactMap { character -> Character? in
                if character == " " { return "-" }
                return character.isLetter || character.isNumber || "-_".contains(character)
                    ? character : nil
            })
    }
}
