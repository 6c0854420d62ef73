/// A reset of a queue group: its partitions begin anew. What lies below is owed no more, and all the
/// rest is owed again, also what was acked; nothing of what was known of it counts any more, and no
/// delivery of before.
///
/// Dead letters stay: what is dead is not owed beside its letter, and one that lies below is left out
/// of the accounts. What was sent again is beside the flow, and stays as it is.
package struct QueueRestart: Hashable, Sendable {
    package let partition: TopicPartition
    /// The first that is owed.
    package let offset: Int64

    package init(_ partition: TopicPartition, at offset: Int64) {
        self.partition = partition
        self.offset = offset
    }
}

extension Coordinator {
    /// One record for all of them, so that they hold together or not at all.
    func restart(
        _ name: String, _ resets: [Reset], isForced: Bool
    ) throws(GroupRefusal) -> [GroupRecord] {
        guard !resets.isEmpty else { return [] }
        try check(resets)
        let group = try group(name)
        for reset in resets {
            let key = reset.partition
            guard key != group.state.letters.topic,
                topics[key.topic]?.name != name + Self.reservedSuffix
            else {
                throw .invalid(
                    field: "entries",
                    reason: "the group's dead letters are sent again by their numbers")
            }
            let held = group.activity.queues[.flow(key)]?.inFlight ?? 0
            guard isForced || held == 0 || group.state.isPaused(key) else {
                throw .partitionInUse(label(key))
            }
            let floor = group.state.queues[.flow(key)]?.floor ?? -1
            try check(reset, isAt: floor, isForced: isForced)
        }
        return [
            .restarted(
                group: name, resets.map { QueueRestart($0.partition, at: $0.offset) })
        ]
    }

    /// Whoever had something of it has it no more.
    mutating func follow(_ name: String, _ restarts: [QueueRestart]) {
        for restart in restarts where limits.plantedBug != .resetKeepsLeases {
            groups[name]?.activity.queues[.flow(restart.partition)] = nil
        }
        readyQueues.insert(name)
        wakeIfFull(name)
    }
}

extension GroupState {
    mutating func apply(_ restarts: [QueueRestart]) {
        for restart in restarts {
            queues[.flow(restart.partition)] = QueueProgress(start: restart.offset)
        }
        guard !letters.letters.isEmpty else { return }
        let anew = Set(restarts.map { QueueID.flow($0.partition) })
        let dead = letters.letters.values.filter { anew.contains($0.origin.queue) }
        for letter in dead.sorted(by: { $0.origin.offset < $1.origin.offset }) {
            queues[letter.origin.queue]?.close(letter.origin.offset)
            count(letter.origin, dead: 1, replaying: letter.isReplaying ? 1 : 0)
        }
    }

    /// What becomes of a dead letter, in the accounts of where it came from. A reset may have left that
    /// behind: then it counts nowhere.
    mutating func count(
        _ origin: RecordPlace, dead: Int64 = 0, replaying: Int64 = 0, acked: Int64 = 0,
        expired: Int64 = 0
    ) {
        guard let start = queues[origin.queue]?.start, start <= origin.offset else { return }
        queues[origin.queue]?.dead &+= dead
        queues[origin.queue]?.replaying &+= replaying
        queues[origin.queue]?.acked &+= acked
        queues[origin.queue]?.expired &+= expired
    }
}
