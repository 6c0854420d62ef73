import MartletFormat
import MartletGroups
import MartletWire

/// The bytes of a `GroupRecord`: the value of a record of `$groups`. Described with the wire's field
/// coder; its own format version is the first field.
struct GroupEntry: WireItem {
    static let bytesMin = 12
    static let formatVersion: UInt8 = 1

    enum Kind: UInt8 {
        case created = 1
        case deleted = 2
        case joined = 3
        case left = 4
        case granted = 5
        case freed = 6
        case committed = 7
        case forgotten = 8
        case paused = 9
        case resumed = 10
        case reset = 11
        case departed = 12
        case suspected = 13
        // Of queue groups.
        case createdQueue = 30
        case queueBegan = 31
        case acked = 32
        case delayed = 33
        case attempted = 34
        case expired = 35
        case restored = 36
        case failed = 37
        case reopened = 38
        case takenBack = 39
        case vacant = 64
        case parked = 60
        case released = 61
        case restarted = 62
        case expiredInAll = 63
        // Of records that handlers failed with.
        case policy = 40
        case letterEntry = 41
        case letterStored = 42
        case lettersReplayed = 43
        case letterRestored = 44
        case letterWaiting = 45
        case breaker = 50
        // Of `$group-snapshots` alone.
        case snapshotBegins = 20
        case snapshotEnds = 21
    }

    var format = Self.formatVersion
    var kind = Kind.created.rawValue
    var group = ""
    var at: Int64 = 0
    var isNamed = false
    var member = TopicID.zero
    var details = GroupEntryMember()
    var owned = OwnedPartition()
    var position = CommittedPosition()
    var covers: Int64 = 0
    var below: Int64 = 0
    var queue = QueueEntry()
    var resets: [ResetItem] = []
    var restarts: [RestartItem] = []
    var letters = LetterFields()
    var breaker = BreakerFields()

    init() {}

    init(_ kind: Kind, covers: Int64 = 0) {
        self.kind = kind.rawValue
        self.covers = covers
    }

    mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint8("format", &format, "1")
        try c.uint8("kind", &kind, "what happened")
        try c.string("group", &group, max: WireLimits.groupNameBytesMax, "name of the group")
        guard format == Self.formatVersion, let kind = Kind(rawValue: kind) else {
            throw .invalid(field: "format", at: 0, reason: "\(format), kind \(kind)")
        }
        switch kind {
        case .created:
            try c.int64("at", &at, "milliseconds since 1970 UTC")
            try c.bool("isNamed", &isNamed, "somebody made it by its name")
        case .createdQueue:
            try c.int64("at", &at, "milliseconds since 1970 UTC")
            try c.uint8("start", &queue.start, "where it begins: 0 earliest, 1 latest")
            try c.uint8("order", &queue.order, "0: none; 1: by key")
            try c.bool("isNamed", &isNamed, "somebody made it by its name")
        case .queueBegan, .acked, .delayed, .attempted, .expired, .restored, .failed, .reopened,
            .takenBack, .parked, .released, .vacant:
            try queue.fields(kind, &c)
        case .expiredInAll: try c.int64("records", &at, "so many of the group's expired")
        case .restarted:
            try c.array(
                "restarts", &restarts, max: WireLimits.partitionsPerRequestMax, "partitions")
        case .policy: try letters.policyFields(&c)
        case .breaker: try breaker.fields(&c)
        case .letterEntry, .letterWaiting: try letters.entryFields(&c)
        case .letterStored: try letters.storedFields(&c)
        case .lettersReplayed: try letters.replayedFields(&c)
        case .letterRestored: try letters.letterFields(&c)
        case .deleted, .snapshotBegins: break
        case .snapshotEnds: try c.int64("covers", &covers, "offset of `$groups` to go on at")
        case .joined:
            try c.identifier("member", &member, "its id")
            try c.item("details", &details)
        case .left:
            try c.identifier("member", &member, "its id")
            try c.int64("at", &at, "milliseconds since 1970 UTC")
        case .departed:
            try c.int64("at", &at, "nobody is in it since, in milliseconds since 1970 UTC; -1")
            try c.array("topics", &details.topics, max: WireLimits.namesMax, "names and patterns")
        case .granted:
            try c.identifier("member", &member, "its id")
            try c.item("owned", &owned)
        case .freed, .forgotten, .resumed: try c.item("owned", &owned)
        case .suspected:
            try c.item("owned", &owned)
            try c.int64("below", &below, "what is not committed below may be why it was lost")
        case .paused:
            try c.item("owned", &owned)
            try c.int64("at", &at, "milliseconds since 1970 UTC")
        case .committed:
            try c.item("owned", &owned)
            try c.item("position", &position)
            try c.int64("at", &at, "milliseconds since 1970 UTC")
        case .reset:
            try c.array("resets", &resets, max: WireLimits.partitionsPerRequestMax, "partitions")
            try c.int64("at", &at, "milliseconds since 1970 UTC")
        }
    }
}

