import Dispatch
import Synchronization

/// Waits for things that happen on other threads: opens after `count` arrivals.
///
/// The deadline is only there to end a test that hangs; it says nothing about speed.
package final class Latch: Sendable {
    private let remaining: Mutex<Int>
    private let semaphore = DispatchSemaphore(value: 0)

    package init(_ count: Int = 1) {
        remaining = Mutex(count)
        if count <= 0 { semaphore.signal() }
    }

    package func arrive() {
        let isLast = remaining.withLock { remaining in
            remaining -= 1
            return remaining == 0
        }
        if isLast { semaphore.signal() }
    }

    /// Blocks until the latch is open; false when the deadline passed. Any number of waiters.
    package func wait(seconds: Int = 60) -> Bool {
        guard semaphore.wait(timeout: .now() + .seconds(seconds)) == .success else { return false }
        semaphore.signal()
        return true
    }
}
