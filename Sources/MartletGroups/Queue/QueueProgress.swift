/// How far a queue group is in a partition: what survives a restart. Changed by `replay` alone.
///
/// Kept as ranges, so a million handled records in a row take as much as one.
package struct QueueProgress: Equatable, Sendable {
    /// Where the group began, or was reset to: it owes nothing of what lies below.
    let start: Int64
    /// Handled, or gone: nobody gets them again.
    private(set) var settled = RangeSet<Int64>()
    /// How many offsets `settled` has; of a replay lane, how many more than at first.
    private var settledCount: Int64 = 0
    /// How often handlers began with records that are not settled; those of 0 are left out.
    private(set) var attempts: [Int64: UInt16] = [:]
    /// Of those, the ones whose last handler has not said what became of it.
    private(set) var unanswered = RangeSet<Int64>()
    /// Not to be delivered before this wall time, in milliseconds since 1970 UTC.
    private(set) var delays: [Int64: Int64] = [:]
    /// What handlers said of records that are not settled.
    private(set) var failures: [Int64: FailureTrail] = [:]
    private var failureBytes = 0
    /// Set aside until somebody releases them: not settled, and not delivered.
    private(set) var parked: [Int64: ParkedRecord] = [:]
    var acked: Int64 = 0
    /// Taken by retention or deletion before they were handled.
    var expired: Int64 = 0
    /// Settled as dead letters, and neither handled nor resolved since.
    var dead: Int64 = 0
    /// How many of them are with the group again.
    var replaying: Int64 = 0
    /// On a replay lane: how often records were sent again; what was taken back is not counted.
    private(set) var sent: Int64 = 0
    /// Only what was sent again is owed.
    let isReplay: Bool

    init(start: Int64) {
        self.start = max(0, start)
        isReplay = false
    }

    private init() {
        start = 0
        isReplay = true
        settled.insert(contentsOf: 0..<Int64.max)
    }

    /// With nothing open.
    static let replay = QueueProgress()

    /// Of which nothing is known yet: nothing of the flow is skipped then.
    static func unknown(_ lane: QueueID.Lane) -> QueueProgress {
        switch lane {
        case .flow: QueueProgress(start: 0)
        case .replay: .replay
        }
    }

    /// Everything below is settled.
    var floor: Int64 {
        guard let first = settled.ranges.first, first.lowerBound == start else { return start }
        return first.upperBound
    }

    /// On a replay lane: something is owed.
    var isOpen: Bool { floor < .max }

    /// The settled range that holds `offset`.
    func settledRange(at offset: Int64) -> Range<Int64>? {
        let index = settled.ranges.firstIndex(above: offset)
        guard index < settled.ranges.count else { return nil }
        let range = settled.ranges[index]
        return range.contains(offset) ? range : nil
    }

    func isSettled(_ range: Range<Int64>) -> Bool {
        settledRange(at: range.lowerBound).map { $0.upperBound >= range.upperBound } ?? false
    }

    /// Records whose time has not come. Nobody waits for it between a start and the first receive: a
    /// look must not take what is over for what is not.
    func delayed(at now: Now) -> Int { delays.values.count { $0 > now.wall } }

    /// Where the next settled range above `offset` begins.
    func nextSettled(above offset: Int64) -> Int64? {
        let index = settled.ranges.firstIndex(above: offset)
        return index < settled.ranges.count ? settled.ranges[index].lowerBound : nil
    }

    mutating func apply(_ change: QueueChange) {
        switch change {
        case .began: break  // Made with it.
        case .acked(let ranges):
            for range in ranges { acked &+= settle(range) }
        case .expired(let below):
            if below > start { expired &+= settle(start..<below) }
        case .vacant(let ranges):
            for range in ranges { _ = settle(range) }
        case .restored(let ranges, let acked, let expired, let sent):
            for range in ranges { _ = settle(range) }
            self.acked &+= acked
            self.expired &+= expired
            self.sent &+= sent
        case .reopened(let ranges):
            for range in ranges { reopen(range) }
        case .takenBack(let ranges):
            if isReplay { for range in ranges { sent &-= settle(range) } }
        case .delayed(let ranges, let due):
            for offset in ranges.lazy.joined() where !settled.contains(offset) {
                delays[offset] = due > 0 ? due : nil
            }
            for range in ranges { unanswered.remove(contentsOf: range) }
        case .attempted(let ranges, let times):
            for offset in ranges.lazy.joined() where !settled.contains(offset) {
                let (sum, overflow) = (attempts[offset] ?? 0).addingReportingOverflow(times)
                attempts[offset] = overflow ? .max : sum
                // Who begins has waited for it.
                delays[offset] = nil
            }
            for open in ranges.flatMap({ open(in: $0) }) { unanswered.insert(contentsOf: open) }
        case .failed(let offset, let trail):
            guard !settled.contains(offset) else { break }
            remember(trail, of: offset)
            unanswered.remove(offset)
        case .parked(let offset, let record):
            guard !settled.contains(offset) else { break }
            delays[offset] = nil
            unanswered.remove(offset)
            parked[offset] = record
        case .released(let ranges):
            for range in ranges { release(range) }
        }
    }

    /// Parked records of `ranges`, in order.
    func parked(in ranges: [Range<Int64>]) -> [Int64] {
        ranges.flatMap { parkedOffsets(in: $0) }.sorted()
    }

    /// In as many steps as the smaller of both has.
    private func parkedOffsets(in range: Range<Int64>) -> [Int64] {
        range.count < parked.count
            ? range.filter { parked[$0] != nil } : parked.keys.filter(range.contains)
    }

    private mutating func release(_ range: Range<Int64>) {
        parked.forget(range)
        attempts.forget(range)
        unanswered.remove(contentsOf: range)
        forgetFailures(in: range)
    }

    private mutating func release(_ offsets: [Int64]) {
        for offset in offsets {
            parked[offset] = nil
            attempts[offset] = nil
            unanswered.remove(offset)
            forgetFailure(of: offset)
        }
    }

    /// Whether the last handler that the record may have began with it and never said what became
    /// of it. `attemptsMax` 0: it may have as many as it takes.
    func isSpent(_ offset: Int64, _ attemptsMax: UInt16) -> Bool {
        attemptsMax > 0 && attempts[offset] ?? 0 >= attemptsMax && unanswered.contains(offset)
    }

    /// Words of failures take at most so much; beyond that they are left out.
    private static let failureBytesMax = 16 << 20
    /// Of more records it is only known how often they were tried.
    private static let failuresMax = 100_000

    private mutating func remember(_ trail: FailureTrail, of offset: Int64) {
        forgetFailure(of: offset)
        guard failures.count < Self.failuresMax else { return }
        let isRoom = failureBytes + trail.bytes <= Self.failureBytesMax
        let kept =
            isRoom ? trail : FailureTrail(first: trail.first.short, last: trail.last.short)
        failureBytes += kept.bytes
        failures[offset] = kept
    }

    /// In as many steps as the smaller of both has.
    private mutating func forgetFailures(in range: Range<Int64>) {
        if failures.isEmpty { return }
        if range.count < failures.count {
            for offset in range { forgetFailure(of: offset) }
        } else {
            for offset in failures.keys where range.contains(offset) { forgetFailure(of: offset) }
        }
    }

    private mutating func forgetFailure(of offset: Int64) {
        failureBytes -= failures.removeValue(forKey: offset)?.bytes ?? 0
    }

    /// What is counted of a stream group's records goes with the commit that passes them.
    mutating func handle(_ committed: CommittedOffset) {
        unpark(committed)
        let offset = committed.offset
        guard !attempts.isEmpty || !failures.isEmpty, offset > 0 else { return }
        attempts.forget(0..<offset)
        unanswered.remove(contentsOf: 0..<offset)
        for failed in failures.keys where failed < offset { forgetFailure(of: failed) }
    }

    /// Nobody waits any more for what became of handlers.
    mutating func answerAll() { unanswered = RangeSet() }

    /// What a commit covers is not set aside any more: somebody who takes no notice of that, or a
    /// person, has passed it.
    mutating func unpark(_ committed: CommittedOffset) {
        if parked.isEmpty { return }
        parked = parked.filter { !committed.covers($0.key) }
    }

    /// Of a stream group: parked records that are gone.
    mutating func expireParked(below offset: Int64) {
        let lost = parked.keys.filter { $0 < offset }
        expired &+= Int64(lost.count)
        release(lost)
    }

    mutating func releaseAll() { release(Array(parked.keys)) }

    /// Owed again. What is so already is not owed twice.
    mutating func reopen(_ range: Range<Int64>) {
        let count = settledCount(in: range)
        sent &+= count
        settledCount &-= count
        settled.remove(contentsOf: range)
    }

    mutating func reopen(_ offset: Int64) { reopen(offset..<(offset + 1)) }

    /// How many are not settled below `end`. Little is settled above the newest that was handed out.
    func openCount(below end: Int64) -> Int64 {
        var below = settledCount
        for range in settled.ranges[settled.ranges.firstIndex(above: end)...] {
            below &-= Int64(range.clamped(to: end..<Int64.max).count)
        }
        return max(0, end &- start &- below)
    }

    /// How many of `range` are not owed.
    func settledCount(in range: Range<Int64>) -> Int64 {
        open(in: range).reduce(Int64(range.count)) { $0 - Int64($1.count) }
    }

    /// How many ranges are owed; of a replay lane.
    var openRangeCount: Int { max(0, settled.ranges.count - (settled.contains(0) ? 1 : 0)) }

    /// Settled, and not by an ack. False: it was.
    @discardableResult
    mutating func close(_ offset: Int64) -> Bool { settle(offset..<(offset + 1)) > 0 }

    /// Returns how many were not settled before.
    private mutating func settle(_ range: Range<Int64>) -> Int64 {
        let range = range.clamped(to: start..<Int64.max)
        guard !range.isEmpty else { return 0 }
        let count = open(in: range).reduce(Int64(0)) { $0 + Int64($1.count) }
        settled.insert(contentsOf: range)
        settledCount &+= count
        attempts.forget(range)
        unanswered.remove(contentsOf: range)
        delays.forget(range)
        parked.forget(range)
        forgetFailures(in: range)
        return count
    }

    /// What of `range` is not settled.
    func open(in range: Range<Int64>) -> [Range<Int64>] {
        var open: [Range<Int64>] = []
        var at = range.lowerBound
        var index = settled.ranges.firstIndex(above: at)
        while at < range.upperBound {
            let next = index < settled.ranges.count ? settled.ranges[index] : nil
            let end = min(next?.lowerBound ?? range.upperBound, range.upperBound)
            if at < end { open.append(at..<end) }
            at = next?.upperBound ?? range.upperBound
            index += 1
        }
        return open
    }

    /// Changes that make the same from nothing, each of bounded size: what a snapshot holds.
    var changes: [QueueChange] {
        var changes: [QueueChange]
        if isReplay {
            let open = open(in: 0..<Int64.max)
            let owed = open.reduce(Int64(0)) { $0 + Int64($1.count) }
            // What is owed is counted when it is opened.
            changes = [.restored([], acked: acked, expired: expired, sent: sent &- owed)]
            changes += open.chunks.map { .reopened($0) }
        } else {
            changes = [
                .began(at: start), .restored([], acked: acked, expired: expired, sent: 0),
            ]
            changes += settled.ranges.chunks.map {
                .restored($0, acked: 0, expired: 0, sent: 0)
            }
        }
        // Before the starts: what is said of a record answers for the start before it.
        changes += failures.sorted { $0.key < $1.key }.map { .failed($0, $1) }
        for (times, offsets) in Dictionary(grouping: attempts.keys, by: { attempts[$0] ?? 0 }) {
            changes += offsets.ranges.chunks.map { .attempted($0, times: times) }
        }
        for (due, offsets) in Dictionary(grouping: delays.keys, by: { delays[$0] ?? 0 }) {
            changes += offsets.ranges.chunks.map { .delayed($0, due: due) }
        }
        let answered = attempts.keys.filter { delays[$0] == nil && !unanswered.contains($0) }
        changes += answered.ranges.chunks.map { .delayed($0, due: 0) }
        changes += parked.sorted { $0.key < $1.key }.map { .parked($0, $1) }
        return changes
    }

    /// How many records a snapshot of it takes, about.
    var changeCount: Int {
        2 + (settled.ranges.count + 2 * attempts.count) / 100 + delays.count + failures.count
            + parked.count
    }
}

