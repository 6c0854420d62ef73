import MartletFormat

/// A group: what `$groups` says of it, and what only this start of the broker knows.
///
/// It lies in the dictionary of groups itself. Boxed, behind `_read` and `_modify`, it would take some
/// 75 bytes less for each committed offset, but with Swift 6.3.1 debug builds then read a state that
/// was gone as soon as it had one field more.
struct Group {
    var state: GroupState
    var activity = GroupActivity()
}

/// What survives a restart. Changed by `replay` alone.
struct GroupState: Equatable, Sendable {
    let createdAt: Int64
    let kind: GroupKind
    /// Somebody made it by its name: it is there until somebody deletes it.
    let isNamed: Bool
    private(set) var members: [MemberID: Member] = [:]
    /// What those wanted who left since somebody joined last, or whom the group was made for. So a
    /// group is behind in what nobody of it reads now. All of it was said by members at one time:
    /// it is no more than they may say.
    private(set) var departed = Subscription([])
    /// Since when nobody is in it, in milliseconds since 1970 UTC; nil: somebody is, or nobody ever
    /// was.
    private(set) var emptySince: Int64?
    /// Of a stream group.
    private(set) var partitions = PartitionTable()
    /// What commits say beside their offsets.
    private(set) var detailBytes = 0
    /// What stands still, and since when, in milliseconds since 1970 UTC.
    var paused: [PausePlace: Int64] = [:]
    /// What members of a queue group are handed, and what is sent again to any group. Of a stream
    /// group's flow only what failed is known.
    var queues: [QueueID: QueueProgress] = [:]
    /// Replay lanes on which something is owed.
    private(set) var openLanes: Set<QueueID> = []
    private(set) var policy = FailurePolicy()
    private(set) var breaker = BreakerState.closed
    /// Records that were gone before they were handled, also of queues that were reset since.
    private(set) var expired: Int64 = 0
    var letters = DeadLetters()

    init(createdAt: Int64, kind: GroupKind, isNamed: Bool) {
        self.isNamed = isNamed
        self.createdAt = createdAt
        self.kind = kind
    }

    /// What the group knows something of.
    var keys: Set<TopicPartition> { Set(partitions.keys).union(queues.keys.map(\.partition)) }

    /// Whether its members, or those who were, want the topic.
    func wants(_ topic: String) -> Bool {
        departed.matches(topic) || members.values.contains { $0.subscription.matches(topic) }
    }

    /// Whom an instance id belongs to.
    func holder(of instance: String) -> MemberID? {
        members.first { $0.value.instance == instance }?.key
    }

    mutating func apply(_ record: GroupRecord) {
        switch record {
        case .created, .deleted: break  // The coordinator's to apply.
        case .joined(_, let id, let member, let former):
            if let former {
                members[former] = nil
                handOver(from: former, to: id)
            }
            members[id] = member
            // They are all that there is now: others may never come again.
            departed = Subscription([])
            emptySince = nil
        case .left(_, let id, let at):
            if let gone = members.removeValue(forKey: id) { departed.add(gone.subscription) }
            if members.isEmpty { emptySince = at }
            for (key, partition) in partitions where partition.owner == id { free(key) }
        case .departed(_, let wanted, let since):
            departed.add(wanted)
            emptySince = since ?? emptySince
        case .granted(_, let key, let id, let epoch):
            partitions[key, default: PartitionState()].owner = id
            partitions[key]?.epoch = epoch
            partitions[key]?.isReturning = false
        case .freed(_, let key): free(key)
        case .committed(_, let key, let committed):
            detailBytes += committed.detailBytes - detailBytes(of: key)
            partitions[key, default: PartitionState()].committed = committed
            partitions[key]?.clearSuspicion()
            queues.change(.flow(key)) { $0.handle(committed) }
        case .suspected(_, let key, let below):
            let before = partitions[key]?.suspectBelow ?? 0
            partitions[key, default: PartitionState()].suspectBelow = max(before, below)
            partitions[key]?.clearSuspicion()
        case .forgotten(_, let key):
            detailBytes -= detailBytes(of: key)
            partitions[key] = nil
            queues[.flow(key)] = nil
            queues[.replay(key)] = nil
            openLanes.remove(.replay(key))
        case .paused(_, let place, let at):
            paused[place] = at
        case .resumed(_, let place):
            paused[place] = nil
        case .reset(_, let resets, let at):
            for reset in resets { apply(reset, at: at) }
        case .restarted(_, let restarts): apply(restarts)
        case .queue(_, let key, .began(let start)):
            if key.lane == .flow, queues[key] == nil {
                queues[key] = QueueProgress(start: start)
            }
        case .queue(_, let key, let change):
            if kind == .stream, key.lane == .flow, applyToStream(change, key.partition) { break }
            // Damage may have taken where it began; nothing of it is skipped then.
            if key == letters.lane { endOnLane(change) }
            if case .reopened(let ranges) = change { letters.reopen(ranges, of: key) }
            let former = expired(in: key, by: change)
            queues[key, default: .unknown(key.lane)].apply(change)
            expired &+= expired(in: key, by: change) &- former
            note(key)
        case .policy(_, let policy): self.policy = policy
        case .letter(_, let change):
            apply(change)
            if let lane = letters.lane { note(lane) }
            if case .entry(let entry) = change { note(entry.origin.queue) }
        case .breaker(_, let breaker): self.breaker = breaker
        case .expired(_, let records): expired = max(0, records)
        }
    }

