import MartletFormat
import MartletSystem
import MartletTelemetry

// Where a recovery begins to scan.
extension LogRecovery {
    /// The place of the last mark, as far as the files bear it out.
    func startOfScan(
        _ segments: inout [Segment], _ events: inout [RecoveryEvent],
        _ damaged: inout [DamagedRange]
    ) throws(StorageError) -> Tail {
        guard let mark = marks.end else { return try unmarked(segments) }
        guard let index = segments.lastIndex(where: { $0.base == mark.segmentBase }) else {
            // What is below the mark was on disk, also when the segments there lost their seals.
            if let above = segments.firstIndex(where: { $0.base >= mark.offset }) {
                return try unmarked(segments, from: above)
            }
            return try withoutMarked(mark, &segments, &events, &damaged)
        }
        if context.options.has(.truncateBelowMark) {
            return Tail(index: index, end: .first(of: mark.segmentBase), leaderEpoch: 0)
        }
        // A mark speaks of positions in what was compacted since: its segment was closed, and a
        // newer mark has been lost.
        if segments[index].generation > 0 { return try unmarked(segments) }
        var end = IndexEntry(
            offset: mark.offset, position: mark.position, appendTime: mark.time,
            maxEventTime: .min, checksum: mark.checksum)
        let segment = segments[index]
        if segment.bytes < mark.position {
            // The file is shorter than what was on disk. The log goes on behind it in any case.
            let whole = try endOfWhole(segment)
            // A start after which nothing was appended has put its mark behind its gap.
            let lost = max(
                gaps.end(before: mark.offset, downTo: whole.offset), whole.offset)
            events.append(
                event(
                    .damage, from: whole.offset, to: lost,
                    bytes: mark.position - segment.bytes,
                    "segment \(mark.segmentBase) has \(segment.bytes) bytes, its mark says \(mark.position)"
                ))
            damaged.append(
                DamagedRange(
                    offsets: whole.offset..<lost,
                    base: mark.segmentBase,
                    positions: whole.position..<max(mark.position, whole.position),
                    reason: "the file is too short"))
            end.position = mark.position
        }
        return Tail(index: index, end: end, leaderEpoch: mark.leaderEpoch)
    }

    /// The segment of the mark is gone. Its offsets were given and are never given again.
    private func withoutMarked(
        _ mark: MarkEntry, _ segments: inout [Segment], _ events: inout [RecoveryEvent],
        _ damaged: inout [DamagedRange]
    ) throws(StorageError) -> Tail {
        let lost = gaps.end(before: mark.offset, downTo: mark.segmentBase)
        events.append(
            event(
                .damage, from: mark.segmentBase, to: lost,
                "the log file of segment \(mark.segmentBase) is missing"))
        // With another segment inside it, what is missing is found as that one is read.
        if segments.allSatisfy({ $0.base < mark.segmentBase }) {
            damaged.append(
                DamagedRange(
                    offsets: mark.segmentBase..<lost, base: mark.segmentBase, positions: 0..<0,
                    reason: "the log file is missing"))
        }
        let next = try SegmentListing(key: key, directory: directory, context: context)
            .make(base: mark.offset)
        segments.append(next)
        return Tail(
            index: segments.count - 1, end: .first(of: mark.offset), leaderEpoch: mark.leaderEpoch)
    }

    /// Where the whole batches of a segment end.
    private func endOfWhole(
        _ segment: Segment
    ) throws(StorageError) -> (offset: Int64, position: Int64) {
        var end = (offset: segment.base, position: Int64(0))
        var scanner = BatchScanner(
            try segment.log.open(), from: 0, to: segment.bytes, checksBody: false)
        while case .batch(let header, _) = try scanner.next() {
            guard header.baseOffset >= end.offset, header.nextOffset > header.baseOffset else {
                break
            }
            end = (header.nextOffset, scanner.position)
        }
        return end
    }

    /// Without a mark everything from the start of the newest segment whose predecessors were
    /// closed is above it. A closed predecessor has a sealed index, written after its sync.
    private func unmarked(
        _ segments: [Segment], from first: Int = 0
    ) throws(StorageError) -> Tail {
        var index = segments.count - 1
        while index > first, try !isClosed(segments[index - 1]) { index -= 1 }
        // Earlier ones without a seal stand before a sealed one: they were on disk too.
        return Tail(index: index, end: .first(of: segments[index].base), leaderEpoch: 0)
    }

    private func isClosed(_ segment: Segment) throws(StorageError) -> Bool {
        // Only closed segments are compacted.
        if segment.generation > 0 { return true }
        guard let last = try segment.index.stored(end: segment.bytes).last, last.isSeal else {
            return false  // no usable index says nothing about the log
        }
        return last.position == segment.bytes
    }
}