/// Where a stream group goes on in a partition.
struct ResetItem: WireItem {
    static let bytesMin = 32
    private var topic = TopicID.zero
    private var partition: Int32 = 0
    private var offset: Int64 = 0
    private var epoch: Int32 = 0

    init() {}

    init(_ reset: StreamReset) {
        topic = reset.partition.topic
        partition = reset.partition.partition
        (offset, epoch) = (reset.offset, reset.epoch)
    }

    /// nil for what no broker writes.
    var reset: StreamReset? {
        offset < 0
            ? nil : StreamReset(TopicPartition(topic, partition), at: offset, epoch: epoch)
    }

    mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.int64("offset", &offset, "where it goes on")
        try c.int32("epoch", &epoch, "that no owner had")
    }
}

/// Where a partition of a queue begins anew.
struct RestartItem: WireItem {
    static let bytesMin = 28
    private var topic = TopicID.zero
    private var partition: Int32 = 0
    private var offset: Int64 = 0

    init() {}

    init(_ restart: QueueRestart) {
        topic = restart.partition.topic
        partition = restart.partition.partition
        offset = restart.offset
    }

    /// nil for what no broker writes.
    var restart: QueueRestart? {
        offset < 0 ? nil : QueueRestart(TopicPartition(topic, partition), at: offset)
    }

    mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.int64("offset", &offset, "the first that is owed")
    }
}

/// What a member said of itself.
struct GroupEntryMember: WireItem {
    static let bytesMin = 36
    var instance: String?
    var client = ""
    var sessionMilliseconds: Int32 = 0
    var progressMilliseconds: Int32 = 0
    var drainMilliseconds: Int32 = 0
    var topics: [TopicNameItem] = []
    var replaces = TopicID.zero

    init() {}

    mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.optionalString("instance", &instance, max: WireLimits.groupNameBytesMax, "or null")
        try c.string("client", &client, max: WireLimits.textBytesMax, "for people")
        try c.int32("sessionMilliseconds", &sessionMilliseconds, "session time")
        try c.int32("progressMilliseconds", &progressMilliseconds, "progress time")
        try c.int32("drainMilliseconds", &drainMilliseconds, "drain time")
        try c.array("topics", &topics, max: WireLimits.namesMax, "names and patterns")
        try c.identifier("replaces", &replaces, "whose place it takes; zeros: nobody's")
    }
}

