package import MartletFormat
package import MartletSystem

/// A place at the end of a batch: where the log ended once.
struct LogEnd: Equatable, Sendable {
    var offset: Int64
    /// Base offset of the segment that `position` is in.
    var base: Int64
    var position: Int64
    /// Running CRC-32C over the 17-byte prefixes of the segment's batches below `position`.
    var checksum: UInt32
    var appendTime: Int64
    /// Of the segment: a compaction moves positions.
    var generation: UInt32 = 0
}

/// Bytes of a segment that are no batches any more, and the offsets that they may have held.
struct DamagedRange: Equatable, Sendable {
    var offsets: Range<Int64>
    var base: Int64
    var positions: Range<Int64>
    var reason: String
}

/// Told once when the high watermark of a partition passed an offset. Called on a storage thread
/// or an appending one: only post to your own queue there.
package protocol AdvanceWaiter: AnyObject, Sendable {
    func highWatermarkAdvanced(_ log: PartitionLog)
}

/// Told once when everything below an offset is on disk, or never will be.
package protocol DurabilityWaiter: AnyObject, Sendable {
    func durabilityReached(_ log: PartitionLog, _ failure: StorageError?)
}

/// Told once when an append that was answered `later` is worth another try.
package protocol AppendRetry: AnyObject, Sendable {
    func retryAppend(_ log: PartitionLog)
}

package enum PartitionState: UInt8, Sendable {
    case online = 0
    case loading = 1
    case offline = 2
}

/// Why a topic or a partition takes and gives nothing.
package enum OfflineReason: Equatable, Sendable {
    /// It cannot be served; its data stays as it is.
    case broken(String)
    /// Its topic was deleted while somebody still held it.
    case deleted

    package var text: String {
        switch self {
        case .broken(let text): text
        case .deleted: "the topic was deleted"
        }
    }
}

/// What a partition is at one moment, from one consistent read.
package struct LogView: Sendable {
    package var state: PartitionState
    package var logStart: Int64
    package var highWatermark: Int64
    package var durableEnd: Int64
    package var logEnd: Int64
    package var leaderEpoch: Int32
    package var segments: Int
    package var bytes: Int64
    /// Append time of the oldest and newest record, ms; -1 when not known.
    package var firstAppendTime: Int64
    package var lastAppendTime: Int64
    package var gaps: [Range<Int64>]
    package var damaged: [Range<Int64>]
    /// Damage that a person lets readers pass.
    package var skipped: [Range<Int64>]

    /// Offsets that no reader finds a record at, of gaps and of what is skipped: in order, apart from
    /// each other. What compaction took is not among them.
    package var vacant: [Range<Int64>] {
        if gaps.isEmpty, skipped.isEmpty { return [] }
        return (gaps + skipped).sorted { $0.lowerBound < $1.lowerBound }.joined()
    }
}

/// Bytes to send to a reader: whole batches of one file.
package struct ReadPlan: Sendable {
    /// Kept open while referenced; nil when the bytes are in `slab`.
    package var file: (any File)?
    /// Bytes that were read and checked.
    package var slab: ByteSlab?
    package var position: Int64
    package var length: Int
    /// Running prefix checksum before the first and behind the last byte.
    package var startChecksum: UInt32
    package var endChecksum: UInt32
    /// Where a reader goes on.
    package var nextOffset: Int64
    /// Gaps between the asked offset and `nextOffset`.
    package var gaps: [Range<Int64>]
    package var view: LogView
}

package enum ReadOutcome: Sendable {
    case data(ReadPlan)
    /// Nothing to read yet: the offset is the high watermark, or compaction took what lay before it.
    case atEnd(LogView)
    /// The offset is the start of a gap with nothing behind it yet.
    case gap(Range<Int64>, LogView)
    case outOfRange(LogView)
    /// The offset lies inside a gap: records were lost there.
    case lost(Range<Int64>, LogView)
    case corrupt([Range<Int64>], LogView)
    /// The disk must be asked: call `planFromDisk` on a reader queue.
    case needsDisk
    /// The range touches damage: call `verifiedRead` on a reader queue.
    case needsVerification
    case offline(OfflineReason)
}

