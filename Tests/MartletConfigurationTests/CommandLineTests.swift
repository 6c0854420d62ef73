import MartletConfiguration
import MartletTestSupport
import Testing

@Suite struct CommandLineTests {
    static let tool = CommandSpec(
        "tool", "A tool for tests.",
        discussion: ["Exit codes: 0 ok."],
        flags: [
            FlagSpec("server", short: "s", value: "HOST:PORT", "The broker to talk to."),
            FlagSpec("verbose", short: "v", "Say more."),
        ],
        commands: [
            CommandSpec(
                "topic", aliases: ["t"], "Topics.",
                commands: [
                    CommandSpec(
                        "create", "Create a topic.",
                        discussion: [
                            "A topic is a named sequence of records that is split into partitions, and this paragraph is long enough to be broken."
                        ],
                        arguments: [ArgumentSpec("TOPIC", "Its name.")],
                        flags: [
                            FlagSpec("partitions", short: "p", value: "N", "How many."),
                            FlagSpec("set", value: "KEY=VALUE", repeatable: true, "A setting."),
                        ],
                        examples: [
                            ExampleSpec("tool topic create orders -p 3", "Three partitions")
                        ]),
                    CommandSpec("list", "List topics."),
                ]),
            CommandSpec(
                "tail", "Read records.",
                arguments: [
                    ArgumentSpec("TOPIC", "Its name."),
                    ArgumentSpec("PARTITION", optional: true, repeated: true, "Which."),
                ],
                flags: [
                    FlagSpec("from", value: "WHERE", "Where to begin."),
                    FlagSpec(
                        "output", short: "o", value: "FORM", choices: ["jsonl", "table"], "How."),
                    FlagSpec("follow", short: "f", "Go on."), FlagSpec("end", short: "e", "Stop."),
                    FlagSpec("key-separator", short: "K", value: "TEXT", "Between key and value."),
                ]),
        ])

    static func run(_ words: String...) throws -> Invocation {
        guard case .run(let invocation) = try tool.parse(words) else {
            throw CommandLineError("help", command: "")
        }
        return invocation
    }

    static func failure(_ words: [String]) -> String {
        do throws(CommandLineError) {
            _ = try tool.parse(words)
            return "no failure"
        } catch {
            return error.description
        }
    }

    @Test func flagsStandAnywhere() throws {
        for words in [
            ["-s", "h:1", "topic", "create", "orders", "--partitions", "3"],
            ["topic", "--server=h:1", "create", "--partitions=3", "orders"],
            ["t", "create", "-p3", "orders", "-sh:1"],
            ["t", "create", "-p", "3", "--server", "h:1", "--", "orders"],
        ] {
            guard case .run(let invocation) = try Self.tool.parse(words) else {
                Issue.record("help for \(words)")
                continue
            }
            #expect(invocation.path == ["topic", "create"])
            #expect(invocation.arguments == ["orders"])
            #expect(invocation.value("server") == "h:1")
            #expect(try invocation.integer("partitions", in: 1...10) == 3)
            #expect(!invocation.has("verbose"))
            #expect(invocation.title == "tool topic create")
        }
    }

    @Test func repeatableFlagsKeepTheirOrder() throws {
        let invocation = try Self.run("topic", "create", "--set", "a=1", "x", "--set=b=2")
        #expect(invocation.values("set") == ["a=1", "b=2"])
        #expect(invocation.values("partitions").isEmpty)
    }

    @Test func shortFlagsCluster() throws {
        let invocation = try Self.run("tail", "-vfe", "x", "0", "1", "-K=")
        #expect(["verbose", "follow", "end"].allSatisfy { invocation.has($0) })
        #expect(invocation.arguments == ["x", "0", "1"])
        #expect(invocation.value("key-separator") == "=")
        #expect(try Self.run("tail", "x", "-fK:").value("key-separator") == ":")
        #expect(try Self.run("tail", "x", "-K", "-").value("key-separator") == "-")
    }

    @Test func negativeNumbersAreValuesAndArguments() throws {
        let invocation = try Self.run("tail", "x", "-5", "--from", "-10")
        #expect(invocation.value("from") == "-10")
        #expect(invocation.arguments == ["x", "-5"])
        #expect(invocation.argument(1) == "-5")
        #expect(invocation.argument(2) == nil)
    }

    @Test func twoDashesEndTheFlags() throws {
        let invocation = try Self.run("tail", "--", "-f", "--", "--help")
        #expect(invocation.arguments == ["-f", "--", "--help"])
        #expect(!invocation.has("follow"))
        #expect(try Self.run("tail", "-").arguments == ["-"])
    }

