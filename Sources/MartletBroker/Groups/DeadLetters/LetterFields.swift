import MartletFormat
import MartletGroups
import MartletWire

/// The fields of a `GroupEntry` that tells of dead letters.
struct LetterFields: Equatable {
    private(set) var policy = FailurePolicyItem()
    private var entry = LetterEntryItem()
    private var letter = LetterItem()
    private var number: UInt64 = 0
    private var lane = OwnedPartition()
    private var place: Int64 = -1
    private var numbers: [DeadLetterNumber] = []

    init() {}

    init(_ policy: FailurePolicy) { self.policy = FailurePolicyItem(policy) }

    init(_ change: LetterChange) {
        switch change {
        case .entry(let entry), .waiting(let entry): self.entry = LetterEntryItem(entry)
        case .stored(let number, let topic, let place):
            self.number = number
            lane = OwnedPartition(topic: topic.topic, partition: topic.partition, epoch: 0)
            self.place = place
        case .replayed(let numbers): self.numbers = numbers.map { DeadLetterNumber($0) }
        case .restored(let letter): self.letter = LetterItem(letter)
        }
    }

    static func kind(of change: LetterChange) -> GroupEntry.Kind {
        switch change {
        case .entry: .letterEntry
        case .stored: .letterStored
        case .replayed: .lettersReplayed
        case .restored: .letterRestored
        case .waiting: .letterWaiting
        }
    }

    mutating func policyFields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.item("policy", &policy)
    }

    mutating func entryFields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.item("entry", &entry)
    }

    mutating func letterFields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.item("letter", &letter)
    }

    mutating func storedFields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint64("number", &number, "of the entry")
        try c.item("lane", &lane)
        try c.int64("place", &place, "its offset in the dead letter topic")
    }

    mutating func replayedFields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("letters", &numbers, max: WireLimits.lettersMax, "which")
    }

    /// What such an entry says; nil for what no broker writes.
    func change(_ kind: GroupEntry.Kind) -> LetterChange? {
        switch kind {
        case .letterEntry: entry.entry.map { .entry($0) }
        case .letterWaiting: entry.entry.map { .waiting($0) }
        case .letterRestored: letter.letter.map { .restored($0) }
        case .letterStored:
            place.isOffset && number.isNumber
                ? .stored(number, in: TopicPartition(lane.topic, lane.partition), at: place) : nil
        case .lettersReplayed: .replayed(numbers.map(\.number))
        case .created, .deleted, .joined, .left, .departed, .granted, .freed, .committed,
            .forgotten,
            .paused, .resumed, .reset, .restarted, .expiredInAll, .createdQueue, .queueBegan,
            .acked, .delayed,
            .attempted,
            .expired, .restored, .failed, .reopened, .takenBack, .parked, .released, .vacant,
            .policy,
            .breaker, .suspected, .snapshotBegins, .snapshotEnds:
            nil
        }
    }
}

/// What a handler said.
struct FailureItem: WireItem {
    static let bytesMin = 13
    private var severity: UInt8 = 0
    private var kind = ""
    private var text = ""
    private var at: Int64 = 0

    init() {}

    init(_ failure: HandlerFailure) {
        severity = failure.severity.rawValue
        (kind, text, at) = (failure.kind, failure.text, failure.at)
    }

    var failure: HandlerFailure {
        HandlerFailure(
            HandlerFailure.Severity(rawValue: severity) ?? .transient, kind: kind, text: text,
            at: at)
    }

    mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint8("severity", &severity, "0: transient; 1: permanent; 2: rejected")
        try c.string("kind", &kind, max: WireLimits.failureKindBytesMax, "the kind of failure")
        try c.string("text", &text, max: WireLimits.failureTextBytesMax, "its words")
        try c.int64("at", &at, "milliseconds since 1970 UTC")
    }
}

/// Something that is to be written to a dead letter topic.
struct LetterEntryItem: WireItem {
    static let bytesMin = 115
    private var kind: UInt8 = 0
    private var number: UInt64 = 0
    private var letter: UInt64 = 0
    private var topic = TopicID.zero
    private var partition: Int32 = 0
    private var lane: UInt8 = 0
    private var offset: Int64 = 0
    private var topicName = ""
    private var member = TopicID.zero
    private var client = ""
    private var attempts: UInt32 = 0
    private var deaths: UInt16 = 0
    private var reason: UInt8 = 0
    private var first = FailureItem()
    private var last = FailureItem()
    private var at: Int64 = 0
    private var author = ""
    private var note = ""
    private var assignee = ""
    private var body: [BytesPiece] = []

