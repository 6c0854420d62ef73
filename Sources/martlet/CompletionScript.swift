import MartletConfiguration

/// Completion scripts made from the command tree.
struct CompletionScript {
    /// Where in the tree: `martlet topic create` and what may follow.
    struct Node {
        let path: [String]
        /// The same with the other names of each command.
        let names: [[String]]
        let spec: CommandSpec
        let flags: [FlagSpec]

        var key: String { path.joined(separator: " ") }
        /// The words of a first argument that is a choice.
        var choices: [String] { spec.arguments.first?.choices ?? [] }
        /// Names that a first argument may be.
        var offers: OfferedNames? { spec.arguments.first?.offers }
    }

    let nodes: [Node]

    init(root: CommandSpec) {
        var nodes: [Node] = []
        func visit(_ spec: CommandSpec, _ names: [[String]], _ inherited: [FlagSpec]) {
            let flags = inherited + spec.flags
            nodes.append(
                Node(path: names.compactMap(\.first), names: names, spec: spec, flags: flags))
            for command in spec.commands {
                visit(command, names + [[command.name] + command.aliases], flags)
            }
        }
        visit(root, [], [])
        self.nodes = nodes
    }

    // MARK: - bash and zsh

    private func words(_ node: Node) -> String {
        let names = node.spec.commands.map(\.name) + node.choices
        return (names + node.flags.map { "--\($0.name)" } + ["--help"]).joined(separator: " ")
    }

    private static func word(_ names: OfferedNames?) -> String { names?.rawValue ?? "none" }

    private var commandCases: String {
        nodes.map { node in
            "        '\(node.key)') words='\(words(node))' names=\(Self.word(node.offers)) ;;\n"
        }.joined()
    }

    /// The full name of what was named by another.
    private var aliasCases: String {
        nodes.filter { !$0.spec.aliases.isEmpty }.map { node in
            let parent = node.path.dropLast().map { $0 + " " }.joined()
            let aliases = node.spec.aliases.map { "'\(parent)\($0)'" }.joined(separator: "|")
            return "            \(aliases)) next='\(node.key)' ;;\n"
        }.joined()
    }

    /// Flags with a value, which is no argument.
    private var valued: String {
        let flags = nodes.flatMap(\.flags).filter { $0.value != nil }
        let names = flags.flatMap { ["--\($0.name)"] + ($0.short.map { ["-\($0)"] } ?? []) }
        return Set(names).sorted().joined(separator: ",")
    }

    private var valueCases: String {
        nodes.map { node in
            var flags: [String: [String]] = [:]
            for flag in node.flags where flag.value != nil {
                let names = ["--\(flag.name)"] + (flag.short.map { ["-\($0)"] } ?? [])
                let words = (flag.choices + flag.suggestions).joined(separator: " ")
                let offer = "words='\(words)' names=\(Self.word(flag.offers))"
                flags[offer, default: []] += names.map { "'\(node.key):\($0)'" }
            }
            return flags.sorted { $0.key < $1.key }.map { offer, names in
                "        \(names.joined(separator: "|"))) \(offer) ;;\n"
            }.joined()
        }.joined()
    }

