import Glibc
import MartletJSON
import MartletSystem
import MartletTestSupport
import Testing

/// `martlet top` against a real broker.
@Suite struct TopTests {
    private let bench: ToolBench

    init() throws { bench = try ToolBench("top") }

    private func records(_ count: Int) -> String { (0..<count).map { "\($0)\n" }.joined() }

    @Test func `rates add up to what came in and what a group has done`() throws {
        try bench.run("topic", "create", "t", "--partitions", "1")
        try bench.run("produce", "t", input: records(1_000))
        try bench.run("tail", "t", "--group", "g", "--from", "earliest", "-c", "100")
        let top = try bench.start(["top", "--interval", "100ms", "-o", "jsonl"])
        #expect(top.waitForOutput("\"lag\":900"))
        try bench.run("produce", "t", input: records(500))
        #expect(top.waitForOutput("\"lag\":1400"))
        try bench.run("tail", "t", "--group", "g", "-c", "1400")
        #expect(top.waitForOutput("\"lag\":0"))
        top.kill(SIGINT)
        #expect(top.wait() == .exited(0), "\(top.errorOutput)")
        #expect(top.errorOutput.isEmpty, "\(top.errorOutput)")
        let looks = try top.output.split(separator: "\n").map { try JSONValue(parsing: String($0)) }
        #expect(looks.first?["seconds"] == .null)
        func sum(_ rate: (JSONValue) -> Double?) -> Double {
            looks.reduce(0) { $0 + (rate($1) ?? 0) * ($1["seconds"]?.doubleValue ?? 0) }.rounded()
        }
        #expect(sum { $0["topics"]?[0]?["inPerSecond"]?.doubleValue } == 500)
        #expect(sum { $0["topics"]?[0]?["outPerSecond"]?.doubleValue } == 1_400)
        #expect(sum { $0["groups"]?[0]?["donePerSecond"]?.doubleValue } == 1_400)
        #expect(sum { $0["groups"]?[0]?["lagPerSecond"]?.doubleValue } == -900)
        #expect(sum { $0["broker"]?["recordsInPerSecond"]?.doubleValue } == 500)
        #expect(looks.first?["groups"]?[0]?["trouble"]?.stringValue == "no members")
        #expect(looks.last?["groups"]?[0]?["trouble"] == .null)
    }

    @Test func `once is one document, or one table without a word to the terminal`() throws {
        try bench.run("topic", "create", "t")
        try bench.run("group", "create", "q", "--queue", "earliest")
        let json = try bench.start(["top", "--once", "--interval", "100ms", "-o", "json"])
        #expect(json.wait() == .exited(0), "\(json.errorOutput)")
        let look = try JSONValue(parsing: json.output)
        #expect((look["seconds"]?.doubleValue ?? 0) >= 0.1)
        #expect(look["groups"]?[0]?["kind"]?.stringValue == "queue")
        #expect(look["topics"]?[0]?["inPerSecond"]?.doubleValue == 0)
        let table = try bench.start(["top", "--once", "--interval", "100ms"])
        #expect(table.wait() == .exited(0), "\(table.errorOutput)")
        #expect(table.output.contains("\nGROUP") && table.output.contains("\nTOPIC"))
        #expect(!table.output.utf8.contains(0x1B))
        let nowhere = try bench.start(["top", "--server", "127.0.0.1:1", "--connect-timeout", "0s"])
        #expect(nowhere.wait() == .exited(7), "\(nowhere.errorOutput)")
    }

    @Test func `a terminal is painted within its size, and left as it was`() throws {
        for name in 0..<30 { try bench.run("group", "create", "group-\(name)") }
        let command = "stty rows 10 cols 50; exec \"$MARTLET\" top --interval 100ms"
        let top = try bench.start(["-qefc", command, "/dev/null"], program: "/usr/bin/script")
        #expect(top.waitForOutput("over 0."))
        // What a terminal sends for Ctrl-C.
        try top.write("\u{3}")
        #expect(top.wait() == .exited(0), "\(top.output)\(top.errorOutput)")
        #expect(top.output.hasPrefix("\u{1B}[?1049h\u{1B}[?25l\u{1B}[H"))
        #expect(top.output.hasSuffix("\u{1B}[?25h\u{1B}[?1049l"))
        let views = top.output.components(between: "\u{1B}[H", and: "\u{1B}[J")
        #expect(views.count >= 2)
        for view in views {
            let lines = view.split(omittingEmptySubsequences: false) { $0.isNewline }
            #expect(lines.count == 10, "\(view)")
            for line in lines { #expect(line.prefix { $0 != "\u{1B}" }.count <= 50, "\(line)") }
            #expect(view.contains("... and 27 more"), "\(view)")
        }
    }

    @Test func `a broker that restarts is waited for`() throws {
        try bench.run("topic", "create", "t")
        let words = ["top", "--interval", "100ms", "--connect-timeout", "100ms"]
        let top = try bench.start(words)
        #expect(top.waitForOutput("\nt "))
        #expect(bench.broker.end() == .exited(0))
        #expect(top.waitForErrorOutput("martlet: "))
        let address = bench.broker.listen.description
        let daemon = try ChildProcess(
            Programs.daemon,
            [
                "--data", bench.folder.path("data"), "--listen", address, "--admin", "127.0.0.1:0",
                "--ready-file", bench.folder.path("ready"),
            ], environment: Programs.environment)
        let again = try RunningBroker(serving: daemon, in: bench.folder)
        #expect(again.listen == bench.broker.listen)
        try bench.run("topic", "create", "later")
        #expect(top.waitForOutput("\nlater "))
        top.kill(SIGTERM)
        #expect(top.wait() == .exited(0), "\(top.errorOutput)")
    }
}

extension String {
    /// The parts that stand between two marks.
    fileprivate func components(between start: String, and end: String) -> [String] {
        split(separator: start, omittingEmptySubsequences: false).dropFirst().compactMap { part in
            let pieces = part.split(separator: end, omittingEmptySubsequences: false)
            return pieces.count > 1 ? String(pieces[0]) : nil
        }
    }
}
