import MartletWire
import Synchronization

/// What a member was handed and has done, by partition: from it follows what can be committed, and
/// when a partition that is to be given up is free.
///
/// Between the consumer's queue and the application's tasks.
final class GroupLedger: Sendable {
    /// How far a group is in a partition.
    struct Position: Equatable, Sendable {
        var offset: Int64
        var finished: [Range<Int64>] = []
    }

    fileprivate enum Phase {
        case shelved
        case handed
        /// Nobody works on it any more.
        case over
    }

    fileprivate struct Entry {
        let delivery: Delivery
        var upper: Int64
        var phase = Phase.shelved

        var isComplete: Bool { phase == .over && delivery.doneBelow >= upper }
    }

    /// One partition under one epoch.
    fileprivate struct Page {
        /// In the order of their offsets; the complete ones at the front are gone.
        var entries: [Entry] = []
        /// Behind all that came.
        var end: Int64
        /// Done above the committed offset by an earlier owner.
        var inherited: [Range<Int64>]
        var committed: Position?
        /// Up to where the application committed by itself.
        var marked: Position?
        var isDraining = false

        var isBusy: Bool { entries.contains { $0.phase == .handed } }

        func position(_ offset: Int64, _ done: [Range<Int64>] = []) -> Position {
            Position(offset: offset, finished: GroupLedger.above(offset, inherited + done))
        }
    }

    fileprivate struct State {
        var pages: [OwnedKey: Page] = [:]
        /// How often the application asked for more.
        var asks: UInt64 = 0
    }

    private let state = Mutex(State())
    let isManual: Bool
    private let whenDrained = Mutex<(@Sendable (OwnedKey) -> Void)?>(nil)

    init(isManual: Bool) {
        self.isManual = isManual
    }

    func setWhenDrained(_ body: (@Sendable (OwnedKey) -> Void)?) {
        whenDrained.withLock { $0 = body }
    }

    // MARK: - The queue's side

    /// A partition is read from now on.
    ///
    /// - Parameter committed: what the broker has; nil: nothing.
    func open(
        _ key: OwnedKey, at offset: Int64, committed: Position?
    ) {
        let page = Page(end: offset, inherited: committed?.finished ?? [], committed: committed)
        state.withLock { $0.pages[key] = page }
    }

    /// Records that came; nil when the partition is not read any more.
    func shelve(_ key: OwnedKey, _ range: Range<Int64>) -> Delivery? {
        state.withLock { state in
            guard let page = state.pages[key], !page.isDraining else { return nil }
            let delivery = Delivery(key, from: range.lowerBound)
            state.pages[key]?.entries.append(Entry(delivery: delivery, upper: range.upperBound))
            state.pages[key]?.end = range.upperBound
            return delivery
        }
    }

    /// There is nothing to hand out below `offset`, or nothing that counts.
    func pass(_ key: OwnedKey, to offset: Int64) {
        state.withLock { $0.pages[key]?.end = offset }
    }

    /// Nothing more of the partition is handed out. Returns whether the application has nothing of it
    /// in hand; when it has, `whenDrained` tells that it is done.
    func drain(_ key: OwnedKey) -> Bool {
        state.withLock { state in
            guard var page = state.pages[key] else { return true }
            page.isDraining = true
            for index in page.entries.indices {
                page.entries[index].delivery.cutShort()
                if page.entries[index].phase == .shelved { page.entries[index].phase = .over }
            }
            state.pages[key] = page
            return !page.isBusy
        }
    }

    /// The partition is not the member's any more.
    func close(_ key: OwnedKey) {
        state.withLock { state in
            for entry in state.pages[key]?.entries ?? [] { entry.delivery.cutShort() }
            state.pages[key] = nil
        }
    }

    /// What is done and not yet committed.
    func uncommitted(_ keys: Set<OwnedKey>? = nil) -> [(OwnedKey, Position)] {
        state.withLock { state in
            var found: [(OwnedKey, Position)] = []
            for key in state.pages.keys where keys?.contains(key) ?? true {
                guard let position = position(key, &state),
                    state.pages[key]?.committed != position
                else { continue }
                found.append((key, position))
            }
            return found
        }
    }

    /// Whether the application has anything in hand.
    var isBusy: Bool { state.withLock { $0.pages.values.contains(where: \.isBusy) } }

    func committed(_ key: OwnedKey, _ position: Position) {
        state.withLock { $0.pages[key]?.committed = position }
    }

    /// A number that changes whenever the application does anything.
    var progress: UInt64 {
        state.withLock { state in
            state.pages.values.reduce(state.asks) { sum, page in
                page.entries.reduce(sum) { $0 &+ UInt64(bitPattern: $1.delivery.handedBelow) }
            }
        }
    }

