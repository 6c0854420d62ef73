import Synchronization

/// Keeps slabs for the next taker, so that a busy broker neither allocates nor touches fresh memory per
/// frame. Sizes are powers of two; the slab given back last is taken first, while it is warm.
package final class SlabPool: Sendable {
    /// The smallest slab handed out.
    package static let slabBytesMin = 4096

    private struct State {
        /// Index: the power of two.
        var shelves = [[ByteSlab]](repeating: [], count: Int.bitWidth)
        var retainedBytes = 0
    }

    private let state = Mutex(State())
    private let retainedBytesMax: Int
    private let makeIfPossible: @Sendable (Int) -> ByteSlab?

    /// - Parameters:
    ///   - retainedBytesMax: what the pool may hold unused; slabs beyond it are freed.
    ///   - makeIfPossible: makes a slab of a capacity, or refuses; for tests.
    package init(
        retainedBytesMax: Int,
        makeIfPossible: @escaping @Sendable (Int) -> ByteSlab? = { ByteSlab(ifPossible: $0) }
    ) {
        self.retainedBytesMax = retainedBytesMax
        self.makeIfPossible = makeIfPossible
    }

    /// The bytes held unused now.
    package var retainedBytes: Int { state.withLock { $0.retainedBytes } }

    /// An empty slab of at least `size` bytes, rounded up to a power of two.
    ///
    /// `size` must have been held against a limit before.
    package func take(atLeast size: Int) -> ByteSlab {
        let shelf = Self.shelf(for: size)
        return takeKept(shelf) ?? ByteSlab(capacity: 1 << shelf)
    }

    /// The same; nil when the system has no memory for it, also not when all that is held unused
    /// goes back.
    package func takeIfPossible(atLeast size: Int) -> ByteSlab? {
        let shelf = Self.shelf(for: size)
        if let slab = takeKept(shelf) ?? makeIfPossible(1 << shelf) { return slab }
        freeKept()
        return makeIfPossible(1 << shelf)
    }

    private func takeKept(_ shelf: Int) -> ByteSlab? {
        state.withLock { state in
            guard let slab = state.shelves[shelf].popLast() else { return nil }
            state.retainedBytes -= slab.capacity
            slab.isPooled = false
            return slab
        }
    }

    private func freeKept() {
        state.withLock { state in
            for shelf in state.shelves.indices { state.shelves[shelf] = [] }
            state.retainedBytes = 0
        }
    }

    /// Takes a slab back; the caller must not touch it again.
    package func give(_ slab: ByteSlab) {
        let capacity = slab.capacity
        // A slab of another size came from elsewhere: let it go.
        guard capacity >= Self.slabBytesMin, capacity & (capacity - 1) == 0 else { return }
        let shelf = capacity.trailingZeroBitCount
        state.withLock { state in
            // Two owners of the same memory would be silent corruption.
            precondition(!slab.isPooled, "slab given back twice")
            guard capacity <= retainedBytesMax - state.retainedBytes else { return }
            slab.isPooled = true
            slab.clear()
            state.shelves[shelf].append(slab)
            state.retainedBytes += capacity
        }
    }

    /// What a slab for `size` bytes holds.
    package static func capacity(for size: Int) -> Int { 1 << shelf(for: size) }

    private static func shelf(for size: Int) -> Int {
        let rounded = max(size, slabBytesMin)
        precondition(rounded <= 1 << 48, "no slab is that large")
        return Int.bitWidth - (rounded - 1).leadingZeroBitCount
    }
}