    @Test(arguments: [
        (["topc"], "unknown command 'topc'; did you mean 'topic'? See 'tool --help'."),
        (
            ["topic", "creat"],
            "unknown command 'creat'; did you mean 'create'? See 'tool topic --help'."
        ),
        ([], "a command is missing: topic, tail. See 'tool --help'."),
        (["topic"], "a command is missing: create, list. See 'tool topic --help'."),
        (["topic", "create"], "TOPIC is missing. See 'tool topic create --help'."),
        (
            ["topic", "create", "a", "b"],
            "unexpected argument 'b'. See 'tool topic create --help'."
        ),
        (
            ["topic", "list", "--partitons", "3"],
            "unknown flag '--partitons'. See 'tool topic list --help'."
        ),
        (
            ["topic", "create", "--partitons", "3"],
            "unknown flag '--partitons'; did you mean '--partitions'? See 'tool topic create --help'."
        ),
        (["--verbose=1"], "--verbose takes no value. See 'tool --help'."),
        (["-v", "--verbose"], "--verbose is given twice. See 'tool --help'."),
        (["-vv"], "--verbose is given twice. See 'tool --help'."),
        (["--server"], "--server needs a value: --server HOST:PORT. See 'tool --help'."),
        (
            ["-s", "--verbose"],
            "-s needs a value, and '--verbose' looks like a flag; if it is the value, write --server=VALUE. See 'tool --help'."
        ),
        (["-x"], "unknown flag '-x'. See 'tool --help'."),
        (
            ["tail", "t", "-o", "json"],
            "--output: 'json' is not one of jsonl, table; did you mean 'jsonl'? See 'tool tail --help'."
        ),
        (["--"], "a command is missing: topic, tail. See 'tool --help'."),
        (["--\n"], "unknown flag '--\\u{a}'. See 'tool --help'."),
    ])
    func usageErrors(words: [String], message: String) {
        #expect(Self.failure(words) == message)
    }

    @Test func typedValuesNameTheFlag() throws {
        let invocation = try Self.run(
            "-s", "nowhere", "topic", "create", "x", "-p", "many", "--set", "json")
        let failures = [
            #expect(throws: CommandLineError.self) { try invocation.integer("partitions") },
            #expect(throws: CommandLineError.self) { try invocation.address("server") },
            #expect(throws: CommandLineError.self) { try invocation.bytes("partitions") },
            #expect(throws: CommandLineError.self) { try invocation.milliseconds("partitions") },
        ]
        #expect(
            failures.map { $0?.message } == [
                "--partitions: 'many' is not a whole number",
                "--server: 'nowhere' is not HOST:PORT, such as 127.0.0.1:7700",
                "--partitions: 'many' is not a number of bytes such as 64MiB",
                "--partitions: 'many' is not a time such as 30s",
            ])
        #expect(try invocation.integer("from") == nil)
    }

    @Test func helpOfACommand() throws {
        let expected = """
            Create a topic.

            Usage: tool topic create TOPIC [flags]

            A topic is a named sequence of records that is split into partitions, and this paragraph is long
            enough to be broken.

            Arguments:
              TOPIC  Its name.

            Flags:
              -p, --partitions N   How many.
                  --set KEY=VALUE  A setting. Can be given several times.
              -h, --help           Show this help.

            Common flags:
              -s, --server HOST:PORT  The broker to talk to.
              -v, --verbose           Say more.

            Examples:
              # Three partitions
              tool topic create orders -p 3

            """
        for words in [["topic", "create", "--help"], ["t", "create", "x", "-h", "--nonsense"]] {
            #expect(Self.help(words) == expected)
        }
    }

    static func help(_ words: [String]) -> String {
        guard case .help(let text) = try? tool.parse(words) else { return "no help" }
        return text
    }

    @Test func helpOfTheProgram() {
        let expected = """
            A tool for tests.

            Usage: tool COMMAND [flags]

            Exit codes: 0 ok.

            Commands:
              topic  Topics.
              tail   Read records.

            Flags:
              -s, --server HOST:PORT  The broker to talk to.
              -v, --verbose           Say more.
              -h, --help              Show this help.

            """
        #expect(Self.help(["--help"]) == expected)
        #expect(Self.help(["t", "-h"]).contains("Aliases: t\n"))
    }

    @Test func defectsAreFound() {
        #expect(Self.tool.defects().isEmpty)
        let bad = CommandSpec(
            "bad", "Bad.", flags: [FlagSpec("help", "Twice.")],
            commands: [
                CommandSpec(
                    "a", "A.",
                    arguments: [
                        ArgumentSpec("X", optional: true, repeated: true, "X."),
                        ArgumentSpec("Y", "Y."),
                    ]),
                CommandSpec("b", aliases: ["a"], "B."),
            ])
        #expect(
            bad.defects() == [
                "bad: flag --help comes twice", "bad: command a comes twice",
                "bad a: flag --help comes twice", "bad a: only the last argument can be repeated",
                "bad a: an argument after an optional one must be optional",
                "bad b: flag --help comes twice",
            ])
    }

    @Test func randomWordsNeverTrap() {
        var random = SeededRandom.announced()
        let words = [
            "topic", "t", "create", "tail", "list", "x", "-", "--", "--help", "-h", "-s",
            "--server",
            "--server=", "--=", "-=", "--set", "-p3", "-vfe", "-5", "", "=", "\u{0}", "\u{301}",
            "--\u{e9}",
            "-\u{301}",
        ]
        for _ in 0..<random.iterations(20_000) {
            let line = (0..<Int.random(in: 0..<8, using: &random)).map { _ in
                words[Int.random(in: 0..<words.count, using: &random)]
            }
            _ = Self.failure(line)
        }
    }
}
