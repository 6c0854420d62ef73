import Synchronization

/// The end of handling records. It comes once, and the first reason counts.
final class HandlersEnd: Sendable {
    private struct State {
        var hasCome = false
        var error: (any Error)?
    }

    private let state = Mutex(State())
    /// Nothing more is handled, but for what has begun. For one task.
    let stopped = Promise<Void>()

    var hasCome: Bool { state.withLock { $0.hasCome } }

    /// Why it came; nil: by closing, or not yet.
    var error: (any Error)? { state.withLock { $0.error } }

    /// Runs `stop` if this is the first reason, before `stopped` is told.
    func come(_ error: (any Error)?, _ stop: () -> Void) {
        let isFirst = state.withLock { state in
            if state.hasCome { return false }
            state = State(hasCome: true, error: error)
            return true
        }
        guard isFirst else { return }
        stop()
        stopped.succeed(())
    }
}
