import MartletConfiguration
import MartletJSON
import MartletWire

/// `martlet help`, `martlet help topic create`, `martlet help errors`.
enum HelpCommand {
    static let command: Command = Command(
        CommandSpec(
            "help", "Show the help of a command, or what error codes mean.",
            arguments: [
                ArgumentSpec(
                    "COMMAND", optional: true, repeated: true,
                    "A command's words; 'errors' for all error codes; 'errors CODE' for one.")
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
        let codes =
            try names.isEmpty
            ? ErrorCode.allCases.filter { $0 != .none } : names.map(code)
        var table = Table([
            .left("CODE"), .right("NUMBER"), .left("RETRY"), .left("RECORDS"), .left("CLOSES"),
            .left("MEANING"),
        ])
        for code in codes {
            table.add([
                code.name, "\(code.rawValue)", code.isRetriable ? "yes" : "no",
                code.outcome.rawValue, code.closesConnection ? "yes" : "no", code.text,
            ])
        }
        try context.show(table, objects: codes.map(json))
    }

    private static func code(_ name: String) throws -> ErrorCode {
        let upper = name.uppercased()
        if let number = UInt16(name), let code = ErrorCode(rawValue: number) { return code }
        guard let code = ErrorCode(name: upper) else {
            let hint = NearestName.suggestion(for: upper, in: ErrorCode.allCases.map(\.name))
            throw ToolError(.notFound, "there is no error code '\(name)'\(hint)")
        }
        return code
    }

    private static func json(_ code: ErrorCode) -> JSONValue {
        [
            "code": .string(code.name), "number": JSONValue(code.rawValue),
            "isRetriable": .boolean(code.isRetriable), "records": .string(code.outcome.rawValue),
            "closesConnection": .boolean(code.closesConnection), "text": .string(code.text),
        ]
    }
}
