import MartletConfiguration

/// `martlet bench ...`: figures about this machine and this broker.
enum BenchCommands {
    static let group = Command(
        "bench", "Measure the broker, the disk and the loopback.",
        discussion: [
            "Each measurement makes, fills and deletes its own topic and uses the public client only. "
                + "With -o json the last line on standard output is one JSON object."
        ],
        examples: [
            ExampleSpec("martlet bench disk --data /var/lib/martlet", "What the disk can do"),
            ExampleSpec("martlet bench produce --size 1024", "Durable records, as fast as it goes"),
        ],
        commands: [
            BenchClientCommands.produce, BenchClientCommands.consume,
            BenchClientCommands.endToEnd, BenchHandoverCommand.command,
            BenchDiskCommand.command,
        ])
}