    /// How many have, when the change tells of more.
    private func expired(in queue: QueueID, by change: QueueChange) -> Int64 {
        guard case .expired = change else { return 0 }
        return queues[queue]?.expired ?? 0
    }

    private mutating func note(_ queue: QueueID) {
        guard queue.lane == .replay else { return }
        if queues[queue]?.isOpen == true {
            openLanes.insert(queue)
        } else {
            openLanes.remove(queue)
        }
    }

    private mutating func apply(_ reset: StreamReset, at time: Int64) {
        let key = reset.partition
        detailBytes -= detailBytes(of: key)
        partitions[key] = PartitionState(
            owner: nil, epoch: reset.epoch,
            committed: CommittedOffset(offset: reset.offset, at: time))
        queues.change(.flow(key)) {
            $0.answerAll()
            $0.releaseAll()
        }
    }

    func detailBytes(of key: TopicPartition) -> Int {
        partitions[key]?.committed?.detailBytes ?? 0
    }

    private mutating func handOver(from former: MemberID, to id: MemberID) {
        for (key, partition) in partitions where partition.owner == former {
            partitions[key]?.owner = id
            partitions[key]?.epoch = partition.epoch + 1
            partitions[key]?.isReturning = false
        }
    }

    private mutating func free(_ key: TopicPartition) {
        partitions[key]?.owner = nil
        partitions[key]?.isReturning = false
    }

    /// Of the flow of a stream only what failed is known. False: it is as with a queue.
    private mutating func applyToStream(_ change: QueueChange, _ key: TopicPartition) -> Bool {
        switch change {
        case .expired(let below):
            queues.change(.flow(key)) { $0.expireParked(below: below) }
            return true
        case .released(let ranges):
            // The owner has passed them: it comes by them again when it gets the partition anew.
            if partitions[key]?.owner != nil { partitions[key]?.isReturning = true }
            return ranges.isEmpty
        case .began, .acked, .delayed, .attempted, .failed, .parked, .vacant, .reopened,
            .takenBack, .restored:
            return false
        }
    }
}

extension Dictionary {
    /// Changes what is there; nothing when it is not. `self[key]?.change()` would make room for it first,
    /// and keep that: hundreds of bytes for each group in which nothing ever failed.
    mutating func change(_ key: Key, _ body: (inout Value) -> Void) {
        guard let place = index(forKey: key) else { return }
        body(&values[place])
    }
}

/// What is forgotten with the process: who was heard of when, and who should own what.
struct GroupActivity {
    struct Session {
        var deadline: Int64
        /// The member's own count of what its application took; any change is progress.
        var progress: UInt64
        var progressDeadline: Int64
        /// What the member is told to own. Its number changes with it.
        var view: [TopicPartition: Int32] = [:]
        var revision: UInt64
        /// Number of the newest commit.
        var lastCommit: UInt64 = 0
    }

    var sessions: [MemberID: Session] = [:]
    /// Who should own what; owners that differ are asked to give up.
    var target: [TopicPartition: MemberID] = [:]
    /// By when what was asked for must be given up, in monotonic nanoseconds.
    var handovers: [TopicPartition: Int64] = [:]
    /// What owners were handed of their partitions; nothing is known of one that is not here.
    var served: [TopicPartition: Served] = [:]
    /// Handlers that began with records that may have ended the one before.
    var started: [TopicPartition: Starts] = [:]
    /// What of a queue is with whom.
    var queues: [QueueID: QueueLeases] = [:]
    /// Somebody got nothing of a queue because too much is out: when something is settled, they ask
    /// again.
    var isFull = false
    /// What members may have heard is theirs: the rest they need not give up. Of members that are not
    /// here nobody knows: those of an earlier start of the broker, and who said that they know nothing.
    var told: [MemberID: [TopicPartition: Int32]] = [:]
    var breaker = BreakerActivity()
    /// The number of what its members have to hear; nil: nothing happened in this start.
    var news: UInt64?
    /// What members said of their handlers.
    var handled = HandlerTimesByType()
    /// How often members' reset policies chose where to go on.
    var policyResets: [PolicyReset.Reason: UInt64] = [:]
    /// Which partition of a queue comes first next time.
    var turn: UInt = 0
    /// Members or topics have changed since `target` was made.
    var isTargetStale = true
}
