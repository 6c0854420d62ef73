import Synchronization

/// Something that can be dropped from memory and made again: an open file, a loaded index.
protocol Evictable: AnyObject, Sendable {
    /// The pool's tick of the last use.
    var lastUse: UInt64 { get }
    /// Drops what it holds, if it may.
    func evict()
}

/// Keeps the summed cost of what is loaded near a limit: when it is passed, the least recently
/// used of a few sampled items goes. (Sampled LRU, as Redis does it: no list to maintain on use.)
final class EvictionPool: Sendable {
    private struct State {
        var items: [ObjectIdentifier: (item: any Evictable, cost: Int)] = [:]
        var total = 0
    }

    private static let sampleCount = 8
    private let limit: Int
    private let clock = Atomic<UInt64>(0)
    private let state = Mutex(State())

    init(limit: Int) { self.limit = limit }

    /// A number that rises with every use; items keep it as their `lastUse`.
    func tick() -> UInt64 { clock.add(1, ordering: .relaxed).newValue }

    func didLoad(_ item: any Evictable, cost: Int) {
        let victims = state.withLock { state -> [any Evictable] in
            let old = state.items.updateValue((item, cost), forKey: ObjectIdentifier(item))
            state.total += cost - (old?.cost ?? 0)
            return Self.overflow(&state, limit: limit, sparing: ObjectIdentifier(item))
        }
        for victim in victims { victim.evict() }
    }

    func forget(_ item: any Evictable) {
        state.withLock { state in
            guard let old = state.items.removeValue(forKey: ObjectIdentifier(item)) else { return }
            state.total -= old.cost
        }
    }

    var isEmpty: Bool { state.withLock { $0.items.isEmpty } }

    /// Forgets everything. Items hold their pool and the pool holds them, so whoever owns both ends
    /// that here: otherwise files of a dropped engine would stay open.
    func clear() {
        state.withLock { state in
            state.items = [:]
            state.total = 0
        }
    }

    private static func overflow(
        _ state: inout State, limit: Int, sparing: ObjectIdentifier
    ) -> [any Evictable] {
        var victims: [any Evictable] = []
        while state.total > limit, state.items.count > 1 {
            // A dictionary's order is arbitrary, so its first items are a fair sample.
            let sample = state.items.lazy.filter { $0.key != sparing }.prefix(sampleCount)
            guard let oldest = sample.min(by: { $0.value.item.lastUse < $1.value.item.lastUse })
            else { break }
            state.items.removeValue(forKey: oldest.key)
            state.total -= oldest.value.cost
            victims.append(oldest.value.item)
        }
        return victims
    }
}
