import FoundationEssentials
import MartletTestSupport

/// The repository as the tests see it.
enum SourceTree {
    static let root = Repository.root

    struct File {
        /// Path from the root on.
        let path: String
        let lines: [Substring]

        var name: String { String(path.split(separator: "/").last ?? "") }
    }

    /// Every file below `folder` whose name ends so, in order.
    static func files(below folder: String, ending suffix: String) throws -> [File] {
        let manager = FileManager.default
        var result: [File] = []
        let names = try manager.subpathsOfDirectory(atPath: "\(root)/\(folder)").sorted()
        for name in names where name.hasSuffix(suffix) {
            result.append(try file("\(folder)/\(name)"))
        }
        return result
    }

    static func file(_ path: String) throws -> File {
        let text = try String(contentsOfFile: "\(root)/\(path)", encoding: .utf8)
        return File(
            path: path, lines: text.split(separator: "\n", omittingEmptySubsequences: false))
    }

    static func folders(below folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(root)/\(folder)")
            .filter { !$0.hasPrefix(".") }.sorted()
    }
}
