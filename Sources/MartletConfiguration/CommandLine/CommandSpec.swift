/// What a shell asks the broker for, to complete a word.
package enum OfferedNames: String, Sendable {
    case topic, group
}

/// A flag: `--name`, `--name VALUE`, `--name=VALUE`, and perhaps `-n`.
package struct FlagSpec: Equatable, Sendable {
    /// Without the dashes.
    package let name: String
    package let short: Character?
    /// What stands for the value in the help; nil for a flag that is only there or not.
    package let value: String?
    /// The words that the value may be; empty for a text of one's own.
    package let choices: [String]
    /// Words to offer for a text of one's own.
    package let suggestions: [String]
    /// Names that a shell offers for the value; nil: it asks for none.
    package let offers: OfferedNames?
    package let isRepeatable: Bool
    /// The command makes no sense without it; the usage line shows it.
    package let isRequired: Bool
    package let help: String

    package init(
        _ name: String,
        short: Character? = nil,
        value: String? = nil,
        choices: [String] = [],
        suggestions: [String] = [],
        offers: OfferedNames? = nil,
        repeatable: Bool = false,
        required: Bool = false,
        _ help: String
    ) {
        self.name = name
        self.short = short
        self.value = value
        self.choices = choices
        self.suggestions = suggestions
        self.offers = offers
        self.isRepeatable = repeatable
        self.isRequired = required
        self.help = help
    }
}

/// A word without dashes, at its place after the command.
package struct ArgumentSpec: Equatable, Sendable {
    /// As the help shows it: `TOPIC`.
    package let name: String
    package let isOptional: Bool
    /// Takes all words that are left. Only for the last one.
    package let isRepeated: Bool
    /// The words that it may be; empty for a text of one's own.
    package let choices: [String]
    /// Names that a shell offers for it; nil: it asks for none.
    package let offers: OfferedNames?
    package let help: String

    package init(
        _ name: String,
        choices: [String] = [],
        offers: OfferedNames? = nil,
        optional: Bool = false,
        repeated: Bool = false,
        _ help: String
    ) {
        self.name = name
        self.choices = choices
        self.offers = offers
        self.isOptional = optional
        self.isRepeated = repeated
        self.help = help
    }
}

/// A line to try, and what it does.
package struct ExampleSpec: Equatable, Sendable {
    package let command: String
    package let meaning: String

    package init(_ command: String, _ meaning: String) {
        self.command = command
        self.meaning = meaning
    }
}

/// A program or one of its commands. Either it has commands below it, or it takes arguments and
/// runs.
package struct CommandSpec: Equatable, Sendable {
    package let name: String
    /// Other names for the same command, such as `t` for `topic`.
    package let aliases: [String]
    /// One line, for the list of the command above.
    package let summary: String
    /// Paragraphs for the command's own help.
    package let discussion: [String]
    package let arguments: [ArgumentSpec]
    package let flags: [FlagSpec]
    package let commands: [CommandSpec]
    package let examples: [ExampleSpec]

    package init(
        _ name: String,
        aliases: [String] = [],
        _ summary: String,
        discussion: [String] = [],
        arguments: [ArgumentSpec] = [],
        flags: [FlagSpec] = [],
        commands: [CommandSpec] = [],
        examples: [ExampleSpec] = []
    ) {
        self.name = name
        self.aliases = aliases
        self.summary = summary
        self.discussion = discussion
        self.arguments = arguments
        self.flags = flags
        self.commands = commands
        self.examples = examples
    }

    /// The command below this one with that name or alias.
    package func command(named name: String) -> CommandSpec? {
        commands.first { $0.name == name || $0.aliases.contains(name) }
    }

    /// What is wrong with the tree: names that come twice, arguments that can never be filled.
    /// Empty for every tree that ships; a test asks.
    package func defects(inherited: [FlagSpec] = [], path: [String] = []) -> [String] {
        let path = path + [name]
        let title = path.joined(separator: " ")
        let all = inherited + flags + [Self.helpFlag]
        var defects: [String] = []
        for (names, what) in [
            (all.map(\.name), "flag --"), (all.compactMap(\.short).map { String($0) }, "flag -"),
            (commands.flatMap { [$0.name] + $0.aliases }, "command "),
        ] {
            var seen: Set<String> = []
            for name in names where !seen.insert(name).inserted {
                defects.append("\(title): \(what)\(name) comes twice")
            }
        }
        if arguments.dropLast().contains(where: \.isRepeated) {
            defects.append("\(title): only the last argument can be repeated")
        }
        if zip(arguments, arguments.dropFirst()).contains(where: { $0.isOptional && !$1.isOptional }
        ) {
            defects.append("\(title): an argument after an optional one must be optional")
        }
        if !commands.isEmpty, !arguments.isEmpty {
            defects.append("\(title): has both commands and arguments")
        }
        let below = commands.flatMap { $0.defects(inherited: inherited + flags, path: path) }
        return defects + below
    }

    static let helpFlag = FlagSpec("help", short: "h", "Show this help.")
}
