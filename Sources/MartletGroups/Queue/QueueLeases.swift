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
struct QueueLeases: Sendable {
    /// Leases by themselves, in order.
    private var leases = LeaseList()
    /// Handed out before, or their delay is over: ready again.
    var returned = RangeSet<Int64>()
    /// Nothing from here on was handed out in this start, or is settled.
    var cursor: Int64
    /// Given back, and not ready yet.
    private(set) var delaying = RangeSet<Int64>()
    /// Ready again because who had them was lost with them, or took too long: whether a handler
    /// began with them only that member knows.
    private(set) var suspects = RangeSet<Int64>()
    /// When leases and delays are over. A lease may be gone or extended by then.
    private var timers = QueueTimers()
    /// Records that members hold.
    private var held: [MemberID: Int64] = [:]
    /// How many records are held by members now.
    private(set) var inFlight: Int64 = 0
    /// How many wait for their time.
    private(set) var delayed = 0
    /// Of a queue in order by key: then only what it lets out is in `returned`, also when nobody has
    /// had it.
    var window: KeyWindow?

    /// After a restart, or for a partition that is new to the group. `gaps`: offsets that no record
    /// has; nothing below them need have been handed out because they are settled.
    init(
        _ progress: QueueProgress, inOrder isOrdered: Bool = false, gaps: [Range<Int64>] = [],
        at now: Now
    ) {
        if isOrdered {
            cursor = progress.floor
            window = KeyWindow(from: cursor)
        } else {
            // Whatever is delayed, leased, returned or settled lies below the cursor.
            let delayEnd = progress.delays.keys.max().map { $0 + 1 } ?? 0
            let parkedEnd = progress.parked.keys.max().map { $0 + 1 } ?? 0
            cursor = max(
                progress.start, delayEnd, parkedEnd, progress.settledEnd(besides: gaps))
            for range in progress.open(in: progress.start..<cursor) {
                returned.insert(contentsOf: range)
            }
            for offset in progress.parked.keys { returned.remove(offset) }
        }
        for (offset, due) in progress.delays.sorted(by: { $0.key < $1.key }) {
            let (wait, isFar) = due.subtractingReportingOverflow(now.wall)
            let (left, overflow) = max(0, wait).multipliedReportingOverflow(by: 1_000_000)
            let until = isFar || overflow ? Int64.max : now.monotonic.adding(left)
            delay(offset..<(offset + 1), until: until)
        }
    }

    /// Nothing is over before this.
    var nextDeadline: Int64? { timers.next }

    /// Records below the cursor that are not settled: what memory is spent on. Of what was sent again
    /// most waits in few ranges.
    func open(_ progress: QueueProgress) -> Int64 {
        if progress.isReplay { return inFlight + Int64(delayed) }
        return progress.openCount(below: cursor)
    }

    // MARK: - Handing out

    /// The next records to deliver, at most `wanted`, all with as many attempts as the first, and
    /// with the same end of the last one: all are spent by `attemptsMax`, or suspect, or not. No more
    /// than `fresh` are of those that nobody has had, and none of `damaged`, which is in order.
    mutating func nextReady(
        _ progress: QueueProgress, below end: Int64, wanted: Int, fresh: Int64,
        attemptsMax: UInt16 = 0, damaged: [Range<Int64>] = []
    ) -> Range<Int64>? {
        let limit = min(Int64(max(wanted, 1)), progress.isReplay ? fresh : .max)
        guard limit > 0 else { return nil }
        var at = Int64.min
        while let place = returned.ranges.first(above: at) {
            let first = max(at, place.lowerBound)
            if let settled = progress.settledRange(at: first) {
                returned.remove(contentsOf: first..<settled.upperBound)
                continue
            }
            guard first < end else { break }
            let damage = damaged.first(above: first)
            if let damage, damage.contains(first) {
                at = damage.upperBound
                continue
            }
            var last = min(place.upperBound, first + min(limit, end - first))
            if let damage { last = min(last, damage.lowerBound) }
            if let next = progress.nextSettled(above: first) { last = min(last, next) }
            return uniform(first..<last, progress, attemptsMax)
        }
        if window != nil { return nil }
        return nextFresh(progress, below: end, min(limit, fresh), attemptsMax, damaged)
    }

