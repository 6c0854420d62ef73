/// Records that were handed to a member, for a time.
struct QueueLease: Equatable, Sendable {
    var range: Range<Int64>
    let member: MemberID
    /// Of this delivery alone.
    let number: UInt64
    /// When it runs out, on the monotonic clock.
    var deadline: Int64
    /// The handler began; each start of it counts once.
    var hasBegun = false
    /// It ran out, or its member is gone: the records are ready for others, but until one has them
    /// this is still their newest delivery.
    var hasLapsed = false
}

/// What of a queue's partition is where, as only this start of the broker knows: after a restart
/// everything that is not settled is ready again.
struct QueueLeases: Equatable, Sendable {
    /// In order, apart from each other.
    private(set) var leases: [QueueLease] = []
    /// Handed out before, or their delay is over: ready again.
    private(set) var returned = RangeSet<Int64>()
    /// Nothing from here on was handed out in this start.
    private(set) var cursor: Int64
    /// Delays under way by their monotonic time, the latest first.
    private var delays: [(due: Int64, offset: Int64)] = []

    /// After a restart, or for a partition that is new to the group.
    init(_ progress: QueueProgress, at now: Now) {
        // Whatever is delayed, leased or returned lies below the cursor.
        cursor = max(progress.start, (progress.delays.keys.max() ?? progress.start - 1) + 1)
        returned.insert(contentsOf: progress.start..<cursor)
        for range in progress.settled.ranges { returned.remove(contentsOf: range) }
        for (offset, due) in progress.delays {
            returned.remove(contentsOf: offset..<(offset + 1))
            let (left, overflow) = max(0, due - now.wall).multipliedReportingOverflow(by: 1_000_000)
            delay(offset, until: overflow ? .max : now.monotonic.adding(left))
        }
    }

    static func == (left: QueueLeases, right: QueueLeases) -> Bool {
        left.leases == right.leases && left.returned == right.returned
            && left.cursor == right.cursor
            && left.delays.elementsEqual(right.delays, by: ==)
    }

    /// When the next delay or lease is over.
    var nextDeadline: Int64? {
        let lease = leases.lazy.filter { !$0.hasLapsed }.map(\.deadline).min()
        return [delays.last?.due, lease].compactMap { $0 }.min()
    }

    // MARK: - Handing out

    /// The next records to deliver, at most `wanted`, all with as many attempts as the first.
    mutating func nextReady(
        _ progress: QueueProgress, below end: Int64, wanted: Int
    ) -> Range<Int64>? {
        let limit = Int64(max(wanted, 1))
        while let first = returned.ranges.first {
            if let settled = progress.settledRange(at: first.lowerBound) {
                returned.remove(contentsOf: first.lowerBound..<settled.upperBound)
                continue
            }
            guard first.lowerBound < end else { break }
            var last = min(first.upperBound, first.lowerBound + limit, end)
            if let next = progress.nextSettled(above: first.lowerBound) { last = min(last, next) }
            return uniform(first.lowerBound..<last, progress)
        }
        return nextFresh(progress, below: end, limit)
    }

    private mutating func nextFresh(
        _ progress: QueueProgress, below end: Int64, _ limit: Int64
    ) -> Range<Int64>? {
        while cursor < end, let settled = progress.settledRange(at: cursor) {
            cursor = settled.upperBound
        }
        guard cursor < end else { return nil }
        var last = min(cursor + limit, end)
        if let next = progress.nextSettled(above: cursor) { last = min(last, next) }
        return uniform(cursor..<last, progress)
    }

    private func uniform(_ range: Range<Int64>, _ progress: QueueProgress) -> Range<Int64> {
        if progress.attempts.isEmpty { return range }
        let attempts = progress.attempts[range.lowerBound]
        let end = range.first { progress.attempts[$0] != attempts } ?? range.upperBound
        return range.lowerBound..<end
    }

    /// Hands out what `nextReady` found. An earlier delivery of it is the newest no more.
    mutating func lease(_ range: Range<Int64>, _ lease: QueueLease) {
        takeOut(range)
        returned.remove(contentsOf: range)
        leases.insert(lease, at: leases.index(above: range.lowerBound))
        cursor = max(cursor, range.upperBound)
    }

    // MARK: - Taking back

    /// Whether all of `range` that is not settled is under the delivery `number`.
    func holds(_ range: Range<Int64>, _ number: UInt64, _ progress: QueueProgress) -> Bool {
        var at = range.lowerBound
        var index = leases.index(above: at)
        while at < range.upperBound {
            if let settled = progress.settledRange(at: at) {
                at = settled.upperBound
                continue
            }
            while index < leases.count, leases[index].range.upperBound <= at { index += 1 }
            guard index < leases.count, leases[index].range.contains(at),
                leases[index].number == number
            else { return false }
            at = leases[index].range.upperBound
        }
        return true
    }

