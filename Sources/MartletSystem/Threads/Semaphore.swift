import Dispatch

/// Lets threads wait until others signal; a signal that nobody waits for is kept.
package final class Semaphore: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)

    package init() {}

    package func signal() { semaphore.signal() }
    package func wait() { semaphore.wait() }
}
