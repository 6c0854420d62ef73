import MartletFormat
import MartletSystem

/// Follows the batches of one segment above the last mark.
struct TailScan {
    let segment: Segment
    let from: IndexEntry
    let leaderEpoch: Int32
    /// Offsets that are known to be missing.
    let gaps: [Range<Int64>]
    /// Offsets may jump at a new leader epoch (a `written` topic after an unclean stop).
    let gapsMayFollow: Bool

    struct Result {
        var end: IndexEntry
        var leaderEpoch: Int32
        /// Why the log ends here.
        var reason: String
    }

    func run() throws(StorageError) -> Result {
        let file = try segment.log.open()
        // What the page cache shows may never have been written: ask the disk.
        file.dropCache(from: from.position)
        var result = Result(end: from, leaderEpoch: leaderEpoch, reason: "the end of the file")
        var scanner = BatchScanner(
            file, from: from.position, to: segment.bytes, checksBody: true)
        while true {
            switch try scanner.next() {
            case .batch(let header, _):
                if let problem = problem(header, result) {
                    result.reason = problem
                    return result
                }
                result.end.checksum = RecordBatch.prefixChecksum(
                    scanner.bytes, continuing: result.end.checksum)
                result.end.offset = header.nextOffset
                result.end.position = scanner.position
                result.end.maxEventTime = max(result.end.maxEventTime, header.maxTimestamp)
                result.leaderEpoch = header.leaderEpoch
            case .bad(_, let reason):
                result.reason = reason
                return result
            case .zeros:
                result.reason = "zeros"
                return result
            case .end:
                return result
            }
        }
    }

    private func problem(_ header: RecordBatchHeader, _ so: Result) -> String? {
        guard header.nextOffset > header.baseOffset, header.nextOffset <= LogLimits.offsetMax else {
            return "offsets overflow"
        }
        guard header.leaderEpoch >= so.leaderEpoch,
            header.leaderEpoch <= LogLimits.leaderEpochMax
        else {
            return "leader epoch \(header.leaderEpoch) after \(so.leaderEpoch)"
        }
        if gaps.join(so.end.offset, to: header.baseOffset) { return nil }
        // Compaction leaves holes; a new leader epoch may follow a gap.
        if segment.generation > 0, header.baseOffset > so.end.offset { return nil }
        if gapsMayFollow, header.baseOffset > so.end.offset,
            header.leaderEpoch > so.leaderEpoch
        {
            return nil
        }
        return "offset \(header.baseOffset) where \(so.end.offset) must be"
    }
}
