import MartletFormat

/// What a mark says. The raw value is its byte on disk; 0 is an empty slot.
enum MarkKind: UInt8, Sendable {
    /// Everything of the partition below (segment, position, offset) was on disk.
    case end = 1
    /// Offsets below `offset` may have been given by a `written` topic.
    case reserve = 2
    /// The broker's leader epoch was raised to `leaderEpoch`.
    case epoch = 3
    /// Records below `offset` are deleted.
    case start = 4
    /// The retention clock stood at `time`.
    case clock = 5
    /// The broker stopped in order; nothing was written after this entry.
    case clean = 6
}

/// One entry of the marks file: 80 bytes, big-endian, each with its own checksum.
///
/// ```
/// offset size field
///      0    4 CRC-32C of bytes 4..<80
///      4    1 kind
///      5    1 version, 1
///      6    2 zero
///      8   16 topic id (zero for epoch, clock, clean)
///     24    4 partition
///     28    4 leader epoch
///     32    8 base offset of the segment
///     40    8 end position in the segment
///     48    8 offset
///     56    8 append time or retention clock, ms
///     64    4 running CRC-32C over the 17-byte prefixes of the segment's batches
///     68    4 zero
///     72    8 sequence: rises by one with each entry of a data directory
/// ```
struct MarkEntry: Equatable, Sendable {
    static let byteCount = 80
    private static let version: UInt8 = 1

    var kind: MarkKind
    var topic: TopicID = .zero
    var partition: Int32 = 0
    var leaderEpoch: Int32 = 0
    var segmentBase: Int64 = 0
    var position: Int64 = 0
    var offset: Int64 = 0
    var time: Int64 = 0
    var checksum: UInt32 = 0
    var sequence: UInt64 = 0

    init(_ kind: MarkKind) { self.kind = kind }

    /// Everything of a partition below `end` was on disk.
    init(_ end: LogEnd, of topic: TopicID, _ partition: Int32, leaderEpoch: Int32) {
        kind = .end
        self.topic = topic
        self.partition = partition
        self.leaderEpoch = leaderEpoch
        segmentBase = end.base
        position = end.position
        offset = end.offset
        time = end.appendTime
        checksum = end.checksum
    }

    /// Appends the 80 bytes to `slab`, which must have room.
    func encode(into slab: ByteSlab) {
        let start = slab.count
        slab.append(UInt32(0))
        slab.append(kind.rawValue)
        slab.append(Self.version)
        slab.append(UInt16(0))
        slab.append(topic.high)
        slab.append(topic.low)
        slab.append(partition)
        slab.append(leaderEpoch)
        slab.append(segmentBase)
        slab.append(position)
        slab.append(offset)
        slab.append(time)
        slab.append(checksum)
        slab.append(UInt32(0))
        slab.append(sequence)
        let crc = CRC32C.checksum(slab.span((start + 4)..<(start + Self.byteCount)))
        slab.patch(crc, at: start)
    }

    /// Reads the entry at `start`; nil when the slot is empty or does not check.
    init?(reading bytes: RawSpan, at start: Int) {
        guard start >= 0, bytes.byteCount - start >= Self.byteCount else { return nil }
        do {
            var at = start
            let stored = try bytes.readUInt32("crc", at: &at)
            let kindByte = try bytes.readUInt8("kind", at: &at)
            let version = try bytes.readUInt8("version", at: &at)
            guard let kind = MarkKind(rawValue: kindByte), version == Self.version else {
                return nil
            }
            let body = bytes.extracting((start + 4)..<(start + Self.byteCount))
            guard CRC32C.checksum(body) == stored else { return nil }
            self.kind = kind
            at += 2
            let high = try bytes.readUInt64("topic", at: &at)
            topic = TopicID(high: high, low: try bytes.readUInt64("topic", at: &at))
            partition = try bytes.readInt32("partition", at: &at)
            leaderEpoch = try bytes.readInt32("leaderEpoch", at: &at)
            segmentBase = try bytes.readInt64("segmentBase", at: &at)
            position = try bytes.readInt64("position", at: &at)
            offset = try bytes.readInt64("offset", at: &at)
            time = try bytes.readInt64("time", at: &at)
            checksum = try bytes.readUInt32("checksum", at: &at)
            at += 4
            sequence = try bytes.readUInt64("sequence", at: &at)
        } catch {
            return nil  // cannot happen: the length was checked above
        }
        // What no broker writes is no mark, whatever its checksum says: what is computed from these
        // numbers must not overflow, and nothing ends before it begins.
        let numbers = 0...LogLimits.offsetMax
        guard numbers.contains(segmentBase), numbers.contains(position), numbers.contains(offset),
            time == .min || numbers.contains(time), partition >= 0,
            sequence <= UInt64(LogLimits.offsetMax),
            leaderEpoch >= 0, leaderEpoch <= LogLimits.leaderEpochMax,
            kind != .end || segmentBase <= offset
        else { return nil }
    }
}

/// The newest marks of one partition.
struct PartitionMarks: Equatable, Sendable {
    var end: MarkEntry?
    var reserve: MarkEntry?
    var start: MarkEntry?
}

struct PartitionKey: Hashable, Sendable {
    let topic: TopicID
    let partition: Int32
}

/// What all the marks of a data directory say together.
struct MarkTable: Sendable {
    var partitions: [PartitionKey: PartitionMarks] = [:]
    var epoch: Int32 = 0
    var retentionClock: Int64?
    var sequence: UInt64 = 0
    /// The newest entry is `clean`: the last run ended in order.
    var isClean = false

    /// Takes over an entry that is newer than all before.
    mutating func apply(_ entry: MarkEntry) {
        sequence = max(sequence, entry.sequence)
        isClean = false
        let key = PartitionKey(topic: entry.topic, partition: entry.partition)
        switch entry.kind {
        case .end:
            partitions[key, default: PartitionMarks()].end = entry
            epoch = max(epoch, entry.leaderEpoch)
        case .reserve: partitions[key, default: PartitionMarks()].reserve = entry
        case .start:
            // Two that move a log start at once may write their marks in either order.
            let known = partitions[key]?.start?.offset ?? 0
            if entry.offset >= known { partitions[key, default: PartitionMarks()].start = entry }
        case .epoch: epoch = max(epoch, entry.leaderEpoch)
        case .clock: retentionClock = entry.time
        case .clean: isClean = true
        }
    }

    /// Whether a later end of the same log is known.
    func isPast(_ entry: MarkEntry) -> Bool {
        guard entry.kind == .end,
            let known = partitions[PartitionKey(topic: entry.topic, partition: entry.partition)]?
                .end
        else { return false }
        return (known.offset, known.segmentBase) > (entry.offset, entry.segmentBase)
    }

    /// The entries that say all of it, for a rewritten file.
    var entries: [MarkEntry] {
        var result: [MarkEntry] = []
        var epochEntry = MarkEntry(.epoch)
        epochEntry.leaderEpoch = epoch
        result.append(epochEntry)
        if let retentionClock {
            var clock = MarkEntry(.clock)
            clock.time = retentionClock
            result.append(clock)
        }
        for marks in partitions.values {
            result += [marks.end, marks.reserve, marks.start].compactMap { $0 }
        }
        // The same table makes the same file.
        return result.sorted { $0.sequence < $1.sequence }
    }

    mutating func forget(topic: TopicID) {
        partitions = partitions.filter { $0.key.topic != topic }
    }

    /// Drops what is said of topics that are gone.
    mutating func keep(topics: Set<TopicID>) {
        partitions = partitions.filter { topics.contains($0.key.topic) }
    }
}
