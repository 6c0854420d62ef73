import MartletFormat
import MartletSystem
import MartletTelemetry

/// Opens one partition's log after whatever happened to it.
///
/// Below the last readable mark everything was on disk: it is not read here, and what turns out bad
/// later is corruption. Above it the log is scanned: whole batches that continue it are kept, written
/// again and synced; the first that is not whole ends it, and what follows is a torn tail. Doing it
/// twice, or being killed in it, gives the same result as doing it once.
struct LogRecovery {
    let key: PartitionKey
    let topicName: String
    let directory: String
    let settings: TopicSettings
    let marks: PartitionMarks
    var gaps: [Range<Int64>] = []
    /// Damage that readers may pass.
    var skipped: [Range<Int64>] = []
    let isClean: Bool
    let context: StorageContext

    struct Result {
        var appender: Appender
        var state: LogState
        var events: [RecoveryEvent] = []
        /// The topic's metadata is to hold the gaps of `state`.
        var hasNewGap = false
        /// The marks to write when all partitions are open; none when nothing changed.
        var marks: [MarkEntry] = []
        /// The one to write instead when nothing may be appended yet: the next start then finds what
        /// this one found, the gap and what is behind the last whole batch of a segment.
        var endBelowGap: MarkEntry
    }

    /// Where the log ends, and in which segment.
    struct Tail {
        var index: Int
        var end: IndexEntry
        var leaderEpoch: Int32
    }

    private var fileSystem: any FileSystem { context.fileSystem }

    func run() throws(StorageError) -> Result {
        var events: [RecoveryEvent] = []
        var segments = try SegmentListing(
            key: key, directory: directory, context: context
        ).list(&events)
        let isNew = segments.isEmpty
        var damaged: [DamagedRange] = []
        if segments.isEmpty { segments = [try firstSegment(&events, &damaged)] }
        var tail = try startOfScan(&segments, &events, &damaged)
        var changed = marks.end == nil
        let isUntouched =
            isClean && marks.end != nil && tail.index == segments.count - 1
            && segments[tail.index].bytes == tail.end.position
        var uncut: [Tail] = []
        if !isUntouched { changed = try scan(segments, &tail, &uncut, &events) || changed }
        if !isClean, !isNew { try settleNames(segments[tail.index], tail.end) }
        segments.removeSubrange((tail.index + 1)...)
        var result = assemble(segments, tail, uncut, damaged)
        result.events = events
        noteStart(of: segments[0], isToldAlready: isNew, &result)
        reserve(&result)
        if let found = events.first(where: { $0.kind == .readOnly }) {
            result.appender.readOnly = found.detail
            result.hasNewGap = false
            result.marks = [result.endBelowGap]
            return result
        }
        if changed || result.appender.tail.offset != marks.end?.offset {
            result.marks.append(mark(result.appender))
        }
        return result
    }

    /// The log of a new partition, or of one whose files are gone.
    private func firstSegment(
        _ events: inout [RecoveryEvent], _ damaged: inout [DamagedRange]
    ) throws(StorageError) -> Segment {
        let base = marks.end?.offset ?? marks.start?.offset ?? 0
        if let end = marks.end, end.offset > (marks.start?.offset ?? 0) {
            let from = marks.start?.offset ?? 0
            events.append(
                event(
                    .damage, from: from, to: end.offset,
                    "no log file is left although a mark says that offsets below \(end.offset) were on disk"
                ))
            damaged.append(
                DamagedRange(
                    offsets: from..<end.offset, base: base, positions: 0..<0,
                    reason: "log files are missing"))
        }
        return try SegmentListing(key: key, directory: directory, context: context)
            .make(base: base)
    }

    /// After `kill -9` names and index entries may be in the cache only. A mark proves the name of
    /// its segment; any other is brought to disk before something is acknowledged under it. Index
    /// entries from above the log's end tell of batches that are lost: they must not come back when
    /// the log has grown over their places.
    private func settleNames(_ open: Segment, _ end: IndexEntry) throws(StorageError) {
        if marks.end?.segmentBase != open.base, !context.options.has(.dropDirectorySync) {
            try storageFatal("syncing \(directory)") { () throws(SystemError) in
                try fileSystem.syncDirectory(directory)
            }
        }
        guard
            try storage(
                "reading \(directory)",
                { () throws(SystemError) in
                    try fileSystem.status(open.index.file.path) != nil
                })
        else { return }
        let file = try open.index.file.open()
        let entries = try SparseIndex.readEntries(open.index.header, from: file, end: end.position)
            .filter { !$0.isSeal }
        let length = SparseIndex.length(of: entries)
        let size = try storage("reading \(file.path)") { () throws(SystemError) in
            try file.size()
        }
        guard size > length else { return }
        try storageFatal("cutting \(file.path)") { () throws(SystemError) in
            try file.truncate(to: length)
            try file.sync()
        }
    }

