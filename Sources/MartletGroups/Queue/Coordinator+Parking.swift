/// Records that are set aside in their place, until somebody says so.
extension Coordinator {
    /// A parked record, for people.
    package struct ParkedLine: Equatable, Sendable {
        package let place: RecordPlace
        package let record: ParkedRecord
        /// Handlers that began with it.
        package let attempts: UInt16
        /// nil: there was no room to keep it.
        package let trail: FailureTrail?
    }

    /// Parked records of a group behind a place, in order.
    package func parked(
        of name: String, after place: RecordPlace?, max: Int
    ) throws(GroupRefusal) -> (lines: [ParkedLine], hasMore: Bool) {
        let state = try group(name).state
        var lines: [ParkedLine] = []
        for (queue, progress) in state.queues.sorted(by: { $0.key < $1.key }) {
            if let place, queue < place.queue { continue }
            let offsets = progress.parked.keys.filter { offset in
                place.map { $0 < RecordPlace(queue, offset) } ?? true
            }
            for offset in offsets.sorted() {
                guard lines.count < max else { return (lines, true) }
                guard let record = progress.parked[offset] else { continue }
                lines.append(
                    ParkedLine(
                        place: RecordPlace(queue, offset), record: record,
                        attempts: progress.attempts[offset] ?? 0,
                        trail: progress.failures[offset]))
            }
        }
        return (lines, false)
    }

    /// Makes parked records ready again.
    package func release(
        _ name: String, _ places: [RecordPlace]
    ) throws(GroupRefusal) -> (records: [GroupRecord], refusals: [Int: GroupRefusal]) {
        let state = try group(name).state
        var taken: [QueueID: Set<Int64>] = [:]
        var refusals: [Int: GroupRefusal] = [:]
        for (index, place) in places.enumerated() {
            if state.queues[place.queue]?.parked[place.offset] == nil {
                refusals[index] = .notParked
            } else {
                taken[place.queue, default: []].insert(place.offset)
            }
        }
        return (Self.releases(name, taken), refusals)
    }

    /// Makes all parked records of a group ready again. Returns how many those are.
    package func releaseAll(
        _ name: String
    ) throws(GroupRefusal) -> (records: [GroupRecord], count: Int) {
        let parked = try group(name).state.queues.mapValues { Set($0.parked.keys) }
        return (Self.releases(name, parked), parked.values.reduce(0) { $0 + $1.count })
    }

    private static func releases(_ name: String, _ offsets: [QueueID: Set<Int64>]) -> [GroupRecord]
    {
        offsets.sorted { $0.key < $1.key }.flatMap { queue, offsets in
            offsets.ranges.chunks.map { GroupRecord.queue(group: name, queue, .released($0)) }
        }
    }

    // MARK: - In memory

    mutating func followParked(_ name: String, _ queue: QueueID, _ offset: Int64, isKey: Bool) {
        guard let progress = groups[name]?.state.queues[queue], progress.parked[offset] != nil
        else { return }
        if groups[name]?.activity.queues[queue]?.park(offset, isKey: isKey, progress) == true {
            readyQueues.insert(name)
        }
        wakeIfFull(name)
    }

    /// What a change makes ready of what is parked now, in order.
    func parked(_ name: String, _ queue: QueueID, of change: QueueChange) -> [Int64] {
        guard case .released(let ranges) = change else { return [] }
        return groups[name]?.state.queues[queue]?.parked(in: ranges) ?? []
    }

    /// `offsets`: in order. The last first: so each comes before those that wait already.
    mutating func followReleased(_ name: String, _ queue: QueueID, _ offsets: [Int64]) {
        guard !offsets.isEmpty else { return }
        for offset in offsets.reversed() { groups[name]?.activity.queues[queue]?.release(offset) }
        readyQueues.insert(name)
    }
}
