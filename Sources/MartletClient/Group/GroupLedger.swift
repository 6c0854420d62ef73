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

    private struct State {
        var pages: [OwnedKey: LedgerPage] = [:]
        /// How often the application asked for more, or ended with something.
        var steps: UInt64 = 0
    }

    private let state = Mutex(State())
    let isManual: Bool
    private let whenDrained = Mutex<(@Sendable (OwnedKey) -> Void)?>(nil)
    private let whenFull = Mutex<(@Sendable (OwnedKey) -> Void)?>(nil)

    init(isManual: Bool) {
        self.isManual = isManual
    }

    func setWhenDrained(_ body: (@Sendable (OwnedKey) -> Void)?) {
        whenDrained.withLock { $0 = body }
    }

    /// What is told of a partition in which too much waits behind parked records.
    func setWhenFull(_ body: (@Sendable (OwnedKey) -> Void)?) {
        whenFull.withLock { $0 = body }
    }

    // MARK: - The queue's side

    /// A partition is read from now on.
    ///
    /// - Parameters:
    ///   - committed: what the broker has; nil: nothing.
    ///   - suspectBelow: what lies below may have ended an earlier owner.
    ///   - parked: what is set aside, and whether with its key.
    func open(
        _ key: OwnedKey, at offset: Int64, committed: Position?, suspectBelow: Int64 = 0,
        parked: [Int64: Bool] = [:]
    ) {
        state.withLock { state in
            let page = LedgerPage(at: offset, committed: committed, parked: parked)
            page.suspectBelow = suspectBelow
            state.pages[key] = page
        }
    }

    /// Records that came; nil when the partition is not read any more.
    func shelve(_ key: OwnedKey, _ range: Range<Int64>) -> Delivery? {
        state.withLock { state in
            guard let page = state.pages[key], !page.isDraining else { return nil }
            let delivery = Delivery(
                key, from: range.lowerBound, suspectBelow: page.suspectBelow)
            page.shelve(range, delivery)
            return delivery
        }
    }

    /// There is nothing to hand out below `offset`, or nothing that counts.
    func pass(_ key: OwnedKey, to offset: Int64) {
        state.withLock { $0.pages[key]?.pass(to: offset) }
    }

    /// The partition goes on elsewhere, since its offset is gone.
    ///
    /// - Parameter isBack: below what came of it.
    func reset(_ key: OwnedKey, to offset: Int64, isBack: Bool) {
        state.withLock { state in
            if isBack {
                state.pages[key]?.goBack(to: offset)
            } else {
                state.pages[key]?.skip(to: offset)
            }
        }
    }

    /// Nothing more of the partition is handed out. Returns whether the application has nothing of it
    /// in hand; when it has, `whenDrained` tells that it is done.
    func drain(_ key: OwnedKey) -> Bool {
        state.withLock { state in
            guard let page = state.pages[key] else { return true }
            page.drain()
            return !page.isBusy
        }
    }

    /// The partition is not the member's any more.
    func close(_ key: OwnedKey) {
        state.withLock { $0.pages.removeValue(forKey: key)?.cutShort() }
    }

    /// Whether the application has anything in hand.
    var isBusy: Bool { state.withLock { $0.pages.values.contains(where: \.isBusy) } }

    /// For tests.
    var entryCount: Int { state.withLock { $0.pages.values.reduce(0) { $0 + $1.entries.count } } }

    /// A number that changes whenever the application does anything.
    var progress: UInt64 {
        state.withLock { state in
            state.pages.values.reduce(state.steps) { sum, page in
                page.entries.reduce(sum) { $0 &+ UInt64(bitPattern: $1.delivery.handedBelow) }
            }
        }
    }

    // MARK: - What is committed

    /// Partitions of which more is done than the broker is known to have.
    var uncommitted: [OwnedKey] { uncommitted(all: false) }

    /// With `all` those of which the broker has it too.
    func uncommitted(all: Bool) -> [OwnedKey] {
        state.withLock { state in
            state.pages.compactMap { key, page in
                let position = page.position(isManual: isManual)
                return position == nil || !all && position == page.committed ? nil : key
            }
        }
    }

    /// How far these partitions are, but, unless `all` are asked for, those of which the broker has
    /// it. Whoever asks tells it now: until the answer nobody knows what the broker has.
    func takeUncommitted(_ keys: [OwnedKey], all: Bool = false) -> [(OwnedKey, Position)] {
        state.withLock { state in
            keys.compactMap { key in
                guard let page = state.pages[key],
                    let position = page.position(isManual: isManual),
                    all || position != page.committed
                else { return nil }
                page.committed = nil
                return (key, position)
            }
        }
    }

    func committed(_ key: OwnedKey, _ position: Position) {
        state.withLock { $0.pages[key]?.committed = position }
    }

    // MARK: - The application's side

    func asked() { state.withLock { $0.steps &+= 1 } }

    /// The application takes a batch; false: it must not have it.
    func take(_ delivery: Delivery) -> Bool {
        state.withLock { $0.pages[delivery.key]?.take(delivery) ?? false }
    }

    /// At most once: all of the batch is to be committed before any of it is handed out.
    func promise(_ delivery: Delivery) {
        state.withLock { $0.pages[delivery.key]?.promise(delivery) }
    }

    /// The application is done with a batch: with all of it, or with what it was handed.
    func finish(_ delivery: Delivery, isWhole: Bool) {
        change(delivery) { $0.finish(delivery, isWhole: isWhole) }
    }

    /// The application takes no more of a batch: what it was not handed is for others. Returns how
    /// it is handed out again; nil when nothing is left, or nobody is to have it.
    func giveBack(_ delivery: Delivery) -> Delivery? {
        state.withLock { $0.pages[delivery.key]?.giveBack(delivery) }
    }

    /// Nobody works on the batch any more, done with or not.
    func abandon(_ delivery: Delivery) {
        change(delivery) { $0.abandon(delivery) }
    }

    // MARK: - Handlers

    func split(_ delivery: Delivery) { change(delivery) { $0.split(delivery) } }

    /// A record waits for its handler; false: it is not to be handled now. `key`: the hash of its key.
    func line(_ offset: Int64, of delivery: Delivery, key: @Sendable () -> Int?) -> Bool {
        let (isLined, isFull) = state.withLock { state in
            guard let page = state.pages[delivery.key] else { return (true, false) }
            let isLined = page.line(offset, of: delivery, key)
            return (isLined, !isLined && page.stopIfFull())
        }
        if isFull { whenFull.withLock { $0 }?(delivery.key) }
        return isLined
    }

    func close(_ delivery: Delivery, isWhole: Bool) {
        change(delivery) { $0.close(delivery, isWhole: isWhole) }
    }

    /// False: the record is not for this member any more, or not to be handled now.
    func begin(
        _ offset: Int64, of delivery: Delivery, isDone: Bool, key: @Sendable () -> Int?
    ) -> Bool {
        let (begins, isFull) = state.withLock { state in
            state.steps &+= 1
            guard let page = state.pages[delivery.key] else { return (false, false) }
            let begins = page.begin(offset, of: delivery, isDone: isDone, key)
            return (begins, !begins && page.stopIfFull())
        }
        if isFull { whenFull.withLock { $0 }?(delivery.key) }
        return begins
    }

    /// A handler ended, and the broker set its record aside; with `key` later ones of it, too.
    func park(_ offset: Int64, of delivery: Delivery, key: Int?) {
        change(delivery) { $0.park(offset, of: delivery, key: key) }
        let isFull = state.withLock { $0.pages[delivery.key]?.stopIfFull() ?? false }
        if isFull { whenFull.withLock { $0 }?(delivery.key) }
    }

    func end(_ offset: Int64, of delivery: Delivery, isDone: Bool) {
        change(delivery) { $0.end(offset, of: delivery, isDone: isDone) }
    }

    // MARK: - Manual commits

    /// The application commits all that it was handed.
    func markHanded() {
        state.withLock { state in
            for page in state.pages.values { page.markHanded() }
        }
    }

    /// The application commits all up to an offset; false: the partition is not the member's.
    func mark(_ key: OwnedKey, below offset: Int64) -> Bool {
        state.withLock { state in
            guard let page = state.pages[key] else { return false }
            page.mark(below: offset)
            return true
        }
    }

    /// Does something with the delivery's page, and tells when the partition is drained by it.
    private func change(_ delivery: Delivery, _ body: (LedgerPage) -> Void) {
        let isDrained = state.withLock { state in
            state.steps &+= 1
            guard let page = state.pages[delivery.key] else { return false }
            body(page)
            return page.isDraining && !page.isBusy
        }
        if isDrained { whenDrained.withLock { $0 }?(delivery.key) }
    }
}
