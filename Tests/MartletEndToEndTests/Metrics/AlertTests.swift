import MartletJSON
import MartletSystem
import MartletTestSupport
import Testing

/// Alert rules and dashboard against Prometheus' own checker and against what a broker serves.
@Suite struct AlertTests {
    private let folder: TemporaryDirectory

    init() throws {
        folder = try TemporaryDirectory("alerts")
    }

    private func tool(_ words: [String], server: String? = nil, input: String = "") throws -> String
    {
        var environment = Programs.environment
        environment["MARTLET_SERVER"] = server
        let child = try ChildProcess(Programs.tool, words, environment: environment)
        try child.write(input)
        child.closeInput()
        let ending = child.wait()
        try #require(ending == .exited(0), "\(words): \(child.errorOutput)")
        return child.output
    }

    private func promtool(_ words: String...) throws -> Programs.Finished {
        try Programs.run("/usr/bin/promtool", words, seconds: 120)
    }

    private func expectFine(_ finished: Programs.Finished) {
        #expect(finished.ending == .exited(0), "\(finished.output)\(finished.errors)")
    }

    private func generateRules(_ flags: String...) throws {
        let rules = try tool(["generate", "prometheus-rules"] + flags)
        try RunningBroker.write(rules, to: folder.path("rules.yml"))
    }

    @Test func `alerts fire when they must, and only then`() throws {
        let cases = try RunningBroker.contents(of: "\(Repository.root)/Tests/Alerts/alerts.yml")
        try RunningBroker.write(cases, to: folder.path("alerts.yml"))
        try generateRules()
        expectFine(try promtool("check", "rules", folder.path("rules.yml")))
        expectFine(try promtool("test", "rules", folder.path("alerts.yml")))
        // The cases have teeth: other thresholds do not pass them.
        for flags in ["--lag-records=10000000", "--headroom=9d"] {
            try generateRules(flags)
            let finished = try promtool("test", "rules", folder.path("alerts.yml"))
            #expect(finished.ending == .exited(1), "\(flags) passes")
        }
    }