    /// They are settled: nothing is left to do for them.
    mutating func settle(_ range: Range<Int64>) {
        takeOut(range)
        returned.remove(contentsOf: range)
    }

    /// What lies below is gone.
    mutating func forget(below offset: Int64) {
        settle(0..<max(0, offset))
        delays.removeAll { $0.offset < offset }
    }

    /// They are ready again at once.
    mutating func giveBack(_ range: Range<Int64>) {
        takeOut(range)
        returned.insert(contentsOf: range)
    }

    /// They are ready again at `due`, on the monotonic clock.
    mutating func delay(_ range: Range<Int64>, until due: Int64) {
        settle(range)
        for offset in range { delay(offset, until: due) }
    }

    private mutating func delay(_ offset: Int64, until due: Int64) {
        var low = 0
        var high = delays.count
        while low < high {
            let middle = low + (high - low) / 2
            if delays[middle].due > due { low = middle + 1 } else { high = middle }
        }
        delays.insert((due, offset), at: low)
    }

    mutating func extend(_ range: Range<Int64>, to deadline: Int64) {
        var held: [Range<Int64>] = []
        change(range) { lease in
            lease.deadline = deadline
            lease.hasLapsed = false
            held.append(lease.range)
        }
        for range in held { returned.remove(contentsOf: range) }
    }

    /// Handlers began with them.
    mutating func begin(_ range: Range<Int64>) {
        change(range) { $0.hasBegun = true }
    }

    /// What of `range` is with a member whose handler has not begun with it.
    func notBegun(_ range: Range<Int64>) -> [Range<Int64>] {
        overlapping(range).filter { !$0.hasBegun }.map { $0.range.clamped(to: range) }
    }

    /// Who `range` was handed to last, of what is not settled.
    func holders(of range: Range<Int64>) -> Set<MemberID> {
        Set(overlapping(range).map(\.member))
    }

    private func overlapping(_ range: Range<Int64>) -> some Sequence<QueueLease> {
        leases[leases.index(above: range.lowerBound)...]
            .prefix { $0.range.lowerBound < range.upperBound }
    }

    /// Leases that ran out and delays that are over. True when something is ready by it.
    mutating func expire(at now: Int64) -> Bool {
        var isReady = lapse { $0.deadline <= now }
        while let last = delays.last, last.due <= now {
            delays.removeLast()
            returned.insert(contentsOf: last.offset..<(last.offset + 1))
            isReady = true
        }
        return isReady
    }

    /// Makes the leases that `isOver` says yes to ready for others.
    mutating func lapse(_ isOver: (QueueLease) -> Bool) -> Bool {
        var hasLapsed = false
        for index in leases.indices where !leases[index].hasLapsed && isOver(leases[index]) {
            leases[index].hasLapsed = true
            returned.insert(contentsOf: leases[index].range)
            hasLapsed = true
        }
        return hasLapsed
    }

    /// How many records are held by members now.
    var inFlight: Int64 {
        leases.reduce(0) { $0 + ($1.hasLapsed ? 0 : Int64($1.range.count)) }
    }

    /// How many wait for their time.
    var delayed: Int { delays.count }

    func held(by member: MemberID) -> Int64 {
        leases.reduce(0) {
            $0 + ($1.member == member && !$1.hasLapsed ? Int64($1.range.count) : 0)
        }
    }

    // MARK: - Pieces

    /// Leaves no lease over any of `range`; what is outside of it stays.
    private mutating func takeOut(_ range: Range<Int64>) {
        let first = split(at: range.lowerBound)
        let end = split(at: range.upperBound)
        if first < end { leases.removeSubrange(first..<end) }
    }

    private mutating func change(_ range: Range<Int64>, _ change: (inout QueueLease) -> Void) {
        let first = split(at: range.lowerBound)
        for index in first..<max(first, split(at: range.upperBound)) { change(&leases[index]) }
    }

    /// Makes `offset` the border of a lease if it lies in one; returns the index of the first that
    /// begins there or above.
    private mutating func split(at offset: Int64) -> Int {
        let index = leases.index(above: offset)
        guard index < leases.count, leases[index].range.lowerBound < offset else { return index }
        var upper = leases[index]
        upper.range = offset..<upper.range.upperBound
        leases[index].range = leases[index].range.lowerBound..<offset
        leases.insert(upper, at: index + 1)
        return index + 1
    }
}

extension [QueueLease] {
    /// The first that ends above `offset`.
    fileprivate func index(above offset: Int64) -> Int {
        lazy.map(\.range).firstIndex(above: offset)
    }
}

extension Int64 {
    /// As late as can be said when it overflows.
    func adding(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