/// A record that nobody is to try until somebody says so.
package struct ParkedRecord: Hashable, Sendable {
    /// Since when, in milliseconds since 1970 UTC.
    package let at: Int64
    /// In a stream, and in a queue that is in order by key, all later records of its key wait
    /// behind it.
    package let isKey: Bool

    package init(at: Int64, isKey: Bool) {
        self.at = at
        self.isKey = isKey
    }
}

/// Something that happened to a partition of a queue group, and holds.
package enum QueueChange: Equatable, Sendable {
    /// The group is owed all from here on.
    case began(at: Int64)
    case acked([Range<Int64>])
    /// Given back, and not to be delivered before the wall time `due`, in milliseconds since 1970
    /// UTC; 0: ready at once.
    case delayed([Range<Int64>], due: Int64)
    /// Handlers began with them, so many times more.
    case attempted([Range<Int64>], times: UInt16)
    /// A handler failed with the record.
    case failed(Int64, FailureTrail)
    /// It is set aside until it is released.
    case parked(Int64, ParkedRecord)
    /// Parked no more, and as if nobody had tried them.
    case released([Range<Int64>])
    /// What was not settled below is gone.
    case expired(below: Int64)
    /// No record has these offsets: nobody owes them, and they are in no account.
    case vacant([Range<Int64>])
    /// On a replay lane: sent to the group again.
    case reopened([Range<Int64>])
    /// On a replay lane: what of it is not handled need not be.
    case takenBack([Range<Int64>])
    /// Of a snapshot: settled before, and how many of them were acked and how many expired; and how
    /// many were sent again.
    case restored([Range<Int64>], acked: Int64, expired: Int64, sent: Int64)
}

