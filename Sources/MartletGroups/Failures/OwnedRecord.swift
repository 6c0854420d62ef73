/// A record of a partition that a member of a stream group owns.
package struct OwnedRecord: Sendable {
    package let partition: TopicPartition
    /// Under which the member owns it.
    package let epoch: Int32
    package let offset: Int64
    /// Whether others may have to wait behind it.
    package let hasKey: Bool

    package init(
        _ partition: TopicPartition, epoch: Int32, _ offset: Int64, hasKey: Bool = false
    ) {
        self.partition = partition
        self.epoch = epoch
        self.offset = offset
        self.hasKey = hasKey
    }

    var place: RecordPlace { RecordPlace(.flow(partition), offset) }
}

extension Coordinator {
    /// What was decided of the record before, by who asked twice or by an earlier owner; nil: nothing.
    /// Throws when the member does not own it.
    func decided(
        _ name: String, _ id: MemberID, _ record: OwnedRecord
    ) throws(GroupRefusal) -> FailureAnswer? {
        let state = try group(name).state
        try state.kind.check(.stream)
        try checkOwner(name, id, record.partition, epoch: record.epoch)
        guard (0..<Int64.max).contains(record.offset) else {
            throw .invalid(field: "offset", reason: "\(record.offset) is no offset")
        }
        let progress = state.queues[.flow(record.partition)]
        if progress?.isSettled(at: record.offset) == true { return .dead }
        return progress?.parked[record.offset].map { .parked(isKey: $0.isKey) }
    }
}
