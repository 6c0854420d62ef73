package import MartletFormat

/// All groups of one partition of `$groups`, as a pure state machine: a command comes in with the
/// time, and records come out, or a refusal. The records hold once they are in the log: then
/// `replay` takes them, which alone changes what survives a restart. After that `settle` says
/// what follows from it (partitions to hand out), and `refreshViews` who has to be told.
///
/// What a command changes at once is only what a restart may forget: who was heard of, and when.
package struct Coordinator: Sendable {
    let limits: GroupLimits
    var groups: [String: Group] = [:]
    private(set) var topics: [TopicID: TopicShape] = [:]
    private(set) var topicsByName: [String: TopicShape] = [:]
    /// Groups with something to settle.
    var unsettled: Set<String> = []
    /// Who joined with the last join; views take note of it. One is enough: what is refused or cut
    /// short only leaves somebody of whom nobody knows.
    var fresh: MemberKey?
    /// Groups whose breakers are open.
    var openBreakers: Set<String> = []
    /// Queue groups in which records became ready.
    var readyQueues: Set<String> = []
    /// Groups of which their members have something to hear.
    var withNews: Set<String> = []
    /// The number of the news of groups that nothing has happened to in this start.
    let firstNews: UInt64
    /// What the broker is to read for queues in order.
    var keyWants: [KeyWant] = []
    /// What the broker is to decide in place of handlers, in order.
    var abandoned: [Abandoned] = []
    /// What retention takes right now: all below.
    var leaving: [TopicPartition: Leaving] = [:]
    /// No more keys than so many are known of all queues, and soon will be.
    var keysPromised = 0
    /// The number of the last delivery of any queue. As those of views, none of an earlier start
    /// comes again.
    var deliveries: UInt64
    /// Nothing is due before this, on the monotonic clock; nil: nothing at all. A session that is
    /// extended makes it no later: `expire` finds the next one.
    package internal(set) var nextDeadline: Int64?
    /// Numbers of views come from one row, so that none is taken for that of an earlier session of
    /// the same member, or of an earlier start of the broker.
    private var lastRevision: UInt64

    /// `incarnation` is a number that no earlier start had, above 0.
    package init(limits: GroupLimits, incarnation: UInt32) {
        self.limits = limits
        lastRevision = UInt64(incarnation) << 32
        firstNews = lastRevision
        deliveries = UInt64(incarnation) << 32
    }

    mutating func newRevision() -> UInt64 {
        lastRevision += 1
        return lastRevision
    }

    // MARK: - Records

    /// Makes what a record says so.
    package mutating func replay(_ record: GroupRecord) {
        let before = handledBefore(record)
        let expired = expiredBefore(record)
        apply(record)
        followGrants(record)
        count(record, before: before)
        note(record, expiredBefore: expired)
    }

    private mutating func apply(_ record: GroupRecord) {
        let name = record.group
        switch record {
        case .created(_, let at, let kind, let isNamed):
            if groups[name] == nil {
                groups[name] = Group(
                    state: GroupState(createdAt: at, kind: kind, isNamed: isNamed))
            }
        case .deleted:
            groups[name] = nil
            unsettled.remove(name)
            openBreakers.remove(name)
        case .joined, .left, .departed, .paused, .resumed:
            makeIfLost(record)
            groups[name]?.state.apply(record)
            groups[name]?.activity.isTargetStale = true
            unsettled.insert(name)
            // What is not paused any more may be ready.
            if case .resumed = record { readyQueues.insert(name) }
        case .granted, .freed, .forgotten, .reset:
            makeIfLost(record)
            groups[name]?.state.apply(record)
            if case .forgotten(_, let key) = record {
                groups[name]?.activity.queues[.flow(key)] = nil
                groups[name]?.activity.queues[.replay(key)] = nil
            }
            unsettled.insert(name)
        case .committed, .suspected:
            makeIfLost(record)
            groups[name]?.state.apply(record)
        case .expired: groups[name]?.state.apply(record)
        case .restarted(_, let restarts):
            makeIfLost(record)
            groups[name]?.state.apply(record)
            follow(name, restarts)
        case .queue(_, let key, let change):
            makeIfLost(record)
            if case .released = change, groups[name]?.state.kind == .stream {
                unsettled.insert(name)
            }
            let released = parked(name, key, of: change)
            groups[name]?.state.apply(record)
            follow(name, key, change)
            followReleased(name, key, released)
        case .policy:
            makeIfLost(record)
            groups[name]?.state.apply(record)
            // How long a breaker stays open may be another time now.
            groups[name]?.activity.breaker.deadline = nil
            unsettled.insert(name)
        case .letter(_, let change):
            makeIfLost(record)
            let place = groups[name]?.state.lanePlace(of: change)
            groups[name]?.state.apply(record)
            follow(name, change, leaving: place)
        case .breaker(_, let breaker):
            groups[name]?.state.apply(record)
            follow(name, breaker)
        }
    }

    /// Damage may have taken the record that made a group: what came after it counts all the same,
    /// and nobody knows that it was not made by name.
    private mutating func makeIfLost(_ record: GroupRecord) {
        switch record {
        case .joined, .departed, .granted, .committed, .paused, .reset, .policy, .suspected:
            if groups[record.group] == nil {
                groups[record.group] = Group(
                    state: GroupState(createdAt: 0, kind: .stream, isNamed: true))
            }
        case .queue, .letter, .restarted:
            if groups[record.group] == nil {
                let kind = GroupKind.queue(from: .earliest)
                groups[record.group] = Group(
                    state: GroupState(createdAt: 0, kind: kind, isNamed: true))
            }
        case .created, .deleted, .left, .freed, .forgotten, .resumed, .breaker, .expired: break
        }
    }

    /// Records that make the same state, from nothing: what a snapshot holds.
    package func snapshot() -> [GroupRecord] {
        groups.sorted { $0.key < $1.key }.flatMap { $1.state.records(of: $0) }
    }

    /// How many records may lie behind a snapshot before the next one pays: a start reads at most
    /// a few times what is there, and writing costs no more than that in all.
    package var recordsBeforeSnapshot: Int {
        max(limits.snapshotRecordsMin, 2 * groups.reduce(0) { $0 + $1.value.state.recordCount })
    }

    // MARK: - Topics

    /// The topics that there are now. Groups whose members want one of them see the change.
    package mutating func topicsChanged(_ shapes: [TopicShape]) {
        topics = Dictionary(shapes.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        topicsByName = Dictionary(
            shapes.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        // Their names alone are held meanwhile: groups that somebody else has are copied.
        for name in groups.compactMap({ $1.state.members.isEmpty ? nil : $0 }) {
            groups[name]?.activity.isTargetStale = true
            unsettled.insert(name)
        }
    }

    /// A topic is gone for ever: what groups know of it goes too.
    package func forget(_ topic: TopicID) -> [GroupRecord] {
        groups.flatMap { name, group in
            group.state.keys.filter { $0.topic == topic }.sorted()
                .map { GroupRecord.forgotten(group: name, $0) }
                + group.state.paused.keys.filter { $0.topic == topic }.sorted()
                .map { GroupRecord.resumed(group: name, $0) }
        }
    }

    /// Topics of which groups know something.
    package var knownTopics: Set<TopicID> {
        var known: Set<TopicID> = []
        for group in groups.values {
            known.formUnion(group.state.keys.map(\.topic))
            known.formUnion(group.state.paused.keys.map(\.topic))
        }
        return known.subtracting([.zero])
    }

    // MARK: - Groups

    /// A group by name, without members. Registered from then on: its lag counts in the topics
    /// that are `wanted`, until its first member says what it wants itself.
    package func create(
        _ name: String, _ kind: GroupKind = .stream, wanted: Subscription = Subscription([]),
        at now: Now
    ) throws(GroupRefusal) -> [GroupRecord] {
        guard groups[name] == nil else { throw .groupExists }
        // In one batch with the group itself: it never stands without them.
        guard wanted.terms.count <= limits.createdTermsMax else {
            throw .invalid(
                field: "topics",
                reason: "\(wanted.terms.count) are more than \(limits.createdTermsMax)")
        }
        let made = try creation(of: name, kind, isNamed: true, now)
        return wanted.terms.isEmpty ? [made] : [made, .departed(group: name, wanted)]
    }

    package func delete(_ name: String) throws(GroupRefusal) -> [GroupRecord] {
        let group = try group(name)
        guard group.state.members.isEmpty else {
            throw .groupNotEmpty(members: group.state.members.count)
        }
        let letters = group.state.letters
        guard letters.letters.isEmpty else { throw .lettersLeft(letters.letters.count) }
        // What became of the last ones is about to be written down.
        guard letters.waiting.isEmpty else { throw .entriesLeft(letters.waiting.count) }
        return [.deleted(group: name)]
    }

    func creation(
        of name: String, _ kind: GroupKind, isNamed: Bool = false, _ now: Now
    ) throws(GroupRefusal) -> GroupRecord {
        guard groups.count < limits.groupsMax else {
            throw .limitReached(
                "this part of the broker has \(groups.count) groups: no more are taken")
        }
        return .created(group: name, at: now.wall, kind, isNamed: isNamed)
    }

    func group(_ name: String) throws(GroupRefusal) -> Group {
        guard let group = groups[name] else { throw .unknownGroup }
        return group
    }
}

/// Faults that `scripts/guarantees` plants, to see that a proof would find them.
package enum PlantedGroupBug: String, Sendable, CaseIterable {
    /// Commits and reads of a member that has lost the partition count.
    case acceptStaleMembers
    /// A partition is granted before its owner gave it up.
    case grantBeforeRelease
    /// A partition is granted again under the epoch of its last owner.
    case keepEpoch
    /// Records of a queue are handed out while another member holds them.
    case leaseTwice
    /// What stands still is granted all the same.
    case grantWhilePaused
    /// A reset leaves the owner what it has.
    case resetKeepsOwner
    /// What died stays in `$groups` alone.
    case loseDeadLetters
    /// What nobody can handle is passed over.
    case dropDead
    /// What is sent again is counted in the flow.
    case replayInFlow
    /// Retention takes what members had begun with, without a copy.
    case forgetRescue
    /// Handlers may begin with what retention is taking.
    case beginWhatGoes
    /// A breaker never opens.
    case deafBreaker
    /// A queue in order takes its records for ones without a key.
    case mixQueueKeys
    /// A record that kills each of its handlers is handed out for ever.
    case retryForEver
    /// Nobody takes note that the owner of a partition was lost without a word.
    case trustLostOwners
    /// The owner of a stream's partition keeps it when a parked record is released.
    case keepReleased
    /// Deliveries of before a reset still count.
    case resetKeepsLeases
    /// An ack of what is a dead letter by then is answered as taken.
    case takeLateAcks
    /// Offsets that no record has are handed out, and count as acked then.
    case handOutGaps
    /// What retention takes of a queue that nobody has received from is counted nowhere.
    case loseUnbegun
    /// Records that are known to be damaged are handed out.
    case handOutDamage
    /// What was said about a dead letter is answered and not recorded.
    case dropRemarks
    /// What happens to groups is told before it is durable.
    case tellBeforeDurable
    /// Events that are not written are counted nowhere.
    case forgetEvents
    /// A start lets a topic go on below what groups have had of it.
    case appendBelowGroups
    /// A start believes commits of what is not there.
    case trustCommits
    /// Commits of what is not there yet are taken.
    case commitAheadOfLog
}

/// What a broker allows its groups.
package struct GroupLimits: Sendable {
    package var groupsMax = 100_000
    package var membersMax = 10_000
    package var sessionMilliseconds: ClosedRange<Int32> = 1_000...300_000
    package var drainMillisecondsMax: Int32 = 3_600_000
    package var metadataBytesMax = 4_096
    package var finishedRangesMax = 4_000
    package var termsMax = 1_000
    package var patternsMax = 100
    /// Topics and patterns that a group is made with.
    package var createdTermsMax = 100
    /// Of what all members of a group say of themselves.
    package var memberBytesMax = 16 << 20
    /// Looked at later than this after something was due, the process stood still: nobody is taken
    /// for dead whose heartbeats may wait unread.
    package var standstillMilliseconds: Int64 = 1_000
    package var pausesMax = 1_000
    /// Of metadata and finished ranges of all commits of a group: they are told in one frame.
    package var commitBytesMax = 64 << 20
    /// Of one receive, and of one settlement.
    package var leaseRecordsMax = 100_000
    /// By one member at once.
    package var heldRecordsMax = 1_000_000
    /// Of a partition of a queue, handed out and not settled: beyond, nothing new is.
    package var openRecordsMax: Int64 = 1_000_000
    /// Records whose keys are read at once, for a queue in order.
    package var keysReadMax = 2_048
    /// Records with keys that a partition of such a queue knows at once: about 100 bytes each.
    package var windowKeysMax = 32_768
    /// The same for all groups that live here; each partition may know `keysReadMax` in any case.
    package var keysMax = 65_536
    /// Set aside in one partition: beyond, the group stands still there.
    package var parkedRecordsMax = 10_000
    /// The same for a stream group, whose owner is told of all of them. Each is a hole in what is
    /// finished, and so is what waits behind it: a commit has room for more of them.
    package var streamParkedMax = 1_000
    /// Of all partitions of a stream group.
    package var groupParkedMax = 100_000
    package var leaseMilliseconds: ClosedRange<Int32> = 100...3_600_000
    /// Runs of records in one answer.
    package var grantsMax = 1_000
    package var delayMillisecondsMax: Int64 = 30 * 86_400_000
    /// In one partition at once.
    package var delayedRecordsMax = 100_000
    /// Of a partition of a stream group, after its owner was lost: no more are suspect than so many
    /// above what is committed.
    package var suspectRecordsMax: Int64 = 100_000
    /// Of a group, neither handled nor resolved.
    package var lettersMax = 100_000
    /// Assignments and comments of one dead letter.
    package var letterRemarksMax: UInt16 = 1_000
    /// Of entries that a dead letter topic does not have yet, in a group. One is taken always.
    package var waitingLetterBytesMax = 16 << 20
    /// Ranges of a partition that were sent again and are not handled: one key of many has many.
    package var replayRangesMax = 100_000
    /// Of records that retention was about to take, in a group, neither handled nor resolved.
    package var rescueBytesMax: Int64 = 1 << 30
    /// For so long retention of a partition waits for such copies.
    package var rescueMillisecondsMax: Int64 = 10_000
    package var snapshotRecordsMin = 10_000
    /// A group that nobody is in for so long goes, with its offsets; -1: never.
    package var groupExpiryMilliseconds: Int64 = -1
    package var plantedBug: PlantedGroupBug?

    package init() {}
}

extension GroupState {
    /// About how many records `records` makes.
    fileprivate var recordCount: Int {
        1 + members.count + departed.terms.count / 100 + paused.count + 2 * partitions.count
            + queues.values.reduce(0) { $0 + $1.changeCount }
            + letters.letters.count + letters.waiting.count + letters.waitingBytes / 1_024
    }

    /// As many as a member may name.
    private static let termsInRecord = 1_000

    fileprivate func records(of name: String) -> [GroupRecord] {
        var records: [GroupRecord] = [
            .created(group: name, at: createdAt, kind, isNamed: isNamed)
        ]
        for (id, member) in members.sorted(by: { $0.key < $1.key }) {
            records.append(.joined(group: name, id, member, replaces: nil))
        }
        // What a join forgets comes after the joins.
        records += departed.parts(Self.termsInRecord).map { .departed(group: name, $0) }
        if let emptySince {
            records.append(.departed(group: name, Subscription([]), emptySince: emptySince))
        }
        for (place, at) in paused.sorted(by: { $0.key < $1.key }) {
            records.append(.paused(group: name, place, at: at))
        }
        for (key, partition) in partitions.sorted(by: { $0.key < $1.key }) {
            if partition.epoch > 0 {
                // The epoch outlives its owner: nobody may get it a second time.
                records.append(
                    .granted(
                        group: name, key, partition.owner ?? .nobody, epoch: partition.epoch))
                if partition.owner == nil { records.append(.freed(group: name, key)) }
            }
            if let committed = partition.committed {
                records.append(.committed(group: name, key, committed))
            }
            if partition.suspectBelow > 0 {
                records.append(.suspected(group: name, key, below: partition.suspectBelow))
            }
        }
        for (key, queue) in queues.sorted(by: { $0.key < $1.key }) where key != letters.lane {
            records += queue.changes.map { .queue(group: name, key, $0) }
        }
        records += partitions.filter { $0.value.isReturning }.map { $0.key }.sorted().map {
            .queue(group: name, .flow($0), .released([]))
        }
        records += letters.changes.map { .letter(group: name, $0) }
        if let lane = letters.lane, let queue = queues[lane] {
            records += queue.changes.map { .queue(group: name, lane, $0) }
        }
        if policy != FailurePolicy() { records.append(.policy(group: name, policy)) }
        if breaker != .closed { records.append(.breaker(group: name, breaker)) }
        if expired != 0 { records.append(.expired(group: name, records: expired)) }
        return records
    }
}
