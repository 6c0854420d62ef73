/// Records of queues that retention is about to take. Those that a member had, and that are not
/// done, become dead letters first; what nobody ever had is lost, and counts as expired.
extension Coordinator {
    /// Records of a group that were with members, and that are not settled.
    package struct Endangered: Equatable, Sendable {
        package let group: String
        /// In order, some of them at least.
        package let offsets: [Int64]
    }

    /// Of all groups but those in `besides`. At most `max` of each. What lies in a dead letter topic has
    /// no copy of its own: it expires.
    package func endangered(
        _ key: TopicPartition, below offset: Int64, max: Int, besides: Set<String> = []
    ) -> [Endangered] {
        if limits.plantedBug == .forgetRescue || isLetterTopic(key) { return [] }
        return groups.compactMap { name, group in
            guard case .queue = group.state.kind, !besides.contains(name) else { return nil }
            let offsets = group.state.queues[.flow(key)]?.begun(below: offset) ?? []
            return offsets.isEmpty
                ? nil : Endangered(group: name, offsets: Array(offsets.prefix(max)))
        }
    }

    /// Until `keep`, or until that moment of the monotonic clock, no handler begins with what lies
    /// below and nobody had begun with: what somebody begins with while it goes would have no copy,
    /// and while members begin there is always one more to copy.
    package mutating func close(_ key: TopicPartition, below offset: Int64, until: Int64) {
        leaving[key] = Leaving(below: offset, until: until)
    }

    /// Retention has taken what it was to take, or nothing.
    package mutating func keep(_ key: TopicPartition) { leaving[key] = nil }

    /// What retention is about to take.
    struct Leaving: Sendable {
        let below: Int64
        /// Should nobody say how it ended.
        let until: Int64
    }

    /// Whether some of it is about to go, and no handler has begun with it.
    func isLeaving(_ name: String, _ queue: QueueID, _ range: Range<Int64>, at now: Now) -> Bool {
        guard queue.lane == .flow, let leaving = leaving[queue.partition],
            now.monotonic < leaving.until, range.lowerBound < leaving.below,
            limits.plantedBug != .beginWhatGoes
        else { return false }
        let new = groups[name]?.activity.queues[queue]?.notBegun(range) ?? RangeSet()
        return !new.isDisjoint(RangeSet(range.lowerBound..<min(range.upperBound, leaving.below)))
    }

    /// Whether a queue has anything to do with what lies below, or a stream set some of it aside.
    package func isOwed(_ key: TopicPartition, below offset: Int64) -> Bool {
        groups.contains { name, group in
            guard case .queue = group.state.kind else {
                return group.state.queues[.flow(key)]?.parked.keys.contains { $0 < offset } ?? false
            }
            guard let progress = group.state.queues[.flow(key)] else {
                return isUnbegun(name, group.state, key)
            }
            return progress.floor < offset
        }
    }

    /// Whether a queue group is owed all of a partition, and nobody has received from it yet.
    private func isUnbegun(_ name: String, _ state: GroupState, _ key: TopicPartition) -> Bool {
        guard case .queue(.earliest, _) = state.kind, state.queues[.flow(key)] == nil,
            let topic = topics[key.topic], mayRead(name, topic)
        else { return false }
        return state.wants(topic.name) && limits.plantedBug != .loseUnbegun
    }

    /// What has to be recorded before retention takes what lies in `range`, so that queues know what
    /// they lose by it: those that nobody has received from begin with it, and what was no record does
    /// not expire.
    package func losing(
        _ range: Range<Int64>, of key: TopicPartition, gaps: Gaps = { _ in [] }
    ) -> [GroupRecord] {
        let queue = QueueID.flow(key)
        return groups.sorted { $0.key < $1.key }.flatMap { name, group -> [GroupRecord] in
            guard case .queue = group.state.kind else { return [] }
            if let progress = group.state.queues[queue] {
                return vacating(name, queue, progress, gaps, below: range.upperBound)
            }
            guard isUnbegun(name, group.state, key) else { return [] }
            let progress = QueueProgress(start: range.lowerBound)
            return [.queue(group: name, queue, .began(at: progress.start))]
                + vacating(name, queue, progress, gaps, below: range.upperBound)
        }
    }

