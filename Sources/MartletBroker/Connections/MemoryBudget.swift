import Synchronization

/// Bytes that all connections together may hold for requests that are still arriving, beyond the
/// small slab that is each one's own. What one
/// connection may hold is bounded by its frame limit; this bounds their sum.
final class MemoryBudget: Sendable {
    let limit: Int
    private let held = Atomic<Int>(0)

    init(limit: Int) {
        self.limit = limit
    }

    var heldBytes: Int { held.load(ordering: .relaxed) }

    /// More than half is held: whoever holds it without need is in the way.
    var isShort: Bool { heldBytes > limit / 2 }

    /// Takes `bytes`; false when that would go above the limit, and then nothing is taken.
    func take(_ bytes: Int) -> Bool {
        // Relaxed: only the number itself is shared.
        let before = held.wrappingAdd(bytes, ordering: .relaxed).oldValue
        guard before + bytes <= limit else {
            held.wrappingSubtract(bytes, ordering: .relaxed)
            return false
        }
        return true
    }

    func give(_ bytes: Int) {
        held.wrappingSubtract(bytes, ordering: .relaxed)
    }
}
