import MartletConfiguration
import MartletJSON

enum ToolVersion {
    static let text = Product.version
}

enum VersionCommand {
    static let command: Command = Command(
        CommandSpec(
            "version", "Print the version of this program.",
            flags: [
                CommonFlags.output([.json, .jsonl], "json or jsonl; without it the version alone.")
            ],
            examples: [ExampleSpec("martlet version", "The version alone, on one line")])
    ) { context in
        let version: JSONValue = ["version": .string(ToolVersion.text)]
        if context.wantsJSON {
            try context.output.jsonLine(version)
        } else {
            try context.output.line(ToolVersion.text)
        }
    }
}
