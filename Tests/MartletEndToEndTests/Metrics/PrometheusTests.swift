import MartletJSON
import MartletSystem
import MartletTestSupport
import Testing

/// Prometheus itself, as Debian has it, beside a broker.
@Suite(.timeLimit(.minutes(5))) struct PrometheusTests {
    /// Ended with the test.
    private final class Prometheus {
        private let child: ChildProcess
        private let address: SocketAddress

        /// Scrapes the broker each second, and holds our rules against what it finds.
        init(in folder: TemporaryDirectory, scraping target: SocketAddress) throws {
            let rules = try Programs.run(Programs.tool, ["generate", "prometheus-rules"])
            try RunningBroker.write(rules.output, to: folder.path("martlet-rules.yml"))
            let file = folder.path("prometheus.yml")
            try RunningBroker.write(try Self.documented(target), to: file)
            child = try ChildProcess(
                "/usr/bin/prometheus",
                [
                    "--config.file", file, "--storage.tsdb.path", folder.path("series"),
                    "--web.listen-address", "127.0.0.1:0", "--log.format", "json",
                ])
            let isReady = child.waitForErrorOutput("Server is ready to receive web requests.")
            try #require(isReady, "\(child.errorOutput)")
            let lines = try child.errorOutput.split(separator: "\n").map {
                try JSONValue(parsing: String($0))
            }
            let listening = lines.first { $0["msg"]?.stringValue == "Listening on" }
            let words = try #require(listening?["address"]?.stringValue, "\(child.errorOutput)")
            address = try SocketAddress(parsing: words)
        }

        deinit { child.kill() }

        /// What docs/OPERATIONS.md tells people to write, but for the address, and sooner.
        private static func documented(_ target: SocketAddress) throws -> String {
            let manual = try RunningBroker.contents(of: "\(Repository.root)/docs/OPERATIONS.md")
            let block = try #require(manual.split(separator: "```yaml\n# prometheus.yml\n").last)
            let text = try #require(block.split(separator: "```").first)
            for written in ["127.0.0.1:7701", "15s", "- martlet-rules.yml", "job_name: martlet"] {
                #expect(text.contains(written))
            }
            return String(text).replacing("127.0.0.1:7701", with: "\(target)").replacing(
                "15s", with: "1s")
        }

        func get(_ path: String) throws -> JSONValue {
            let answer = try HTTPAnswer(from: address, path: "/api/v1/\(path)", version: "1.0")
            #expect(answer.status == 200, "\(path): \(answer.body)")
            return try #require(JSONValue(parsing: answer.body)["data"])
        }

        /// The value that an expression has now; nil: it has none.
        func value(_ expression: String) throws -> Double? {
            let found = try get("query?query=\(expression)")["result"]?[0]?["value"]?[1]
            return found?.stringValue.flatMap(Double.init)
        }

        var rules: [JSONValue] {
            get throws {
                try (get("rules")["groups"]?.arrayValue ?? []).flatMap {
                    $0["rules"]?.arrayValue ?? []
                }
            }
        }
    }

    @Test func `Prometheus scrapes a broker and evaluates every rule`() throws {
        let folder = try TemporaryDirectory("prometheus")
        let broker = try RunningBroker(in: folder)
        let peer = try RawPeer(to: broker.listen)
        let prometheus = try Prometheus(in: folder, scraping: broker.admin)
        #expect(try eventually { try prometheus.value("up") == 1 })
        // What it has taken is what the broker says.
        let samples = try broker.get("/metrics").body.split(separator: "\n")
            .count { !$0.hasPrefix("#") }
        #expect(try prometheus.value("scrape_samples_scraped") == Double(samples))
        #expect(
            try eventually { try prometheus.value("martlet_broker_connections") == 1 })
        withExtendedLifetime(peer) {}

        #expect(
            try eventually {
                try prometheus.rules.allSatisfy { $0["health"]?.stringValue != "unknown" }
            })
        let rules = try prometheus.rules
        #expect(rules.count > 15)
        for rule in rules {
            let name = rule["name"]?.stringValue ?? ""
            #expect(rule["health"]?.stringValue == "ok", "\(name): \(rule)")
        }
        // A broker that is gone is seen.
        #expect(broker.end() == .exited(0))
        #expect(try eventually { try prometheus.value("up") == 0 })
    }
}
