import MartletConfiguration
import MartletSystem

@main
struct Main {
    static func main() async {
        Signals.ignoreBrokenPipe()
        let tool = Tool(output: .system(), environment: Environment.current())
        let code = await tool.run(Array(CommandLine.arguments.dropFirst()))
        CurrentProcess.exitNow(code.rawValue)
    }
}

/// The program without its process: words in, exit code out.
struct Tool: Sendable {
    let output: Output
    let environment: [String: String]

    /// Off the main actor: everything below inherits where this runs.
    @concurrent
    func run(_ words: [String]) async -> ToolExitCode {
        do {
            try await runThrowing(words)
            return .ok
        } catch is OutputClosed {
            return .ok
        } catch {
            let failure = ToolError(describing: error)
            if !failure.message.isEmpty {
                output.message("martlet: \(Shown.text(failure.message))")
            }
            return failure.exitCode
        }
    }

    private func runThrowing(_ words: [String]) async throws {
        let root = CommandTree.root
        // `martlet` alone is a question, not a mistake worth a riddle; and every program is asked
        // for its version this way.
        let parsed = try root.spec.parse(
            words.isEmpty ? ["--help"] : words == ["--version"] ? ["version"] : words)
        switch parsed {
        case .help(let text): try output.write(text)
        case .run(let invocation):
            guard let body = root.find(invocation.path)?.body else {
                throw ToolError.failure("'\(invocation.title)' does nothing: this is a defect.")
            }
            try await body(
                CommandContext(invocation: invocation, environment: environment, output: output))
        }
    }
}
