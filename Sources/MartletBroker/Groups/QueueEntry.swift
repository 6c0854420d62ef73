import MartletFormat
import MartletGroups
import MartletWire

/// The fields of a `GroupEntry` that tells of a queue's partition.
struct QueueEntry: Equatable {
    var start: UInt8 = 0
    var order: UInt8 = 0
    private var topic = TopicID.zero
    private var partition: Int32 = 0
    private var lane: UInt8 = 0
    private var ranges: [OffsetRange] = []
    /// The offset, the time or the number that the kind of entry has.
    private(set) var offset: Int64 = 0
    private(set) var acked: Int64 = 0
    private(set) var expired: Int64 = 0
    private(set) var sent: Int64 = 0
    private var first = FailureItem()
    private var last = FailureItem()

    private var at: Int64 = 0
    private var isKey = false

    var parked: ParkedRecord { ParkedRecord(at: at, isKey: isKey) }

    var trail: FailureTrail { FailureTrail(first: first.failure, last: last.failure) }

    init() {}

    init(_ queue: QueueID, _ change: QueueChange) {
        topic = queue.partition.topic
        partition = queue.partition.partition
        lane = queue.lane.rawValue
        switch change {
        case .began(let start): offset = start
        case .acked(let ranges): self.ranges = ranges.map(OffsetRange.init)
        case .delayed(let ranges, let due):
            self.ranges = ranges.map(OffsetRange.init)
            offset = due
        case .attempted(let ranges, let times):
            self.ranges = ranges.map(OffsetRange.init)
            offset = Int64(times)
        case .failed(let offset, let trail):
            self.offset = offset
            first = FailureItem(trail.first)
            last = FailureItem(trail.last)
        case .parked(let offset, let record):
            (self.offset, at, isKey) = (offset, record.at, record.isKey)
        case .released(let ranges): self.ranges = ranges.map(OffsetRange.init)
        case .expired(let below): offset = below
        case .vacant(let ranges), .reopened(let ranges), .takenBack(let ranges):
            self.ranges = ranges.map(OffsetRange.init)
        case .restored(let ranges, let acked, let expired, let sent):
            self.ranges = ranges.map(OffsetRange.init)
            self.sent = sent
            self.acked = acked
            self.expired = expired
        }
    }

    static func kind(of change: QueueChange) -> GroupEntry.Kind {
        switch change {
        case .began: .queueBegan
        case .acked: .acked
        case .delayed: .delayed
        case .attempted: .attempted
        case .failed: .failed
        case .parked: .parked
        case .released: .released
        case .expired: .expired
        case .vacant: .vacant
        case .restored: .restored
        case .reopened: .reopened
        case .takenBack: .takenBack
        }
    }

    mutating func fields(
        _ kind: GroupEntry.Kind, _ c: inout some FieldCoder & ~Copyable
    ) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.uint8("lane", &lane, "0: the flow; 1: what was sent again")
        switch kind {
        case .queueBegan, .expired: try c.int64("offset", &offset, "the first that counts")
        case .acked, .vacant, .reopened, .takenBack, .released: try rangeFields(&c)
        case .parked:
            try c.int64("offset", &offset, "of the record")
            try c.int64("at", &at, "milliseconds since 1970 UTC")
            try c.bool("isKey", &isKey, "all later records of its key wait behind it")
        case .delayed:
            try c.int64("due", &offset, "milliseconds since 1970 UTC")
            try rangeFields(&c)
        case .attempted:
            try c.int64("times", &offset, "so many more")
            try rangeFields(&c)
        case .restored:
            try c.int64("acked", &acked, "so many of those settled before")
            try c.int64("expired", &expired, "so many of those settled before")
            try c.int64("sent", &sent, "so many were sent again before")
            try rangeFields(&c)
        case .failed:
            try c.int64("offset", &offset, "of the record")
            try c.item("first", &first)
            try c.item("last", &last)
        case .created, .createdQueue, .deleted, .joined, .left, .departed, .granted, .freed,
            .committed, .forgotten, .paused, .resumed, .reset, .snapshotBegins, .snapshotEnds,
            .policy, .breaker, .letterEntry, .letterStored, .lettersReplayed, .letterRestored,
            .letterWaiting, .suspected, .restarted, .expiredInAll:
            break
        }
    }

    private mutating func rangeFields(
        _ c: inout some FieldCoder & ~Copyable
    ) throws(WireError) {
        try c.array("ranges", &ranges, max: WireLimits.rangesMax, "offsets")
    }

    /// Without what no broker writes.
    var offsets: [Range<Int64>] {
        ranges.map(\.offsets).filter { !$0.isEmpty }
    }

    /// nil for what no broker writes.
    func record(_ group: String, _ change: QueueChange) -> GroupRecord? {
        guard let queue = QueueID(topic, partition, lane: lane) else { return nil }
        switch (change, queue.lane) {
        case (.reopened, .flow), (.takenBack, .flow), (.parked, .replay), (.released, .replay),
            (.vacant, .replay):
            return nil
        case (.began, _), (.acked, _), (.delayed, _), (.attempted, _), (.expired, _),
            (.failed, _), (.restored, _), (.reopened, .replay), (.takenBack, .replay),
            (.parked, .flow), (.released, .flow), (.vacant, .flow):
            return .queue(group: group, queue, change)
        }
    }
}

extension QueueID {
    /// nil: there is no such lane.
    init?(_ topic: TopicID, _ partition: Int32, lane: UInt8) {
        guard let lane = Lane(rawValue: lane) else { return nil }
        self.init(TopicPartition(topic, partition), lane)
    }
}

extension OffsetRange {
    init(_ range: Range<Int64>) { self.init(range.lowerBound, range.upperBound) }
}