/// The part of a partition that readers, the flush and the appender share, under one small lock.
struct LogState {
    var segments: [Segment]
    var logStart: Int64
    var appended: LogEnd
    var durable: LogEnd
    /// Everything below is visible to readers: the high watermark.
    var visible: LogEnd
    var durability: Durability
    var leaderEpoch: Int32
    /// Segments with bytes that are not on disk, oldest first, held open until they are.
    var unsynced: [(segment: Segment, file: any File)] = []
    /// Sums since start; their difference is un-synced.
    var appendedBytes: Int64 = 0
    var syncedBytes: Int64 = 0
    var gaps: [Range<Int64>] = []
    var damaged: [DamagedRange] = []
    /// Damaged offsets that readers may pass, by an operator's word.
    var skipped: [Range<Int64>] = []
    var cursors = ReadCursors()
    var advanceWaiters: [(offset: Int64, waiter: any AdvanceWaiter)] = []
    /// In order of `endOffset`.
    var durabilityWaiters: [(endOffset: Int64, waiter: any DurabilityWaiter)] = []
    var offline: OfflineReason?
    var failure: StorageError?

    func segmentIndex(for offset: Int64) -> Int? {
        var low = 0
        var high = segments.count
        while low < high {
            let middle = (low + high) / 2
            if segments[middle].base <= offset { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : low - 1
    }

    func segment(base: Int64) -> Segment? {
        guard let index = segmentIndex(for: base), segments[index].base == base else { return nil }
        return segments[index]
    }

    /// Moves the high watermark; returns who waited for that.
    mutating func publishVisible(_ end: LogEnd) -> [any AdvanceWaiter] {
        if end.offset == visible.offset, end.base > visible.base { visible = end }
        guard end.offset > visible.offset else { return [] }
        cursors.remember(visible)
        visible = end
        guard !advanceWaiters.isEmpty else { return [] }
        var woken: [any AdvanceWaiter] = []
        advanceWaiters.removeAll { entry in
            guard entry.offset < end.offset else { return false }
            woken.append(entry.waiter)
            return true
        }
        return woken
    }

    /// Moves the durable end; returns who waited for that.
    mutating func publishDurable(_ end: LogEnd) -> [any DurabilityWaiter] {
        let isFurther =
            end.offset > durable.offset
            || (end.offset == durable.offset && end.base > durable.base)
        if isFurther { durable = end }
        let count = durabilityWaiters.prefix { $0.endOffset <= durable.offset }.count
        guard count > 0 else { return [] }
        let woken = durabilityWaiters[..<count].map(\.waiter)
        durabilityWaiters.removeFirst(count)
        return woken
    }

    var view: LogView {
        LogView(
            state: offline == nil ? .online : .offline, logStart: logStart,
            highWatermark: visible.offset, durableEnd: durable.offset, logEnd: appended.offset,
            leaderEpoch: leaderEpoch, segments: segments.count,
            bytes: segments.reduce(0) { $0 + $1.bytes },
            firstAppendTime: -1,
            lastAppendTime: visible.appendTime == .min ? -1 : visible.appendTime,
            gaps: gaps.filter { $0.upperBound > logStart },
            damaged: damaged.map(\.offsets).filter { !isSkipped($0) },
            skipped: skipped.filter { $0.upperBound > logStart })
    }

    /// Whether an operator let readers pass all of these offsets.
    func isSkipped(_ offsets: Range<Int64>) -> Bool {
        skipped.contains {
            $0.lowerBound <= offsets.lowerBound && $0.upperBound >= offsets.upperBound
        }
    }
}

/// Where readers stopped last: the next fetch at one of these offsets needs no look-up. A small
/// ring, made on the first use, because most partitions have few readers.
struct ReadCursors {
    private static let capacity = 32
    private var places: [LogEnd] = []
    private var oldest = 0

    mutating func remember(_ place: LogEnd) {
        if places.contains(where: { $0.offset == place.offset && $0.base == place.base }) { return }
        if places.count < Self.capacity {
            places.append(place)
        } else {
            places[oldest] = place
            oldest = (oldest + 1) % Self.capacity
        }
    }

    func find(_ offset: Int64) -> LogEnd? {
        places.first { $0.offset == offset }
    }

    /// The earliest append time of a place above `offset`.
    func appendTime(above offset: Int64) -> Int64? {
        places.lazy.filter { $0.offset > offset && $0.appendTime != .min }.map(\.appendTime).min()
    }

    /// Forgets places in segments that are no longer there.
    mutating func forget() {
        places = []
        oldest = 0
    }
}
