import MartletConfiguration
import MartletWire
import Testing

@testable import MartletClient
@testable import martlet

/// The tree of commands as a whole.
@Suite struct CommandTreeTests {
    /// Every command with the words that lead to it.
    private static var all: [(words: [String], command: Command)] {
        func below(_ command: Command, _ words: [String]) -> [(words: [String], command: Command)] {
            [(words, command)]
                + command.commands.flatMap { below($0, words + [$0.spec.name]) }
        }
        return below(CommandTree.root, [])
    }

    @Test func `the tree has no defects`() {
        #expect(CommandTree.root.spec.defects() == [])
    }

    @Test func `every command runs or leads to others`() {
        for (words, command) in Self.all {
            #expect((command.body == nil) == !command.commands.isEmpty, "\(words)")
        }
    }

    @Test func `every command has help with examples`() throws {
        for (words, command) in Self.all {
            let parsed = try CommandTree.root.spec.parse(words + ["--help"])
            guard case .help(let text) = parsed else {
                Issue.record("\(words): no help")
                continue
            }
            #expect(text.contains("Usage: martlet"), "\(words)")
            #expect(text.contains("Examples:"), "\(words)")
            #expect(text.split(separator: "\n").allSatisfy { $0.count <= 100 }, "\(words)")
            for example in command.spec.examples {
                #expect(example.command.contains("martlet"), "\(example.command)")
            }
        }
    }

    @Test func `the help has the words that a flag takes, and the usage what cannot be left out`()
        throws
    {
        for (words, command) in Self.all {
            guard case .help(let text) = try CommandTree.root.spec.parse(words + ["--help"]) else {
                Issue.record("\(words): no help")
                continue
            }
            let usage = text.split(separator: "\n").first { $0.hasPrefix("Usage: ") } ?? ""
            for flag in command.spec.flags {
                for choice in flag.choices { #expect(text.contains(choice), "\(words) \(choice)") }
                #expect(usage.contains("--\(flag.name) ") == flag.isRequired, "\(words)")
            }
        }
        let words = ["topic", "add-partitions", "orders"]
        #expect(throws: CommandLineError.self) { _ = try CommandTree.root.spec.parse(words) }
        _ = try CommandTree.root.spec.parse(words + ["--total", "2"])
    }

    /// What a pipe gets is what the help says: these ask for `format(elsewhere: .jsonl)`.
    @Test func `the help says where the form without -o is another than a table`() {
        let streamed = Self.all.filter { _, command in
            command.spec.flags.contains { $0.name == "output" && $0.help.contains("elsewhere") }
        }.map { $0.words.joined(separator: " ") }
        #expect(
            streamed == [
                "group events", "produce", "tail", "bench produce", "bench consume", "bench e2e",
                "bench handover", "bench disk",
            ])
    }

    @Test func `every example parses`() throws {
        for (_, command) in Self.all {
            for example in command.spec.examples {
                // The words of a shell: quotes are taken off, pipes and redirections end it.
                let words = ShellWords.martlet(example.command)
                _ = try CommandTree.root.spec.parse(words)
            }
        }
    }

    @Test func `the help lists all exit codes`() throws {
        guard case .help(let text) = try CommandTree.root.spec.parse(["--help"]) else {
            Issue.record("no help")
            return
        }
        let oneLine = text.split(separator: "\n").joined(separator: " ")
        for code in ToolExitCode.allCases {
            #expect(oneLine.contains("\(code.rawValue) \(code.meaning)"))
        }
    }

    @Test(arguments: [
        (MartletErrorCode.unknownTopic, ToolExitCode.notFound),
        (.notAuthorized, .refused), (.requestTimedOut, .timeout), (.deadlineExceeded, .timeout),
        (.topicExists, .conflict), (.connectionFailed, .unreachable),
        (.invalidArgument, .usage), (.internalError, .failure),
    ])
    func `errors have exit codes`(code: MartletErrorCode, expected: ToolExitCode) {
        #expect(ToolError.exitCode(of: code) == expected)
    }

    @Test func `errors are one line that says what to do`() {
        let error = MartletError(
            .unknownTopic, "", context: ["topic": "orders"])
        let shown = ToolError(describing: error)
        #expect(shown.exitCode == .notFound)
        #expect(!shown.message.contains("\n"))
        #expect(shown.message.contains("orders"))
        #expect(shown.message.contains("martlet topic list"))
        #expect(shown.message.contains("(UNKNOWN_TOPIC)"))
        for (context, text) in [
            (["group": "g"], "group g: it is so"), (["group": "it"], "it is so"),
            (["topic": "t", "partition": "3"], "topic t, partition 3: it is so"),
            (["partition": "3"], "it is so"),
            (["group": "g", "topic": "t"], "group g, topic t: it is so"),
        ] {
            let error = MartletError(.groupExists, "it is so", context: context)
            #expect(ToolError(describing: error).message == "\(text) (GROUP_EXISTS)")
        }
    }

    @Test func `every code that is printed is in the list of codes`() throws {
        #expect(Set(KnownError.all.map(\.name)).count == KnownError.all.count)
        for code in ErrorCode.allCases where code != .none {
            let known = try KnownError(named: MartletErrorCode(code).name)
            #expect(known.number == code.rawValue && known.isRetriable == code.isRetriable)
            #expect(try KnownError(named: "\(code.rawValue)").name == code.name)
        }
        // All other codes are made from this table: nothing else makes a `MartletErrorCode`.
        for code in ClientErrorCode.allCases {
            let printed = ToolError(describing: MartletError(MartletErrorCode(code), "it is so"))
            #expect(printed.message.hasSuffix("(\(code.name))"))
            let known = try KnownError(named: code.name.lowercased())
            #expect(known.name == code.name && known.number == nil && !known.text.isEmpty)
        }
        let typo = #expect(throws: ToolError.self) { try KnownError(named: "CONECTION_FAILED") }
        #expect(typo?.message.contains("CONNECTION_FAILED") == true)
        #expect(throws: ToolError.self) { try KnownError(named: "0") }
    }

    @Test(arguments: ["bash", "zsh", "fish"])
    func `completion knows every command`(shell: String) {
        let script = CompletionScript(root: CommandTree.root.spec)
        let text =
            [("bash", script.bash), ("zsh", script.zsh), ("fish", script.fish)]
            .first { $0.0 == shell }?.1 ?? ""
        for (words, _) in Self.all where !words.isEmpty {
            #expect(text.contains(words[words.count - 1]), "\(words)")
        }
    }
}

/// Just enough of a shell to read the examples of the help.
enum ShellWords {
    /// The words behind `martlet` up to a pipe, a redirection or the end.
    static func martlet(_ line: String) -> [String] {
        var words = split(line)
        if let start = words.firstIndex(where: { $0.hasSuffix("martlet") && !$0.contains("/") }) {
            words = Array(words[(start + 1)...])
        }
        return Array(words.prefix { !["|", "<", ">", "&&"].contains($0) })
    }

    private static func split(_ line: String) -> [String] {
        var words: [String] = []
        var word: String?
        var quote: Character?
        for character in line {
            if let open = quote {
                if character == open { quote = nil } else { word = (word ?? "") + "\(character)" }
            } else if character == "'" || character == "\"" {
                quote = character
                word = word ?? ""
            } else if character == " " {
                if let done = word { words.append(done) }
                word = nil
            } else if character != "(" && character != ")" {
                word = (word ?? "") + "\(character)"
            }
        }
        if let word { words.append(word) }
        return words
    }
}
