import MartletConfiguration

/// `martlet dump ...`: look into files of a data directory, without a broker.
enum DumpCommands {
    static let group = Command(
        "dump", "Look into files of a data directory, without a broker.",
        discussion: ["Nothing is ever changed, so a running broker is not disturbed."],
        examples: [
            ExampleSpec(
                "martlet dump segment 00000000000000000000.log --verify", "Is this file sound?")
        ],
        commands: [DumpSegmentCommand.command])
}
