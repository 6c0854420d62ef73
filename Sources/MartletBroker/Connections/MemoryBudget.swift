import Synchronization

/// Bytes that all connections together may hold: for requests that are still arriving, and for
/// replies that lie in memory until their peers take them. Beside it every connection has a little
/// of its own. What one connection may hold is bounded by its frame limit and by `output.bytes.max`;
/// this bounds their sum.
final class MemoryBudget: Sendable {
    let limit: Int
    private let held = Atomic<Int>(0)

    init(limit: Int) {
        self.limit = limit
    }

    var heldBytes: Int { held.load(ordering: .relaxed) }
    var leftBytes: Int { limit - heldBytes }

    /// More than half is held: whoever holds it without need is in the way.
    var isShort: Bool { heldBytes > limit / 2 }

    /// Takes `bytes`; false when that would leave less than `left`, and then nothing is taken.
    func take(_ bytes: Int, leaving left: Int = 0) -> Bool {
        // Relaxed: only the number itself is shared.
        var before = heldBytes
        while true {
            guard before + bytes + left <= limit else { return false }
            let (exchanged, original) = held.weakCompareExchange(
                expected: before, desired: before + bytes, ordering: .relaxed)
            if exchanged { return true }
            before = original
        }
    }

    /// Takes `bytes` although they may be more than is left: for what cannot be put off.
    func charge(_ bytes: Int) {
        held.wrappingAdd(bytes, ordering: .relaxed)
    }

    func give(_ bytes: Int) {
        held.wrappingSubtract(bytes, ordering: .relaxed)
    }
}