    private mutating func nextFresh(
        _ progress: QueueProgress, below end: Int64, _ limit: Int64, _ attemptsMax: UInt16,
        _ damaged: [Range<Int64>]
    ) -> Range<Int64>? {
        while cursor < end {
            if let settled = progress.settledRange(at: cursor) {
                cursor = settled.upperBound
            } else if let damage = damaged.first(above: cursor), damage.contains(cursor) {
                // It stays with nobody until a person lets readers pass it.
                let end = min(damage.upperBound, end)
                for range in progress.open(in: cursor..<end) { returned.insert(contentsOf: range) }
                cursor = end
            } else {
                break
            }
        }
        guard cursor < end, limit > 0 else { return nil }
        var last = cursor + min(limit, end - cursor)
        if let next = progress.nextSettled(above: cursor) { last = min(last, next) }
        if let damage = damaged.first(above: cursor) { last = min(last, damage.lowerBound) }
        return uniform(cursor..<last, progress, attemptsMax)
    }

    private func uniform(
        _ range: Range<Int64>, _ progress: QueueProgress, _ attemptsMax: UInt16
    ) -> Range<Int64> {
        let range = suspects.prefix(of: range)
        if progress.attempts.isEmpty { return range }
        let attempts = progress.attempts[range.lowerBound]
        let isSpent = progress.isSpent(range.lowerBound, attemptsMax)
        let end = range.first {
            progress.attempts[$0] != attempts || progress.isSpent($0, attemptsMax) != isSpent
        }
        return range.lowerBound..<(end ?? range.upperBound)
    }

    /// Hands out what `nextReady` found. An earlier delivery of it is the newest no more.
    mutating func lease(_ range: Range<Int64>, _ lease: QueueLease) {
        take(range)
        leases.insert(lease)
        count(lease.member, Int64(range.count))
        cursor = max(cursor, range.upperBound)
        time(range, until: lease.deadline)
    }

    /// Takes out of `ranges` what is with members, or waits for its time.
    func leaveOut(of ranges: inout RangeSet<Int64>) {
        for range in Array(ranges.ranges) {
            for waiting in delaying.pieces(in: range) { ranges.remove(contentsOf: waiting) }
            leases.visit(range) { lease in
                if !lease.hasLapsed { ranges.remove(contentsOf: lease.range) }
                return true
            }
        }
    }

    // MARK: - Taking back

    /// Whether all of `range` that is not settled is under the delivery `number`.
    func holds(_ range: Range<Int64>, _ number: UInt64, _ progress: QueueProgress) -> Bool {
        var at = range.lowerBound
        var isHeld = true
        leases.visit(range) { lease in
            // What is settled is in no lease.
            if lease.range.lowerBound > at {
                at = progress.settledRange(at: at)?.upperBound ?? at
            }
            isHeld = lease.range.lowerBound <= at && lease.number == number
            at = lease.range.upperBound
            return isHeld
        }
        guard isHeld, at < range.upperBound else { return isHeld }
        return (progress.settledRange(at: at)?.upperBound ?? at) >= range.upperBound
    }

    /// They are nowhere: not with a member, not ready, not delayed.
    mutating func take(_ range: Range<Int64>) {
        change(range) { _ in false }
        returned.remove(contentsOf: range)
        suspects.remove(contentsOf: range)
        for range in delaying.pieces(in: range) {
            delayed -= range.count
            delaying.remove(contentsOf: range)
        }
    }

