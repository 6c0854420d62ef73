/// What the words after a program's name ask for.
package enum ParsedCommandLine: Equatable, Sendable {
    case run(Invocation)
    /// `--help` was there: the text to print on standard output.
    case help(String)
}

/// A usage error: one line that says what is wrong and where to look.
package struct CommandLineError: Error, Equatable, Sendable, CustomStringConvertible {
    package let message: String
    /// `martlet topic create`
    package let command: String

    package init(_ message: String, command: String) {
        self.message = message
        self.command = command
    }

    package var description: String {
        "\(message)\(message.hasSuffix("?") ? "" : ".") See '\(command) --help'."
    }
}

/// A command with its flags and arguments, all known to its description.
package struct Invocation: Equatable, Sendable {
    /// Full names from below the program on: `["topic", "create"]`.
    package let path: [String]
    package let arguments: [String]
    let program: String
    let values: [String: [String]]

    package func has(_ flag: String) -> Bool { values[flag] != nil }

    /// The value of a flag that can be given once.
    package func value(_ flag: String) -> String? { values[flag]?.last }

    /// The values of a repeatable flag, in order.
    package func values(_ flag: String) -> [String] { values[flag] ?? [] }

    /// `martlet topic create`, for messages.
    package var title: String { ([program] + path).joined(separator: " ") }

    package func argument(_ index: Int) -> String? {
        arguments.indices.contains(index) ? arguments[index] : nil
    }

    // MARK: Values with a type; each names the flag when the text is none.

    package func integer(
        _ flag: String,
        in range: ClosedRange<Int64> = .min ... .max
    ) throws(CommandLineError) -> Int64? {
        try number(flag, .integer(range))
    }

    package func bytes(
        _ flag: String,
        in range: ClosedRange<Int64> = 0 ... .max
    ) throws(CommandLineError) -> Int64? {
        try number(flag, .bytes(range))
    }

    package func milliseconds(
        _ flag: String,
        in range: ClosedRange<Int64> = 0 ... .max
    ) throws(CommandLineError) -> Int64? {
        try number(flag, .duration(range))
    }

    package func address(_ flag: String) throws(CommandLineError) -> HostPort? {
        guard let text = value(flag) else { return nil }
        do throws(UnitError) {
            return try HostPort(parsing: text)
        } catch {
            throw CommandLineError("--\(flag): \(error)", command: title)
        }
    }

    private func number(
        _ flag: String,
        _ kind: ConfigurationKind
    ) throws(CommandLineError) -> Int64? {
        guard let text = value(flag) else { return nil }
        do throws(UnitError) {
            return try kind.number(text)
        } catch {
            throw CommandLineError("--\(flag): \(error)", command: title)
        }
    }
}

extension CommandSpec {
    /// Reads the words after the program's name. Flags may stand anywhere after the command that
    /// has them, those of a command also after the commands below it; `--` ends them. Never ends
    /// the process.
    package func parse(
        _ words: some Collection<String>
    ) throws(CommandLineError) -> ParsedCommandLine {
        var parser = CommandLineParser(root: self, words: Array(words))
        return try parser.parse()
    }
}

private struct CommandLineParser {
    private let root: CommandSpec
    private var words: ArraySlice<String>
    /// From the root down to the command that was found so far.
    private var chain: [CommandSpec]
    private var values: [String: [String]] = [:]
    private var arguments: [String] = []
    private var flagsHaveEnded = false

    init(root: CommandSpec, words: [String]) {
        self.root = root
        self.words = words[...]
        chain = [root]
    }

    private var current: CommandSpec { chain.last ?? root }
    private var flags: [FlagSpec] { chain.flatMap(\.flags) + [CommandSpec.helpFlag] }
    private var title: String { chain.map(\.name).joined(separator: " ") }

    private func failure(_ message: String) -> CommandLineError {
        CommandLineError(message, command: title)
    }

    mutating func parse() throws(CommandLineError) -> ParsedCommandLine {
        while let word = words.popFirst() {
            if flagsHaveEnded {
                try takeWord(word)
            } else if word == "--" {
                flagsHaveEnded = true
            } else if word.hasPrefix("--") {
                try takeLong(word.dropFirst(2))
            } else if word.count > 1, word.hasPrefix("-"), !isNegativeNumber(word) {
                try takeShort(word.dropFirst())
            } else {
                try takeWord(word)
            }
            if values[CommandSpec.helpFlag.name] != nil {
                return .help(CommandHelp.text(chain))
            }
        }
        try checkComplete()
        return .run(
            Invocation(
                path: chain.dropFirst().map(\.name), arguments: arguments, program: root.name,
                values: values))
    }