    /// What became of records that were to be rescued.
    package struct Rescue: Sendable {
        package var records: [GroupRecord] = []
        /// The group may keep no more: for good, or until its topic has what waits for it.
        package var isFull = false
        package var isBusy = false

        package init() {}
    }

    /// Makes dead letters of records that are still open; `bodies`: batches of one record, in order.
    package func rescue(
        _ name: String, _ key: TopicPartition, _ bodies: [(offset: Int64, body: [UInt8])],
        at now: Now
    ) -> Rescue {
        var rescue = Rescue()
        guard let state = groups[name]?.state, let progress = state.queues[.flow(key)] else {
            return rescue
        }
        var kept = state.letters.rescuedBytes
        var (count, waiting) = (state.letters.letters.count, state.letters.waitingBytes)
        // A reset may have left it behind meanwhile.
        for (offset, body) in bodies
        where offset >= progress.start && !progress.isSettled(offset..<(offset + 1)) {
            guard count < limits.lettersMax, kept + Int64(body.count) <= limits.rescueBytesMax
            else {
                rescue.isFull = true
                break
            }
            guard waiting < limits.waitingLetterBytesMax else {
                rescue.isBusy = true
                break
            }
            let number = state.letters.lastNumber + 1 + UInt64(rescue.records.count)
            let entry = rescued(offset, body, of: key, progress, number, at: now)
            (kept, count, waiting) = (kept + Int64(body.count), count + 1, waiting + entry.bytes)
            rescue.records.append(.letter(group: name, .entry(entry)))
        }
        return rescue
    }

    private func rescued(
        _ offset: Int64, _ body: [UInt8], of key: TopicPartition, _ progress: QueueProgress,
        _ number: UInt64, at now: Now
    ) -> LetterEntry {
        let unknown = HandlerFailure(
            .transient, kind: "", text: "no handler has said what became of it", at: now.wall)
        let trail = progress.failures[offset] ?? FailureTrail(first: unknown, last: unknown)
        var entry = LetterEntry(
            .died, number: number, letter: number, origin: RecordPlace(.flow(key), offset),
            trail: trail, at: now.wall)
        entry.topicName = topics[key.topic]?.name ?? ""
        (entry.attempts, entry.deaths) = (UInt32(progress.attempts[offset] ?? 0), 1)
        (entry.reason, entry.body) = (.retention, body)
        return entry
    }

    /// What queues lose when all below is gone, and streams of what they set aside: a record for each
    /// group, and how many it loses.
    package func expiring(
        _ key: TopicPartition, below offset: Int64
    ) -> [(record: GroupRecord, group: String, count: Int64)] {
        groups.sorted { $0.key < $1.key }.compactMap { name, group in
            guard let progress = group.state.queues[.flow(key)] else { return nil }
            let lost: Int64
            switch group.state.kind {
            case .stream: lost = Int64(progress.parked.keys.count { $0 < offset })
            case .queue:
                guard offset > progress.floor else { return nil }
                lost = progress.open(in: progress.start..<offset)
                    .reduce(Int64(0)) { $0 + Int64($1.count) }
            }
            let record = GroupRecord.queue(group: name, .flow(key), .expired(below: offset))
            return lost > 0 ? (record, name, lost) : nil
        }
    }
}

extension QueueProgress {
    /// Records below that a handler began with or failed with, in order.
    fileprivate func begun(below offset: Int64) -> [Int64] {
        Set(attempts.keys).union(failures.keys).filter { $0 < offset && $0 >= start }.sorted()
    }
}

extension DeadLetters {
    /// What was rescued from retention, and is neither handled nor resolved.
    fileprivate var rescuedBytes: Int64 {
        letters.values.reduce(0) { $0 + Int64($1.rescuedBytes) }
    }
}
