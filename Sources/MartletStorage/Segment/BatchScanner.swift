import MartletFormat
import MartletSystem

/// Walks the batches of a log file from a position on.
///
/// Everything read is a stranger's: a length that does not fit, a wrong magic or a checksum that
/// does not match ends the walk with `.bad`, zeros with `.zeros`.
struct BatchScanner {
    enum Step {
        /// A batch; its bytes are `bytes` of the scanner until the next call.
        case batch(RecordBatchHeader, at: Int64)
        /// The rest of the file begins with a zero header: space written ahead, or a hole.
        case zeros(at: Int64)
        case bad(at: Int64, reason: String)
        /// `end` is reached exactly.
        case end
    }

    /// Longest batch that is believed: the largest limit a topic can have, and its header.
    static let batchBytesMax = (8 << 20) + (64 << 10)
    private static let chunkBytes = 1 << 20

    private let file: any File
    private let end: Int64
    private let checksBody: Bool
    private var slab: ByteSlab
    /// Position in the file of the slab's first byte.
    private var slabPosition: Int64
    private var cursor: Int64
    private(set) var current: Range<Int> = 0..<0

    /// - Parameters:
    ///   - end: Where the walk stops: the file's size, or the log's known end.
    ///   - checksBody: Whether the CRC of each batch is checked.
    init(_ file: any File, from position: Int64, to end: Int64, checksBody: Bool) {
        self.file = file
        self.end = end
        self.checksBody = checksBody
        slab = ByteSlab(
            capacity: max(
                RecordBatch.headerBytes, Int(min(Int64(Self.chunkBytes), max(0, end - position)))))
        slabPosition = position
        cursor = position
    }

    /// Position of the next batch.
    var position: Int64 { cursor }

    /// The batch that `next` returned last.
    var bytes: RawSpan {
        @_lifetime(borrow self) get { slab.span(current) }
    }

    mutating func next() throws(StorageError) -> Step {
        if cursor >= end { return .end }
        let at = cursor
        guard try have(RecordBatch.headerBytes) else { return try shortRest(at) }
        let start = Int(at - slabPosition)
        let header: RecordBatchHeader
        do {
            header = try RecordBatchHeader(reading: slab.bytes, at: start)
        } catch {
            if MarksLoader.isZero(slab.bytes, start..<(start + RecordBatch.headerBytes)) {
                return .zeros(at: at)
            }
            return .bad(at: at, reason: "\(error)")
        }
        guard header.byteCount <= Self.batchBytesMax else {
            return .bad(at: at, reason: "length \(header.byteCount) is over the limit")
        }
        guard try have(header.byteCount) else {
            return .bad(at: at, reason: "length \(header.byteCount) reaches over the end")
        }
        let first = Int(at - slabPosition)
        current = first..<(first + header.byteCount)
        if checksBody {
            do {
                try RecordBatch.checkChecksum(slab.span(current), header)
            } catch {
                return .bad(at: at, reason: "\(error)")
            }
        }
        cursor += Int64(header.byteCount)
        return .batch(header, at: at)
    }

    /// Less than a header is left before `end`.
    private mutating func shortRest(_ at: Int64) throws(StorageError) -> Step {
        let start = Int(at - slabPosition)
        let count = min(slab.count - start, Int(end - at))
        if MarksLoader.isZero(slab.bytes, start..<(start + max(0, count))) { return .zeros(at: at) }
        return .bad(at: at, reason: "\(count) bytes are less than a batch header")
    }

    /// Makes sure that `count` bytes from the cursor on are in the slab; false when the file or
    /// the walk ends before.
    private mutating func have(_ count: Int) throws(StorageError) -> Bool {
        let start = Int(cursor - slabPosition)
        if slab.count - start >= count { return cursor + Int64(count) <= end }
        guard cursor + Int64(count) <= end else {
            try refill(atLeast: Int(end - cursor))
            return false
        }
        try refill(atLeast: count)
        return slab.count >= count
    }

    private mutating func refill(atLeast count: Int) throws(StorageError) {
        let wanted = max(count, Int(min(Int64(Self.chunkBytes), end - cursor)))
        let start = Int(cursor - slabPosition)
        if slab.capacity < wanted {
            let larger = ByteSlab(capacity: wanted)
            larger.append(slab.span(min(start, slab.count)..<slab.count))
            slab = larger
        } else {
            slab.removePrefix(min(start, slab.count))
        }
        slabPosition = cursor
        while slab.count < wanted {
            let position = slabPosition + Int64(slab.count)
            let got = try storage("reading \(file.path)") { () throws(SystemError) in
                try file.read(into: slab, atMost: wanted - slab.count, at: position)
            }
            if got == 0 { return }
        }
    }
}
