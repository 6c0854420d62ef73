/// Where the records of a queue's partition are.
package struct QueueCounts: Equatable, Sendable {
    package let partition: TopicPartition
    /// Where the group began, or was reset to.
    package let start: Int64
    /// All below are settled.
    package let floor: Int64
    package let acked: Int64
    /// Taken by retention before they were handled.
    package let expired: Int64
    /// Dead letters that nobody has handled or resolved.
    package let dead: Int64
    /// With members now, and dead letters that were sent again.
    package let inFlight: Int64
    /// Given back, and not to be delivered yet.
    package let delayed: Int64
    /// Set aside until somebody releases them.
    package let parked: Int64
    private let replaying: Int64
    /// What is not settled, in order, without offsets that no record has.
    private let open: [Range<Int64>]

    /// `gaps`: offsets of the log that no record has.
    init(
        _ key: TopicPartition, _ progress: QueueProgress, _ leases: QueueLeases?, at now: Now,
        gaps: [Range<Int64>] = []
    ) {
        partition = key
        start = progress.start
        floor = progress.floor
        acked = progress.acked
        expired = progress.expired
        dead = progress.dead - progress.replaying
        replaying = progress.replaying
        inFlight = (leases?.inFlight ?? 0) + replaying
        delayed = Int64(leases?.delayed ?? progress.delayed(at: now))
        parked = Int64(progress.parked.count)
        let open = RangeSet(progress.start..<Int64.max).subtracting(progress.settled)
        self.open = Array(open.subtracting(RangeSet(progress.empty(gaps, leases))).ranges)
    }

    /// Visible, and with nobody. In order by key, also what has to wait for others of its key.
    package func ready(below end: Int64) -> Int64 {
        max(0, waiting(below: end) &- inFlight &- delayed &- parked)
    }

    /// Visible, and neither acked nor expired nor dead: the lag.
    package func waiting(below end: Int64) -> Int64 {
        let visible = start..<max(end, start)
        return open.reduce(replaying) { $0 &+ Int64($1.clamped(to: visible).count) }
    }
}

/// Records that were handed to a member.
package struct QueueGrant: Equatable, Sendable {
    package let queue: QueueID
    package let range: Range<Int64>
    /// Of this delivery: what settles them.
    package let number: UInt64
    /// How often handlers began with each of them before.
    package let attempts: UInt16
    /// Their last member was lost with them, or took too long: nobody knows whether a handler began.
    package let isSuspect: Bool
}
