import Synchronization

/// How many handlers run at a time, when records come to them from more than one side.
final class HandlerSlots: Sendable {
    private struct State {
        var free: Int
        var waiting = Fifo<Promise<Bool>>()
        var isClosed = false
    }

    private let state: Mutex<State>

    init(_ count: Int) {
        state = Mutex(State(free: count))
    }

    /// Waits for one, in turn. False: no handler begins any more.
    func take() async -> Bool {
        let (isTaken, promise) = state.withLock { state -> (Bool, Promise<Bool>?) in
            if state.isClosed { return (false, nil) }
            if state.free > 0 {
                state.free -= 1
                return (true, nil)
            }
            let promise = Promise<Bool>()
            state.waiting.append(promise)
            return (false, promise)
        }
        guard let promise else { return isTaken }
        return await promise.outcome()
    }

    /// Gives it to who waits longest. Of no meaning once they are closed.
    func give() {
        let next = state.withLock { state -> Promise<Bool>? in
            if let next = state.waiting.popFirst() { return next }
            state.free += 1
            return nil
        }
        next?.succeed(true)
    }

    /// No handler begins any more.
    func close() {
        let waiting = state.withLock { state in
            state.isClosed = true
            return state.waiting.removeAll()
        }
        for promise in waiting { promise.succeed(false) }
    }
}
