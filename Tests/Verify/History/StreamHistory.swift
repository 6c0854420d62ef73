/// What members of the stream group were given, handled and committed.
struct StreamHistory {
    fileprivate struct Owner {
        let member: String
        var hasReleased = false
    }

    private struct Member {
        var instance: String?
        var heard = Int64.min / 2
        var hasLeft = false
        /// Another process has its name.
        var isReplaced = false
    }

    fileprivate struct Commit: Hashable {
        let process: Int
        let number: Int64
        let partition: Int32
    }

    fileprivate struct Partition {
        var owners: [Int32: Owner] = [:]
        /// The highest epoch that anybody was told of.
        var epoch: Int32 = 0
        /// For each epoch the highest offset whose commit was taken.
        var taken: [Int32: Int64] = [:]
        /// Handled offsets: all below this, and these.
        var handledBelow: Int64 = 0
        var handled: Set<Int64> = []
    }

    /// In which ways its members handle their records.
    private static let kinds: Set<String> = ["serial", "unordered", "key"]
    /// Of the clock and its milliseconds.
    private static let slack: Int64 = 5_000_000

    private var partitions: [Int32: Partition] = [:]
    private var members: [String: Member] = [:]
    /// How each process handles its records; nil: it is no member.
    private var modes: [Int: String] = [:]
    /// The names of processes that have one.
    private var instances: [Int: String] = [:]
    private var readings: [Assignment: Reading] = [:]
    private var open: [Commit: (offset: Int64, isStale: Bool)] = [:]
    private var looks: [Int64: [Int32: Int64]] = [:]

    fileprivate struct Assignment: Hashable {
        let process: Int
        let partition: Int32
        let epoch: Int32
    }

    /// What a process handles under one assignment.
    private struct Reading {
        /// Who reads one after the other has come so far.
        var next: Int64
        let finished: [Range<Int64>]
        var seen: Set<Int64> = []
        /// By lane, which is the key: what is being handled, and the last that was.
        var running: [Int: Int64] = [:]
        var last: [Int: Int64] = [:]
    }

    mutating func take(_ event: HistoryEvent, _ findings: inout Findings) {
        switch (event.operation, event.phase) {
        case (.start, _):
            guard Self.kinds.contains(event.word) else { return }
            modes[event.process] = event.word
            if !event.member.isEmpty { instances[event.process] = event.member }
        case (.join, _): join(event)
        case (.heard, _): members[event.member, default: Member()].heard = event.asked
        case (.leave, _): members[event.member, default: Member()].hasLeft = true
        case (.release, _): release(event)
        case (.assign, _): assign(event, &findings)
        case (.begin, _): begin(event, &findings)
        case (.done, _): done(event)
        case (.commit, .invoke?): commit(event, &findings)
        case (.commit, .ok?): isTaken(event, &findings)
        case (.committed, .invoke?): looks[event.number] = partitions.mapValues(\.takenMax)
        case (.committed, .ok?):
            guard let least = looks[event.number]?[event.partition] else { return }
            findings.check(
                .commitMonotone, event.offset >= least,
                "partition \(event.partition): \(event.offset) after \(least)")
        default: break
        }
    }

    // MARK: - Who owns what

    private mutating func join(_ event: HistoryEvent) {
        if members[event.member] == nil {
            members[event.member] = Member(instance: instances[event.process])
        } else {
            // It was out of the group, and comes back under its id: what it had is not its own.
            for (number, partition) in partitions {
                for (epoch, owner) in partition.owners where owner.member == event.member {
                    partitions[number]?.owners[epoch]?.hasReleased = true
                }
            }
        }
        guard let instance = instances[event.process] else { return }
        for (id, member) in members where id != event.member && member.instance == instance {
            members[id]?.isReplaced = true
        }
    }

    private mutating func release(_ event: HistoryEvent) {
        partitions[event.partition]?.owners[event.epoch]?.hasReleased = true
    }

    private mutating func assign(_ event: HistoryEvent, _ findings: inout Findings) {
        var partition = partitions[event.partition] ?? Partition()
        defer { partitions[event.partition] = partition }
        let place = "partition \(event.partition), epoch \(event.epoch)"
        let known = partition.owners[event.epoch]
        findings.check(
            .doubleOwner, known.map { $0.member == event.member } ?? true,
            "\(place): \(known?.member ?? "") and \(event.member)")
        let former = partition.owners.filter { $0.key < event.epoch }.max { $0.key < $1.key }
        if event.epoch > partition.epoch, let former = former?.value,
            former.member != event.member
        {
            findings.check(
                .doubleOwner, hasEnded(former, by: event.time),
                "\(place): \(event.member) before \(former.member) had given it up")
        }
        let least = partition.taken.filter { $0.key < event.epoch }.values.max() ?? -1
        findings.check(
            .commitMonotone, event.offset >= least,
            "\(place): from \(event.offset), \(least) is committed")
        if known == nil { partition.owners[event.epoch] = Owner(member: event.member) }
        partition.epoch = max(partition.epoch, event.epoch)
        readings[Assignment(event)] = Reading(next: max(0, event.offset), finished: event.ranges)
    }

