import MartletConfiguration
import MartletWire

/// `martlet help`, `martlet help topic create`, `martlet help errors`.
enum HelpCommand {
    static let command: Command = Command(
        CommandSpec(
            "help", "Show the help of a command, or what error codes mean.",
            arguments: [
                ArgumentSpec(
                    "COMMAND", optional: true, repeated: true,
                    "A command's words; 'errors' for all error codes; 'errors CODE' for one. "
                        + "Codes without a number are not the broker's: they are told when "
                        + "none answers as it should.")
            ],
            flags: [CommonFlags.output],
            examples: [
                ExampleSpec("martlet help tail", "The same as martlet tail --help"),
                ExampleSpec("martlet help errors", "All error codes with their meaning"),
                ExampleSpec("martlet help errors DISK_FULL", "One of them"),
            ])
    ) { context in
        let words = context.invocation.arguments
        if words.first == "errors" {
            try errors(context, Array(words.dropFirst()))
        } else {
            try help(context, words)
        }
    }

    private static func help(_ context: CommandContext, _ words: [String]) throws {
        switch try CommandTree.root.spec.parse(words + ["--help"]) {
        case .help(let text): try context.output.write(text)
        case .run: throw ToolError.failure("there is no help for that: this is a defect.")
        }
    }

    private static func errors(_ context: CommandContext, _ names: [String]) throws {
        let codes = try names.isEmpty ? KnownError.all : names.map(KnownError.init(named:))
        var table = Table([
            .left("CODE"), .right("NUMBER"), .left("RETRY"), .left("RECORDS"), .left("CLOSES"),
            .left("MEANING"),
        ])
        for code in codes {
            table.add([
                code.name, code.number.map { "\($0)" } ?? "-", code.isRetriable ? "yes" : "no",
                code.outcome.rawValue, code.closesConnection ? "yes" : "no", code.text,
            ])
        }
        try context.show(table, objects: codes.map(\.json))
    }
}
