import MartletFormat
import MartletSystem

/// Finds where reading can go on after bytes that are no batch.
enum BatchSearch {
    private static let windowBytes = 256 << 10

    /// The first place at or after `position` that holds a whole batch with a good checksum, whose
    /// offsets lie at or above `offset` and below `offsetLimit`. nil when there is none before `end`.
    static func next(
        in file: any File, from position: Int64, to end: Int64, offset: Int64, offsetLimit: Int64
    ) throws(StorageError) -> (position: Int64, header: RecordBatchHeader)? {
        let slab = ByteSlab(capacity: windowBytes)
        var windowStart = position
        while windowStart < end {
            slab.clear()
            let wanted = Int(min(Int64(windowBytes), end - windowStart))
            let at = windowStart
            let got = try storage("reading \(file.path)") { () throws(SystemError) in
                try file.read(into: slab, atMost: wanted, at: at)
            }
            let candidates = got - RecordBatch.headerBytes
            guard candidates >= 0 else { return nil }
            for start in 0...candidates {
                guard let header = plausible(slab.bytes, start, offset, offsetLimit) else {
                    continue
                }
                let found = windowStart + Int64(start)
                if try isWhole(file, found, end) { return (found, header) }
            }
            windowStart += Int64(candidates + 1)
        }
        return nil
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

    private static func isWhole(
        _ file: any File, _ position: Int64, _ end: Int64
    ) throws(StorageError) -> Bool {
        var scanner = BatchScanner(file, from: position, to: end, checksBody: true)
        switch try scanner.next() {
        case .batch: return true
        case .bad, .zeros, .end: return false
        }
    }
}