    /// A number without its flag, where only one flag takes a number.
    private func flagHint(_ word: String) -> String {
        let counted = current.flags.filter { $0.value == "N" }
        guard Int64(word) != nil, counted.count == 1, let flag = counted.first else { return "" }
        return "; did you mean '--\(flag.name) \(word)'?"
    }

    /// `-5` is an argument unless a flag is called so.
    private func isNegativeNumber(_ word: String) -> Bool {
        Int64(word) != nil && !flags.contains { $0.short == word.dropFirst().first }
    }

    private mutating func takeWord(_ word: String) throws(CommandLineError) {
        if !current.commands.isEmpty {
            guard let command = current.command(named: word) else {
                let names = current.commands.flatMap { [$0.name] + $0.aliases }
                let hint = NearestName.suggestion(for: word, in: names)
                throw failure("unknown command \(Quoted(word))\(hint)")
            }
            chain.append(command)
            return
        }
        let isFull = arguments.count >= current.arguments.count
        guard !isFull || current.arguments.last?.isRepeated == true else {
            throw failure("unexpected argument \(Quoted(word))\(flagHint(word))")
        }
        let index = min(arguments.count, current.arguments.count - 1)
        let argument = current.arguments[index]
        try check(word, among: argument.choices, of: argument.name)
        arguments.append(word)
    }

    private mutating func takeLong(_ text: Substring) throws(CommandLineError) {
        let equals = text.firstIndex(of: "=")
        let name = String(equals.map { text[..<$0] } ?? text)
        guard let flag = flags.first(where: { $0.name == name }) else {
            let hint = NearestName.find(name, in: flags.map(\.name))
            let suggestion = hint.map { "; did you mean '--\($0)'?" } ?? ""
            throw failure("unknown flag \(Quoted("--\(name)"))\(suggestion)")
        }
        if let equals {
            guard flag.value != nil else { throw failure("--\(name) takes no value") }
            try add(String(text[text.index(after: equals)...]), to: flag)
        } else {
            try add(
                flag.value == nil ? "" : try nextValue(of: flag, shownAs: "--\(name)"), to: flag)
        }
    }

    /// `-o json`, `-ojson`; several flags without a value can stand together.
    private mutating func takeShort(_ text: Substring) throws(CommandLineError) {
        var rest = text
        while let letter = rest.popFirst() {
            guard let flag = flags.first(where: { $0.short == letter }) else {
                throw failure("unknown flag \(Quoted("-\(letter)"))")
            }
            guard flag.value != nil else {
                try add("", to: flag)
                continue
            }
            try add(
                rest.isEmpty ? try nextValue(of: flag, shownAs: "-\(letter)") : String(rest),
                to: flag)
            return
        }
    }

    /// The next word, unless it looks like another flag: then the value was forgotten.
    private mutating func nextValue(
        of flag: FlagSpec,
        shownAs name: String
    ) throws(CommandLineError) -> String {
        guard let word = words.first else {
            throw failure("\(name) needs a value: \(name) \(flag.value ?? "")")
        }
        let isNumber = word.dropFirst().first?.isNumber == true
        guard !word.hasPrefix("-") || word == "-" || isNumber else {
            throw failure(
                "\(name) needs a value, and \(Quoted(word)) looks like a flag; "
                    + "if it is the value, write --\(flag.name)=VALUE")
        }
        words.removeFirst()
        return word
    }

    private mutating func add(_ value: String, to flag: FlagSpec) throws(CommandLineError) {
        guard flag.isRepeatable || values[flag.name] == nil else {
            throw failure("--\(flag.name) is given twice")
        }
        try check(value, among: flag.choices, of: "--\(flag.name)")
        values[flag.name, default: []].append(value)
    }

    private func check(
        _ word: String, among choices: [String], of name: String
    ) throws(CommandLineError) {
        if choices.isEmpty || choices.contains(word) { return }
        let hint = NearestName.suggestion(for: word, in: choices)
        let list = choices.joined(separator: ", ")
        throw failure("\(name): \(Quoted(word)) is not one of \(list)\(hint)")
    }

    private func checkComplete() throws(CommandLineError) {
        guard current.commands.isEmpty else {
            let names = current.commands.map(\.name).joined(separator: ", ")
            throw failure("a command is missing: \(names)")
        }
        if let missing = current.arguments.dropFirst(arguments.count).first(where: {
            !$0.isOptional
        }) {
            throw failure("\(missing.name) is missing")
        }
        if let missing = flags.first(where: { $0.isRequired && values[$0.name] == nil }) {
            throw failure("--\(missing.name) is missing")
        }
    }
}