    /// They are settled: nothing is left to do for them. True when others are ready by it.
    @discardableResult
    mutating func settle(_ range: Range<Int64>) -> Bool {
        take(range)
        var isReady = false
        for offset in window?.known(in: range) ?? [] {
            // The next of its key may be settled by the same.
            guard let next = window?.remove(offset), !range.contains(next) else { continue }
            isReady = letOut(next) || isReady
        }
        return isReady
    }

    /// What lies below is gone. True when others are ready by it.
    @discardableResult
    mutating func forget(below offset: Int64) -> Bool {
        let isReady = settle(0..<max(0, offset))
        cursor = max(cursor, offset)
        window?.read(to: offset)
        return isReady
    }

    /// They are ready again at once.
    mutating func giveBack(_ range: Range<Int64>) {
        take(range)
        makeReady(range)
    }

    /// Of a queue in order, only what is next of its key is ready.
    private mutating func makeReady(_ range: Range<Int64>) {
        guard window != nil else { return returned.insert(contentsOf: range) }
        for offset in range {
            if let next = window?.back(offset) { letOut(next) }
        }
    }

    /// Ready, if it has not to wait for its time.
    @discardableResult
    mutating func letOut(_ offset: Int64) -> Bool {
        guard !delaying.contains(offset) else { return false }
        returned.insert(contentsOf: offset..<(offset + 1))
        return true
    }

    /// They are owed again. What of them is with members, or waits, stays so.
    mutating func reopen(_ range: Range<Int64>) {
        var ready = RangeSet(range)
        leaveOut(of: &ready)
        for part in ready.ranges { returned.insert(contentsOf: part) }
    }

    /// They are ready again at `due`, on the monotonic clock.
    mutating func delay(_ range: Range<Int64>, until due: Int64) {
        take(range)
        delaying.insert(contentsOf: range)
        delayed += range.count
        timers.add(QueueTimer(due: due, range: range, isDelay: true))
        guard window != nil else { return }
        for offset in range {
            if let next = window?.leave(offset) { letOut(next) }
        }
    }

    mutating func extend(_ range: Range<Int64>, to deadline: Int64) {
        var held: [Range<Int64>] = []
        change(range) { lease in
            lease.deadline = deadline
            if lease.hasLapsed { held.append(lease.range) }
            lease.hasLapsed = false
            return true
        }
        for range in held {
            returned.remove(contentsOf: range)
            suspects.remove(contentsOf: range)
        }
        time(range, until: deadline)
    }

    /// Handlers began with them.
    mutating func begin(_ range: Range<Int64>) {
        change(range) { lease in
            lease.hasBegun = true
            return true
        }
    }

    /// What of `range` is with a member whose handler has not begun with it.
    func notBegun(_ range: Range<Int64>) -> RangeSet<Int64> {
        var notBegun = RangeSet<Int64>()
        leases.visit(range) { lease in
            if !lease.hasBegun { notBegun.insert(contentsOf: lease.range.clamped(to: range)) }
            return true
        }
        return notBegun
    }

    /// Whether a member has it now.
    func isOut(_ offset: Int64) -> Bool {
        var isOut = false
        leases.visit(offset..<(offset + 1)) { lease in
            isOut = !lease.hasLapsed
            return false
        }
        return isOut
    }

    /// The first lease of `range` that a member has now.
    func firstOut(in range: Range<Int64>) -> QueueLease? {
        var out: QueueLease?
        leases.visit(range) { lease in
            if !lease.hasLapsed { out = lease }
            return out == nil
        }
        return out
    }

    /// Who `range` was handed to last, of what is not settled.
    func holders(of range: Range<Int64>) -> Set<MemberID> {
        var holders: Set<MemberID> = []
        leases.visit(range) { lease in
            holders.insert(lease.member)
            return true
        }
        return holders
    }

    func held(by member: MemberID) -> Int64 { held[member] ?? 0 }

    // MARK: - Time and members

