import Synchronization

/// An end that comes once, and that any number of tasks wait for.
final class SharedEnd: Sendable {
    private struct State {
        var hasCome = false
        var waiters: [Promise<Void>] = []
    }

    private let state = Mutex(State())

    func come() {
        let waiters = state.withLock { state in
            let waiters = state.waiters
            state = State(hasCome: true)
            return waiters
        }
        for waiter in waiters { waiter.succeed(()) }
    }

    /// Returns when it has come.
    func settled() async {
        let promise = Promise<Void>()
        let hasCome = state.withLock { state in
            if !state.hasCome { state.waiters.append(promise) }
            return state.hasCome
        }
        if !hasCome { await promise.settled() }
    }
}
