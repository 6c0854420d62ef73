/// A member found nothing at the place where it was to read, and its reset policy chose another.
package struct PolicyReset: Equatable, Sendable {
    package enum Reason: UInt8, CaseIterable, Sendable {
        /// The group had committed nothing there: it is new, or the partition is, or the topic was made
        /// again.
        case uncommitted = 1
        /// The log begins behind that place, or ends before it.
        case gone = 2
        /// The records of that place were lost.
        case lost = 3

        package var name: String {
            switch self {
            case .uncommitted: "uncommitted"
            case .gone: "gone"
            case .lost: "lost"
            }
        }
    }

    package let partition: TopicPartition
    package let epoch: Int32
    package let reason: Reason
    /// nil: nowhere.
    package let from: Int64?
    package let to: Int64

    package init(
        partition: TopicPartition, epoch: Int32, reason: Reason, from: Int64?, to: Int64
    ) {
        self.partition = partition
        self.epoch = epoch
        self.reason = reason
        self.from = from
        self.to = to
    }
}

extension Coordinator {
    /// Counts what members' reset policies chose. Kept in memory alone. Returns what was counted:
    /// that of partitions which the member has.
    package mutating func count(
        _ resets: [PolicyReset], _ name: String, _ id: MemberID
    ) -> [PolicyReset] {
        let counted = resets.filter { isOwner(name, id, $0.partition, epoch: $0.epoch) }
        for reset in counted {
            groups[name]?.activity.policyResets[reset.reason, default: 0] &+= 1
        }
        return counted
    }

    private func isOwner(
        _ name: String, _ id: MemberID, _ key: TopicPartition, epoch: Int32
    ) -> Bool {
        do throws(GroupRefusal) {
            try checkOwner(name, id, key, epoch: epoch)
            return true
        } catch {
            return false
        }
    }
}
