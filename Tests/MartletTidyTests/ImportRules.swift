import Testing

/// Arrows only go down: what each module may import (docs/ARCHITECTURE.md).
///
/// The compiler's own check misses a module that is reached through another one, so the lines
/// themselves are read.
@Suite struct ImportRules {
    private static let allowed: [String: Set<String>] = [
        "MartletFormat": ["Synchronization", "CMartletShim"],
        "MartletSystem": ["Glibc", "Dispatch", "Synchronization", "CMartletShim"],
        "MartletTelemetry": ["Synchronization", "Glibc", "MartletJSON"],
        "MartletConfiguration": ["Glibc"],
        "MartletJSON": [],
        "MartletWire": ["MartletFormat"],
        "MartletStorage": [
            "MartletFormat", "MartletSystem", "MartletTelemetry", "Synchronization",
        ],
        "MartletGroups": ["MartletFormat"],
        "MartletBroker": [
            "MartletGroups", "MartletFormat", "MartletSystem", "MartletTelemetry",
            "MartletConfiguration",
            "MartletJSON", "MartletWire", "MartletStorage", "Dispatch", "Synchronization",
        ],
        "MartletClient": [
            "MartletWire", "MartletFormat", "MartletSystem", "MartletTelemetry", "MartletJSON",
            "Dispatch", "Synchronization",
        ],
        "MartletTesting": [
            "MartletBroker", "MartletClient", "MartletConfiguration", "MartletSystem",
            "MartletTelemetry", "MartletFormat", "MartletStorage", "Synchronization",
        ],
        "martletd": [
            "MartletBroker", "MartletConfiguration", "MartletTelemetry", "MartletSystem",
            "MartletJSON", "Synchronization",
        ],
        "martlet": [
            "MartletClient", "MartletWire", "MartletConfiguration", "MartletJSON",
            "MartletSystem", "MartletStorage", "MartletFormat", "MartletTelemetry",
            "Synchronization",
        ],
        "CMartletShim": [],
    ]

    @Test func `every module imports only what its layer may see`() throws {
        for module in try SourceTree.folders(below: "Sources") {
            let rule = try #require(
                Self.allowed[module], "module \(module) has no rule: decide what it may import")
            for file in try SourceTree.files(below: "Sources/\(module)", ending: ".swift") {
                for line in file.lines {
                    guard let imported = Self.importedModule(line) else { continue }
                    #expect(rule.contains(imported), "\(file.path) imports \(imported)")
                }
            }
        }
    }

    @Test func `the fuzzers have every module that theirs import`() throws {
        let manifest = try SourceTree.file("Fuzz/Package.swift").lines.joined(separator: "\n")
        var missing: Set<String> = []
        for module in try SourceTree.folders(below: "Sources")
        where manifest.contains("module(\"\(module)\"")
            || manifest.contains("\n            \"\(module)\",")
        {
            for file in try SourceTree.files(below: "Sources/\(module)", ending: ".swift") {
                for imported in file.lines.compactMap(Self.importedModule)
                where imported.hasPrefix("Martlet") {
                    if !manifest.contains("module(\"\(imported)\"") { missing.insert(imported) }
                }
            }
        }
        #expect(missing.isEmpty, "Fuzz/Package.swift and Fuzz/Sources lack \(missing.sorted())")
    }

    @Test func `the package has no dependencies`() throws {
        let manifest = try SourceTree.file("Package.swift")
        #expect(!manifest.lines.contains { $0.contains(".package(") })
    }

    @Test func `an import is recognised in every spelling`() {
        #expect(Self.importedModule("import Glibc") == "Glibc")
        #expect(Self.importedModule("package import MartletFormat") == "MartletFormat")
        #expect(Self.importedModule("@preconcurrency import Dispatch") == "Dispatch")
        #expect(Self.importedModule("@testable import MartletWire") == "MartletWire")
        #expect(Self.importedModule("import struct Foundation.Data") == "Foundation")
        #expect(Self.importedModule("// import Foundation") == nil)
        #expect(Self.importedModule("let important = 1") == nil)
    }

    private static func importedModule(_ line: Substring) -> String? {
        let words = line.split(separator: " ")
        guard let index = words.firstIndex(of: "import"), index + 1 < words.count,
            words[..<index].allSatisfy({
                $0.hasPrefix("@") || ["package", "public", "internal", "private"].contains($0)
            })
        else { return nil }
        let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "typealias"]
        let target =
            kinds.contains(words[index + 1]) && index + 2 < words.count ? index + 2 : index + 1
        return words[target].split(separator: ".").first.map(String.init)
    }
}
