import MartletFormat
import MartletSystem

/// Follows a log batch by batch and says when an index entry is due.
struct IndexTracker: Equatable, Sendable {
    /// The state of the log behind the last batch.
    var end: IndexEntry
    /// Position of the newest entry.
    private(set) var indexedPosition: Int64
    private let interval: Int64

    init(after entry: IndexEntry, indexedPosition: Int64, interval: Int64) {
        end = entry
        end.isSeal = false
        self.indexedPosition = indexedPosition
        self.interval = interval
    }

    /// The entry to write before a batch is put at the end; nil when none is due.
    mutating func entryIfDue() -> IndexEntry? {
        guard end.position >= indexedPosition + interval else { return nil }
        indexedPosition = end.position
        return end
    }

    /// Moves behind a batch.
    mutating func advance(
        _ header: RecordBatchHeader, prefixChecksum: UInt32, appendTime: Int64
    ) {
        end.offset = header.nextOffset
        end.position += Int64(header.byteCount)
        end.appendTime = max(end.appendTime, appendTime)
        end.maxEventTime = max(end.maxEventTime, header.maxTimestamp)
        end.checksum = prefixChecksum
    }

    /// Moves over bytes that are not to be read.
    mutating func skip(to position: Int64, offset: Int64) {
        end.position = position
        end.offset = offset
    }
}

/// Brings a segment's index into memory: what the file holds, completed from the log itself.
struct IndexBuilder {
    let segment: Segment
    /// Position where the log of this segment ends.
    let end: Int64
    /// The offset that follows the segment, as far as known; bounds a search after damage.
    let offsetLimit: Int64
    /// Append time for batches whose own is not known any more.
    let fallbackTime: Int64
    /// Bytes of log per entry.
    let interval: Int64

    struct Result {
        var entries: [IndexEntry]
        /// State of the log at `end`.
        var end: IndexEntry
        /// Entries in `entries` that the file does not have.
        var isRebuilt: Bool
        /// The log could not be followed without a break.
        var hasDamage = false
        /// Where damage begins behind which nothing whole comes any more.
        var lastWhole: IndexEntry?
    }

    /// Blocks: reads the index file and the part of the log that it does not cover.
    func load() throws(StorageError) -> Result {
        var entries = try segment.index.stored(end: end)
        if let last = entries.last, last.isSeal {
            if last.position == end {
                entries.removeLast()
                return Result(entries: entries, end: last, isRebuilt: false)
            }
            entries.removeLast()
        }
        entries.removeAll { $0.isSeal }
        let known = entries.count
        if entries.isEmpty { entries = [.first(of: segment.base)] }
        var result = Result(entries: entries, end: .first(of: segment.base), isRebuilt: false)
        try follow(&result)
        result.isRebuilt = result.entries.count != known
        return result
    }

    private func follow(_ result: inout Result) throws(StorageError) {
        guard let last = result.entries.last else { return }
        let log = try segment.log.open()
        var tracker = IndexTracker(
            after: last, indexedPosition: last.position, interval: interval)
        var scanner = BatchScanner(log, from: last.position, to: end, checksBody: false)
        while true {
            switch try scanner.next() {
            case .batch(let header, _)
            where header.baseOffset >= tracker.end.offset && header.nextOffset <= offsetLimit:
                if let entry = tracker.entryIfDue() { result.entries.append(entry) }
                let checksum = RecordBatch.prefixChecksum(
                    scanner.bytes, continuing: tracker.end.checksum)
                tracker.advance(header, prefixChecksum: checksum, appendTime: fallbackTime)
            case .zeros where tracker.end.offset == offsetLimit:
                // All offsets are there: space written ahead that was not cut.
                result.end = tracker.end
                return
            case .batch, .bad, .zeros:
                result.hasDamage = true
                guard try resume(log, &tracker, &scanner) else {
                    result.lastWhole = tracker.end
                    tracker.skip(to: end, offset: min(offsetLimit, .max))
                    result.end = tracker.end
                    return
                }
            case .end:
                result.end = tracker.end
                return
            }
        }
    }

    /// After damage: goes on at the next whole batch.
    private func resume(
        _ log: any File, _ tracker: inout IndexTracker, _ scanner: inout BatchScanner
    ) throws(StorageError) -> Bool {
        guard
            let found = try BatchSearch.next(
                in: log, from: tracker.end.position + 1, to: end, offset: tracker.end.offset,
                offsetLimit: offsetLimit)
        else { return false }
        tracker.skip(to: found.position, offset: found.header.baseOffset)
        scanner = BatchScanner(log, from: found.position, to: end, checksBody: false)
        return true
    }
}
