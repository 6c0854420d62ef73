import Synchronization

/// A bounded stream of notices from the client's queue to the application.
///
/// Nobody has to read it: when it is full, the oldest notice makes room.
final class EventBuffer<Event: Sendable>: Sendable {
    private struct State {
        var events = Fifo<Event>()
        var waiters = Fifo<Promise<Event?>>()
        var isFinished = false
    }

    private let state = Mutex(State())

    /// For tests.
    var waiterCount: Int { state.withLock { $0.waiters.count } }
    private let capacity: Int

    init(capacity: Int) {
        self.capacity = capacity
    }

    /// Adds a notice; returns the one that had to go for it.
    @discardableResult
    func post(_ event: Event) -> Event? {
        while true {
            let (waiter, dropped) = state.withLock { state -> (Promise<Event?>?, Event?) in
                guard !state.isFinished else { return (nil, event) }
                if let waiter = state.waiters.popFirst() { return (waiter, nil) }
                state.events.append(event)
                return (nil, state.events.count > capacity ? state.events.popFirst() : nil)
            }
            guard let waiter else { return dropped }
            // A waiter that was cancelled in the meantime does not count.
            if waiter.succeed(event) { return nil }
        }
    }

    /// No more notices come; those that are there can still be read.
    func finish() {
        let waiters = state.withLock { state in
            state.isFinished = true
            return state.waiters.removeAll()
        }
        for waiter in waiters { waiter.succeed(nil) }
    }

    /// The next notice; nil when finished, or when the task is cancelled.
    func next(isolation: isolated (any Actor)? = #isolation) async -> Event? {
        let promise = Promise<Event?>()
        let ready = state.withLock { state -> Event?? in
            if let event = state.events.popFirst() { return .some(event) }
            if state.isFinished { return .some(nil) }
            state.waiters.append(promise)
            return nil
        }
        if let ready { return ready }
        do {
            return try await promise.value()
        } catch {
            // Only a cancellation fails this promise.
            state.withLock { _ = $0.waiters.removeAll(unless: { $0 !== promise }) }
            return nil
        }
    }
}
