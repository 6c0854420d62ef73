import MartletConfiguration

/// `martlet completion bash|zsh|fish`.
enum CompletionCommand {
    private static let shells = ["bash", "zsh", "fish"]

    static let command: Command = Command(
        CommandSpec(
            "completion", "Print a completion script for a shell.",
            discussion: ["Topic names are completed by asking the broker."],
            arguments: [ArgumentSpec("SHELL", "bash, zsh or fish.")],
            examples: [
                ExampleSpec("source <(martlet completion bash)", "For this bash"),
                ExampleSpec(
                    "martlet completion zsh > \"${fpath[1]}/_martlet\"", "For zsh, for good"),
                ExampleSpec(
                    "martlet completion fish > ~/.config/fish/completions/martlet.fish",
                    "For fish, for good"),
            ])
    ) { context in
        let shell = try context.argument(0)
        let script = CompletionScript(root: CommandTree.root.spec)
        switch shell {
        case "bash": try context.output.write(script.bash)
        case "zsh": try context.output.write(script.zsh)
        case "fish": try context.output.write(script.fish)
        case _:
            let hint = NearestName.suggestion(for: shell, in: shells)
            throw context.usage("'\(shell)' is not one of bash, zsh, fish\(hint)")
        }
    }
}
