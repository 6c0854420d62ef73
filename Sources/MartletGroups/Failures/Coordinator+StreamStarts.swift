/// Handlers of stream groups that are about to begin with a record that may have ended the one
/// before. Each start is counted before it happens; when it was the last that the policy allows, and
/// nobody ever said how it went, the policy decides as if a handler had failed.
extension Coordinator {
    package struct StartedRecord: Sendable {
        package let owned: OwnedRecord
        /// Of this start alone, so that asking twice is starting once; 0: none.
        package let number: UInt64
        /// No other suspect record is with a handler of the member.
        package let isAlone: Bool

        package init(_ owned: OwnedRecord, number: UInt64, isAlone: Bool) {
            self.owned = owned
            self.number = number
            self.isAlone = isAlone
        }
    }

    /// What the owner does now.
    package enum StartAnswer: Equatable, Sendable {
        case go
        /// Asks again once no other suspect record is with a handler: this one began before, and
        /// what begins beside it would be taken for why it never ended.
        case alone
        /// Asks again after so long.
        case later(milliseconds: Int64)
        /// Goes on behind it: the record is a dead letter, or was done with before.
        case passed
        /// Gives the partition up: the group stands still there.
        case paused
        /// Goes on behind it, but for later records of its key with `isKey`. It is not done.
        case parked(isKey: Bool)
    }

    /// Whether the record would become a dead letter: then it has to be read first.
    package func isDying(_ name: String, _ started: StartedRecord, at now: Now) -> Bool {
        guard isSpent(name, started) else { return false }
        let failed = abandonment(name, started, at: now)
        let record = started.owned
        let count = groups[name]?.state.queues[.flow(record.partition)]?.attempts[record.offset]
        let decision = decide(
            name, record.place, failed.failure, count ?? 0, isAbandoned: true, at: now)
        guard case .dead = decision else { return false }
        return true
    }

    package func start(
        _ name: String, _ id: MemberID, _ started: StartedRecord, _ content: DeadContent?,
        at now: Now
    ) throws(GroupRefusal) -> (records: [GroupRecord], answer: StartAnswer) {
        if let answer = try decided(name, id, started.owned) { return ([], StartAnswer(answer)) }
        let (key, offset) = (started.owned.partition, started.owned.offset)
        let progress = groups[name]?.state.queues[.flow(key)]
        if isCounted(name, started) { return ([], .go) }
        if isSpent(name, started) {
            let begun = groups[name]?.activity.started[key]
            let holder = begun?.numbers[offset] == nil ? nil : begun?.member
            let outcome = giveUp(
                name, holder, abandonment(name, started, at: now),
                progress?.attempts[offset] ?? 0, content, isAbandoned: true, at: now)
            return (outcome.records, StartAnswer(outcome.answer))
        }
        if progress?.unanswered.contains(offset) == true, !started.isAlone { return ([], .alone) }
        // Beyond that it is only tried more often.
        let hasRoom = progress?.attempts.count ?? 0 < limits.delayedRecordsMax
        guard takesAttempts(name), hasRoom else { return ([], .go) }
        let attempted = QueueChange.attempted([offset..<(offset + 1)], times: 1)
        return ([.queue(group: name, .flow(key), attempted)], .go)
    }

    /// What follows, in memory, once a handler may begin. Nothing of a start that is not counted.
    package mutating func began(_ name: String, _ id: MemberID, _ started: StartedRecord) {
        let (key, epoch) = (started.owned.partition, started.owned.epoch)
        guard let open = groups[name]?.state.queues[.flow(key)]?.unanswered,
            open.contains(started.owned.offset)
        else { return }
        var starts = groups[name]?.activity.started[key] ?? Starts(epoch: epoch, member: id)
        if starts.epoch != epoch { starts = Starts(epoch: epoch, member: id) }
        groups[name]?.activity.started[key] = nil
        starts.keep(open)
        starts.numbers[started.owned.offset] = started.number
        groups[name]?.activity.started[key] = starts
    }

    /// Starts of a member that says by its leave that they came to nothing: they ended no process.
    func givenBack(_ name: String, by id: MemberID) -> [GroupRecord] {
        guard let group = groups[name] else { return [] }
        let starts = group.activity.started.filter { key, starts in
            starts.member == id && group.state.partitions[key]?.epoch == starts.epoch
        }
        return starts.sorted { $0.key < $1.key }.flatMap { key, starts in
            let open = group.state.queues[.flow(key)]?.unanswered ?? RangeSet()
            return starts.numbers.keys.filter { open.contains($0) }.ranges.chunks.map {
                GroupRecord.queue(group: name, .flow(key), .delayed($0, due: 0))
            }
        }
    }

    /// Its answer was lost, and the same start is asked for again.
    private func isCounted(_ name: String, _ started: StartedRecord) -> Bool {
        guard started.number > 0,
            let starts = groups[name]?.activity.started[started.owned.partition]
        else { return false }
        return starts.epoch == started.owned.epoch
            && starts.numbers[started.owned.offset] == started.number
    }

    private func isSpent(_ name: String, _ started: StartedRecord) -> Bool {
        guard limits.plantedBug != .retryForEver, let state = groups[name]?.state else {
            return false
        }
        return !isCounted(name, started)
            && state.queues[.flow(started.owned.partition)]?
                .isSpent(started.owned.offset, state.policy.attemptsMax) == true
    }

    /// What is said in place of the handler that never did.
    private func abandonment(
        _ name: String, _ started: StartedRecord, at now: Now
    ) -> FailedRecord {
        let starts = groups[name]?.activity.started[started.owned.partition]
        let isKnown = starts?.numbers[started.owned.offset] != nil
        let (kind, text) =
            isKnown
            ? ("MemberGone", "its handler began, and its member lost the partition without a word")
            : ("NoOutcome", "its handler began, and nobody said what became of it")
        return FailedRecord(
            started.owned, HandlerFailure(.transient, kind: kind, text: text, at: now.wall))
    }
}

/// Whose handlers began with what of a partition, and under which numbers.
struct Starts: Equatable, Sendable {
    let epoch: Int32
    let member: MemberID
    var numbers: [Int64: UInt64] = [:]

    init(epoch: Int32, member: MemberID) {
        self.epoch = epoch
        self.member = member
    }

    /// More are worth a look at what was answered since.
    private var numbersMax = 1_024

    mutating func keep(_ open: RangeSet<Int64>) {
        guard numbers.count >= numbersMax else { return }
        numbers = numbers.filter { open.contains($0.key) }
        numbersMax = max(1_024, 2 * numbers.count)
    }
}

extension Coordinator.StartAnswer {
    fileprivate init(_ answer: Coordinator.FailureAnswer) {
        switch answer {
        case .again(let milliseconds): self = .later(milliseconds: milliseconds)
        case .dead: self = .passed
        case .paused: self = .paused
        case .parked(let isKey): self = .parked(isKey: isKey)
        }
    }
}