extension GroupEntry {
    init(_ record: GroupRecord) {
        group = record.group
        switch record {
        case .created(_, let at, .stream, let isNamed):
            kind = Kind.created.rawValue
            (self.at, self.isNamed) = (at, isNamed)
        case .created(_, let at, .queue(let start, let order), let isNamed):
            kind = Kind.createdQueue.rawValue
            (self.at, self.isNamed) = (at, isNamed)
            (queue.start, queue.order) = (start.rawValue, order.rawValue)
        case .queue(_, let key, let change):
            queue = QueueEntry(key, change)
            kind = QueueEntry.kind(of: change).rawValue
        case .expired(_, let records): (kind, at) = (Kind.expiredInAll.rawValue, records)
        case .restarted(_, let restarts):
            (kind, self.restarts) = (Kind.restarted.rawValue, restarts.map { RestartItem($0) })
        case .policy(_, let policy):
            (kind, letters) = (Kind.policy.rawValue, LetterFields(policy))
        case .letter(_, let change):
            letters = LetterFields(change)
            kind = LetterFields.kind(of: change).rawValue
        case .breaker(_, let state):
            (kind, breaker) = (Kind.breaker.rawValue, BreakerFields(state))
        case .deleted: kind = Kind.deleted.rawValue
        case .joined(_, let id, let joined, let former):
            kind = Kind.joined.rawValue
            member = id.bits
            details = GroupEntryMember(joined)
            details.replaces = former?.bits ?? .zero
        case .left(_, let id, let at):
            kind = Kind.left.rawValue
            member = id.bits
            self.at = at
        case .departed(_, let wanted, let since):
            kind = Kind.departed.rawValue
            at = since ?? -1
            details.topics = wanted.terms.map { TopicNameItem($0) }
        case .granted(_, let key, let id, let epoch):
            kind = Kind.granted.rawValue
            member = id.bits
            owned = OwnedPartition(topic: key.topic, partition: key.partition, epoch: epoch)
        case .freed(_, let key):
            kind = Kind.freed.rawValue
            owned = OwnedPartition(topic: key.topic, partition: key.partition, epoch: 0)
        case .committed(_, let key, let committed):
            kind = Kind.committed.rawValue
            owned = OwnedPartition(topic: key.topic, partition: key.partition, epoch: 0)
            position = CommittedPosition(committed)
            at = committed.at
        case .suspected(_, let key, let below):
            kind = Kind.suspected.rawValue
            owned = OwnedPartition(topic: key.topic, partition: key.partition, epoch: 0)
            self.below = below
        case .forgotten(_, let key):
            kind = Kind.forgotten.rawValue
            owned = OwnedPartition(topic: key.topic, partition: key.partition, epoch: 0)
        case .paused(_, let place, let at):
            kind = Kind.paused.rawValue
            owned = OwnedPartition(topic: place.topic, partition: place.partition, epoch: 0)
            self.at = at
        case .resumed(_, let place):
            kind = Kind.resumed.rawValue
            owned = OwnedPartition(topic: place.topic, partition: place.partition, epoch: 0)
        case .reset(_, let resets, let at):
            kind = Kind.reset.rawValue
            (self.resets, self.at) = (resets.map { ResetItem($0) }, at)
        }
    }

