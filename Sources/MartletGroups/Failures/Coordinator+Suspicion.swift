/// Partitions whose owner was lost without a word: it ended, hung, or gave nothing up in time. Any
/// record that it was served and did not commit may be why. The next owners are told up to where, and
/// say before each such record that its handler begins (`start`).
///
/// What was served is kept in memory alone. After a restart nobody knows: then it is as much as an
/// owner can have in hand, and the broker knows where the log ends.
extension Coordinator {
    /// A member was handed what lies in `range` of a partition that it owns.
    package mutating func served(
        _ name: String, _ id: MemberID, _ key: TopicPartition, epoch: Int32, _ range: Range<Int64>
    ) {
        guard let partition = groups[name]?.state.partitions[key], partition.owner == id,
            partition.epoch == epoch
        else { return }
        var served = groups[name]?.activity.served[key] ?? Served(epoch: epoch)
        if served.epoch != epoch { served = Served(epoch: epoch) }
        served.add(range)
        groups[name]?.activity.served[key] = served
    }

    /// A member ends, with nothing in hand, and keeps what it owns for who comes back in its place:
    /// nothing that it was served is why.
    package mutating func rest(_ name: String, _ id: MemberID) {
        for (key, partition) in groups[name]?.state.partitions ?? PartitionTable()
        where partition.owner == id {
            groups[name]?.activity.served[key] = Served(epoch: partition.epoch)
        }
    }

    /// Before the owner of the partitions is known to be gone.
    func suspicions(_ name: String, ofAllFrom id: MemberID) -> [GroupRecord] {
        guard let partitions = groups[name]?.state.partitions else { return [] }
        return partitions.filter { $0.value.owner == id }.map { $0.key }.sorted()
            .compactMap { suspicion(name, $0) }
    }

    /// nil: nothing of it can be why, or all that can is suspect already.
    func suspicion(_ name: String, _ key: TopicPartition) -> GroupRecord? {
        guard let group = groups[name], let partition = group.state.partitions[key],
            partition.owner != nil, limits.plantedBug != .trustLostOwners
        else { return nil }
        let committed = partition.committed?.offset ?? 0
        let most = limits.suspectRecordsMax
        let finished = partition.committed?.finished ?? []
        var below = finished.end(of: most, from: committed)
        if let served = group.activity.served[key], served.epoch == partition.epoch {
            let first = max(committed, served.lowerBound)
            below = min(served.upperBound, finished.end(of: most, from: first))
        }
        guard below > max(committed, partition.suspectBelow) else { return nil }
        return .suspected(group: name, key, below: below)
    }

    /// Nothing was served under a new epoch.
    mutating func followGrants(_ record: GroupRecord) {
        switch record {
        case .granted(let name, let key, _, let epoch):
            groups[name]?.activity.served[key] = Served(epoch: epoch)
        case .joined(let name, let id, _, .some):
            for (key, partition) in groups[name]?.state.partitions ?? PartitionTable()
            where partition.owner == id {
                groups[name]?.activity.served[key] = Served(epoch: partition.epoch)
            }
        case .forgotten(let name, let key):
            groups[name]?.activity.served[key] = nil
            groups[name]?.activity.started[key] = nil
        case .joined(_, _, _, nil), .created, .deleted, .left, .departed, .freed, .committed,
            .paused, .resumed, .reset, .restarted, .queue, .policy, .letter, .breaker, .suspected,
            .expired:
            break
        }
    }
}

/// What an owner was handed of its partition under one epoch, all of it in this start of the broker.
struct Served: Equatable, Sendable {
    let epoch: Int32
    /// Of what came first.
    private(set) var lowerBound: Int64 = 0
    private(set) var upperBound: Int64 = 0

    init(epoch: Int32) {
        self.epoch = epoch
    }

    mutating func add(_ range: Range<Int64>) {
        if range.isEmpty || range.lowerBound < 0 { return }
        lowerBound = upperBound == 0 ? range.lowerBound : min(lowerBound, range.lowerBound)
        upperBound = max(upperBound, range.upperBound)
    }
}

extension [Range<Int64>] {
    /// Behind so many offsets from `first` on that lie in none of these: what is done is not counted,
    /// however far the first that is not done lies behind.
    fileprivate func end(of count: Int64, from first: Int64) -> Int64 {
        var (at, left) = (first, count)
        for range in self where range.upperBound > at {
            let gap = Swift.max(0, range.lowerBound.subtractingReportingOverflow(at).0)
            if gap >= left { break }
            left -= gap
            at = range.upperBound
        }
        return at.adding(left)
    }
}
