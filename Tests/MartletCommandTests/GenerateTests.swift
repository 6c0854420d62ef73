import MartletConfiguration
import MartletJSON
import Testing

@testable import martlet

/// What `martlet generate` prints, as far as it needs no broker and no Prometheus.
@Suite struct GenerateTests {
    private static func rules(_ flags: String...) throws -> AlertRules {
        let words = ["generate", "prometheus-rules"] + flags
        guard case .run(let invocation) = try CommandTree.root.spec.parse(words) else {
            throw ToolError.failure("it is help")
        }
        let output = Output(isTerminal: false, errorIsTerminal: false, width: nil)
        let context = CommandContext(invocation: invocation, environment: [:], output: output)
        return AlertRules(try AlertThresholds(context))
    }

    @Test func `YAML is in blocks, and every text in quotes`() {
        let value: JSONValue = [
            "name": "yes", "list": [["a": 1, "bb": [true, nil]], "x: y", []], "empty": [:],
            "deep": ["on": "#", "text": "a\nb \"c\" \\ {{ $x }}"],
        ]
        #expect(
            YAMLWriter.text(value) == #"""
                name: "yes"
                list:
                  - "a": 1
                    bb:
                      - true
                      - null
                  - "x: y"
                  - []
                empty: {}
                deep:
                  "on": "#"
                  text: "a\nb \"c\" \\ {{ $x }}"

                """#)
    }

    @Test func `thresholds are those of the flags`() throws {
        let plain = YAMLWriter.text(try Self.rules().json)
        let own = YAMLWriter.text(
            try Self.rules(
                "--lag-time", "1500ms", "--job", "events", "--disk-percent=7", "--headroom", "2d"
            ).json)
        for text in ["_seconds > 1.500 ", "up{job='events'}", "_bytes < 7", "_seconds < 172800 "] {
            #expect(own.contains(text) && !plain.contains(text), "\(text)")
        }
        for flags in [
            ["--job", "a'b"], ["--job="], ["--disk-percent", "0"], ["--lag-time", "x"],
        ] {
            #expect(throws: CommandLineError.self, "\(flags)") {
                _ = try Self.rules(flags[0], flags.count > 1 ? flags[1] : "--lag-records=1")
            }
        }
    }

    @Test func `every alert and panel names a command that there is`() throws {
        var texts = try Self.rules().all.flatMap(\.rules).map(\.runbook)
        #expect(texts.allSatisfy { Self.commands($0).count >= 1 }, "an alert without a command")
        texts += Dashboard.rows.flatMap(\.panels).map(\.help)
        let commands = texts.flatMap(Self.commands)
        #expect(commands.count > 20)
        for command in commands {
            // Prometheus puts a name in the place of a label.
            let parts = command.split(separator: "{{", omittingEmptySubsequences: false)
            let rest = parts.dropFirst().map { part in
                part.split(separator: "}}", omittingEmptySubsequences: false).last ?? ""
            }
            let line = ([parts[0]] + rest).joined(separator: "name")
            _ = try CommandTree.root.spec.parse(ShellWords.martlet(line))
        }
    }

    @Test func `alerts have names of their own, and panels a place of their own`() throws {
        let names = try Self.rules().all.flatMap(\.rules).map(\.name)
        #expect(Set(names).count == names.count && names.allSatisfy { $0.hasPrefix("Martlet") })
        let panels = try #require(Dashboard.json["panels"]?.arrayValue)
        #expect(Set(panels.compactMap { $0["id"]?.integerValue }).count == panels.count)
        var taken: Set<[Int64]> = []
        for panel in panels {
            let place = try ["x", "y", "w", "h"].map { name in
                try #require(panel["gridPos"]?[name]?.integerValue)
            }
            #expect(place[0] + place[2] <= 24)
            for x in place[0]..<place[0] + place[2] {
                for y in place[1]..<place[1] + place[3] {
                    #expect(taken.insert([x, y]).inserted, "two panels at \(x), \(y)")
                }
            }
        }
    }

    /// What stands in backquotes and begins with `martlet`.
    private static func commands(_ text: String) -> [String] {
        text.split(separator: "`", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset % 2 == 1 }.map { String($0.element) }
            .filter { $0.hasPrefix("martlet ") }
    }
}
