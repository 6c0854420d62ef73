package import MartletFormat

/// How far groups are.
extension Coordinator {
    /// One partition of a commit.
    package struct Commit: Sendable {
        package let partition: TopicPartition
        package let epoch: Int32
        package let committed: CommittedOffset
        /// Up to where the partition could be read when the commit came: it does not go back while
        /// the broker runs. nil: not known.
        package let end: Int64?

        package init(
            partition: TopicPartition, epoch: Int32, committed: CommittedOffset, end: Int64?
        ) {
            self.partition = partition
            self.epoch = epoch
            self.committed = committed
            self.end = end
        }
    }

    /// The record of a commit, or why there is none. Without a member it sets the offsets of a
    /// group that has none.
    package func commit(
        _ name: String, _ id: MemberID?, _ commit: Commit
    ) throws(GroupRefusal) -> GroupRecord {
        let group = try group(name)
        try group.state.kind.check(.stream)
        if let id {
            try checkOwner(name, id, commit.partition, epoch: commit.epoch)
        } else {
            guard group.state.members.isEmpty else {
                throw .groupNotEmpty(members: group.state.members.count)
            }
            try checkExists(commit.partition)
        }
        try check(commit.committed)
        try checkWasThere(commit)
        let bytes =
            group.state.detailBytes + commit.committed.detailBytes
            - group.state.detailBytes(of: commit.partition)
        guard bytes <= limits.commitBytesMax else {
            throw .limitReached(
                "metadata and ranges of the group's commits take \(bytes) bytes, more than "
                    + "\(limits.commitBytesMax)")
        }
        return .committed(group: name, commit.partition, commit.committed)
    }

    /// The owner takes no more of a partition: it passes over so many records that wait behind parked
    /// ones, that a commit could not say more. The group stands still there.
    package func stop(
        _ name: String, _ key: TopicPartition, at now: Now
    ) throws(GroupRefusal) -> [GroupRecord] {
        let state = try group(name).state
        guard !state.isPaused(key), state.paused.count < limits.pausesMax else { return [] }
        return [.paused(group: name, PausePlace(key), at: now.wall)]
    }

    /// A member's commits count in the order of their numbers: one that was on its way on a
    /// connection that broke must not undo what the member said later on another. 0 is not held
    /// against anything; the same number may come again.
    package mutating func takeCommit(
        _ name: String, _ id: MemberID, number: UInt64
    ) throws(GroupRefusal) {
        guard number > 0, let last = try group(name).activity.sessions[id]?.lastCommit else {
            return
        }
        guard number >= last else {
            throw .invalid(field: "number", reason: "\(number) comes after \(last)")
        }
        groups[name]?.activity.sessions[id]?.lastCommit = number
    }

    /// Adds what a member says of its handlers. Kept in memory alone, like a counter.
    package mutating func handled(_ name: String, _ times: HandlerTimesByType) {
        if times.isEmpty { return }
        groups[name]?.activity.handled.add(times)
    }

    /// What is invented must not be remembered.
    func checkExists(_ key: TopicPartition) throws(GroupRefusal) {
        guard let topic = topics[key.topic] else { throw .unknownTopic }
        guard (0..<topic.partitions).contains(key.partition) else { throw .unknownPartition }
    }

    /// Nobody has handled what nobody can have read. What comes there later would be passed over.
    private func checkWasThere(_ commit: Commit) throws(GroupRefusal) {
        guard let end = commit.end, limits.plantedBug != .commitAheadOfLog else { return }
        let (key, committed) = (commit.partition, commit.committed)
        guard committed.offset <= end else {
            throw .outsideLog(
                "offset \(committed.offset) of \(label(key)) lies above its end, \(end)")
        }
        guard let last = committed.finished.last, last.upperBound > end else { return }
        throw .outsideLog(
            "offsets \(last.lowerBound) to \(last.upperBound - 1) of \(label(key)) cannot be finished: "
                + "its end is \(end)")
    }

    private func check(_ committed: CommittedOffset) throws(GroupRefusal) {
        guard committed.offset >= 0 else {
            throw .invalid(field: "offset", reason: "\(committed.offset) is below 0")
        }
        guard committed.metadata.utf8.count <= limits.metadataBytesMax else {
            throw .invalid(
                field: "metadata",
                reason: "\(committed.metadata.utf8.count) bytes are more than "
                    + "\(limits.metadataBytesMax)")
        }
        guard committed.finished.count <= limits.finishedRangesMax else {
            throw .invalid(
                field: "finished",
                reason: "\(committed.finished.count) ranges are more than "
                    + "\(limits.finishedRangesMax)")
        }
        var end = committed.offset
        for range in committed.finished {
            guard range.lowerBound > end, !range.isEmpty else {
                throw .invalid(
                    field: "finished",
                    reason: "\(range.lowerBound) to \(range.upperBound) is empty or does not lie "
                        + "above \(end) and apart from it")
            }
            end = range.upperBound
        }
    }
}