    @Test func `every alert has a case in which it fires, and one in which it does not`() throws {
        let cases = try RunningBroker.contents(of: "\(Repository.root)/Tests/Alerts/alerts.yml")
        let manual = try RunningBroker.contents(of: "\(Repository.root)/docs/OPERATIONS.md")
        let names = try tool(["generate", "prometheus-rules"]).split(separator: "\n")
            .filter { $0.contains("- alert: ") }.map { $0.split(separator: "\"")[1] }
        #expect(names.count > 15)
        for name in names {
            #expect(cases.contains("alertname=\"\(name)\""), "\(name) fires in no case")
            #expect(
                cases.contains("alertname: \(name), eval_time: 60m, exp_alerts: []"),
                "no case in which \(name) does not fire")
            #expect(manual.contains("`\(name)`"), "docs/OPERATIONS.md does not explain \(name)")
        }
    }

    @Test func `every query names metrics and labels that a broker serves`() throws {
        let broker = try RunningBroker(in: folder)
        let server = broker.listen.description
        _ = try tool(["topic", "create", "t", "--set", "retention.bytes=1GiB"], server: server)
        _ = try tool(["produce", "t"], server: server, input: "a\nb\n")
        _ = try tool(
            ["tail", "t", "--group", "s", "--from", "earliest", "-c", "1"], server: server)
        _ = try tool(["group", "create", "q", "--queue", "earliest"], server: server)
        // One call of a handler with an event of type "e", of 1 ns: in bucket 0, and that is all.
        let handled =
            RawBytes.integer(UInt32(1)) + RawBytes.string("e") + RawBytes.integer(UInt32(1)) + [0]
            + RawBytes.integer(UInt64(1))
        let settled = try RawPeer(to: broker.listen).request(
            41,
            RawBytes.string("q") + RawBytes.integer(UInt32(0)) + handled
                + RawBytes.integer(Int64(1)) + RawBytes.integer(Int64(1)))
        #expect(settled?.error == 0)
        let served = Served(try broker.get("/metrics").body)
        let queries = try ruleQueries() + panelQueries()
        #expect(queries.count > 50)
        for query in queries {
            for name in query.words(beginning: "martlet_") {
                #expect(served.names.contains(name), "\(name) is not served: \(query)")
            }
            for label in query.labels {
                #expect(served.labels.contains(label), "no label \(label): \(query)")
            }
        }
        let texts = try tool(["generate", "prometheus-rules"])
        for label in texts.words(beginning: "$labels.") {
            #expect(served.labels.contains(String(label.dropFirst("$labels.".count))), "\(label)")
        }
    }

    /// The queries of the dashboard as recording rules, with values for what is chosen at its head.
    @Test func `promtool reads every query of the dashboard`() throws {
        let rules: [JSONValue] = try panelQueries().enumerated().map { index, query in
            ["record": .string("panel:\(index)"), "expr": .string(query)]
        }
        let file: JSONValue = ["groups": [["name": "panels", "rules": .array(rules)]]]
        try RunningBroker.write(JSONWriter.text(file), to: folder.path("panels.yml"))
        expectFine(try promtool("check", "rules", folder.path("panels.yml")))
    }

    private func ruleQueries() throws -> [String] {
        try tool(["generate", "prometheus-rules"]).split(separator: "\n").compactMap { line in
            let parts = line.split(separator: "expr: ", maxSplits: 1)
            guard parts.count == 2, parts[0].allSatisfy({ $0 == " " }) else { return nil }
            return try JSONValue(parsing: String(parts[1])).stringValue
        }
    }

    private func panelQueries() throws -> [String] {
        let dashboard = try JSONValue(parsing: tool(["generate", "grafana-dashboard"]))
        let panels = try #require(dashboard["panels"]?.arrayValue)
        return panels.flatMap { $0["targets"]?.arrayValue ?? [] }
            .compactMap { $0["expr"]?.stringValue }
            .map { query in
                [("$__rate_interval", "5m"), ("$instance", ".*"), ("$group", ".*")].reduce(query) {
                    $0.split(separator: $1.0, omittingEmptySubsequences: false)
                        .joined(separator: $1.1)
                }
            }
    }
}

/// Names and labels of an exposition. Prometheus itself adds `job` and `instance`.
private struct Served {
    var names: Set<String> = []
    var labels: Set<String> = ["job", "instance"]

    init(_ text: String) {
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            names.insert(String(line.prefix { $0 != "{" && $0 != " " }))
            guard let open = line.firstIndex(of: "{"), let close = line.lastIndex(of: "}") else {
                continue
            }
            for part in line[open..<close].dropFirst().split(separator: ",") {
                labels.insert(String(part.prefix { $0 != "=" }))
            }
        }
    }
}

extension String {
    /// Names that begin so, wherever they stand.
    fileprivate func words(beginning start: String) -> [String] {
        split(separator: start, omittingEmptySubsequences: false).dropFirst().map { rest in
            start + rest.prefix { $0.isLetter || $0.isNumber || $0 == "_" }
        }
    }

    /// What stands in `by (...)`, `on (...)` and before an operator in braces.
    fileprivate var labels: [String] {
        let lists = ["by (", "on ("].flatMap { word in
            split(separator: word, omittingEmptySubsequences: false).dropFirst()
                .flatMap { $0.prefix { $0 != ")" }.split(separator: ",") }
        }
        let matchers = split(separator: "{", omittingEmptySubsequences: false).dropFirst()
            .flatMap { $0.prefix { $0 != "}" }.split(separator: ",") }
        return (lists + matchers).map { part in
            String(part.drop { $0 == " " }.prefix { $0.isLetter || $0 == "_" })
        }
    }
}