    var bash: String {
        """
        # bash completion for martlet. Use: source <(martlet completion bash)
        _martlet() {
            # Not `path`: in zsh that is PATH.
            local current="${COMP_WORDS[COMP_CWORD]}" place='' word words='' names=none given=0
            local known='\(nodes.map(\.key).filter { !$0.isEmpty }.joined(separator: ","))'
            local valued='\(valued)'
            local index next server before
            # bash cuts words at = and at colons: what follows those is the rest of a word.
            for ((index = 1; index < COMP_CWORD; index++)); do
                word="${COMP_WORDS[index]}" before="${COMP_WORDS[index-1]}"
                [[ "$word" == [:=] || "$before" == [:=] || "$word" == -* ]] && continue
                [[ ",$valued," == *",$before,"* ]] && continue
                next="${place:+$place }$word"
                case "$next" in
        \(aliasCases)        esac
                if [[ ",$known," == *",$next,"* ]]; then place="$next"; else given=1; fi
            done
            case "$place" in
        \(commandCases)    esac
            [[ $given == 1 ]] && names=none
            before="${COMP_WORDS[COMP_CWORD-1]}"
            [[ "$before" == = ]] && before="${COMP_WORDS[COMP_CWORD-2]}"
            [[ "$current" == = ]] && current=''
            case "$place:$before" in
        \(valueCases)    esac
            if [[ $names != none && "$current" != -* ]]; then
                # The words are cut at colons; the line is not.
                server="$(printf '%s\\n' "${COMP_LINE-}" | sed -nE \\
                    's/.*[[:space:]](-s|--server)[[:space:]=]*([^[:space:]]+).*/\\2/p')"
                # compgen expands what it is given, so nothing but plain names goes there.
                words="$words $(martlet $names list -o name --connect-timeout 1s \\
                    ${server:+--server "$server"} 2>/dev/null | grep -E '^[A-Za-z0-9._-]+$')"
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

    // MARK: - fish

    private static let fishHead = """
        # fish completion for martlet
        function __martlet_names
            set -l words (commandline -opc)
            set -l server
            for index in (seq (count $words))
                switch $words[$index]
                    case -s --server
                        set server --server $words[(math $index + 1)]
                    case '--server=*'
                        set server $words[$index]
                end
            end
            martlet $argv[1] list -o name --connect-timeout 1s $server 2>/dev/null
        end
        complete -c martlet -f

        """

    var fish: String {
        var text = Self.fishHead
        for node in nodes {
            let place = fishPlace(node)
            let isNext = "-n \"\(place ?? "__fish_use_subcommand")\(Self.fishNothingBelow(node))\""
            for command in node.spec.commands {
                text +=
                    "complete -c martlet \(isNext) -a \(command.name) "
                    + "-d \(Self.quoted(command.summary))\n"
            }
            for choice in node.choices { text += "complete -c martlet \(isNext) -a \(choice)\n" }
            if let names = node.offers {
                text += "complete -c martlet \(isNext) -a \"(__martlet_names \(names))\"\n"
            }
            // The flags of a group are those of what is below it too.
            let isHere = place.map { " -n \"\($0)\"" } ?? ""
            for flag in node.spec.flags {
                let short = flag.short.map { " -s \($0)" } ?? ""
                let value = flag.value == nil ? "" : Self.fishValue(flag)
                text +=
                    "complete -c martlet\(isHere) -l \(flag.name)\(short)\(value) "
                    + "-d \(Self.quoted(flag.help))\n"
            }
        }
        return text
    }

    /// Files are offered where a file is wanted, and nowhere else.
    private static func fishValue(_ flag: FlagSpec) -> String {
        let words = flag.choices + flag.suggestions
        if let names = flag.offers { return " -x -a '(__martlet_names \(names))'" }
        if !words.isEmpty { return " -x -a '\(words.joined(separator: " "))'" }
        return ["FILE", "DIR"].contains(flag.value) ? " -r -F" : " -x"
    }

    /// Whether the line names the node; nil for the root. `bench produce` is not `produce`.
    private func fishPlace(_ node: Node) -> String? {
        guard !node.path.isEmpty else { return nil }
        let seen = node.names.map {
            "__fish_seen_subcommand_from \($0.joined(separator: " "))"
        }
        let others = nodes.filter {
            $0.path.count > node.path.count && node.path.count == 1
                && $0.path.last == node.path.last
        }
        let groups = Set(others.compactMap(\.path.first)).sorted()
        let elsewhere =
            groups.isEmpty
            ? [] : ["not __fish_seen_subcommand_from \(groups.joined(separator: " "))"]
        return (seen + elsewhere).joined(separator: "; and ")
    }

    private static func fishNothingBelow(_ node: Node) -> String {
        guard !node.path.isEmpty, !node.spec.commands.isEmpty else { return "" }
        let below = node.spec.commands.flatMap { [$0.name] + $0.aliases }.joined(separator: " ")
        return "; and not __fish_seen_subcommand_from \(below)"
    }

    private static func quoted(_ text: String) -> String {
        "'" + text.replacing("\\", with: "\\\\").replacing("'", with: "\\'") + "'"
    }
}
