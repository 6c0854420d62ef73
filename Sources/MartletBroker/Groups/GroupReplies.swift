import MartletConfiguration
import MartletFormat
import MartletGroups
import MartletStorage
import MartletWire

/// What the coordinator knows, as it is told on the wire.
extension HeartbeatReply {
    /// What a member owns, and what is new of its group.
    static func view(
        _ coordinator: inout Coordinator, _ key: MemberKey, _ request: HeartbeatRequest
    ) -> HeartbeatReply {
        do throws(GroupRefusal) {
            var reply = HeartbeatReply(
                try coordinator.tell(key.group, key.member), coordinator.topicName)
            reply.add(coordinator, key.group, after: request.news)
            return reply
        } catch {
            return HeartbeatReply(error: error.code, message: error.text)
        }
    }

    /// Nothing has changed since.
    init(unchanged request: HeartbeatRequest) {
        self.init()
        (revision, news) = (request.revision, request.news)
    }

    init(_ view: MemberView, _ name: (TopicID) -> String?) {
        self.init()
        revision = view.revision
        topics = TopicNaming.all(view.owned.map(\.partition.topic), name)
        var ranges = RangeRoom()
        partitions = view.owned.map { owned in
            var entry = AssignedPartition()
            entry.owned = OwnedPartition(
                topic: owned.partition.topic, partition: owned.partition.partition,
                epoch: owned.epoch)
            if let committed = owned.committed { entry.committed = CommittedPosition(committed) }
            ranges.fit(&entry.committed)
            entry.suspectBelow = owned.suspectBelow
            // A broker that let it have more may have written so.
            entry.parked = owned.parked.prefix(WireLimits.parkedMax)
                .map { ParkedOffset($0.offset, isKey: $0.isKey) }
            return entry
        }
    }
}

/// Keeps a reply within what clients read, however many partitions it is about. What is done above an
/// offset and finds no room is handled again.
struct RangeRoom {
    private(set) var left = WireLimits.repliedRangesMax

    mutating func fit(_ committed: inout CommittedPosition) {
        if committed.finished.count > left {
            committed.finished = Array(committed.finished.prefix(left))
        }
        left -= committed.finished.count
    }
}

extension TopicNaming {
    /// Each topic once, with its name.
    static func all(_ ids: [TopicID], _ name: (TopicID) -> String?) -> [TopicNaming] {
        Set(ids).sorted().map { TopicNaming(topic: $0, name: name($0) ?? "") }
    }
}

extension GroupKind {
    init(_ number: UInt8) throws(GroupRefusal) {
        switch number {
        case 0: self = .stream
        case 1: self = .queue(from: .earliest)
        case 2: self = .queue(from: .latest)
        case 3: self = .queue(from: .earliest, order: .byKey)
        case 4: self = .queue(from: .latest, order: .byKey)
        case let other: throw .invalid(field: "kind", reason: "\(other) is not from 0 to 4")
        }
    }

    var number: UInt8 {
        switch self {
        case .stream: 0
        case .queue(.earliest, .free): 1
        case .queue(.latest, .free): 2
        case .queue(.earliest, .byKey): 3
        case .queue(.latest, .byKey): 4
        }
    }
}

extension QueuePartitionLine {
    init(_ counts: QueueCounts, _ engine: StorageEngine) {
        self.init()
        topic = counts.partition.topic
        partition = counts.partition.partition
        start = counts.start
        floor = counts.floor
        acked = counts.acked
        inFlight = counts.inFlight
        delayed = counts.delayed
        parked = counts.parked
        expired = counts.expired
        dead = counts.dead
        let log = engine.topic(id: topic)?.partition(partition)
        guard let end = log?.view.highWatermark else { return }
        highWatermark = end
        ready = counts.ready(below: end)
        lag = counts.waiting(below: end)
    }
}

extension CommitResult {
    /// nil: it was taken.
    init(_ refusal: GroupRefusal?) {
        self.init()
        guard let refusal else { return }
        error = refusal.code
        message = WireLimits.clip(refusal.text)
    }
}

extension GroupRefusal {
    var code: ErrorCode {
        switch self {
        case .unknownGroup: .unknownGroup
        case .groupExists: .groupExists
        case .fencedMember: .fencedMember
        case .staleEpoch, .paused: .staleMemberEpoch
        case .groupNotEmpty, .partitionInUse, .lettersLeft: .groupNotEmpty
        case .resetOutdated: .resetOutdated
        case .wrongKind: .wrongGroupKind
        case .leaseLost, .deadLetter: .leaseLost
        case .unknownLetter: .unknownDeadLetter
        case .quarantined: .deadLetterQuarantined
        case .replaying, .notStored, .entriesLeft: .deadLetterBusy
        case .outsideLog: .offsetOutOfRange
        case .notParked: .notParked
        case .unknownTopic: .unknownTopicID
        case .unknownPartition: .unknownPartition
        case .limitReached: .limitReached
        case .invalid: .invalidRequest
        }
    }

    var text: String {
        switch self {
        case .wrongKind(.stream): "the group is a stream: its members own partitions"
        case .wrongKind(.queue): "the group is a queue: its members receive and settle records"
        case .unknownGroup, .groupExists, .staleEpoch, .leaseLost, .unknownTopic,
            .unknownPartition, .unknownLetter, .notParked:
            code.text
        case .deadLetter(let offset):
            "offset \(offset) is a dead letter: its record died before this was said"
        case .replaying: "the dead letter is with its group again"
        case .notStored: "the dead letter is not in its topic yet; try again soon"
        case .quarantined(let replays):
            "the dead letter was sent to its group \(Counted.text(replays, "time")): raise the limit "
                + "to send it again"
        case .lettersLeft(let count):
            "the group has \(Counted.text(count, "dead letter")) neither handled nor resolved"
        case .entriesLeft(let count):
            "the group's dead letter topic does not have \(count) of its entries yet; try again soon"
        case .fencedMember(let reason): reason
        case .paused: "the group is paused there: nobody owns the partition until it is resumed"
        case .partitionInUse(let what): "\(what) is in use: pause the group there, or force it"
        case .resetOutdated(let what), .outsideLog(let what): what
        case .groupNotEmpty(let members):
            "the group has \(Counted.text(members, "member")); stop \(members == 1 ? "it" : "them") first"
        case .limitReached(let reason): reason
        case .invalid(let field, let reason): "\(field): \(reason)"
        }
    }
}
