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

/// Completion scripts made from the command tree.
struct CompletionScript {
    /// Where in the tree: `martlet topic create` and what may follow.
    struct Node {
        let path: [String]
        let spec: CommandSpec
        let flags: [FlagSpec]

        var key: String { path.joined(separator: " ") }
        var takesTopic: Bool { spec.arguments.first?.name == "TOPIC" }
        /// The words of a first argument that is a choice.
        var choices: [String] {
            spec.arguments.first?.name == "SHELL" ? ["bash", "zsh", "fish"] : []
        }
    }

    let nodes: [Node]

    init(root: CommandSpec) {
        var nodes: [Node] = []
        func visit(_ spec: CommandSpec, _ path: [String], _ inherited: [FlagSpec]) {
            let flags = inherited + spec.flags
            nodes.append(Node(path: path, spec: spec, flags: flags))
            for command in spec.commands { visit(command, path + [command.name], flags) }
        }
        visit(root, [], [])
        self.nodes = nodes
    }

    private func words(_ node: Node) -> String {
        let names = node.spec.commands.map(\.name) + node.choices
        return (names + node.flags.map { "--\($0.name)" } + ["--help"]).joined(separator: " ")
    }

    /// What may stand behind a flag that takes a value: some words, or anything.
    private var valueCases: String {
        let known = [
            "output": "table json jsonl name raw", "acks": "durable written none",
            "format": "lines jsonl", "from": "earliest latest", "until": "latest",
            "at": "earliest latest",
        ]
        var names: [String: Set<String>] = [:]
        for flag in nodes.flatMap(\.flags) where flag.value != nil {
            names[known[flag.name] ?? "", default: []].insert("--\(flag.name)")
            if let short = flag.short { names[known[flag.name] ?? ""]?.insert("-\(short)") }
        }
        return names.sorted { $0.key < $1.key }.map { words, flags in
            "        \(flags.sorted().joined(separator: "|"))) words='\(words)' topics=0 ;;\n"
        }.joined()
    }

    var bash: String {
        var cases = ""
        for node in nodes {
            let topics = node.takesTopic ? " topics=1" : ""
            cases += "        '\(node.key)') words='\(words(node))'\(topics) ;;\n"
        }
        return """
            # bash completion for martlet. Use: source <(martlet completion bash)
            _martlet() {
                local current="${COMP_WORDS[COMP_CWORD]}" path='' word words='' topics=0
                local known='\(nodes.map(\.key).filter { !$0.isEmpty }.joined(separator: ","))'
                local index
                for ((index = 1; index < COMP_CWORD; index++)); do
                    word="${COMP_WORDS[index]}"
                    [[ "$word" == -* ]] && continue
                    local next="${path:+$path }$word"
                    [[ ",$known," == *",$next,"* ]] && path="$next"
                done
                case "$path" in
            \(cases)    esac
                case "${COMP_WORDS[COMP_CWORD-1]}" in
            \(valueCases)    esac
                if [[ $topics == 1 && "$current" != -* ]]; then
                    words="$words $(martlet topic list -o name --connect-timeout 1s 2>/dev/null)"
                fi
                mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
            }
            complete -o default -F _martlet martlet

            """
    }

    /// zsh runs the bash function through its own compatibility layer.
    var zsh: String {
        "#compdef martlet\n"
            + "autoload -U +X bashcompinit && bashcompinit\n"
            + bash.replacing(
                "mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")",
                with: "COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))")
    }

    var fish: String {
        var text = "# fish completion for martlet\ncomplete -c martlet -f\n"
        for node in nodes {
            let condition = Self.fishCondition(node)
            for command in node.spec.commands {
                text +=
                    "complete -c martlet -n \"\(condition)\" -a \(command.name) "
                    + "-d \(Self.quoted(command.summary))\n"
            }
            for choice in node.choices {
                text += "complete -c martlet -n \"\(condition)\" -a \(choice)\n"
            }
            if node.takesTopic {
                text +=
                    "complete -c martlet -n \"\(condition)\" "
                    + "-a \"(martlet topic list -o name --connect-timeout 1s 2>/dev/null)\"\n"
            }
            for flag in node.spec.flags {
                let short = flag.short.map { " -s \($0)" } ?? ""
                let value = flag.value == nil ? "" : " -r"
                text +=
                    "complete -c martlet -n \"\(condition)\" -l \(flag.name)\(short)\(value) "
                    + "-d \(Self.quoted(flag.help))\n"
            }
        }
        return text
    }

    private static func fishCondition(_ node: Node) -> String {
        guard !node.path.isEmpty else { return "__fish_use_subcommand" }
        let seen = node.path.map { "__fish_seen_subcommand_from \($0)" }.joined(separator: "; and ")
        guard !node.spec.commands.isEmpty else { return seen }
        let below = node.spec.commands.map(\.name).joined(separator: " ")
        return "\(seen); and not __fish_seen_subcommand_from \(below)"
    }

    private static func quoted(_ text: String) -> String {
        "'" + text.replacing("\\", with: "\\\\").replacing("'", with: "\\'") + "'"
    }
}