    /// Scans everything above the mark. True when anything there was kept or cut.
    private func scan(
        _ segments: [Segment], _ tail: inout Tail, _ uncut: inout [Tail],
        _ events: inout [RecoveryEvent]
    ) throws(StorageError) -> Bool {
        var changed = false
        var index = tail.index
        while index < segments.count {
            let segment = segments[index]
            let isFirst = index == tail.index
            if !isFirst, !gaps.join(tail.end.offset, to: segment.base) { break }
            let start = isFirst ? tail.end : .first(of: segment.base)
            var scanned = TailScan.Result(end: start, leaderEpoch: tail.leaderEpoch, reason: "")
            if segment.bytes > start.position {
                scanned = try TailScan(
                    segment: segment, from: start, leaderEpoch: tail.leaderEpoch, gaps: gaps,
                    gapsMayFollow: settings.durability == .written
                ).run()
            }
            if segment.generation > 0, index + 1 < segments.count,
                scanned.end.position == segment.bytes
            {
                // Compaction leaves holes, also at the end of a segment.
                scanned.end.offset = max(scanned.end.offset, segments[index + 1].base)
            }
            if !isFirst {
                if scanned.end.position == 0, segment.generation == 0 { break }
                try close(segments[tail.index], tail.end)
            }
            changed = try keep(segment, from: start, scanned, &events) || changed
            if scanned.end.position > start.position {
                // When these batches were appended is not known: now keeps them longest.
                scanned.end.appendTime = max(
                    scanned.end.appendTime, context.clock.wallMilliseconds())
            }
            tail = Tail(index: index, end: scanned.end, leaderEpoch: scanned.leaderEpoch)
            if segment.bytes > scanned.end.position {
                segment.bytes = scanned.end.position
                uncut.append(tail)
            }
            index += 1
        }
        for segment in segments[(tail.index + 1)...] {
            changed = true
            try setAside(segment, &events)
        }
        return changed
    }

    /// The log went on in the next segment. That this one was cut to its length may be in the cache
    /// only.
    private func close(_ segment: Segment, _ end: IndexEntry) throws(StorageError) {
        segment.seal(end)
        let file = try segment.log.open()
        try storageFatal("syncing \(file.path)") { () throws(SystemError) in try file.sync() }
    }

    /// Brings what a scan found whole onto the disk, and cuts what is behind it.
    private func keep(
        _ segment: Segment, from start: IndexEntry, _ scanned: TailScan.Result,
        _ events: inout [RecoveryEvent]
    ) throws(StorageError) -> Bool {
        var changed = false
        if scanned.end.position > start.position {
            changed = true
            events.append(
                event(
                    .keptAboveMark, from: start.offset, to: scanned.end.offset,
                    bytes: scanned.end.position - start.position,
                    "whole batches above the last mark were kept"))
            try writeAgain(segment, from: start.position, to: scanned.end.position)
        }
        if segment.bytes > scanned.end.position {
            changed = try cut(segment, scanned, &events) || changed
        }
        return changed
    }

    /// Cuts what follows the last whole batch; keeps a copy unless it is zeros. Without room for that
    /// the segment stays longer than its batches.
    private func cut(
        _ segment: Segment, _ scanned: TailScan.Result, _ events: inout [RecoveryEvent]
    ) throws(StorageError) -> Bool {
        let file = try segment.log.open()
        let kept: Int64
        do throws(StorageError) {
            kept = try torn.cut(
                file, segment.base, at: scanned.end.position, size: segment.bytes)
        } catch {
            guard error.code == .diskFull else { throw error }
            // Nothing is cut without a copy, and nothing appended before it is cut.
            events.append(readOnly(from: scanned.end.offset, error))
            return false
        }
        if kept > 0 {
            events.append(
                event(
                    .tornTail, from: scanned.end.offset, bytes: kept,
                    "\(scanned.reason) at position \(scanned.end.position) of segment \(segment.base); the bytes are kept in a .torn file"
                ))
        }
        segment.bytes = scanned.end.position
        return kept > 0
    }

    /// After an unclean stop the page cache may show bytes that never reached the disk (fsyncgate):
    /// what is kept above the mark is written again at the same place and synced.
    private func writeAgain(
        _ segment: Segment, from: Int64, to: Int64
    ) throws(StorageError) {
        let file = try segment.log.open()
        try storageFatal("writing the tail of \(file.path) again") { () throws(SystemError) in
            try file.copy(from: from, to: to, into: file, at: from)
            try file.sync()
        }
    }

    /// A segment behind the end of the log: nothing in it was acknowledged as durable.
    private func setAside(
        _ segment: Segment, _ events: inout [RecoveryEvent]
    ) throws(StorageError) {
        let kept = try torn.setAside(segment)
        guard kept > 0 else { return }
        context.metrics.tornBytes.add(Int(kept))
        events.append(
            event(
                .tornTail, from: segment.base, bytes: kept,
                "segment \(segment.base) does not continue the log; it is kept as a .torn file"))
    }

    private var torn: TornTails { TornTails(directory: directory, context: context) }

