/// Records that are sent to a group again, beside its flow: what they do to its offsets and accounts
/// is nothing.
extension Coordinator {
    /// Offsets of a partition that are to be handed out again.
    package struct Replay: Equatable, Sendable {
        package let partition: TopicPartition
        package let ranges: [Range<Int64>]

        package init(_ partition: TopicPartition, _ ranges: [Range<Int64>]) {
            self.partition = partition
            self.ranges = ranges
        }
    }

    /// All of them or none. `count`: offsets that are owed by it and were not before.
    package func replayRecords(
        _ name: String, _ replays: [Replay], bounds: Bounds
    ) throws(GroupRefusal) -> (records: [GroupRecord], count: Int64) {
        let state = try group(name).state
        var seen: Set<TopicPartition> = []
        var records: [GroupRecord] = []
        var count: Int64 = 0
        for replay in replays {
            let key = replay.partition
            try checkExists(key)
            guard seen.insert(key).inserted else {
                throw .invalid(field: "partitions", reason: "\(label(key)) comes twice")
            }
            guard key != state.letters.topic, topics[key.topic]?.name != name + Self.reservedSuffix
            else {
                throw .invalid(
                    field: "partitions",
                    reason: "the group's dead letters are sent again by their numbers")
            }
            try check(replay, bounds(key) ?? 0..<0)
            guard !replay.ranges.isEmpty else { continue }
            let progress = state.queues[.replay(key)] ?? .replay
            let open = progress.openRangeCount + replay.ranges.count
            guard open <= limits.replayRangesMax else {
                throw .limitReached(
                    "\(open) ranges of \(label(key)) would be with the group again, more than "
                        + "\(limits.replayRangesMax)")
            }
            count += replay.ranges.reduce(0) { $0 + progress.settledCount(in: $1) }
            let lane = limits.plantedBug == .replayInFlow ? QueueID.flow(key) : .replay(key)
            records.append(.queue(group: name, lane, .reopened(replay.ranges)))
        }
        return (records, count)
    }

    private func check(_ replay: Replay, _ log: Range<Int64>) throws(GroupRefusal) {
        var end = Int64.min
        for range in replay.ranges {
            guard !range.isEmpty, range.lowerBound >= end else {
                throw .invalid(
                    field: "ranges",
                    reason: "\(range.lowerBound) to \(range.upperBound) is empty or does not come "
                        + "after the one before")
            }
            guard range.lowerBound >= log.lowerBound, range.upperBound <= log.upperBound else {
                throw .outsideLog(
                    "\(range.lowerBound) to \(range.upperBound) of \(label(replay.partition)) do "
                        + "not all lie in its log, \(log.lowerBound) to \(log.upperBound)")
            }
            end = range.upperBound
        }
    }

    /// Takes back what was sent again and is not handled; of all partitions when none is named.
    /// Dead letters stay. `count`: offsets that are owed no more.
    package func cancelReplays(
        _ name: String, _ partitions: [TopicPartition]
    ) throws(GroupRefusal) -> (records: [GroupRecord], count: Int64) {
        let state = try group(name).state
        let lanes = state.openLanes.filter { lane in
            lane != state.letters.lane
                && (partitions.isEmpty || partitions.contains(lane.partition))
        }
        let all: Range<Int64> = 0..<Int64.max
        let count = lanes.reduce(Int64(0)) { sum, lane in
            let open = state.queues[lane]?.open(in: all) ?? []
            return sum + open.reduce(Int64(0)) { $0 + Int64($1.count) }
        }
        return (lanes.sorted().map { .queue(group: name, $0, .takenBack([all])) }, count)
    }

    /// Whether the member is handed what is open on a lane: dead letters anybody, records who reads
    /// their topic.
    func mayReplay(_ state: GroupState, _ id: MemberID, _ lane: QueueID) -> Bool {
        if lane == state.letters.lane { return true }
        guard let topic = topics[lane.partition.topic] else { return false }
        return state.members[id]?.subscription.matches(topic.name) == true
    }

    /// Makes memory agree with what was sent again or taken back.
    mutating func followReplay(_ name: String, _ lane: QueueID, _ change: QueueChange) {
        switch change {
        case .reopened(let ranges):
            readyQueues.insert(name)
            for range in ranges { groups[name]?.activity.queues[lane]?.reopen(range) }
        case .takenBack(let ranges):
            for range in ranges { groups[name]?.activity.queues[lane]?.settle(range) }
            wakeIfFull(name)
        case .began, .acked, .delayed, .attempted, .failed, .expired, .vacant, .parked, .released,
            .restored:
            break
        }
    }
}

/// Where the records of a replay lane are.
package struct ReplayCounts: Equatable, Sendable {
    package let partition: TopicPartition
    /// Sent again in all, and not taken back.
    package let sent: Int64
    package let acked: Int64
    package let expired: Int64
    package let dead: Int64
    /// With members now, and dead letters of it that were sent again.
    package let inFlight: Int64
    package let delayed: Int64
    /// To be handed out.
    package var ready: Int64 {
        max(0, sent &- acked &- expired &- dead &- inFlight &- delayed)
    }
    /// Neither handled nor gone nor dead.
    package var open: Int64 { max(0, sent &- acked &- expired &- dead) }

    init(
        _ key: TopicPartition, _ progress: QueueProgress, _ leases: QueueLeases?, at now: Now
    ) {
        partition = key
        sent = progress.sent
        acked = progress.acked
        expired = progress.expired
        dead = progress.dead - progress.replaying
        inFlight = (leases?.inFlight ?? 0) + progress.replaying
        delayed = Int64(leases?.delayed ?? progress.delayed(at: now))
    }
}
