import MartletWire

/// What a member was handed of one partition under one epoch, and has done.
///
/// Confined to the ledger's lock.
final class LedgerPage {
    enum Phase {
        case shelved
        case handed
        /// Nobody takes more of it.
        case over
    }

    struct Entry {
        let delivery: Delivery
        var upper: Int64
        var phase = Phase.shelved
        /// At most once: committed as a whole before any of it is handed out.
        var isPromised = false
        /// Its records are handled one by one: each is done for itself.
        var isSplit = false
        /// Split: handed out and not done, in order; how many of them handlers work on.
        var open: [Int64] = []
        var running = 0

        var isComplete: Bool { phase == .over && delivery.doneBelow >= upper && open.isEmpty }
        var isInHand: Bool { phase == .handed && !isSplit || running > 0 }
        var handsInPlay: Int { isSplit ? running : phase == .handed ? 1 : 0 }

        /// What is done of it, in order.
        var done: [Range<Int64>] {
            let isWhole = isPromised || PlantedBug.commitTaken.isOn
            let isHeld = phase == .handed || isSplit
            if isWhole, isHeld, !delivery.isCut { return [delivery.from..<upper] }
            var done: [Range<Int64>] = []
            var start = delivery.from
            for offset in open {
                if offset > start { done.append(start..<offset) }
                start = offset + 1
            }
            if delivery.doneBelow > start { done.append(start..<delivery.doneBelow) }
            return done
        }
    }

    /// In the order of their offsets; those that are complete are not here any more.
    private(set) var entries: [Entry] = []
    /// Behind all that came.
    private(set) var end: Int64
    /// Done above the committed offset by an earlier owner.
    private var inherited: [Range<Int64>]
    /// Complete, while others before them are not.
    private var ended: [Range<Int64>] = []
    /// In hand since before the partition went back to a lower offset, and in how many hands: nothing
    /// that is done of them counts.
    private var stale: [ObjectIdentifier: Int] = [:]
    /// What lies below may have ended an earlier owner.
    var suspectBelow: Int64 = 0
    /// What the broker has; nil: not known, or nothing.
    var committed: GroupLedger.Position?
    /// Up to where the application committed by itself.
    private var marked: GroupLedger.Position?
    var isDraining = false
    /// Not handled, while others go on.
    private var aside: RecordsAside

    /// - Parameters:
    ///   - committed: what the broker has; nil: nothing.
    ///   - parked: what is set aside, and whether with its key.
    init(at offset: Int64, committed: GroupLedger.Position?, parked: [Int64: Bool] = [:]) {
        end = offset
        aside = RecordsAside(expecting: parked)
        inherited = committed?.finished ?? []
        self.committed = committed
        if committed == nil { marked = GroupLedger.Position(offset: offset) }
    }

    // MARK: - What comes

    func shelve(_ range: Range<Int64>, _ delivery: Delivery) {
        entries.append(Entry(delivery: delivery, upper: range.upperBound))
        end = range.upperBound
    }

    func pass(to offset: Int64) { end = offset }

    /// The partition goes on at a later offset, since the one before is gone.
    func skip(to offset: Int64) {
        end = offset
        if entries.isEmpty { marked = Self.position(offset, inherited) }
    }

    /// The partition goes on at an offset that was there before: what is in hand is of another past.
    func goBack(to offset: Int64) {
        for entry in entries {
            entry.delivery.cutShort()
            if entry.isInHand { stale[ObjectIdentifier(entry.delivery)] = entry.handsInPlay }
        }
        entries = []
        inherited = []
        ended = []
        aside = RecordsAside()
        end = offset
        committed = nil
        marked = GroupLedger.Position(offset: offset)
    }

    // MARK: - What goes

    var isBusy: Bool { !stale.isEmpty || entries.contains(where: \.isInHand) }

    /// Nothing more is handed out.
    func drain() {
        isDraining = true
        for index in entries.indices {
            entries[index].delivery.cutShort()
            if entries[index].phase == .shelved { entries[index].phase = .over }
        }
    }

    func cutShort() {
        for entry in entries { entry.delivery.cutShort() }
    }

    /// False: the application must not have it.
    func take(_ delivery: Delivery) -> Bool {
        guard let index = index(of: delivery), entries[index].phase == .shelved else {
            return false
        }
        entries[index].phase = .handed
        return true
    }

    func promise(_ delivery: Delivery) {
        if let index = index(of: delivery) { entries[index].isPromised = true }
    }

    /// The application is done with the batch: with all of it, or with what it was handed.
    func finish(_ delivery: Delivery, isWhole: Bool) {
        if isWhole, let index = index(of: delivery) {
            delivery.finish(all: entries[index].upper)
        } else {
            delivery.finishHanded()
        }
        abandon(delivery)
    }

    /// Nobody works on the batch any more, done with or not.
    func abandon(_ delivery: Delivery) {
        guard let index = index(of: delivery) else { return endStale(delivery) }
        entries[index].phase = .over
        settle(index)
    }

    private func endStale(_ delivery: Delivery) {
        let id = ObjectIdentifier(delivery)
        guard let hands = stale[id] else { return }
        stale[id] = hands > 1 ? hands - 1 : nil
    }

    // MARK: - Record by record

    /// The records of the batch are handled one by one from now on.
    func split(_ delivery: Delivery) {
        if let index = index(of: delivery) {
            entries[index].isSplit = true
        } else {
            endStale(delivery)
        }
    }

