import MartletFormat

/// One entry of a sparse index: the state of the log just before the batch at `position`.
///
/// 48 bytes, big-endian: offset 8, position 8, append time 8, running maximum of event time 8,
/// running CRC-32C over the batches' 17-byte prefixes 4, flags 4 (1 = the segment ends here),
/// CRC-32C of the 40 bytes before 4, zero 4.
struct IndexEntry: Equatable, Sendable {
    static let byteCount = 48
    private static let sealFlag: UInt32 = 1

    var offset: Int64
    var position: Int64
    /// Append time of the newest batch below, ms; `Int64.min` when there is none.
    var appendTime: Int64
    /// Largest event time of all batches of the segment below, ms; `Int64.min` when there is none.
    var maxEventTime: Int64
    var checksum: UInt32
    var isSeal = false

    static func first(of base: Int64) -> IndexEntry {
        IndexEntry(
            offset: base, position: 0, appendTime: .min, maxEventTime: .min, checksum: 0)
    }

    func encode(into slab: ByteSlab) {
        let start = slab.count
        slab.append(offset)
        slab.append(position)
        slab.append(appendTime)
        slab.append(maxEventTime)
        slab.append(checksum)
        slab.append(isSeal ? Self.sealFlag : 0)
        slab.append(CRC32C.checksum(slab.span(start..<(start + 40))))
        slab.append(UInt32(0))
    }

    /// Reads the entry at `start`; nil when it does not check.
    static func read(_ bytes: RawSpan, at start: Int) -> IndexEntry? {
        guard start >= 0, bytes.byteCount - start >= byteCount else { return nil }
        do {
            var at = start
            let offset = try bytes.readInt64("offset", at: &at)
            let position = try bytes.readInt64("position", at: &at)
            let appendTime = try bytes.readInt64("appendTime", at: &at)
            let maxEventTime = try bytes.readInt64("maxEventTime", at: &at)
            let checksum = try bytes.readUInt32("checksum", at: &at)
            let flags = try bytes.readUInt32("flags", at: &at)
            let crc = try bytes.readUInt32("crc", at: &at)
            guard CRC32C.checksum(bytes.extracting(start..<(start + 40))) == crc else { return nil }
            // As with marks: what no broker writes is no entry, so that no sum overflows.
            let numbers = 0...LogLimits.offsetMax
            guard numbers.contains(offset), numbers.contains(position),
                appendTime == .min || numbers.contains(appendTime)
            else { return nil }
            return IndexEntry(
                offset: offset, position: position, appendTime: appendTime,
                maxEventTime: maxEventTime, checksum: checksum, isSeal: flags & sealFlag != 0)
        } catch {
            return nil  // cannot happen: the length was checked above
        }
    }
}

/// The 64-byte header of an index file, which ties it to one segment.
struct IndexHeader: Equatable, Sendable {
    static let byteCount = 64
    private static let magic: UInt64 = 0x4D52_544C_4958_3031  // MRTLIX01

    let topic: TopicID
    let partition: Int32
    let base: Int64
    let generation: UInt32

    func encode(into slab: ByteSlab) {
        let start = slab.count
        slab.append(Self.magic)
        slab.append(topic.high)
        slab.append(topic.low)
        slab.append(partition)
        slab.append(base)
        slab.append(generation)
        slab.append(CRC32C.checksum(slab.span(start..<slab.count)))
        while slab.count < start + Self.byteCount { slab.append(UInt8(0)) }
    }

    func matches(_ bytes: RawSpan) -> Bool {
        guard bytes.byteCount >= Self.byteCount else { return false }
        let expected = ByteSlab(capacity: Self.byteCount)
        encode(into: expected)
        for index in 0..<Self.byteCount {
            let found = unsafe bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self)
            let wanted = unsafe expected.bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self)
            if found != wanted { return false }
        }
        return true
    }
}