    private func hasEnded(_ owner: Owner, by time: Int64) -> Bool {
        guard let member = members[owner.member], !owner.hasReleased, !member.hasLeft,
            !member.isReplaced
        else { return true }
        return time >= member.heard + HistoryWorker.session.nanoseconds - Self.slack
    }

    // MARK: - Handlers

    private mutating func begin(_ event: HistoryEvent, _ findings: inout Findings) {
        guard let mode = modes[event.process],
            var reading = readings.removeValue(forKey: Assignment(event))
        else { return }
        defer { readings[Assignment(event)] = reading }
        let place = "process \(event.process), partition \(event.partition) offset \(event.offset)"
        if mode == "serial" {
            let isInOrder =
                event.offset >= reading.next
                && (reading.next..<event.offset).allSatisfy { offset in
                    reading.finished.contains { $0.contains(offset) }
                }
            findings.check(.orderPoll, isInOrder, "\(place), expected \(reading.next)")
            reading.next = event.offset + 1
        }
        findings.check(
            .orderPoll, reading.seen.insert(event.offset).inserted, "\(place), a second time")
        guard mode == "key", let lane = event.payload?.lane else { return }
        let running = reading.running[lane]
        findings.check(
            .keyOrder, running == nil && event.offset > reading.last[lane] ?? -1,
            "\(place), key \(lane): after \(reading.last[lane] ?? -1), beside \(running ?? -1)")
        reading.running[lane] = event.offset
        reading.last[lane] = event.offset
    }

    private mutating func done(_ event: HistoryEvent) {
        guard modes[event.process] != nil else { return }
        var partition = partitions.removeValue(forKey: event.partition) ?? Partition()
        partition.handle(event.offset)
        partitions[event.partition] = partition
        guard let lane = event.payload?.lane else { return }
        if readings[Assignment(event)]?.running[lane] == event.offset {
            readings[Assignment(event)]?.running[lane] = nil
        }
    }

    // MARK: - Commits

    private mutating func commit(_ event: HistoryEvent, _ findings: inout Findings) {
        let partition = partitions[event.partition] ?? Partition()
        let open = partition.firstUnhandled(below: event.offset, event.ranges)
        findings.check(
            .commitAhead, open == nil,
            "partition \(event.partition): \(event.offset) is committed, \(open ?? -1) was not handled"
        )
        self.open[Commit(event)] = (event.offset, event.epoch < partition.epoch)
    }

    private mutating func isTaken(_ event: HistoryEvent, _ findings: inout Findings) {
        guard let (offset, isStale) = open.removeValue(forKey: Commit(event)) else { return }
        findings.check(
            .staleCommit, !isStale,
            "partition \(event.partition): \(offset) of epoch \(event.epoch), when others had it")
        guard !isStale else { return }
        partitions[event.partition]?.take(offset, event.epoch)
    }

    func close(_ acked: [Payload.Name: LogHistory.Place], _ findings: inout Findings) {
        for (payload, place) in acked {
            findings.check(
                .unhandled, partitions[place.partition]?.isHandled(place.offset) ?? false,
                "by the stream group: \(payload)")
        }
    }
}

extension StreamHistory.Assignment {
    fileprivate init(_ event: HistoryEvent) {
        (process, partition, epoch) = (event.process, event.partition, event.epoch)
    }
}

extension StreamHistory.Commit {
    fileprivate init(_ event: HistoryEvent) {
        (process, number, partition) = (event.process, event.number, event.partition)
    }
}

extension StreamHistory.Partition {
    fileprivate var takenMax: Int64 { taken.values.max() ?? -1 }

    fileprivate mutating func take(_ offset: Int64, _ epoch: Int32) {
        taken[epoch] = max(taken[epoch] ?? -1, offset)
    }

    fileprivate func isHandled(_ offset: Int64) -> Bool {
        offset < handledBelow || handled.contains(offset)
    }

    fileprivate mutating func handle(_ offset: Int64) {
        if isHandled(offset) { return }
        handled.insert(offset)
        while handled.remove(handledBelow) != nil { handledBelow += 1 }
    }

    /// nil: all below `offset`, and all of the ranges, was handled.
    fileprivate func firstUnhandled(below offset: Int64, _ ranges: [Range<Int64>]) -> Int64? {
        if offset > handledBelow { return handledBelow }
        return ranges.lazy.flatMap { $0 }.first { !isHandled($0) }
    }
}
