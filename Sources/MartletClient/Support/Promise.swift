import Synchronization

/// A task that waits for a promise. Without the runtime's check of how often it is resumed, which
/// would allocate for each record: a promise takes it out of its state, under the lock, to resume it.
@safe private struct Waiting<Value: Sendable>: Sendable {
    private let continuation: UnsafeContinuation<Value, any Error>

    init(_ continuation: UnsafeContinuation<Value, any Error>) {
        unsafe self.continuation = continuation
    }

    func resume(with result: Result<Value, any Error>) {
        unsafe continuation.resume(with: result)
    }
}

/// A result that one side sets once and the other awaits once.
///
/// Whoever resolves first wins, so that a cancelled wait and a late answer cannot both resume the
/// same continuation.
final class Promise<Value: Sendable>: Sendable {
    private enum State {
        case empty
        case waiting(Waiting<Value>)
        case resolved(Result<Value, any Error>)
        case finished
    }

    private let state = Mutex(State.empty)

    /// The task that has to be woken for a result, if one waits already.
    struct Wake: Sendable {
        fileprivate let waiting: Waiting<Value>?
        fileprivate let result: Result<Value, any Error>

        func callAsFunction() { waiting?.resume(with: result) }
    }

    /// Sets the result; returns false when there was one already.
    @discardableResult
    func resolve(_ result: Result<Value, any Error>) -> Bool {
        guard let wake = settle(result) else { return false }
        wake()
        return true
    }

    /// As `resolve`, for who holds a lock: what it returns is called when the lock is given back.
    func settle(_ result: Result<Value, any Error>) -> Wake? {
        state.withLock { state in
            switch state {
            case .empty:
                state = .resolved(result)
                return Wake(waiting: nil, result: result)
            case .waiting(let continuation):
                state = .finished
                return Wake(waiting: continuation, result: result)
            case .resolved, .finished:
                return nil
            }
        }
    }

    @discardableResult
    func succeed(_ value: Value) -> Bool { resolve(.success(value)) }

    @discardableResult
    func fail(_ error: any Error) -> Bool { resolve(.failure(error)) }

    /// Whether nobody set a result yet.
    var isOpen: Bool {
        state.withLock { state in
            switch state {
            case .empty, .waiting: true
            case .resolved, .finished: false
            }
        }
    }

    /// Waits for the result. To be called once. A cancelled task gets `CancellationError` at once.
    func value(isolation: isolated (any Actor)? = #isolation) async throws -> Value {
        try await withTaskCancellationHandler {
            // Captured, so that the closure stays on the caller's actor instead of hopping away.
            _ = isolation
            return try await unsafe withUnsafeThrowingContinuation(isolation: isolation) {
                unsafe park(Waiting($0))
            }
        } onCancel: {
            fail(CancellationError())
        }
    }

    private func park(_ continuation: Waiting<Value>) {
        let ready = state.withLock { state -> Result<Value, any Error>? in
            switch state {
            case .empty:
                state = .waiting(continuation)
                return nil
            case .resolved(let result):
                state = .finished
                return result
            case .waiting, .finished:
                preconditionFailure("a promise is awaited once")
            }
        }
        if let ready { continuation.resume(with: ready) }
    }

    /// Makes it as new: for who holds it alone.
    fileprivate func renew() { state.withLock { $0 = .empty } }

    /// Waits for the value, also when the task is cancelled; false when it fails. To be called once.
    func outcome(isolation: isolated (any Actor)? = #isolation) async -> Bool where Value == Bool {
        do {
            return try await unsafe withUnsafeThrowingContinuation { unsafe park(Waiting($0)) }
        } catch {
            return false
        }
    }

    /// Waits until there is a result, whatever it is, also when the task is cancelled: for ends that
    /// must not be left half-way. To be called once.
    func settled(isolation: isolated (any Actor)? = #isolation) async where Value == Void {
        do {
            try await unsafe withUnsafeThrowingContinuation { unsafe park(Waiting($0)) }
        } catch {
            // A failure is a result too.
        }
    }
}

/// Promises that were kept, to be used again: one less thing to allocate for each record.
final class PromisePool<Value: Sendable>: Sendable {
    private static var promisesMax: Int { 1_024 }

    private let free = Mutex<[Promise<Value>]>([])

    /// A promise that nobody else knows.
    func take() -> Promise<Value> {
        if var promise = free.withLock({ $0.popLast() }), isKnownUniquelyReferenced(&promise) {
            promise.renew()
            return promise
        }
        // Whoever still holds the other one may have something to tell it.
        return Promise()
    }

    /// For a promise whose value was awaited.
    func give(_ promise: Promise<Value>) {
        free.withLock { free in
            if free.count < Self.promisesMax { free.append(promise) }
        }
    }
}
