import MartletFormat
import MartletGroups
import MartletStorage
import MartletWire

/// What the coordinator knows, as it is told on the wire.
extension HeartbeatReply {
    /// What a member owns.
    static func view(_ coordinator: Coordinator, _ key: MemberKey) -> HeartbeatReply {
        do throws(GroupRefusal) {
            return HeartbeatReply(
                try coordinator.view(key.group, key.member), coordinator.topicName)
        } catch {
            return HeartbeatReply(error: error.code, message: error.text)
        }
    }

    /// Nothing has changed since.
    init(unchanged revision: UInt64) {
        self.init()
        self.revision = revision
    }

    init(_ view: MemberView, _ name: (TopicID) -> String?) {
        self.init()
        revision = view.revision
        topics = TopicNaming.all(view.owned.map(\.partition.topic), name)
        partitions = view.owned.map { owned in
            var entry = AssignedPartition()
            entry.owned = OwnedPartition(
                topic: owned.partition.topic, partition: owned.partition.partition,
                epoch: owned.epoch)
            if let committed = owned.committed { entry.committed = CommittedPosition(committed) }
            return entry
        }
    }
}

extension TopicNaming {
    /// Each topic once, with its name.
    static func all(_ ids: [TopicID], _ name: (TopicID) -> String?) -> [TopicNaming] {
        Set(ids).sorted().map { TopicNaming(topic: $0, name: name($0) ?? "") }
    }
}

/// How far a group is behind, from one read of each partition.
struct GroupLag {
    let engine: StorageEngine

    /// A partition as the group has it, with what is in its log now. The commit was read before the
    /// log, which only grows, so the lag is never below 0.
    func line(_ partition: GroupDescription.PartitionLine) -> GroupPartitionLine {
        let key = partition.partition
        var line = GroupPartitionLine()
        line.owned = OwnedPartition(
            topic: key.topic, partition: key.partition, epoch: partition.epoch)
        line.hasOwner = partition.owner != nil
        line.owner = partition.owner?.bits ?? .zero
        line.isLeaving = partition.isLeaving
        if let committed = partition.committed {
            line.committed = CommittedPosition(committed)
            line.committedAt = committed.at
        }
        guard let view = engine.topic(id: key.topic)?.partition(key.partition)?.view else {
            return line
        }
        line.logStart = view.logStart
        line.highWatermark = view.highWatermark
        line.lag = Self.records(partition.committed, view)
        return line
    }

    /// Visible records that the group has not handled. What was never committed lags from the log's
    /// start.
    static func records(_ committed: CommittedOffset?, _ view: LogView) -> Int64 {
        let from = max(committed?.offset ?? 0, view.logStart)
        guard from < view.highWatermark else { return 0 }
        let visible = from..<view.highWatermark
        let finished = (committed?.finished ?? []).reduce(0) {
            $0 + Int64($1.clamped(to: visible).count)
        }
        return max(0, Int64(visible.count) - finished)
    }
}

extension GroupRefusal {
    var code: ErrorCode {
        switch self {
        case .unknownGroup: .unknownGroup
        case .groupExists: .groupExists
        case .fencedMember: .fencedMember
        case .staleEpoch: .staleMemberEpoch
        case .groupNotEmpty: .groupNotEmpty
        case .unknownTopic: .unknownTopicID
        case .unknownPartition: .unknownPartition
        case .limitReached: .limitReached
        case .invalid: .invalidRequest
        }
    }

    var text: String {
        switch self {
        case .unknownGroup, .groupExists, .staleEpoch, .unknownTopic, .unknownPartition: code.text
        case .fencedMember(let reason): reason
        case .groupNotEmpty(let members): "the group has \(members) members; stop them first"
        case .limitReached(let reason): reason
        case .invalid(let field, let reason): "\(field): \(reason)"
        }
    }
}
