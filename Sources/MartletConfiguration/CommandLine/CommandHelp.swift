/// Lays out the help of a command: at most 100 columns, no colour.
package enum CommandHelp {
    private static let width = 100

    /// The last of the chain is the command; the flags of those above it are listed as well.
    package static func text(_ chain: [CommandSpec]) -> String {
        guard let command = chain.last else { return "" }
        var text = WrappedText.lines(command.summary, width: width).joined(separator: "\n") + "\n"
        text += "\nUsage: \(usage(chain, command))\n"
        if !command.aliases.isEmpty {
            text += "Aliases: \(command.aliases.joined(separator: ", "))\n"
        }
        for paragraph in command.discussion {
            text += "\n" + WrappedText.lines(paragraph, width: width).joined(separator: "\n") + "\n"
        }
        text += section("Commands", command.commands.map { ($0.name, $0.summary) })
        text += section("Arguments", command.arguments.map { ($0.name, $0.help) })
        text += section("Flags", (command.flags + [CommandSpec.helpFlag]).map(row))
        text += section("Common flags", chain.dropLast().flatMap(\.flags).map(row))
        if !command.examples.isEmpty {
            text += "\nExamples:\n"
            for example in command.examples {
                text += "  # \(example.meaning)\n  \(example.command)\n"
            }
        }
        return text
    }

    private static func usage(_ chain: [CommandSpec], _ command: CommandSpec) -> String {
        var parts = chain.map(\.name)
        if !command.commands.isEmpty { parts.append("COMMAND") }
        for argument in command.arguments {
            let name = argument.isRepeated ? "\(argument.name)..." : argument.name
            parts.append(argument.isOptional ? "[\(name)]" : name)
        }
        for flag in command.flags where flag.isRequired {
            parts.append("--\(flag.name) \(flag.value ?? "")")
        }
        parts.append("[flags]")
        return parts.joined(separator: " ")
    }

    private static func row(_ flag: FlagSpec) -> (String, String) {
        let short = flag.short.map { "-\($0), " } ?? "    "
        let value = flag.value.map { " \($0)" } ?? ""
        let more = flag.isRepeatable ? " Can be given several times." : ""
        return ("\(short)--\(flag.name)\(value)", flag.help + choices(flag) + more)
    }

    /// The words that the value may be, unless the help itself has them all.
    private static func choices(_ flag: FlagSpec) -> String {
        let words = flag.help.split { !($0.isLetter || $0.isNumber || $0 == "-") }
        if flag.choices.allSatisfy({ words.contains($0[...]) }) { return "" }
        return " One of \(flag.choices.joined(separator: ", "))."
    }

    /// Two columns; a name that is too wide for the first stands on a line of its own.
    private static func section(_ title: String, _ rows: [(String, String)]) -> String {
        guard !rows.isEmpty else { return "" }
        let column = min(32, rows.map { $0.0.count }.max() ?? 0) + 4
        let indent = String(repeating: " ", count: column)
        var text = "\n\(title):\n"
        for (name, help) in rows {
            let lines = WrappedText.lines(help, width: width - column)
            var left = "  \(name)"
            if left.count + 2 > column {
                text += left + "\n"
                left = ""
            }
            for line in lines.isEmpty ? [""] : lines {
                let padding = left.isEmpty ? indent : left + indent.dropFirst(left.count)
                text += padding + line + "\n"
                left = ""
            }
        }
        return text
    }
}
