import MartletSystem
import MartletTestSupport
import Testing

/// The admin listener, as a scraper and a probe see it.
@Suite struct AdminTests {
    @Test func `the metrics pass promtool`() throws {
        let folder = try TemporaryDirectory("metrics")
        let broker = try RunningBroker(in: folder)
        let metrics = try broker.get("/metrics")
        #expect(metrics.status == 200)
        for name in ["martlet_build_info", "martlet_process_resident_bytes"] {
            #expect(metrics.body.contains("\n\(name)"))
        }
        let promtool = try ChildProcess("/usr/bin/promtool", ["check", "metrics"])
        try promtool.write(metrics.body)
        promtool.closeInput()
        #expect(promtool.wait() == .exited(0), "\(promtool.output)\(promtool.errorOutput)")
        #expect(promtool.errorOutput.isEmpty)
    }

    @Test func `health and readiness`() throws {
        let folder = try TemporaryDirectory("health")
        let broker = try RunningBroker(in: folder)
        let health = try broker.get("/healthz")
        #expect(health.status == 200)
        #expect(health.body == "ok\n")
        let ready = try broker.get("/readyz")
        #expect(ready.status == 200)
        #expect(ready.body == "ready\n")
        #expect(try broker.get("/").status == 404)
    }

    @Test func `every metric has help and stands in the operations manual`() throws {
        let folder = try TemporaryDirectory("manual")
        let broker = try RunningBroker(in: folder)
        let manual = try SourceText.read("docs/OPERATIONS.md")
        let names = try broker.get("/metrics").body.split(separator: "\n")
            .filter { $0.hasPrefix("# HELP ") }
            .map { String($0.split(separator: " ")[2]) }
        #expect(names.count > 30)
        for name in names {
            #expect(manual.contains("`\(name)`"), "docs/OPERATIONS.md does not explain \(name)")
        }
    }

    @Test func `every log code stands in the operations manual`() throws {
        let manual = try SourceText.read("docs/OPERATIONS.md")
        for module in ["martletd", "MartletBroker", "MartletStorage"] {
            // Names of environment variables are no log codes.
            for code in try SourceText.capitalWords(below: "Sources/\(module)")
            where !code.hasPrefix("MARTLET_") {
                #expect(manual.contains("`\(code)`"), "docs/OPERATIONS.md does not explain \(code)")
            }
        }
    }
}

/// Texts of the repository.
private enum SourceText {
    static func read(_ path: String) throws -> String {
        try RunningBroker.contents(of: "\(Repository.root)/\(path)")
    }

    /// String literals that are log codes by their look: five capitals or more.
    static func capitalWords(below path: String) throws -> Set<String> {
        let files = PosixFileSystem()
        var words: Set<String> = []
        for name in try files.list("\(Repository.root)/\(path)") {
            if try files.status("\(Repository.root)/\(path)/\(name)")?.kind == .directory {
                words.formUnion(try capitalWords(below: "\(path)/\(name)"))
            } else {
                let parts = try read("\(path)/\(name)").split(separator: "\"").map(String.init)
                words.formUnion(
                    parts.filter { word in
                        word.utf8.count >= 5
                            && word.utf8.allSatisfy { (0x41...0x5A).contains($0) || $0 == 0x5F }
                    })
            }
        }
        return words
    }
}
