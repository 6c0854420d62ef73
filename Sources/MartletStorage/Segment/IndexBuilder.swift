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

    /// The entry to write before a batch is put at the end; nil when none is due. One stands behind
    /// the first batch, to tell its append time.
    mutating func entryIfDue() -> IndexEntry? {
        let due = indexedPosition == 0 ? 1 : indexedPosition + interval
        guard end.position >= due else { return nil }
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
    /// What is known of the log at its end, beside the segment's own files.
    struct Known {
        /// The running checksum at the end.
        let checksum: UInt32
        /// The highest that a batch can have.
        let leaderEpoch: Int32
    }

    let segment: Segment
    /// Position where the log of this segment ends.
    let end: Int64
    /// The offset that follows the segment, as far as known; bounds a search after damage.
    let offsetLimit: Int64
    /// Append time for batches whose own is not known any more.
    let fallbackTime: Int64
    /// Bytes of log per entry.
    let interval: Int64
    /// Offsets that are known to be missing.
    var gaps: [Range<Int64>] = []
    var known: Known?

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

    /// What was followed since the chain of checksums broke, or at all.
    private struct Chain {
        /// Number of entries before that.
        var first: Int
        var batches = 0
        /// For each entry behind, the batches before it.
        var counts: [Int] = []
        var isBroken = false

        mutating func breaks(behind entries: Int) { self = Chain(first: entries, isBroken: true) }
    }

    /// Leader epochs never fall, and nothing but the chain of checksums covers them.
    private struct Epochs {
        let max: Int32
        private var before: Int32 = 1
        private var last: Int32 = 1
        /// Batches that another epoch would fit, too; all but the last one.
        private var loose: [WrongEpoch.Candidate] = []

        init(max: Int32) { self.max = max }

        /// The batch before is the odd one: it is above this one, which fits the one before it.
        mutating func exceed(_ epoch: Int32) -> Bool {
            guard epoch < last, epoch >= before else { return false }
            last = before
            return true
        }

        /// False when it is this one, the chain's last of so many.
        mutating func take(_ epoch: Int32, of batches: Int) -> Bool {
            guard epoch >= last, epoch <= max else { return false }
            if batches > 1, before < epoch { loose.append(candidate(batches - 2, upTo: epoch)) }
            (before, last) = (last, epoch)
            return true
        }

        private func candidate(_ batch: Int, upTo highest: Int32) -> WrongEpoch.Candidate {
            WrongEpoch.Candidate(batch: batch, epoch: last, lowest: before, highest: highest)
        }

        /// The one that fits, and still explains that the chain ends in another checksum.
        func wrong(of batches: Int, _ difference: UInt32) -> Int? {
            guard batches > 0 else { return nil }
            return WrongEpoch.find(
                loose + [candidate(batches - 1, upTo: max)], of: batches, difference)
        }
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
        let count = entries.count
        if entries.isEmpty { entries = [.first(of: segment.base)] }
        var result = Result(entries: entries, end: .first(of: segment.base), isRebuilt: false)
        var chain = Chain(first: entries.count)
        var epochs = known.map { Epochs(max: $0.leaderEpoch) }
        try follow(&result, &chain, &epochs)
        settle(&result, chain, epochs)
        result.isRebuilt = result.entries.count != count
        return result
    }

    private func follow(
        _ result: inout Result, _ chain: inout Chain, _ epochs: inout Epochs?
    ) throws(StorageError) {
        guard let last = result.entries.last else { return }
        let log = try segment.log.open()
        var tracker = IndexTracker(
            after: last, indexedPosition: last.position, interval: interval)
        var before = last
        var scanner = BatchScanner(log, from: last.position, to: end, checksBody: false)
        while true {
            switch try scanner.next() {
            case .batch(let header, _) where follows(header, tracker.end):
                if epochs?.exceed(header.leaderEpoch) == true {
                    result.hasDamage = true
                    chain.breaks(behind: result.entries.count)
                }
                if let entry = tracker.entryIfDue() {
                    result.entries.append(entry)
                    chain.counts.append(chain.batches)
                }
                before = tracker.end
                let checksum = RecordBatch.prefixChecksum(
                    scanner.bytes, continuing: tracker.end.checksum)
                tracker.advance(header, prefixChecksum: checksum, appendTime: fallbackTime)
                chain.batches += 1
                if epochs?.take(header.leaderEpoch, of: chain.batches) == false {
                    result.hasDamage = true
                    chain.breaks(behind: result.entries.count)
                }
            case .zeros where tracker.end.offset == offsetLimit:
                // All offsets are there: space written ahead that was not cut.
                result.end = tracker.end
                return
            case .batch, .bad, .zeros:
                result.hasDamage = true
                chain.breaks(behind: result.entries.count)
                guard try resume(log, behind: before, &tracker, &scanner) else {
                    result.lastWhole = tracker.end
                    tracker.skip(to: end, offset: min(offsetLimit, .max))
                    result.end = tracker.end
                    return
                }
                before = tracker.end
            case .end:
                result.end = tracker.end
                return
            }
        }
    }

    private func follows(_ header: RecordBatchHeader, _ end: IndexEntry) -> Bool {
        guard header.nextOffset >= header.baseOffset, header.nextOffset <= offsetLimit else {
            return false
        }
        // Compaction leaves holes.
        return segment.generation > 0
            ? header.baseOffset >= end.offset : gaps.join(end.offset, to: header.baseOffset)
    }

    /// After damage: goes on at the next whole batch. That a batch does not follow may be the fault
    /// of the one that was taken last, whose own checksum tells.
    private func resume(
        _ log: any File, behind last: IndexEntry, _ tracker: inout IndexTracker,
        _ scanner: inout BatchScanner
    ) throws(StorageError) -> Bool {
        var isInLast = false
        if last.position < tracker.end.position {
            isInLast = try !isWhole(log, at: last.position)
        }
        guard
            let found = try BatchSearch.next(
                in: log, from: (isInLast ? last.position : tracker.end.position) + 1, to: end,
                offset: isInLast ? last.offset + 1 : tracker.end.offset, offsetLimit: offsetLimit)
        else { return false }
        tracker.skip(to: found.position, offset: found.header.baseOffset)
        scanner = BatchScanner(log, from: found.position, to: end, checksBody: false)
        return true
    }

    private func isWhole(_ log: any File, at position: Int64) throws(StorageError) -> Bool {
        var scanner = BatchScanner(log, from: position, to: end, checksBody: true)
        guard case .batch = try scanner.next() else { return false }
        return true
    }

    /// What stood in damaged bytes is in no checksum behind them. Where the one at the end is known,
    /// those of the entries behind the damage follow from it: the batches there are not blamed for
    /// what is before them.
    private func settle(_ result: inout Result, _ chain: Chain, _ epochs: Epochs?) {
        guard let known, known.checksum != result.end.checksum else { return }
        var difference = result.end.checksum ^ known.checksum
        var damaged = 0
        if !chain.isBroken {
            guard let wrong = epochs?.wrong(of: chain.batches, difference) else { return }
            result.hasDamage = true
            damaged = wrong + 1
        }
        var batches = chain.batches
        for (index, count) in chain.counts.enumerated().reversed() where count >= damaged {
            difference = CRC32C.difference(
                difference, before: (batches - count) * RecordBatch.prefixBytes)
            result.entries[chain.first + index].checksum ^= difference
            batches = count
        }
        result.end.checksum = known.checksum
    }
}
