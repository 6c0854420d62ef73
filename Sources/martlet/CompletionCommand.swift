import MartletConfiguration

/// `martlet completion bash|zsh|fish`.
enum CompletionCommand {
    static let command: Command = Command(
        CommandSpec(
            "completion", "Print a completion script for a shell.",
            discussion: ["Names of topics and groups are completed by asking the broker."],
            arguments: [
                ArgumentSpec("SHELL", choices: ["bash", "zsh", "fish"], "bash, zsh or fish.")
            ],
            examples: [
                ExampleSpec("source <(martlet completion bash)", "For this bash"),
                ExampleSpec(
                    "martlet completion zsh > \"${fpath[1]}/_martlet\"", "For zsh, for good"),
                ExampleSpec(
                    "martlet completion fish > ~/.config/fish/completions/martlet.fish",
                    "For fish, for good"),
            ])
    ) { context in
        let script = CompletionScript(root: CommandTree.root.spec)
        switch try context.argument(0) {
        case "fish": try context.output.write(script.fish)
        case "zsh": try context.output.write(script.zsh)
        case _: try context.output.write(script.bash)  // the third of the choices
        }
    }
}
