import Testing

/// Holds the table of faults in docs/TESTING.md to the tests.
@Suite struct FaultRules {
    /// Faults that must have a test; the others belong to what is not built yet.
    private static let numbers =
        Array(1...22) + [24] + Array(25...32) + Array(34...41) + Array(46...48) + [50, 51, 52]

    private struct Row {
        let number: Int
        let tests: [String]
    }

    private static func rows() throws -> [Row] {
        let lines = try SourceTree.file("docs/TESTING.md").lines
        let start = try #require(lines.firstIndex { $0 == "## Faults" })
        return lines[start...].dropFirst().prefix { !$0.hasPrefix("## ") }.compactMap { line in
            let cells = line.split(separator: "|")
            guard cells.count == 3, let number = Int(cells[0].filter(\.isNumber)) else {
                return nil
            }
            let quoted = cells[2].split(separator: "`", omittingEmptySubsequences: false)
            return Row(
                number: number,
                tests: quoted.enumerated().filter { $0.offset % 2 == 1 }.map { String($0.element) })
        }
    }

    @Test func `every fault stands in the table once, in order, with a test`() throws {
        let rows = try Self.rows()
        #expect(rows.map(\.number) == Self.numbers)
        for row in rows { #expect(!row.tests.isEmpty, "fault \(row.number) names no test") }
    }

    @Test func `every test of the table exists, and every numbered test has its fault in it`()
        throws
    {
        let rows = try Self.rows()
        let functions = Set(
            try SourceTree.files(below: "Tests", ending: ".swift").flatMap(\.lines)
                .compactMap { line -> String? in
                    guard let start = line.firstRange(of: "func `") else { return nil }
                    return line[start.upperBound...].split(separator: "`").first.map(String.init)
                })
        for row in rows {
            for test in row.tests {
                #expect(functions.contains(test), "fault \(row.number): there is no \"\(test)\"")
            }
        }
        for test in functions where test.hasPrefix("F-") || test.hasPrefix("row ") {
            let number = Int(test.drop { !$0.isNumber }.prefix { $0.isNumber })
            #expect(rows.contains { $0.number == number }, "\"\(test)\" has no fault")
        }
    }
}