extension RandomAccessCollection where Element == Range<Int64>, Index == Int {
    /// Of ranges in order, apart from each other: the first that ends above `offset`.
    func firstIndex(above offset: Int64) -> Int {
        var low = startIndex
        var high = endIndex
        while low < high {
            let middle = low + (high - low) / 2
            if self[middle].upperBound > offset { high = middle } else { low = middle + 1 }
        }
        return low
    }

    func first(above offset: Int64) -> Range<Int64>? {
        let index = firstIndex(above: offset)
        return index < endIndex ? self[index] : nil
    }

    /// The same in parts that each fit into one record.
    var chunks: [[Range<Int64>]] {
        stride(from: 0, to: count, by: 1_000).map { Array(self[$0..<Swift.min($0 + 1_000, count)]) }
    }
}

extension Sequence where Element == Int64 {
    var ranges: [Range<Int64>] {
        var set = RangeSet<Int64>()
        for offset in sorted() { set.insert(contentsOf: offset..<(offset + 1)) }
        return Array(set.ranges)
    }
}

extension Dictionary where Key == Int64 {
    /// Removes what lies in `range`, in as many steps as the smaller of both has.
    fileprivate mutating func forget(_ range: Range<Int64>) {
        if isEmpty { return }
        if range.count < count {
            for offset in range { self[offset] = nil }
        } else {
            self = filter { !range.contains($0.key) }
        }
    }
}
