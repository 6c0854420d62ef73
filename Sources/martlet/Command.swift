import MartletConfiguration

/// A command of the tree: what it takes, and what it does or which commands are below it.
struct Command: Sendable {
    typealias Body = @Sendable (CommandContext) async throws -> Void

    let spec: CommandSpec
    let commands: [Command]
    let body: Body?

    /// A command that runs.
    init(_ spec: CommandSpec, _ body: @escaping Body) {
        self.spec = spec
        self.commands = []
        self.body = body
    }

    /// A command that only leads to others.
    init(
        _ name: String, aliases: [String] = [], _ summary: String, discussion: [String] = [],
        examples: [ExampleSpec] = [], flags: [FlagSpec] = [], commands: [Command]
    ) {
        self.spec = CommandSpec(
            name, aliases: aliases, summary, discussion: discussion, flags: flags,
            commands: commands.map(\.spec), examples: examples)
        self.commands = commands
        self.body = nil
    }

    /// The command that full names lead to, as the parser gives them.
    func find(_ path: some Sequence<String>) -> Command? {
        var command = self
        for name in path {
            guard let next = command.commands.first(where: { $0.spec.name == name }) else {
                return nil
            }
            command = next
        }
        return command
    }
}

/// What a command gets: its words, the environment, and the two ends of the terminal.
struct CommandContext: Sendable {
    let invocation: Invocation
    let environment: [String: String]
    let output: Output

    /// The broker's address: the flag, the environment, or the default.
    var server: String {
        get throws {
            if let address = try invocation.address("server") { return address.description }
            guard let text = environment["MARTLET_SERVER"], !text.isEmpty else {
                return "127.0.0.1:7700"
            }
            do throws(UnitError) {
                return try HostPort(parsing: text).description
            } catch {
                throw ToolError.usage("MARTLET_SERVER: \(error)")
            }
        }
    }

    /// An argument that the parser has made sure of.
    func argument(_ index: Int) throws -> String {
        guard let word = invocation.argument(index) else {
            throw ToolError.usage("an argument is missing. See '\(invocation.title) --help'.")
        }
        return word
    }

    func usage(_ message: String) -> CommandLineError {
        CommandLineError(message, command: invocation.title)
    }
}