    private func assemble(
        _ segments: [Segment], _ tail: Tail, _ uncut: [Tail], _ damaged: [DamagedRange]
    ) -> Result {
        var tail = tail
        // Above a mark nobody knows when batches were appended: now is the latest that it can be.
        if tail.end.position > 0, tail.end.appendTime == .min {
            tail.end.appendTime = context.clock.wallMilliseconds()
        }
        let open = segments[tail.index]
        open.bytes = max(open.bytes, tail.end.position)
        var appender = Appender(settings: settings, segment: open, tail: tail.end, leaderEpoch: 0)
        appender.leaderEpoch = max(tail.leaderEpoch, 0)
        let end = LogEnd(tail.end, in: open)
        let logStart = max(marks.start?.offset ?? 0, segments[0].base)
        var state = LogState(
            segments: segments, logStart: min(logStart, end.offset), appended: end, durable: end,
            visible: end, durability: settings.durability, leaderEpoch: appender.leaderEpoch)
        // Also those below the log start that the oldest segment still has inside.
        state.gaps = gaps.filter { $0.upperBound > segments[0].base }
            .sorted { $0.lowerBound < $1.lowerBound }
        state.damaged = damaged
        state.skipped = skipped.filter { $0.upperBound > state.logStart }
        appender.uncut = uncut.map { segments[$0.index] }
        let below = uncut.first.map {
            MarkEntry(
                LogEnd($0.end, in: segments[$0.index]), of: key.topic, key.partition,
                leaderEpoch: $0.leaderEpoch)
        }
        return Result(
            appender: appender, state: state, endBelowGap: below ?? mark(appender))
    }

    /// Offsets that were given, or may have been, are never given again: a `written` topic goes on
    /// above its reserved block after an unclean stop, and any log above what was deleted and above
    /// its known gaps, even when its files end before that. What lies between is a gap.
    private func reserve(_ result: inout Result) {
        let end = result.appender.tail.offset
        let deleted = marks.start?.offset ?? 0
        let passed = gaps.map(\.upperBound).max() ?? 0
        let given = max(end, deleted, passed)
        var reserved = marks.reserve?.offset ?? 0
        if context.options.has(.reuseOffsets) { reserved = 0 }
        if settings.durability == .written {
            // Without the mark nobody knows how far the block went, but how long one is.
            if marks.reserve == nil, !isClean, given > 0, !context.options.has(.reuseOffsets) {
                reserved = given + 2 * PartitionLog.reserveBlock
                var entry = MarkEntry(.reserve)
                entry.topic = key.topic
                entry.partition = key.partition
                entry.offset = reserved
                result.marks.append(entry)
            }
            result.appender.reservedUntil = reserved
        }
        let floor = max(isClean ? 0 : reserved, given)
        guard floor > end else { return }
        let gap = end..<floor
        if !gaps.join(end, to: floor) {
            result.hasNewGap = true
            result.state.gaps.append(gap)
        }
        result.appender.tail.offset = floor
        result.state.appended.offset = floor
        result.state.durable.offset = floor
        result.state.visible.offset = floor
        result.state.logStart = max(result.state.logStart, min(deleted, floor))
        result.events.append(
            event(
                .gap, from: gap.lowerBound, to: gap.upperBound,
                reasonOfGap(to: floor, reserved: reserved, deleted: deleted)))
    }

    private func reasonOfGap(to floor: Int64, reserved: Int64, deleted: Int64) -> String {
        if floor == reserved {
            return "a written topic after an unclean stop: these offsets are never given again"
        }
        if floor == deleted {
            return "the log ended below what was deleted: these offsets are never given again"
        }
        return "the log ended below a known gap: these offsets are never given"
    }

    /// A log that begins above where the marks have its start lacks what no retention took: that has its
    /// mark on disk before a file goes. It is told, and the log starts there from now on. Without any
    /// mark of the partition nobody knows.
    private func noteStart(
        of oldest: Segment, isToldAlready: Bool, _ result: inout Result
    ) {
        let known = marks.start?.offset ?? 0
        guard oldest.base > known else { return }
        var entry = MarkEntry(.start)
        entry.topic = key.topic
        entry.partition = key.partition
        entry.offset = oldest.base
        result.marks.append(entry)
        guard marks != PartitionMarks(), !isToldAlready else { return }
        result.events.append(
            event(
                .removed, from: known, to: oldest.base,
                "the oldest log file begins at offset \(oldest.base), and by the marks the log starts at \(known): files were taken away by hand, or the mark of a deletion was lost"
            ))
    }

    private func mark(_ appender: Appender) -> MarkEntry {
        MarkEntry(
            LogEnd(appender.tail, in: appender.segment), of: key.topic, key.partition,
            leaderEpoch: appender.leaderEpoch)
    }

    func readOnly(from offset: Int64, _ error: StorageError) -> RecoveryEvent {
        event(
            .readOnly, from: offset,
            "no space for what the start has to write (\(error.message)): readers are served, nothing is appended until there is some"
        )
    }

    func event(
        _ kind: RecoveryEvent.Kind, from: Int64 = -1, to: Int64 = -1, bytes: Int64 = 0,
        _ detail: String
    ) -> RecoveryEvent {
        RecoveryEvent(
            kind, topic: topicName, partition: key.partition, from: from, to: to, bytes: bytes,
            detail: detail)
    }
}