    private func position(_ key: OwnedKey, _ state: inout State) -> Position? {
        while state.pages[key]?.entries.first?.isComplete == true {
            state.pages[key]?.entries.removeFirst()
        }
        guard let page = state.pages[key] else { return nil }
        if isManual { return page.marked }
        guard let first = page.entries.first else {
            return page.position(page.end)
        }
        let offset = first.delivery.doneBelow
        let done = page.entries.dropFirst().compactMap { entry in
            let below = entry.delivery.doneBelow
            return below > entry.delivery.from ? entry.delivery.from..<below : nil
        }
        return page.position(offset, done)
    }

    /// The ranges that lie above `offset` and apart from it, in order and apart from each other.
    static func above(_ offset: Int64, _ ranges: [Range<Int64>]) -> [Range<Int64>] {
        var result: [Range<Int64>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            guard range.lowerBound > offset, !range.isEmpty else { continue }
            if let last = result.last, range.lowerBound <= last.upperBound {
                result[result.count - 1] =
                    last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                result.append(range)
            }
        }
        return Array(result.prefix(WireLimits.rangesMax))
    }

    // MARK: - The application's side

    func asked() { state.withLock { $0.asks &+= 1 } }

    /// The application takes a batch; false: it must not have it.
    func take(_ delivery: Delivery) -> Bool {
        state.withLock { state in
            guard let index = state.index(of: delivery),
                state.pages[delivery.key]?.entries[index].phase == .shelved
            else { return false }
            state.pages[delivery.key]?.entries[index].phase = .handed
            return true
        }
    }

    /// The application is done with a batch: with all of it, or with what it was handed.
    func finish(_ delivery: Delivery, isWhole: Bool) {
        let isDrained = state.withLock { state -> Bool in
            if isWhole, let index = state.index(of: delivery),
                let upper = state.pages[delivery.key]?.entries[index].upper
            {
                delivery.finish(all: upper)
            } else {
                delivery.finishHanded()
            }
            return state.end(delivery)
        }
        if isDrained { whenDrained.withLock { $0 }?(delivery.key) }
    }

    /// The application takes no more of a batch: what it was not handed is for others. Returns how
    /// it is handed out again; nil when nothing is left, or nobody is to have it.
    func giveBack(_ delivery: Delivery) -> Delivery? {
        state.withLock { state in
            guard let index = state.index(of: delivery), !delivery.isCut, !delivery.isDamaged,
                let entry = state.pages[delivery.key]?.entries[index],
                delivery.handedBelow < entry.upper
            else { return nil }
            let rest = Entry(
                delivery: Delivery(delivery.key, from: delivery.handedBelow), upper: entry.upper)
            state.pages[delivery.key]?.entries[index].upper = delivery.handedBelow
            state.pages[delivery.key]?.entries.insert(rest, at: index + 1)
            return rest.delivery
        }
    }

    /// Nobody works on the batch any more, done with or not.
    func abandon(_ delivery: Delivery) {
        let isDrained = state.withLock { $0.end(delivery) }
        if isDrained { whenDrained.withLock { $0 }?(delivery.key) }
    }

    /// The application commits all that it was handed.
    func markHanded() {
        state.withLock { state in
            for key in state.pages.keys {
                guard let page = state.pages[key] else { continue }
                // With several readers a later batch may be handed out before an earlier one ends.
                let isOpen = { (entry: Entry) in entry.delivery.handedBelow < entry.upper }
                guard let first = page.entries.firstIndex(where: isOpen) else {
                    state.pages[key]?.marked = page.position(page.end)
                    continue
                }
                let handed = page.entries[(first + 1)...].compactMap { entry in
                    let below = entry.delivery.handedBelow
                    return below > entry.delivery.from ? entry.delivery.from..<below : nil
                }
                let offset = page.entries[first].delivery.handedBelow
                state.pages[key]?.marked = page.position(offset, handed)
            }
        }
    }

    /// The application commits all up to an offset; false: the partition is not the member's.
    func mark(_ key: OwnedKey, below offset: Int64) -> Bool {
        state.withLock { state in
            guard let page = state.pages[key] else { return false }
            state.pages[key]?.marked = page.position(offset)
            return true
        }
    }
}

extension GroupLedger.State {
    fileprivate func index(of delivery: Delivery) -> Int? {
        pages[delivery.key]?.entries.firstIndex { $0.delivery === delivery }
    }

    /// Whether the partition is drained by that.
    fileprivate mutating func end(_ delivery: Delivery) -> Bool {
        guard let index = index(of: delivery) else { return false }
        pages[delivery.key]?.entries[index].phase = .over
        guard let page = pages[delivery.key] else { return false }
        return page.isDraining && !page.isBusy
    }
}
