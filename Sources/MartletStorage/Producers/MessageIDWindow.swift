import MartletFormat
import Synchronization

/// A record of a batch that was not stored, because its message is in the log already.
package struct DuplicateRecord: Equatable, Sendable {
    /// Its place in the batch, from 0.
    package let index: Int32
    /// Where the first one is; -1: not known any more.
    package let offset: Int64
}

/// What the windows of all partitions hold, and how much that may be.
final class MessageIDMemory: Sendable {
    let limit: Int
    private let used = Atomic<Int>(0)

    init(limit: Int) { self.limit = limit }

    var bytes: Int { used.load(ordering: .relaxed) }

    /// Whether so much more is within the limit. Batches of several partitions that ask at the same
    /// moment may go above it, by themselves.
    func hasRoom(for count: Int) -> Bool { count <= limit - min(bytes, limit) }

    func add(_ count: Int) { used.add(count, ordering: .relaxed) }
    func give(_ count: Int) { used.subtract(count, ordering: .relaxed) }
}

/// The message ids of a partition's newest records and where these are: what makes a second send of
/// the same message a success without a second record.
///
/// Exact: no hash stands for an id. Times are those of the monotonic clock, so that a wall clock that
/// is set makes nothing younger or older while the broker runs.
struct MessageIDWindow {
    /// Beside the bytes of an id: its array, its places in the table and in the order.
    static let overhead = 144

    private struct Aged {
        let id: [UInt8]
        let offset: Int64
        let time: Int64
    }

    /// An id that the window does not know yet.
    struct Fresh {
        let index: Int32
        let id: [UInt8]
    }

    /// What a batch is made of.
    struct Verdict {
        var fresh: [Fresh] = []
        var duplicates: [DuplicateRecord] = []

        var bytes: Int { fresh.reduce(0) { $0 + MessageIDWindow.cost($1.id) } }
    }

    enum Problem: Error {
        case tooLong(index: Int32, bytes: Int)
    }

    private var offsets: [[UInt8]: Int64] = [:]
    /// In the order of their times; what lies before `first` has gone.
    private var order: [Aged] = []
    private var first = 0
    private(set) var bytes = 0

    var count: Int { order.count - first }

    static func cost(_ id: [UInt8]) -> Int { id.count + overhead }

    /// Says which records of a batch are there already; the first of two within it is not.
    ///
    /// - Parameters:
    ///   - batch: what `RecordBatch.validateForAppend` has passed.
    ///   - base: the offset that the batch's first record would get.
    func judge(
        _ batch: RawSpan, _ header: RecordBatchHeader, base: Int64
    ) throws(Problem) -> Verdict {
        var verdict = Verdict()
        var within: [[UInt8]: Int32] = [:]
        let count = Int(header.recordCount)
        try Self.forEachID(of: batch, header) { index, id throws(Problem) in
            guard id.count <= MessageID.bytesMax else {
                throw .tooLong(index: index, bytes: id.count)
            }
            if let offset = offsets[id] {
                verdict.duplicates.append(DuplicateRecord(index: index, offset: offset))
            } else if count > 1, let earlier = within.updateValue(index, forKey: id) {
                within[id] = earlier
                verdict.duplicates.append(
                    DuplicateRecord(index: index, offset: base + Int64(earlier)))
            } else {
                verdict.fresh.append(Fresh(index: index, id: id))
            }
        }
        return verdict
    }

    /// Where the records are of a batch that was appended before, as far as it is not where they
    /// were: what was left out then. A record whose id has left the window may have been among those.
    func recall(
        _ batch: RawSpan, _ header: RecordBatchHeader, _ range: Range<Int64>
    ) -> [DuplicateRecord] {
        var found: [DuplicateRecord] = []
        do throws(Problem) {
            try Self.forEachID(of: batch, header) { index, id throws(Problem) in
                let offset = offsets[id].flatMap { $0 < range.upperBound ? $0 : nil }
                guard offset != range.lowerBound + Int64(index) else { return }
                found.append(DuplicateRecord(index: index, offset: offset ?? -1))
            }
        } catch {
            return []  // cannot happen: nothing above throws
        }
        return found
    }

    /// Takes over ids whose records are in the log now.
    mutating func take(_ fresh: [Fresh], base: Int64, time: Int64) {
        for one in fresh { take(one.id, offset: base + Int64(one.index), time: time) }
    }

    /// One that is known already counts from here on. Times must not fall.
    mutating func take(_ id: [UInt8], offset: Int64, time: Int64) {
        offsets[id] = offset
        order.append(Aged(id: id, offset: offset, time: time))
        bytes += Self.cost(id)
    }

    /// Takes over the ids of a batch that lies in the log.
    mutating func take(_ batch: RawSpan, _ header: RecordBatchHeader, time: Int64) {
        do throws(Problem) {
            try Self.forEachID(of: batch, header) { index, id throws(Problem) in
                // From before the topic removed duplicates: no such id will be asked for.
                guard id.count <= MessageID.bytesMax else { return }
                take(id, offset: header.baseOffset + Int64(index), time: time)
            }
        } catch {
            return  // cannot happen: nothing above throws
        }
    }

    /// Forgets what was appended at or before `time`. Returns the bytes that are free again.
    mutating func expire(upTo time: Int64) -> Int {
        let before = bytes
        while first < order.count, order[first].time <= time {
            let aged = order[first]
            // Unless it was appended again since.
            if offsets[aged.id] == aged.offset { offsets[aged.id] = nil }
            bytes -= Self.cost(aged.id)
            first += 1
        }
        if first == order.count {
            order = []
            first = 0
        } else if first > 1_024, first > order.count / 2 {
            order.removeFirst(first)
            first = 0
        }
        shrink()
        return before - bytes
    }

    /// By itself a table keeps the room for as many as it ever had.
    private mutating func shrink() {
        guard offsets.capacity > 1_024, offsets.count < offsets.capacity / 8 else { return }
        var smaller: [[UInt8]: Int64] = [:]
        smaller.reserveCapacity(offsets.count * 2)
        for (id, offset) in offsets { smaller[id] = offset }
        offsets = smaller
    }

    private static func forEachID(
        of batch: RawSpan, _ header: RecordBatchHeader,
        _ body: (Int32, [UInt8]) throws(Problem) -> Void
    ) throws(Problem) {
        var cursor = RecordCursor(header)
        while let (index, id) = nextID(&cursor, batch) { try body(index, id) }
    }

    /// nil at the batch's end. What is in the log, or was validated, can be read.
    private static func nextID(
        _ cursor: inout RecordCursor, _ batch: RawSpan
    ) -> (Int32, [UInt8])? {
        do throws(FormatError) {
            while let record = try cursor.next(in: batch) {
                guard let id = try MessageID.find(in: batch, record) else { continue }
                return (record.offsetDelta, batch.copy(id))
            }
        } catch {
            return nil
        }
        return nil
    }
}