    /// Leases that ran out and delays that are over. True when something is ready by it.
    mutating func expire(at now: Int64) -> Bool {
        var isReady = false
        while let timer = timers.popFirst(by: now) {
            if timer.isDelay {
                for range in delaying.pieces(in: timer.range) {
                    giveBack(range)
                    isReady = true
                }
            } else if lapse(timer.range, where: { $0.deadline <= now }) {
                isReady = true
            }
        }
        // Leases that are settled or extended need nobody to look at them.
        while let next = timers.first, !next.isDelay, !isUnder(next) { timers.removeFirst() }
        return isReady
    }

    private func isUnder(_ timer: QueueTimer) -> Bool {
        var isUnder = false
        leases.visit(timer.range) { lease in
            isUnder = !lease.hasLapsed && lease.deadline == timer.due
            return !isUnder
        }
        return isUnder
    }

    /// Makes what members hold that are gone ready for others.
    mutating func lapse(of isGone: (MemberID) -> Bool) -> Bool {
        let gone = Set(held.keys.filter(isGone))
        if gone.isEmpty { return false }
        return lapse(0..<Int64.max) { gone.contains($0.member) }
    }

    private mutating func lapse(
        _ range: Range<Int64>, where isOver: (QueueLease) -> Bool
    ) -> Bool {
        var lapsed: [Range<Int64>] = []
        leases.visit(range) { lease in
            if !lease.hasLapsed, isOver(lease) { lapsed.append(lease.range) }
            return true
        }
        for range in lapsed {
            change(range) { lease in
                lease.hasLapsed = true
                return true
            }
            suspects.insert(contentsOf: range)
            makeReady(range)
        }
        return !lapsed.isEmpty
    }

    private mutating func time(_ range: Range<Int64>, until deadline: Int64) {
        timers.add(QueueTimer(due: deadline, range: range, isDelay: false))
        // Of leases that are settled long before they run out, no more are kept than there are.
        guard timers.count > 2 * (leases.count + delayed) + 64 else { return }
        timers.removeAll { !$0.isDelay }
        leases.visit(0..<Int64.max) { lease in
            if !lease.hasLapsed {
                timers.add(QueueTimer(due: lease.deadline, range: lease.range, isDelay: false))
            }
            return true
        }
    }

    // MARK: - Accounts

    /// Leases of exactly `range`, split where they cross its borders; those that `change` says false
    /// of are taken out.
    private mutating func change(
        _ range: Range<Int64>, _ change: (inout QueueLease) -> Bool
    ) {
        var counts: [MemberID: Int64] = [:]
        leases.update(range) { lease in
            let before = lease.hasLapsed ? 0 : Int64(lease.range.count)
            let isKept = change(&lease)
            let after = isKept && !lease.hasLapsed ? Int64(lease.range.count) : 0
            if before != after { counts[lease.member, default: 0] += after - before }
            return isKept
        }
        for (member, records) in counts { count(member, records) }
    }

    private mutating func count(_ member: MemberID, _ records: Int64) {
        inFlight += records
        let sum = (held[member] ?? 0) + records
        held[member] = sum == 0 ? nil : sum
    }
}

extension RangeSet<Int64> {
    /// What of it lies in `range`.
    func pieces(in range: Range<Int64>) -> [Range<Int64>] {
        let first = ranges.firstIndex(above: range.lowerBound)
        return ranges[first...].prefix { $0.lowerBound < range.upperBound }
            .map { $0.clamped(to: range) }
    }

    /// The first part of `range` that lies in it as a whole, or not at all.
    func prefix(of range: Range<Int64>) -> Range<Int64> {
        let index = ranges.firstIndex(above: range.lowerBound)
        guard index < ranges.count else { return range }
        let next = ranges[index]
        let border = next.contains(range.lowerBound) ? next.upperBound : next.lowerBound
        return range.lowerBound..<min(border, range.upperBound)
    }
}

extension Int64 {
    /// As late as can be said when it overflows.
    func adding(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