    init() {}

    init(_ entry: LetterEntry) {
        kind = entry.kind.rawValue
        (number, letter) = (entry.number, entry.letter)
        topic = entry.origin.partition.topic
        (partition, offset) = (entry.origin.partition.partition, entry.origin.offset)
        lane = entry.origin.queue.lane.rawValue
        (topicName, member, client) = (entry.topicName, entry.member.bits, entry.client)
        (attempts, deaths, reason) = (entry.attempts, entry.deaths, entry.reason.rawValue)
        (first, last) = (FailureItem(entry.trail.first), FailureItem(entry.trail.last))
        (at, author, note) = (entry.at, entry.author, entry.note)
        assignee = entry.assignee
        body = BytesPiece.pieces(entry.body)
    }

    mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint8("kind", &kind, "1: died; 2: edited; 3: resolved; 4: assigned; 5: commented")
        try c.uint64("number", &number, "of the entry in its group")
        try c.uint64("letter", &letter, "the number that it died with first")
        try c.identifier("topic", &topic, "where the record comes from")
        try c.int32("partition", &partition, "its partition")
        try c.uint8("lane", &lane, "0: the flow; 1: what was sent again")
        try c.int64("offset", &offset, "its offset")
        try c.string("topicName", &topicName, max: WireLimits.topicNameBytesMax, "at that time")
        try c.identifier("member", &member, "who had it")
        try c.string("client", &client, max: WireLimits.textBytesMax, "as the member is called")
        try c.uint32("attempts", &attempts, "handlers that began with it")
        try c.uint16("deaths", &deaths, "how often it died")
        try c.uint8("reason", &reason, WireLimits.reasons)
        try c.item("first", &first)
        try c.item("last", &last)
        try c.int64("at", &at, "milliseconds since 1970 UTC")
        try c.string("author", &author, max: WireLimits.failureKindBytesMax, "who did it")
        try c.string("note", &note, max: WireLimits.failureTextBytesMax, "and why")
        try c.string(
            "assignee", &assignee, max: WireLimits.failureKindBytesMax, "who is to look after it")
        try c.array(
            "body", &body, max: WireLimits.piecesMax, "a record batch of one record, in pieces")
    }

    var entry: LetterEntry? {
        guard let kind = LetterEntry.Kind(rawValue: kind),
            let reason = LetterEntry.Reason(rawValue: reason), offset.isOffset, number.isNumber,
            let queue = QueueID(topic, partition, lane: lane)
        else { return nil }
        var entry = LetterEntry(
            kind, number: number, letter: letter,
            origin: RecordPlace(queue, offset),
            trail: FailureTrail(first: first.failure, last: last.failure), at: at)
        (entry.topicName, entry.member, entry.client) = (topicName, MemberID(member), client)
        (entry.attempts, entry.deaths, entry.reason) = (attempts, deaths, reason)
        (entry.author, entry.note, entry.body) = (author, note, body.flatMap(\.bytes))
        entry.assignee = assignee
        return entry
    }
}

/// A dead letter as a snapshot has it.
struct LetterItem: WireItem {
    static let bytesMin = 88
    private var number: UInt64 = 0
    private var newest: UInt64 = 0
    private var topic = TopicID.zero
    private var partition: Int32 = 0
    private var lane: UInt8 = 0
    private var offset: Int64 = 0
    private var attempts: UInt32 = 0
    private var deaths: UInt16 = 0
    private var reason: UInt8 = 0
    private var replays: UInt16 = 0
    private var isReplaying = false
    private var diedAt: Int64 = 0
    private var place: Int64 = -1
    private var rescuedBytes: UInt32 = 0
    private var assignee = ""
    private var remarks: UInt16 = 0
    private var lastPlace: Int64 = -1
    private var isOriginOwed = false
    private var diedOnLane: [LanePlace] = []

    init() {}

    init(_ letter: Letter) {
        (number, newest) = (letter.number, letter.newest)
        topic = letter.origin.partition.topic
        (partition, offset) = (letter.origin.partition.partition, letter.origin.offset)
        lane = letter.origin.queue.lane.rawValue
        (attempts, deaths, reason) = (letter.attempts, letter.deaths, letter.reason.rawValue)
        (replays, isReplaying) = (letter.replays, letter.isReplaying)
        (diedAt, place) = (letter.diedAt, letter.place ?? -1)
        rescuedBytes = letter.rescuedBytes
        (assignee, remarks) = (letter.assignee, letter.remarks)
        lastPlace = letter.lastPlace ?? -1
        isOriginOwed = letter.isOriginOwed
        diedOnLane = letter.diedOnLane.map { LanePlace($0) }
    }

    mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint64("number", &number, "of the dead letter")
        try c.uint64("newest", &newest, "the number of its newest entry")
        try c.identifier("topic", &topic, "where the record comes from")
        try c.int32("partition", &partition, "its partition")
        try c.uint8("lane", &lane, "0: the flow; 1: what was sent again")
        try c.int64("offset", &offset, "its offset")
        try c.uint32("attempts", &attempts, "handlers that began with it")
        try c.uint16("deaths", &deaths, "how often it died")
        try c.uint8("reason", &reason, WireLimits.reasons)
        try c.uint16("replays", &replays, "how often it was sent again")
        try c.bool("isReplaying", &isReplaying, "with the group again")
        try c.int64("diedAt", &diedAt, "milliseconds since 1970 UTC")
        try c.int64("place", &place, "offset in the dead letter topic; -1: not there yet")
        try c.uint32("rescuedBytes", &rescuedBytes, "copied when retention was about to take it")
        try c.string(
            "assignee", &assignee, max: WireLimits.failureKindBytesMax, "who looks after it")
        try c.uint16("remarks", &remarks, "assignments and comments")
        try c.int64("lastPlace", &lastPlace, "the same of its last entry of any kind")
        try c.bool("isOriginOwed", &isOriginOwed, "the record was sent again beside it")
        try c.array(
            "diedOnLane", &diedOnLane, max: Letter.lanePlacesMax,
            "where it was sent again and died")
    }

    var letter: Letter? {
        guard let reason = LetterEntry.Reason(rawValue: reason), offset.isOffset,
            place == -1 || place.isOffset, lastPlace == -1 || lastPlace.isOffset, number.isNumber,
            diedOnLane.allSatisfy(\.place.isOffset),
            let queue = QueueID(topic, partition, lane: lane)
        else { return nil }
        var letter = Letter(
            number: number, origin: RecordPlace(queue, offset),
            reason: reason, attempts: attempts, deaths: deaths, diedAt: diedAt)
        letter.newest = newest
        (letter.replays, letter.isReplaying) = (replays, isReplaying)
        letter.place = place < 0 ? nil : place
        letter.rescuedBytes = rescuedBytes
        (letter.assignee, letter.remarks) = (assignee, remarks)
        letter.lastPlace = lastPlace < 0 ? nil : lastPlace
        letter.isOriginOwed = isOriginOwed
        letter.diedOnLane = diedOnLane.map(\.place)
        return letter
    }
}

/// An offset of a dead letter topic.
private struct LanePlace: WireItem {
    static let bytesMin = 8
    private(set) var place: Int64 = 0

    init() {}

    init(_ place: Int64) { self.place = place }

    mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int64("place", &place, "its offset in the dead letter topic")
    }
}

extension Int64 {
    /// Whether there is an offset behind it, and one before that.
    var isOffset: Bool { (0..<(.max - 1)).contains(self) }
}

extension UInt64 {
    /// Whether so many entries may ever be: numbers behind it do not run out.
    fileprivate var isNumber: Bool { self <= 1 << 62 }
}

extension FailurePolicyItem {
    init(_ policy: FailurePolicy) {
        self.init()
        attemptsMax = policy.attemptsMax
        backoffMilliseconds = policy.backoffMilliseconds
        backoffFactorPercent = policy.backoffFactorPercent
        backoffMaxMilliseconds = policy.backoffMaxMilliseconds
        jitterPercent = policy.jitterPercent
        last = policy.last.rawValue
        breakerPercent = policy.breaker.sharePercent
        breakerWindow = policy.breaker.window
        breakerOpenMilliseconds = policy.breaker.openMilliseconds
        breakerProbes = policy.breaker.probes
    }

    /// nil: what is to happen last is unknown here.
    var policy: FailurePolicy? {
        guard let last = FailurePolicy.Last(rawValue: last) else { return nil }
        var policy = FailurePolicy()
        policy.attemptsMax = attemptsMax
        policy.backoffMilliseconds = backoffMilliseconds
        policy.backoffFactorPercent = backoffFactorPercent
        policy.backoffMaxMilliseconds = backoffMaxMilliseconds
        policy.jitterPercent = jitterPercent
        policy.last = last
        policy.breaker.sharePercent = breakerPercent
        policy.breaker.window = breakerWindow
        policy.breaker.openMilliseconds = breakerOpenMilliseconds
        policy.breaker.probes = breakerProbes
        return policy
    }
}