    /// nil for what is no record of `$groups`.
    var record: GroupRecord? {
        let key = TopicPartition(owned.topic, owned.partition)
        let place = PausePlace(topic: owned.topic, partition: owned.partition)
        let kind = Kind(rawValue: kind)
        switch kind {
        case .created: return .created(group: group, at: at, isNamed: isNamed)
        case .deleted: return .deleted(group: group)
        case .joined:
            let former = details.replaces == .zero ? nil : MemberID(details.replaces)
            return .joined(group: group, MemberID(member), details.member, replaces: former)
        case .left: return .left(group: group, MemberID(member), at: at)
        case .departed:
            return .departed(
                group: group, Subscription(details.topics.map(\.name)),
                emptySince: at < 0 ? nil : at)
        case .granted: return .granted(group: group, key, MemberID(member), epoch: owned.epoch)
        case .freed: return .freed(group: group, key)
        case .committed: return .committed(group: group, key, CommittedOffset(position, at: at))
        case .suspected: return .suspected(group: group, key, below: below)
        case .forgotten: return .forgotten(group: group, key)
        case .paused: return .paused(group: group, place, at: at)
        case .resumed: return .resumed(group: group, place)
        case .reset: return .reset(group: group, resets.compactMap(\.reset), at: at)
        case .createdQueue:
            let start = QueueStart(rawValue: queue.start) ?? .earliest
            // What nobody knows must not lose its order.
            let order = QueueOrder(rawValue: queue.order) ?? .byKey
            return .created(
                group: group, at: at, .queue(from: start, order: order), isNamed: isNamed)
        case .queueBegan: return queue.record(group, .began(at: queue.offset))
        case .acked: return queue.record(group, .acked(queue.offsets))
        case .delayed: return queue.record(group, .delayed(queue.offsets, due: queue.offset))
        case .attempted:
            let times = UInt16(clamping: queue.offset)
            return queue.record(group, .attempted(queue.offsets, times: times))
        case .failed:
            return queue.offset.isOffset
                ? queue.record(group, .failed(queue.offset, queue.trail)) : nil
        case .policy: return letters.policy.policy.map { .policy(group: group, $0) }
        case .breaker: return breaker.state.map { .breaker(group: group, $0) }
        case .letterEntry, .letterStored, .lettersReplayed, .letterRestored, .letterWaiting:
            return kind.flatMap { letters.change($0) }.map { .letter(group: group, $0) }
        case .parked:
            return queue.offset.isOffset
                ? queue.record(group, .parked(queue.offset, queue.parked)) : nil
        case .released: return queue.record(group, .released(queue.offsets))
        case .expiredInAll: return .expired(group: group, records: at)
        case .restarted:
            return .restarted(group: group, restarts.compactMap(\.restart))
        case .expired: return queue.record(group, .expired(below: queue.offset))
        case .vacant: return queue.record(group, .vacant(queue.offsets))
        case .reopened: return queue.record(group, .reopened(queue.offsets))
        case .takenBack: return queue.record(group, .takenBack(queue.offsets))
        case .restored:
            return queue.record(
                group,
                .restored(
                    queue.offsets, acked: max(0, queue.acked), expired: max(0, queue.expired),
                    sent: max(0, queue.sent)))
        case .snapshotBegins, .snapshotEnds, nil: return nil
        }
    }

    init(reading slab: ByteSlab, _ range: Range<Int>) throws(WireError) {
        self.init()
        var decoder = FieldDecoder(slab, range, version: 1)
        try fields(&decoder)
    }
}

extension GroupEntryMember {
    init(_ member: Member) {
        instance = member.instance
        client = member.client
        sessionMilliseconds = member.sessionMilliseconds
        progressMilliseconds = member.progressMilliseconds
        drainMilliseconds = member.drainMilliseconds
        topics = member.subscription.terms.map { TopicNameItem($0) }
    }

    var member: Member {
        Member(
            instance: instance, client: client, subscription: Subscription(topics.map(\.name)),
            sessionMilliseconds: sessionMilliseconds,
            progressMilliseconds: progressMilliseconds, drainMilliseconds: drainMilliseconds)
    }
}

extension CommittedPosition {
    init(_ committed: CommittedOffset) {
        self.init()
        offset = committed.offset
        leaderEpoch = committed.leaderEpoch
        metadata = committed.metadata
        finished = committed.finished.map { OffsetRange($0.lowerBound, $0.upperBound) }
    }
}

extension CommittedOffset {
    init(_ position: CommittedPosition, at time: Int64) {
        self.init(
            offset: position.offset, leaderEpoch: position.leaderEpoch,
            metadata: position.metadata,
            finished: position.finished.map(\.offsets), at: time)
    }
}

/// What is appended for groups, by batches.
enum GroupBatch {
    /// Far below what any topic refuses, however long what members and commits say.
    private static let bytesMax = 256 * 1_024

    /// The same entries in order, in parts that each make a batch.
    static func parts(_ entries: [GroupEntry]) throws(WireError) -> [[GroupEntry]] {
        var parts: [[GroupEntry]] = []
        var bytes = bytesMax
        for entry in entries {
            let size = RecordBatchBuilder.estimatedBytes(
                keyBytes: 0, valueBytes: try entry.byteCount)
            if bytes + size > bytesMax {
                parts.append([])
                bytes = 0
            }
            parts[parts.count - 1].append(entry)
            bytes += size
        }
        return parts
    }
}
