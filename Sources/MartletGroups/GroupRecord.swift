/// One record of the topic `$groups`: something that happened to a group and holds from then on.
/// `Coordinator.replay` is the only place that makes it so, at the time and after a restart.
package enum GroupRecord: Equatable, Sendable {
    /// `isNamed`: by its name, and not by its first member.
    case created(group: String, at: Int64, GroupKind = .stream, isNamed: Bool = false)
    case deleted(group: String)
    /// A member is in the group, or has changed. With `replaces` it takes over, with a new
    /// epoch, all that the former holder of its instance id owned.
    case joined(group: String, MemberID, Member, replaces: MemberID?)
    /// A member is not in the group any more, since `at`; what it owned is free.
    case left(group: String, MemberID, at: Int64)
    /// What those wanted who are not in the group any more, or whom it was made for: it is behind
    /// there all the same. And since when nobody is in it who was, in a snapshot.
    case departed(group: String, Subscription, emptySince: Int64? = nil)
    /// The partition belongs to the member alone, under an epoch that no member had before.
    case granted(group: String, TopicPartition, MemberID, epoch: Int32)
    /// The owner gave the partition up, or ran out of time to.
    case freed(group: String, TopicPartition)
    case committed(group: String, TopicPartition, CommittedOffset)
    /// The owner of the partition was lost without a word: what is not committed below this offset
    /// may be why.
    case suspected(group: String, TopicPartition, below: Int64)
    /// Nothing is known about the partition any more: its topic is gone.
    case forgotten(group: String, TopicPartition)
    /// Nobody is granted a partition there until it is resumed.
    case paused(group: String, PausePlace, at: Int64)
    case resumed(group: String, PausePlace)
    /// A person set how far a stream group is in these of its partitions.
    case reset(group: String, [StreamReset], at: Int64)
    /// A person set how far a queue group is: these of its partitions begin anew.
    case restarted(group: String, [QueueRestart])
    /// Something happened to a queue of the group.
    case queue(group: String, QueueID, QueueChange)
    /// What is to become of records whose handlers fail.
    case policy(group: String, FailurePolicy)
    /// Something happened to its dead letters.
    case letter(group: String, LetterChange)
    /// Its breaker opened, or lets something through again.
    case breaker(group: String, BreakerState)
    /// Of a snapshot: so many of its records expired, in all queues that it ever had.
    case expired(group: String, records: Int64)

    /// Whether something is to be written to a dead letter topic by it.
    package var isLetterEntry: Bool {
        if case .letter(_, .entry) = self { return true }
        return false
    }

    /// What it takes to read it at a start, against a small record.
    package var weight: Int {
        switch self {
        case .letter(_, .entry(let entry)), .letter(_, .waiting(let entry)):
            1 + entry.bytes / 1_024
        case .created, .deleted, .joined, .left, .departed, .granted, .freed, .committed,
            .forgotten, .paused, .resumed, .reset, .queue, .policy, .letter, .breaker,
            .suspected, .restarted, .expired:
            1
        }
    }

    package var group: String {
        switch self {
        case .created(let group, _, _, _), .deleted(let group), .joined(let group, _, _, _),
            .left(let group, _, _), .departed(let group, _, _), .granted(let group, _, _, _),
            .freed(let group, _), .committed(let group, _, _), .forgotten(let group, _),
            .paused(let group, _, _), .resumed(let group, _), .reset(let group, _, _),
            .queue(let group, _, _), .policy(let group, _), .letter(let group, _),
            .breaker(let group, _), .suspected(let group, _, _), .restarted(let group, _),
            .expired(let group, _):
            group
        }
    }
}

/// What a member said of itself when it joined.
package struct Member: Hashable, Sendable {
    /// A name that outlives the process: who comes back with it within its session time takes up
    /// its partitions again. nil: the member is forgotten when it leaves.
    package var instance: String?
    /// For people: which program, on which host.
    package var client: String
    package var subscription: Subscription
    /// Without a heartbeat for so long the member is taken for dead.
    package var sessionMilliseconds: Int32
    /// Without progress of the application for so long the member is taken for stuck; 0: never.
    package var progressMilliseconds: Int32
    /// How long it may take to finish and commit before a partition is taken from it.
    package var drainMilliseconds: Int32

    package init(
        instance: String? = nil, client: String = "", subscription: Subscription,
        sessionMilliseconds: Int32, progressMilliseconds: Int32 = 0, drainMilliseconds: Int32
    ) {
        self.instance = instance
        self.client = client
        self.subscription = subscription
        self.sessionMilliseconds = sessionMilliseconds
        self.progressMilliseconds = progressMilliseconds
        self.drainMilliseconds = drainMilliseconds
    }
}

extension Member {
    /// What it said of itself takes about so much memory.
    var bytes: Int {
        let words = [instance ?? "", client] + subscription.terms
        return words.reduce(0) { $0 + $1.utf8.count + MemoryLayout<String>.stride }
    }
}

/// How far a group is in a partition.
package struct CommittedOffset: Hashable, Sendable {
    /// The next record to handle: all below it are done.
    package var offset: Int64
    /// When it was committed, in milliseconds since 1970 UTC.
    package var at: Int64
    /// What it says beside the offset: none, or one. Few have any, and there may be very many commits.
    private var details: [Details] = []
    /// Leader epoch of the last record that was handled; -1: not known.
    package var leaderEpoch: Int32

    private struct Details: Hashable {
        let metadata: String
        let finished: [Range<Int64>]
    }

    /// The application's own words.
    package var metadata: String { details.first?.metadata ?? "" }
    /// Done although they lie above `offset`. In order, apart from each other.
    package var finished: [Range<Int64>] { details.first?.finished ?? [] }

    /// Whether the record at `place` is done.
    func covers(_ place: Int64) -> Bool {
        if place < offset { return true }
        let index = finished.firstIndex(above: place)
        return index < finished.count && finished[index].contains(place)
    }

    /// What it says beside the offset.
    var detailBytes: Int { metadata.utf8.count + finished.count * MemoryLayout<Range<Int64>>.size }

    package init(
        offset: Int64, leaderEpoch: Int32 = -1, metadata: String = "",
        finished: [Range<Int64>] = [], at: Int64
    ) {
        self.offset = offset
        self.leaderEpoch = leaderEpoch
        if !metadata.isEmpty || !finished.isEmpty {
            details = [Details(metadata: metadata, finished: finished)]
        }
        self.at = at
    }
}
