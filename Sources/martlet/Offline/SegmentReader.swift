import MartletFormat
import MartletSystem

/// Reads a segment batch by batch, with bounded memory whatever the file says.
struct SegmentReader {
    enum Step {
        /// The batch is in `bytes` until the next call.
        case batch(RecordBatchHeader, at: Int64)
        /// Nothing but zeros in the place of a header.
        case zeros(at: Int64)
        case bad(at: Int64, reason: String)
        case end
    }

    /// Larger than any batch that a broker can be told to accept.
    private static let batchBytesMax = 64 << 20
    private static let chunkBytes = 1 << 20

    private let file: any File
    private let size: Int64
    private var position: Int64
    private var slab = ByteSlab(capacity: chunkBytes)
    /// The batch within the slab.
    private var start = 0
    private var length = 0

    init(_ file: any File, from position: Int64) throws(SystemError) {
        self.file = file
        self.position = position
        size = try file.size()
    }

    var bytes: RawSpan {
        @_lifetime(borrow self)
        get { slab.span(start..<(start + length)) }
    }

    mutating func next() throws(SystemError) -> Step {
        start += length
        position += Int64(length)
        length = 0
        guard position < size else { return .end }
        guard try have(RecordBatch.headerBytes) else {
            let rest = slab.count - start
            return isZero(rest)
                ? .zeros(at: position)
                : .bad(at: position, reason: "\(rest) bytes are left, less than a batch header")
        }
        let header: RecordBatchHeader
        do throws(FormatError) {
            header = try RecordBatchHeader(reading: slab.bytes, at: start)
        } catch {
            return isZero(RecordBatch.headerBytes)
                ? .zeros(at: position) : .bad(at: position, reason: "\(error)")
        }
        guard header.byteCount <= Self.batchBytesMax, try have(header.byteCount) else {
            let reason = "the batch says it has \(header.byteCount) bytes, which are not there"
            return .bad(at: position, reason: reason)
        }
        length = header.byteCount
        return .batch(header, at: position)
    }

    private func isZero(_ count: Int) -> Bool {
        let bytes = slab.span(start..<(start + count))
        for index in 0..<count where bytes.unsafeByte(index) != 0 { return false }
        return true
    }

    /// Makes sure that so many bytes from `start` on are in the slab; false when the file ends.
    private mutating func have(_ count: Int) throws(SystemError) -> Bool {
        if slab.count - start >= count { return true }
        if slab.capacity < count {
            let larger = ByteSlab(capacity: count)
            larger.append(slab.span(start..<slab.count))
            slab = larger
        } else {
            slab.removePrefix(start)
        }
        start = 0
        while slab.count < count {
            let from = position + Int64(slab.count)
            let got = try unsafe slab.fill { free throws(SystemError) in
                try unsafe file.read(into: free, at: from)
            }
            if got == 0 { return false }
        }
        return true
    }
}

extension RawSpan {
    /// A byte inside the span; the index is checked.
    func unsafeByte(_ index: Int) -> UInt8 {
        precondition(index >= 0 && index < byteCount, "outside the span")
        return unsafe unsafeLoad(fromByteOffset: index, as: UInt8.self)
    }
}
