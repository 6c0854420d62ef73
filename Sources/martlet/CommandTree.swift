import MartletConfiguration

/// Every command of `martlet`.
enum CommandTree {
    static let root: Command = Command(
        "martlet",
        "The command line of the Martlet event broker.",
        discussion: [
            "Data goes to standard output and messages to standard error. The broker is the one of "
                + "--server, else of the environment's MARTLET_SERVER, else 127.0.0.1:7700.",
            "A TIME is 500ms, 30s, 15m, 12h or 7d; BYTES are 512, 64KiB or 1GiB. Moments are "
                + "2026-01-22T12:00Z (or with +02:00), milliseconds since 1970, or -15m for a quarter "
                + "of an hour ago; with @ before them where offsets may stand as well.",
            "Exit codes: "
                + ToolExitCode.allCases.map { "\($0.rawValue) \($0.meaning)" }
                .joined(separator: "; ") + ".",
        ],
        examples: [
            ExampleSpec("martlet topic create orders --partitions 4", "Make a topic"),
            ExampleSpec("echo 'k1:hello' | martlet produce orders -K :", "Write to it"),
            ExampleSpec("martlet tail orders --from earliest -o jsonl", "Read it"),
            ExampleSpec("martlet doctor", "Is the broker well?"),
            ExampleSpec("martlet help errors", "What an error code means"),
        ],
        flags: [
            FlagSpec("server", short: "s", value: "HOST:PORT", "The broker; [::1]:7700 for IPv6."),
            FlagSpec("timeout", value: "TIME", "How long to wait for an answer; 30s."),
            FlagSpec(
                "connect-timeout", value: "TIME",
                "How long to keep trying to reach the broker; 3s, and 60s for a broker that is lost "
                    + "while 'tail' follows it."),
        ],
        commands: [
            TopicCommands.group, GroupCommands.group, DeadLetterCommands.group,
            ReplayCommand.command,
            ProduceCommand.command, TailCommand.command,
            OffsetsCommand.command, StatusCommand.command, TopCommand.command,
            DoctorCommand.command,
            CheckCommands.group, GenerateCommands.group,
            BackupCommands.backup, BackupCommands.restore, DumpCommands.group, BenchCommands.group,
            CheckConfigCommand.command,
            CompletionCommand.command, HelpCommand.command, VersionCommand.command,
        ]
    )
}
