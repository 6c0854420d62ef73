import MartletSystem
import Synchronization

/// Ctrl-C and SIGTERM as the end of a task, so that commands end in order.
enum Interruption {
    /// Runs `body`; the first signal cancels it, the second ends the process.
    static func cancelling<Result: Sendable>(
        _ body: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        let task = Task { try await body() }
        return try await stopping({ task.cancel() }) { try await task.value }
    }

    /// Runs `body`; the first signal calls `stop`, the second ends the process.
    static func stopping<Result>(
        _ stop: @escaping @Sendable () -> Void, _ body: () async throws -> Result
    ) async throws -> Result {
        let hasStopped = Mutex(false)
        let queue = SerialQueue(label: "martlet.signals")
        let handler: @Sendable () -> Void = {
            let isSecond = hasStopped.withLock { flag in
                defer { flag = true }
                return flag
            }
            // What the shell reports for a program that SIGINT ended.
            if isSecond { CurrentProcess.exitNow(130) }
            stop()
        }
        let sources = [SignalSource.Kind.interrupt, .terminate].map {
            SignalSource($0, queue: queue, handler: handler)
        }
        defer { withExtendedLifetime(sources) {} }
        return try await body()
    }
}
