import MartletConfiguration

/// Why a command ends without success: one line for people and the exit code.
struct ToolError: Error, Equatable, Sendable, CustomStringConvertible {
    let exitCode: ToolExitCode
    /// What happened and what to do; empty when everything is said already.
    let message: String

    init(_ exitCode: ToolExitCode, _ message: String) {
        self.exitCode = exitCode
        self.message = message
    }

    var description: String { message }

    /// Ends with a code and says nothing more.
    static func silent(_ exitCode: ToolExitCode) -> ToolError { ToolError(exitCode, "") }
    static func usage(_ message: String) -> ToolError { ToolError(.usage, message) }
    static func failure(_ message: String) -> ToolError { ToolError(.failure, message) }
}

/// The reader of standard output is gone (`| head`): the command ends quietly.
struct OutputClosed: Error, Sendable {}
