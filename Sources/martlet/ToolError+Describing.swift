import MartletConfiguration
import MartletFormat
import MartletSystem

extension ToolError {
    /// Any error as one line and an exit code.
    init(describing error: any Error) {
        self =
            switch error {
            case let error as ToolError: error
            case let error as CommandLineError: ToolError(.usage, error.description)
            case let error as ConfigurationFailure: ToolError(.usage, error.description)
            case let error as SystemError: ToolError(describing: error)
            case let error as FormatError: ToolError(.failure, "\(error)")
            case is CancellationError: ToolError(.failure, "interrupted.")
            case let error: ToolError(.failure, "\(error)")
            }
    }

    private init(describing error: SystemError) {
        if error.isNotFound {
            self.init(.notFound, "\(error.subject): there is no such file or directory.")
        } else {
            self.init(.failure, "\(error).")
        }
    }
}
