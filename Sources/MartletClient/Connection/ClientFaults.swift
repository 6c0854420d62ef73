import Synchronization

/// Faults that a test asks for: what the network could do at any time, done when the test wants it.
package final class ClientFaults: Sendable {
    private let acksToDrop = Atomic(0)

    package init() {}

    /// The next `count` answers to produce requests are lost, and their connections with them.
    package func dropAcks(_ count: Int) {
        acksToDrop.wrappingAdd(count, ordering: .relaxed)
    }

    /// Whether an answer that is here now has to be lost.
    func takeDroppedAck() -> Bool {
        var left = acksToDrop.load(ordering: .relaxed)
        while left > 0 {
            let (done, found) = acksToDrop.compareExchange(
                expected: left, desired: left - 1, ordering: .relaxed)
            if done { return true }
            left = found
        }
        return false
    }
}
