package import MartletFormat

/// Where each record of a queue is that is owed, for people: ready, in flight, delayed or parked.
/// What is dead is listed by its letters.
extension Coordinator {
    /// What is becoming of a record now.
    package enum RecordState: UInt8, CaseIterable, Hashable, Sendable {
        /// Nobody has it. In a queue in order also what waits behind another of its key.
        case ready = 0
        /// A member has it, or the broker itself, to decide what becomes of it.
        case inFlight = 1
        /// It waits for its time.
        case delayed = 2
        /// It waits for a person.
        case parked = 3
    }

    /// Records that follow each other and are alike.
    package struct RecordRun: Equatable, Sendable {
        package let queue: QueueID
        package internal(set) var range: Range<Int64>
        package let state: RecordState
        /// Handlers that began with them.
        package let attempts: UInt16
        /// Of what is in flight; nil: the broker has it.
        package let member: MemberID?
        /// When the lease or the delay is over, or since when it is parked, in milliseconds since
        /// 1970 UTC; nil: neither.
        package let at: Int64?
        /// What the last handler said.
        package let failure: HandlerFailure?

        fileprivate func isLike(_ other: RecordRun) -> Bool {
            queue == other.queue && range.upperBound == other.range.lowerBound
                && state == other.state && attempts == other.attempts && member == other.member
                && at == other.at && failure == nil && other.failure == nil
        }
    }

    package struct RecordPage: Equatable, Sendable {
        package var runs: [RecordRun] = []
        /// Where to go on; nil: that is all.
        package var next: RecordPlace?
    }

    /// What a look asks for.
    package struct RecordQuery: Sendable {
        package var states = Set(RecordState.allCases)
        /// nil: all topics.
        package var topic: TopicID?
        /// nil: from the first.
        package var place: RecordPlace?
        package var runsMax = 1_000

        package init() {}
    }

    /// A page is over after so many steps, however few of them it was asked for: nobody else gets
    /// the group's shard meanwhile.
    static let recordStepsMax = 50_000

    /// Records of a queue group, and what was sent again to any group, in order of their places.
    package func records(
        of name: String, _ query: RecordQuery, bounds: Bounds, at now: Now
    ) throws(GroupRefusal) -> RecordPage {
        let group = try group(name)
        var page = RecordPage()
        var steps = Self.recordStepsMax
        for (queue, progress) in group.state.queues.sorted(by: { $0.key < $1.key }) {
            if let place = query.place, queue < place.queue { continue }
            if let topic = query.topic, queue.partition.topic != topic { continue }
            // Of a stream's flow only what failed is known.
            guard queue.lane == .replay || group.state.kind != .stream,
                let log = bounds(queue.partition)
            else { continue }
            var leases = group.activity.queues[queue] ?? QueueLeases(progress, at: now)
            // What is over by now may not have been looked at yet.
            _ = leases.expire(at: now.monotonic)
            let from = query.place?.queue == queue ? query.place?.offset ?? 0 : 0
            let first = max(from, log.lowerBound)
            var walk = RecordWalk(queue, progress, leases, from: first, now)
            var at = first
            while let run = walk.next(at: at, below: log.upperBound) {
                at = run.range.lowerBound
                steps -= 1
                guard steps > 0, page.take(run, query) else {
                    page.next = RecordPlace(queue, at)
                    return page
                }
                at = run.range.upperBound
            }
        }
        return page
    }
}

extension Coordinator.RecordPage {
    /// False: there is no room for it.
    fileprivate mutating func take(
        _ run: Coordinator.RecordRun, _ query: Coordinator.RecordQuery
    ) -> Bool {
        guard query.states.contains(run.state) else { return true }
        if let last = runs.last, last.isLike(run) {
            runs[runs.count - 1].range = last.range.lowerBound..<run.range.upperBound
            return true
        }
        guard runs.count < query.runsMax else { return false }
        runs.append(run)
        return true
    }
}

/// Goes through a queue's partition from run to run.
private struct RecordWalk {
    private let queue: QueueID
    private let progress: QueueProgress
    private let leases: QueueLeases
    private let now: Now
    /// Records of which something is known by themselves, in order.
    private var marks: ArraySlice<Int64>

    init(
        _ queue: QueueID, _ progress: QueueProgress, _ leases: QueueLeases, from: Int64, _ now: Now
    ) {
        (self.queue, self.progress, self.leases, self.now) = (queue, progress, leases, now)
        var marks = Set(progress.attempts.keys).union(progress.delays.keys)
        marks.formUnion(progress.failures.keys)
        marks.formUnion(progress.parked.keys)
        self.marks = marks.filter { $0 >= from }.sorted()[...]
    }

    /// The first run at or above `offset` that is owed.
    mutating func next(at offset: Int64, below end: Int64) -> Coordinator.RecordRun? {
        var at = max(offset, progress.start)
        while at < end, let settled = progress.settledRange(at: at) { at = settled.upperBound }
        guard at < end else { return nil }
        while let mark = marks.first, mark < at { marks.removeFirst() }
        let alike = at..<alikeEnd(at, min(end, progress.nextSettled(above: at) ?? end))
        if progress.parked[at] == nil, let lease = leases.firstOut(in: alike) {
            let held = lease.range.clamped(to: alike)
            guard held.lowerBound == at else { return waiting(at..<held.lowerBound) }
            return run(
                held, .inFlight, at: now.wall(of: lease.deadline),
                member: lease.member == .nobody ? nil : lease.member)
        }
        return waiting(alike)
    }

    /// Up to where nothing is known of single records, or behind one of which something is.
    private func alikeEnd(_ at: Int64, _ end: Int64) -> Int64 {
        guard let mark = marks.first else { return end }
        return mark == at ? at + 1 : min(mark, end)
    }

    private func waiting(_ range: Range<Int64>) -> Coordinator.RecordRun {
        let at = range.lowerBound
        if let parked = progress.parked[at] { return run(range, .parked, at: parked.at) }
        guard leases.delaying.contains(at) else { return run(range, .ready, at: nil) }
        return run(range, .delayed, at: progress.delays[at])
    }

    private func run(
        _ range: Range<Int64>, _ state: Coordinator.RecordState, at: Int64?,
        member: MemberID? = nil
    ) -> Coordinator.RecordRun {
        let offset = range.lowerBound
        return Coordinator.RecordRun(
            queue: queue, range: range, state: state, attempts: progress.attempts[offset] ?? 0,
            member: member, at: at, failure: progress.failures[offset]?.last)
    }
}

extension Now {
    /// A moment of the monotonic clock, as people know it.
    fileprivate func wall(of monotonic: Int64) -> Int64 {
        let (left, overflow) = monotonic.subtractingReportingOverflow(self.monotonic)
        guard !overflow else { return .max }
        return wall.adding(left / 1_000_000)
    }
}
