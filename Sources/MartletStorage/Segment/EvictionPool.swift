import Synchronization

/// Something that can be dropped from memory and made again: an open file, a loaded index.
protocol Evictable: AnyObject, Sendable {
    /// The pool's tick of the last use.
    var lastUse: UInt64 { get }
    /// Drops what it holds, if it may.
    func evict()
    /// It goes a little later, and tells by `forget`: it counts until then.
    var goesLater: Bool { get }
}

extension Evictable {
    var goesLater: Bool { false }
}

/// Keeps the summed cost of what is loaded near a limit: when it is passed, the least recently
/// used of a few items goes. (Sampled LRU, as Redis does it: no list to maintain on use.)
final class EvictionPool: Sendable {
    private struct State {
        var items: [(item: any Evictable, cost: Int)] = []
        var places: [ObjectIdentifier: Int] = [:]
        /// Where the next sample begins: it goes round, so that everything has its turn.
        var hand = 0
        var total = 0
        /// What was told to go and is not gone yet.
        var leaving: [ObjectIdentifier: (item: any Evictable, cost: Int)] = [:]
        var leavingTotal = 0

        mutating func put(_ item: any Evictable, cost: Int) {
            stay(item)
            total += cost
            if let place = places[ObjectIdentifier(item)] {
                total -= items[place].cost
                items[place].cost = cost
            } else {
                places[ObjectIdentifier(item)] = items.count
                items.append((item, cost))
            }
        }

        mutating func stay(_ item: any Evictable) {
            guard let found = leaving.removeValue(forKey: ObjectIdentifier(item)) else { return }
            leavingTotal -= found.cost
        }

        mutating func leave(_ item: any Evictable) {
            if item.goesLater, let place = places[ObjectIdentifier(item)] {
                leaving[ObjectIdentifier(item)] = items[place]
                leavingTotal += items[place].cost
            }
            remove(item)
        }

        mutating func remove(_ item: any Evictable) {
            guard let place = places.removeValue(forKey: ObjectIdentifier(item)) else { return }
            total -= items[place].cost
            items.swapAt(place, items.count - 1)
            items.removeLast()
            if place < items.count { places[ObjectIdentifier(items[place].item)] = place }
        }

        /// The least recently used of the next few; nil when there is none but `spared`.
        mutating func oldest(sparing spared: (any Evictable)?) -> (any Evictable)? {
            var oldest: (any Evictable)?
            for _ in 0..<min(sampleCount, items.count) {
                hand = (hand + 1) % items.count
                let item = items[hand].item
                guard item !== spared else { continue }
                if oldest.map({ item.lastUse < $0.lastUse }) ?? true { oldest = item }
            }
            return oldest
        }
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
            state.put(item, cost: cost)
            return Self.take(from: &state, downTo: limit - state.leavingTotal, sparing: item)
        }
        for victim in victims { victim.evict() }
    }

    func forget(_ item: any Evictable) {
        state.withLock { state in
            state.stay(item)
            state.remove(item)
        }
    }

    /// Lets go of `cost` more: the process has none left although the limit is not reached.
    func relieve(_ cost: Int) {
        let victims = state.withLock { state in
            Self.take(from: &state, downTo: state.total - cost, sparing: nil)
        }
        for victim in victims { victim.evict() }
    }

    /// The summed cost of what is loaded.
    var total: Int { state.withLock { $0.total + $0.leavingTotal } }

    /// What was told to go and is not gone, the least recently used first; nothing while the limit
    /// is kept.
    var overdue: [any Evictable] {
        let leaving = state.withLock { state in
            state.total + state.leavingTotal > limit ? state.leaving.values.map { $0.item } : []
        }
        return leaving.sorted { $0.lastUse < $1.lastUse }
    }

    var isOver: Bool { total > limit }
    var isEmpty: Bool { state.withLock { $0.items.isEmpty } }

    /// Forgets everything. Items hold their pool and the pool holds them, so whoever owns both ends
    /// that here: otherwise files of a dropped engine would stay open.
    func clear() {
        state.withLock { $0 = State() }
    }

    private static func take(
        from state: inout State, downTo limit: Int, sparing spared: (any Evictable)?
    ) -> [any Evictable] {
        var victims: [any Evictable] = []
        while state.total > limit, let oldest = state.oldest(sparing: spared) {
            state.leave(oldest)
            victims.append(oldest)
        }
        return victims
    }
}