    /// A record waits for its handler; false: it is not to be handled now.
    func line(_ offset: Int64, of delivery: Delivery, _ key: () -> Int?) -> Bool {
        guard let index = index(of: delivery) else { return true }
        let isAside = aside.takes(offset, key)
        if !isAside { entries[index].open.append(offset) }
        delivery.hand(all: offset + 1, isDone: true)
        return !isAside
    }

    /// No more records of the batch come.
    func close(_ delivery: Delivery, isWhole: Bool) {
        guard let index = index(of: delivery) else { return }
        if isWhole { delivery.finish(all: entries[index].upper) }
        entries[index].phase = .over
        settle(index)
    }

    /// A handler begins; false: it must not.
    ///
    /// - Parameter isDone: it counts as done by that.
    func begin(
        _ offset: Int64, of delivery: Delivery, isDone: Bool, _ key: () -> Int?
    ) -> Bool {
        guard let index = index(of: delivery), !delivery.isCut else { return false }
        // Something before it was parked since it was lined up.
        guard !aside.takes(offset, key) else {
            entries[index].open.removeAll { $0 == offset }
            settle(index)
            return false
        }
        entries[index].running += 1
        if isDone { entries[index].open.removeAll { $0 == offset } }
        return true
    }

    /// A handler ended.
    func end(_ offset: Int64, of delivery: Delivery, isDone: Bool) {
        guard let index = index(of: delivery) else { return endStale(delivery) }
        entries[index].running -= 1
        if isDone { entries[index].open.removeAll { $0 == offset } }
        settle(index)
    }

    /// A handler ended, and the broker set its record aside.
    func park(_ offset: Int64, of delivery: Delivery, key: Int?) {
        if index(of: delivery) != nil { aside.park(offset, key: key) }
        end(offset, of: delivery, isDone: true)
    }

    /// So much is set aside that a commit could not say more: nothing else is handed out. True once.
    func stopIfFull() -> Bool {
        guard !isDraining, aside.isFull else { return false }
        drain()
        return true
    }

    /// Splits off what was not handed out; nil: nothing is left, or nobody is to have it.
    func giveBack(_ delivery: Delivery) -> Delivery? {
        guard let index = index(of: delivery), !delivery.isCut, !delivery.isDamaged else {
            return nil
        }
        let (handed, upper) = (delivery.handedBelow, entries[index].upper)
        guard handed < upper else { return nil }
        let rest = Entry(delivery: delivery.rest(from: handed), upper: upper)
        entries[index].upper = handed
        entries.insert(rest, at: index + 1)
        return rest.delivery
    }

    /// Forgets an entry that is complete, but for what it means to those before it.
    private func settle(_ index: Int) {
        guard entries[index].isComplete, !entries[index].isInHand else { return }
        let entry = entries.remove(at: index)
        if index > 0 {
            ended = Self.merged(ended + [entry.delivery.from..<entry.upper])
        } else if !ended.isEmpty {
            let start = unfinished
            ended.removeAll { $0.upperBound <= start }
        }
    }

    private func index(of delivery: Delivery) -> Int? {
        var (low, high) = (0, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].delivery.from < delivery.from {
                low = middle + 1
            } else {
                high = middle
            }
        }
        // One that was given back whole lies beside what was made of it.
        while low < entries.count, entries[low].delivery.from == delivery.from {
            if entries[low].delivery === delivery { return low }
            low += 1
        }
        return nil
    }

    // MARK: - How far it is

    /// All below is done, or aside.
    private var unfinished: Int64 { entries.first?.delivery.from ?? end }

    private var start: Int64 { min(aside.first ?? .max, unfinished) }

    /// How far the partition is done.
    func position(isManual: Bool) -> GroupLedger.Position? {
        if isManual { return marked }
        let done = inherited + ended + entries.flatMap(\.done)
        if aside.isEmpty { return Self.position(start, done) }
        var rest = RangeSet(done)
        rest.insert(contentsOf: start..<unfinished)
        rest.subtract(aside.offsets)
        return Self.position(start, Array(rest.ranges))
    }

    /// The application commits all that it was handed.
    func markHanded() {
        let handed = entries.compactMap { entry -> Range<Int64>? in
            let (from, below) = (entry.delivery.from, entry.delivery.handedBelow)
            return below > from ? from..<below : nil
        }
        marked = Self.position(start, inherited + ended + handed)
    }

    /// The application commits all up to an offset.
    func mark(below offset: Int64) {
        marked = Self.position(offset, inherited)
    }

    /// All below `offset` and the ranges is done: what touches the offset moves it.
    static func position(_ offset: Int64, _ ranges: [Range<Int64>]) -> GroupLedger.Position {
        var offset = offset
        var above: [Range<Int64>] = []
        for range in merged(ranges) {
            if range.lowerBound > offset {
                above.append(range)
            } else {
                offset = max(offset, range.upperBound)
            }
        }
        return GroupLedger.Position(
            offset: offset, finished: Array(above.prefix(WireLimits.finishedMax)))
    }

    /// The same in order and apart from each other.
    private static func merged(_ ranges: [Range<Int64>]) -> [Range<Int64>] {
        var result: [Range<Int64>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) where !range.isEmpty {
            if let last = result.last, range.lowerBound <= last.upperBound {
                result[result.count - 1] =
                    last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                result.append(range)
            }
        }
        return result
    }
}
