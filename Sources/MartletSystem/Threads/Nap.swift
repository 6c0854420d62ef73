import CMartletShim
import Glibc

/// Lets one thread sleep until another wakes it or a time has come. By the monotonic clock: a
/// Dispatch semaphore measures by the wall clock on Linux, and sleeps for hours when that is set
/// back.
@safe final class Nap: @unchecked Sendable {
    // Sendable: a semaphore, which any thread may use.
    private let semaphore: UnsafeMutablePointer<sem_t>

    init() {
        unsafe semaphore = .allocate(capacity: 1)
        unsafe sem_init(semaphore, 0, 0)
    }

    deinit {
        unsafe sem_destroy(semaphore)
        unsafe semaphore.deallocate()
    }

    /// Ends one sleep, also one that begins later.
    func wake() { unsafe sem_post(semaphore) }

    /// Sleeps until that time on the monotonic clock; `.max` means for ever. May end early.
    func sleep(until due: Int64) { unsafe martlet_semaphore_wait(semaphore, due) }
}
