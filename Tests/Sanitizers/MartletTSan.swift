import Glibc
@_exported import Synchronization

// ThreadSanitizer does not see the lock of `Synchronization.Mutex`, which is made of futex calls
// inside a library that is not instrumented: every access under one would be reported. This module
// takes the place of `Synchronization` in the build of scripts/tsan. Its `Mutex` shadows the other
// one and is made of a pthread mutex, whose calls the sanitizer knows.

/// A pthread mutex at an address of its own.
private final class Lock: @unchecked Sendable {
    // Sendable: a lock.
    let pointer: UnsafeMutablePointer<pthread_mutex_t>

    init() {
        unsafe pointer = .allocate(capacity: 1)
        unsafe pointer.initialize(to: pthread_mutex_t())
        unsafe pthread_mutex_init(pointer, nil)
    }

    deinit {
        unsafe pthread_mutex_destroy(pointer)
        unsafe pointer.deallocate()
    }
}

/// What a mutex guards.
private final class Guarded<Value: ~Copyable>: @unchecked Sendable {
    // Sendable: reached only under the lock.
    var value: Value
    init(_ value: consuming Value) { self.value = value }
}

/// The interface of `Synchronization.Mutex`.
public struct Mutex<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
    // Sendable: see its parts.
    private let lock = Lock()
    private let guarded: Guarded<Value>

    /// Guards `value`.
    public init(_ value: consuming sending Value) { guarded = Guarded(value) }

    /// Runs `body` while nobody else has the lock.
    public borrowing func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        unsafe pthread_mutex_lock(lock.pointer)
        defer { unsafe pthread_mutex_unlock(lock.pointer) }
        let result: Result
        do throws(Failure) {
            nonisolated(unsafe) let body = body
            result = try unsafe run(body)
        } catch { throw error }
        nonisolated(unsafe) let sent = result
        return unsafe sent
    }

    /// The same, or nil when somebody has the lock.
    public borrowing func withLockIfAvailable<Result: ~Copyable, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result? {
        guard unsafe pthread_mutex_trylock(lock.pointer) == 0 else { return nil }
        defer { unsafe pthread_mutex_unlock(lock.pointer) }
        let result: Result
        do throws(Failure) {
            nonisolated(unsafe) let body = body
            result = try unsafe run(body)
        } catch { throw error }
        nonisolated(unsafe) let sent = result
        return unsafe sent
    }

    private borrowing func run<Result: ~Copyable, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> Result {
        try body(&guarded.value)
    }
}
