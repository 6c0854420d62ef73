import MartletConfiguration

/// The configuration. Input: the file, and after a zero byte each a `NAME=value` of the environment
/// or (with a leading `-`) of the command line.
///
/// Oracle: what loads is printed by `--check` as a file that loads as the same configuration; every
/// problem is one line.
enum ConfigurationTarget: FuzzTarget {
    static let name = "config"

    static func run(_ input: [UInt8]) {
        var parts = input.split(separator: 0, maxSplits: 8, omittingEmptySubsequences: false)
        let file = ConfigurationFile(name: "f.conf", bytes: Array(parts.removeFirst()))
        var environment: [String: String] = [:]
        var overrides: [ConfigurationOverride] = []
        for part in parts {
            let words = String(decoding: part, as: UTF8.self).split(
                separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard words.count == 2 else { continue }
            if words[0].hasPrefix("-") {
                overrides.append(
                    ConfigurationOverride(
                        flag: "--listen", section: "listener", key: "listen",
                        value: String(words[1])))
            } else {
                environment["MARTLET_" + words[0]] = String(words[1])
            }
        }
        do {
            let loaded = try BrokerConfiguration.load(
                file: file, environment: environment, overrides: overrides)
            checkPrinted(loaded)
        } catch {
            for problem in error.problems {
                require(isOneLine(problem.description), "several lines: \(problem.description)")
            }
        }
    }

    private static func checkPrinted(_ loaded: LoadedConfiguration) {
        let text = loaded.effectiveText
        do {
            let again = try BrokerConfiguration.load(
                file: ConfigurationFile(name: "again", bytes: Array(text.utf8)))
            require(again.configuration == loaded.configuration, "prints another: \(text)")
            require(again.configuration.changes(to: loaded.configuration).isEmpty, "changes")
        } catch {
            require(false, "prints what does not load: \(error.problems) in \(text)")
        }
    }

    static var seeds: [(name: String, bytes: [UInt8])] {
        let some = """
            # a comment
            [listener]
            listen = 0.0.0.0:7700   # all
            allow-anonymous = true
            idle.timeout = 5m
            [storage]
            data = "/srv/a # b\\t\\"c\\""
            [topic]
            retention.time = forever
            segment.bytes = 64MiB
            [log]
            level = debug
            """
        return [
            ("defaults", Array(BrokerConfiguration.manual.utf8.prefix(3_000))),
            ("some", Array(some.utf8)),
            ("unknown", Array("[listner]\nlisten=x\n[log]\nlevle = info\nlevel = \"".utf8)),
            ("environment", Array("[log]\nlevel = info\0LOG_LEVEL=debug\0-x=127.0.0.1:1".utf8)),
        ]
    }
}

/// The command lines of martletd, and of a program that uses everything a description can have.
/// Input: which u8, then the words, each ended by a zero byte.
///
/// Oracle: errors are one line; what runs has all its arguments.
enum CommandLineTarget: FuzzTarget {
    static let name = "commandline"

    private static let program = CommandSpec(
        "program", "Does things.",
        flags: [FlagSpec("server", short: "s", value: "HOST:PORT", "Where to.")],
        commands: [
            CommandSpec(
                "topic", aliases: ["t"], "Topics.",
                commands: [
                    CommandSpec(
                        "create", "Makes one.",
                        arguments: [ArgumentSpec("TOPIC", "Its name.")],
                        flags: [
                            FlagSpec("partitions", short: "p", value: "N", "How many."),
                            FlagSpec("set", value: "KEY=VALUE", repeatable: true, "A setting."),
                            FlagSpec("force", short: "f", "Do it."),
                        ])
                ]),
            CommandSpec(
                "tail", "Reads.",
                arguments: [
                    ArgumentSpec("TOPIC", "Its name."),
                    ArgumentSpec("KEY", optional: true, repeated: true, "Keys."),
                ],
                flags: [FlagSpec("from", value: "OFFSET", "Where from.")]),
        ])

    static func run(_ input: [UInt8]) {
        guard let which = input.first else { return }
        let words = input.dropFirst().split(separator: 0, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        do {
            if which % 2 == 0 {
                _ = try DaemonCommandLine.parse(words)
            } else if case .run(let invocation) = try program.parse(words) {
                require(!invocation.path.isEmpty, "runs no command")
                require(invocation.argument(0) != nil, "runs without its argument")
                _ = try invocation.integer("partitions", in: 1...100)
                _ = try invocation.bytes("partitions")
                _ = try invocation.milliseconds("from")
                _ = try invocation.address("server")
            }
        } catch {
            require(isOneLine(error.description), "several lines: \(error)")
        }
    }

    static var seeds: [(name: String, bytes: [UInt8])] {
        let lines: [(String, [String])] = [
            ("daemon", ["--config", "f", "--listen=127.0.0.1:0", "--check"]),
            ("help", ["--help"]), ("near", ["--lisen", "x"]), ("version", ["--version"]),
            ("create", ["topic", "create", "a", "-p", "4", "--set", "k=v", "--set=a=b", "-f"]),
            ("tail", ["tail", "a", "--from", "-5", "--", "-k", "b"]),
            ("joined", ["t", "create", "-fp4", "x", "-s[::1]:1"]),
            ("missing", ["topic", "create", "--partitions", "--force"]),
        ]
        return lines.map { name, words in
            let isDaemon = ["daemon", "help", "near", "version"].contains(name)
            return (name, [isDaemon ? 0 : 1] + Array(words.joined(separator: "\0").utf8))
        }
    }
}
