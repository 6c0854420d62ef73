import FoundationEssentials
import Testing

/// Holds docs/GUARANTEES.md to the tests: each promise names tests that exist.
@Suite struct GuaranteeRules {
    /// One row of a table of promises.
    private struct Promise {
        let number: String
        let tests: [String]
        let bugs: [String]
    }

    private static func promises() throws -> [Promise] {
        try SourceTree.file("docs/GUARANTEES.md").lines.compactMap { line in
            guard line.hasPrefix("| G") else { return nil }
            let cells = line.split(separator: "|").map { $0.trimmed }
            guard cells.count >= 4 else { return nil }
            return Promise(
                number: cells[0].split(separator: " ").joined(), tests: quoted(cells[2]),
                bugs: quoted(cells[3]))
        }
    }

    /// What stands between backticks.
    private static func quoted(_ text: Substring) -> [String] {
        text.split(separator: "`", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset % 2 == 1 }.map { String($0.element) }
    }

    @Test func `every promise is numbered in order and names a test`() throws {
        let promises = try Self.promises()
        #expect(promises.count > 20)
        #expect(promises.map(\.number) == (1...promises.count).map { "G\($0)" })
        for promise in promises {
            #expect(!promise.tests.isEmpty, "\(promise.number) names no test")
        }
    }

    @Test func `every named test exists`() throws {
        let sources = try SourceTree.files(below: "Tests", ending: ".swift")
            .filter { $0.name != "GuaranteeRules.swift" }
            .map { $0.lines.joined(separator: "\n") }
        for promise in try Self.promises() {
            for test in promise.tests {
                let exists = sources.contains { $0.contains("func `\(test)`(") }
                #expect(exists, "\(promise.number): there is no test \"\(test)\"")
            }
        }
    }

    @Test func `every named bug can be planted, and every one is named`() throws {
        let options = try SourceTree.file("Sources/MartletStorage/Engine/StorageOptions.swift")
        let client = try SourceTree.file("Sources/MartletClient/Support/PlantedBug.swift")
        let inClient = client.lines.filter { $0.hasPrefix("    case ") }
            .compactMap { $0.split(separator: " ").last.map(String.init) }
        let inStorage = Set(
            options.lines.filter { $0.contains("= PlantedBugs(rawValue:") }.compactMap { line in
                // package static let NAME = …
                line.split(separator: " ").dropFirst(3).first.map(String.init)
            })
        let groups = try SourceTree.file("Sources/MartletGroups/Coordinator.swift")
        let inGroups = groups.lines.filter { $0.hasPrefix("    case ") && !$0.contains("(") }
            .compactMap { $0.split(separator: " ").last.map(String.init) }
        let named = Set(try Self.promises().flatMap(\.bugs))
        #expect(named == inStorage.union(inClient).union(inGroups))
    }
}
