import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet group pause` and `martlet group resume`.
enum GroupPauseCommands {
    static let pause: Command = Command(
        CommandSpec(
            "pause", "Let a group stand still.",
            discussion: [
                "Members finish and commit what they have begun, and read nothing more until "
                    + "'martlet group resume'. It holds over restarts; the lag goes on to count."
            ],
            arguments: [GroupCommands.argument], flags: [topic, CommonFlags.result],
            examples: [
                ExampleSpec("martlet group pause board", "All of it"),
                ExampleSpec("martlet group pause board --topic flights:3", "One partition"),
            ])
    ) { context in
        try await run(context, isPaused: true)
    }

    static let resume: Command = Command(
        CommandSpec(
            "resume", "Let a group go on.",
            arguments: [GroupCommands.argument], flags: [topic, CommonFlags.result],
            examples: [
                ExampleSpec("martlet group resume board", "All of it, whatever was paused"),
                ExampleSpec("martlet group resume board --topic flights", "One topic"),
            ])
    ) { context in
        try await run(context, isPaused: false)
    }

    static let topic = FlagSpec(
        "topic", short: "t", value: "TOPIC[:N]", offers: .topic, repeatable: true,
        "A topic, or one partition of it.")

    private static func run(_ context: CommandContext, isPaused: Bool) async throws {
        let name = try context.argument(0)
        let parts = try context.groupParts()
        let wantsJSON = context.wantsJSON
        try await context.withClient { client in
            isPaused
                ? try await client.admin.pauseGroup(name, parts)
                : try await client.admin.resumeGroup(name, parts)
        }
        if wantsJSON {
            try context.output.jsonLine(["group": .string(name), "paused": .boolean(isPaused)])
        } else {
            context.output.message("\(isPaused ? "paused" : "resumed") group \(name)")
        }
    }
}

extension GroupPart {
    /// As `--topic` takes it.
    var word: String { topic + (partition.map { ":\($0)" } ?? "") }
}

extension String {
    /// Topic, partition and offset, as people write them, or as messages and the log have them: with a
    /// slash. No topic's name has either.
    var placeParts: [Substring] {
        split(omittingEmptySubsequences: false) { $0 == ":" || $0 == "/" }
    }
}

extension CommandContext {
    /// The values of `--topic`.
    func groupParts() throws -> [GroupPart] {
        try invocation.values("topic").map { word in
            let parts = word.placeParts
            guard let topic = parts.first, !topic.isEmpty, parts.count <= 2 else {
                throw usage("--topic: '\(word)' is not TOPIC or TOPIC:N")
            }
            guard parts.count == 2 else { return GroupPart(String(topic)) }
            guard let number = Int32(parts[1]), number >= 0 else {
                throw usage("--topic: '\(parts[1])' is not a partition's number")
            }
            return GroupPart(String(topic), number)
        }
    }
}
