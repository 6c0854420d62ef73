import MartletFormat
import MartletSystem

/// Finds where reading can go on after bytes that are no batch.
///
/// A record may hold anything, also a whole batch with offsets that fit. So a batch behind damage is
/// believed only when it cannot be a part of the damaged one: the damaged header itself names its
/// place and offset, or the batches from it on fill the rest exactly, or they are longer together
/// than one batch can be.
enum BatchSearch {
    private static let windowBytes = 256 << 10

    /// The first place behind damage that holds a batch, whose offsets lie at or above `offset` and
    /// below `offsetLimit`. nil when there is none before `end`.
    /// - Parameters:
    ///   - position: The byte behind the one where the damage begins.
    ///   - endOffset: The offset that follows the batch at `end`, where that is known.
    static func next(
        in file: any File, from position: Int64, to end: Int64, offset: Int64, offsetLimit: Int64,
        endOffset: Int64? = nil
    ) throws(StorageError) -> (position: Int64, header: RecordBatchHeader)? {
        if let named = try named(in: file, at: position - 1, end, offset, offsetLimit) {
            return named
        }
        var runs = BatchRuns(file: file, end: end, offsetLimit: offsetLimit, endOffset: endOffset)
        let slab = ByteSlab(capacity: windowBytes)
        var windowStart = position
        while windowStart < end {
            let candidates =
                try read(file, windowStart, end, into: slab) - RecordBatch.headerBytes
            guard candidates >= 0 else { return nil }
            for start in 0...candidates {
                guard let header = plausible(slab.bytes, start, offset, offsetLimit) else {
                    continue
                }
                let found = windowStart + Int64(start)
                if try runs.hold(from: found) { return (found, header) }
            }
            windowStart += Int64(candidates + 1)
        }
        return nil
    }

    private static func read(
        _ file: any File, _ position: Int64, _ end: Int64, into slab: ByteSlab
    ) throws(StorageError) -> Int {
        slab.clear()
        let wanted = Int(min(Int64(slab.capacity), end - position))
        return try storage("reading \(file.path)") { () throws(SystemError) in
            try file.read(into: slab, atMost: wanted, at: position)
        }
    }

    /// The batch behind the damaged one, where its header still says right where that is: it is
    /// whole, and its offset is the one that the header says, too.
    private static func named(
        in file: any File, at position: Int64, _ end: Int64, _ offset: Int64, _ limit: Int64
    ) throws(StorageError) -> (position: Int64, header: RecordBatchHeader)? {
        guard position >= 0, end - position >= Int64(RecordBatch.headerBytes) else { return nil }
        let slab = ByteSlab(capacity: RecordBatch.headerBytes)
        guard try read(file, position, end, into: slab) == RecordBatch.headerBytes,
            let damaged = plausible(slab.bytes, 0, .min, limit)
        else { return nil }
        let next = position + Int64(damaged.byteCount)
        guard next < end else { return nil }
        var scanner = BatchScanner(file, from: next, to: end, checksBody: true)
        guard case .batch(let header, _) = try scanner.next(),
            header.baseOffset == damaged.nextOffset, header.baseOffset >= offset,
            header.nextOffset > header.baseOffset, header.nextOffset <= limit
        else { return nil }
        return (next, header)
    }

    private static func plausible(
        _ bytes: RawSpan, _ start: Int, _ offset: Int64, _ limit: Int64
    ) -> RecordBatchHeader? {
        // The magic byte first: it rules out nearly every place.
        guard
            unsafe bytes.unsafeLoad(
                fromByteOffset: start + RecordBatch.prefixBytes - 1, as: UInt8.self) == 2
        else { return nil }
        do {
            let header = try RecordBatchHeader(reading: bytes, at: start)
            guard header.baseOffset >= offset, header.nextOffset <= limit,
                header.nextOffset >= header.baseOffset
            else { return nil }
            return header
        } catch {
            return nil  // not a header: that is the answer
        }
    }
}

/// Whole batches with good checksums and rising offsets that follow each other.
private struct BatchRuns {
    let file: any File
    let end: Int64
    let offsetLimit: Int64
    let endOffset: Int64?
    /// Places of batches from which no run leads on: not walked again, however many there are.
    private var dead: Set<Int64> = []

    init(file: any File, end: Int64, offsetLimit: Int64, endOffset: Int64?) {
        self.file = file
        self.end = end
        self.offsetLimit = offsetLimit
        self.endOffset = endOffset
    }

    /// Whether a run from here reaches `end`, or is longer than any one batch.
    mutating func hold(from position: Int64) throws(StorageError) -> Bool {
        var walked: [Int64] = []
        let holds = try walk(from: position, &walked)
        if !holds { dead.formUnion(walked) }
        return holds
    }

    private func walk(
        from position: Int64, _ walked: inout [Int64]
    ) throws(StorageError) -> Bool {
        var scanner = BatchScanner(file, from: position, to: end, checksBody: true)
        var next: Int64 = .min
        while !dead.contains(scanner.position) {
            if scanner.position - position > Int64(BatchScanner.batchBytesMax) { return true }
            switch try scanner.next() {
            case .batch(let header, let at):
                guard header.baseOffset >= next, header.nextOffset >= header.baseOffset,
                    header.nextOffset <= offsetLimit
                else { return false }
                walked.append(at)
                next = header.nextOffset
            case .end: return endOffset.map { $0 == next } ?? true
            // All offsets are there: space written ahead that was not cut.
            case .zeros: return next == offsetLimit
            case .bad: return false
            }
        }
        return false
    }
}
