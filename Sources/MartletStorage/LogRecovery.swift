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
    let gaps: [Range<Int64>]
    let isClean: Bool
    let context: StorageContext

    struct Result {
        var appender: Appender
        var state: LogState
        var events: [RecoveryEvent] = []
        /// A new gap to be kept in the topic's metadata.
        var newGap: Range<Int64>?
        /// The mark to write when all partitions are open; nil when nothing changed.
        var mark: MarkEntry?
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
        var damaged: [DamagedRange] = []
        if segments.isEmpty { segments = [try firstSegment(&events, &damaged)] }
        var tail = startOfScan(segments, &events, &damaged)
        let markedOffset = tail.end.offset
        var changed = marks.end == nil
        let isUntouched =
            isClean && marks.end != nil && tail.index == segments.count - 1
            && segments[tail.index].bytes == tail.end.position
        if !isUntouched { changed = try scan(&segments, &tail, &events) || changed }
        segments.removeSubrange((tail.index + 1)...)
        var result = assemble(segments, tail, damaged)
        result.events = events
        reserve(&result, markedOffset)
        if changed || result.newGap != nil { result.mark = mark(result) }
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

    /// The place of the last mark, as far as the files bear it out.
    private func startOfScan(
        _ segments: [Segment], _ events: inout [RecoveryEvent], _ damaged: inout [DamagedRange]
    ) -> Tail {
        guard let mark = marks.end,
            let index = segments.lastIndex(where: { $0.base == mark.segmentBase })
        else { return unmarked(segments) }
        if context.options.has(.truncateBelowMark) {
            return Tail(index: index, end: .first(of: mark.segmentBase), leaderEpoch: 0)
        }
        var end = IndexEntry(
            offset: mark.offset, position: mark.position, appendTime: mark.time,
            maxEventTime: .min, checksum: mark.checksum)
        let size = segments[index].bytes
        if size < mark.position {
            // The file is shorter than what was on disk. The log goes on behind it in any case.
            events.append(
                event(
                    .damage, to: mark.offset, bytes: mark.position - size,
                    "segment \(mark.segmentBase) has \(size) bytes, its mark says \(mark.position)")
            )
            damaged.append(
                DamagedRange(
                    offsets: mark.segmentBase..<mark.offset, base: mark.segmentBase,
                    positions: size..<mark.position, reason: "the file is too short"))
            end.position = mark.position
        }
        return Tail(index: index, end: end, leaderEpoch: mark.leaderEpoch)
    }

    /// Without a mark everything from the start of the newest segment whose predecessors were
    /// closed is above it. A closed predecessor has a sealed index, written after its sync.
    private func unmarked(_ segments: [Segment]) -> Tail {
        var index = segments.count - 1
        while index > 0, !hasSeal(segments[index - 1]) { index -= 1 }
        // Earlier ones without a seal stand before a sealed one: they were on disk too.
        return Tail(index: index, end: .first(of: segments[index].base), leaderEpoch: 0)
    }

    private func hasSeal(_ segment: Segment) -> Bool {
        do {
            let file = try segment.index.file.open()
            let entries = try SparseIndex.readEntries(
                segment.index.header, from: file, end: segment.bytes)
            guard let last = entries.last, last.isSeal else { return false }
            return last.position == segment.bytes
        } catch {
            return false  // no usable index says nothing about the log
        }
    }

    /// Scans everything above the mark. True when anything there was kept or cut.
    private func scan(
        _ segments: inout [Segment], _ tail: inout Tail, _ events: inout [RecoveryEvent]
    ) throws(StorageError) -> Bool {
        var changed = false
        var index = tail.index
        while index < segments.count {
            let segment = segments[index]
            let start = index == tail.index ? tail.end : .first(of: segment.base)
            if index != tail.index, segment.base != tail.end.offset { break }
            let size = segment.bytes
            if size == start.position, index == tail.index, index + 1 == segments.count { break }
            if size <= start.position, index != tail.index { break }
            let from = start.position
            var scanned = try TailScan(
                segment: segment, from: start, leaderEpoch: tail.leaderEpoch,
                gapsMayFollow: settings.durability == .written
            ).run()
            if index != tail.index, scanned.end.position == 0 { break }
            if scanned.end.position > from {
                changed = true
                events.append(
                    event(
                        .keptAboveMark, from: start.offset, to: scanned.end.offset,
                        bytes: scanned.end.position - from,
                        "whole batches above the last mark were kept"))
                try writeAgain(segment, from: from, to: scanned.end.position)
            }
            if size > scanned.end.position {
                changed = try cut(segment, &scanned, &events) || changed
            }
            let reachedEnd = scanned.end.position == size
            if scanned.end.position > from {
                // When these batches were appended is not known: now keeps them longest.
                scanned.end.appendTime = max(
                    scanned.end.appendTime, context.clock.wallMilliseconds())
            }
            tail = Tail(index: index, end: scanned.end, leaderEpoch: scanned.leaderEpoch)
            index += 1
            if !reachedEnd { break }
            if index < segments.count, index - 1 < segments.count {
                segments[index - 1].seal(scanned.end)
            }
        }
        for segment in segments[(tail.index + 1)...] {
            changed = true
            try setAside(segment, &events)
        }
        return changed
    }

    /// Cuts what follows the last whole batch; keeps a copy unless it is zeros.
    private func cut(
        _ segment: Segment, _ scanned: inout TailScan.Result, _ events: inout [RecoveryEvent]
    ) throws(StorageError) -> Bool {
        let file = try segment.log.open()
        let size = segment.bytes
        let kept = try keepTorn(file, segment.base, from: scanned.end.position, to: size)
        if kept > 0 {
            context.metrics.tornBytes.add(Int(kept))
            events.append(
                event(
                    .tornTail, from: scanned.end.offset, bytes: kept,
                    "\(scanned.reason) at position \(scanned.end.position) of segment \(segment.base); the bytes are kept in a .torn file"
                ))
        }
        try storageFatal("cutting \(file.path)") { () throws(SystemError) in
            try file.truncate(to: scanned.end.position)
            try file.sync()
        }
        segment.bytes = scanned.end.position
        return kept > 0
    }

    /// Copies a torn tail without its trailing zeros; returns how many bytes that were.
    private func keepTorn(
        _ file: any File, _ base: Int64, from: Int64, to size: Int64
    ) throws(StorageError) -> Int64 {
        let slab = ByteSlab(capacity: 1 << 20)
        var last: Int64 = -1
        var position = from
        while position < size {
            slab.clear()
            let at = position
            let got = try storage("reading \(file.path)") { () throws(SystemError) in
                try file.read(into: slab, atMost: Int(min(1 << 20, size - at)), at: at)
            }
            if got == 0 { break }
            if let found = Self.lastNonZero(slab.bytes) { last = position + Int64(found) }
            position += Int64(got)
        }
        guard last >= from else { return 0 }
        try copy(
            file, from, last + 1, LogFileNames.torn(base, at: context.clock.wallMilliseconds()))
        return last + 1 - from
    }

    private static func lastNonZero(_ bytes: RawSpan) -> Int? {
        var index = bytes.byteCount - 1
        while index >= 0 {
            if unsafe bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self) != 0 { return index }
            index -= 1
        }
        return nil
    }

    private func copy(
        _ file: any File, _ from: Int64, _ to: Int64, _ name: String
    ) throws(StorageError) {
        try storage("keeping a torn tail of \(file.path)") { () throws(SystemError) in
            let target = try fileSystem.open("\(directory)/\(name)", .createOrOpen)
            let slab = ByteSlab(capacity: 1 << 20)
            var position = from
            while position < to {
                slab.clear()
                let got = try file.read(
                    into: slab, atMost: Int(min(1 << 20, to - position)), at: position)
                if got == 0 { break }
                try target.write(slab, at: position - from)
                position += Int64(got)
            }
        }
    }

    /// After an unclean stop the page cache may show bytes that never reached the disk (fsyncgate):
    /// what is kept above the mark is written again at the same place and synced.
    private func writeAgain(
        _ segment: Segment, from: Int64, to: Int64
    ) throws(StorageError) {
        let file = try segment.log.open()
        try storageFatal("writing the tail of \(file.path) again") { () throws(SystemError) in
            let slab = ByteSlab(capacity: 1 << 20)
            var position = from
            while position < to {
                slab.clear()
                let got = try file.read(
                    into: slab, atMost: Int(min(1 << 20, to - position)), at: position)
                if got == 0 { break }
                try file.write(slab, at: position)
                position += Int64(got)
            }
            try file.sync()
        }
    }

    /// A segment behind the end of the log: nothing in it was acknowledged as durable.
    private func setAside(
        _ segment: Segment, _ events: inout [RecoveryEvent]
    ) throws(StorageError) {
        let file = try segment.log.open()
        let kept = try keepTorn(file, segment.base, from: 0, to: segment.bytes)
        if kept > 0 {
            context.metrics.tornBytes.add(Int(kept))
            events.append(
                event(
                    .tornTail, from: segment.base, bytes: kept,
                    "segment \(segment.base) does not continue the log; it is kept in a .torn file")
            )
        }
        try storageFatal("removing \(file.path)") { () throws(SystemError) in
            try segment.log.remove()
            try segment.index.file.remove()
            try fileSystem.syncDirectory(directory)
        }
    }

    private func assemble(
        _ segments: [Segment], _ tail: Tail, _ damaged: [DamagedRange]
    ) -> Result {
        let open = segments[tail.index]
        open.bytes = max(open.bytes, tail.end.position)
        var appender = Appender(settings: settings, segment: open, tail: tail.end, leaderEpoch: 0)
        appender.leaderEpoch = max(tail.leaderEpoch, 0)
        appender.segmentStart = tail.end.appendTime == .min ? nil : tail.end.appendTime
        let end = LogEnd(tail.end, in: open)
        let logStart = max(marks.start?.offset ?? 0, segments[0].base)
        var state = LogState(
            segments: segments, logStart: min(logStart, end.offset), appended: end, durable: end,
            visible: end, durability: settings.durability, leaderEpoch: appender.leaderEpoch)
        state.gaps = gaps
        state.damaged = damaged
        return Result(appender: appender, state: state)
    }

    /// A `written` topic never gives again what it may have given: after an unclean stop it goes on
    /// above the reserved block, and what lies between is a gap.
    private func reserve(_ result: inout Result, _ markedOffset: Int64) {
        let reserved = marks.reserve?.offset ?? 0
        if settings.durability == .written { result.appender.reservedUntil = reserved }
        guard !isClean, reserved > result.appender.tail.offset else { return }
        let gap = result.appender.tail.offset..<reserved
        result.newGap = gap
        result.state.gaps.append(gap)
        result.appender.tail.offset = reserved
        result.state.appended.offset = reserved
        result.state.durable.offset = reserved
        result.state.visible.offset = reserved
        result.events.append(
            event(
                .gap, from: gap.lowerBound, to: gap.upperBound,
                "a written topic after an unclean stop: these offsets are never given again"))
    }

    private func mark(_ result: Result) -> MarkEntry {
        var entry = MarkEntry(.end)
        entry.topic = key.topic
        entry.partition = key.partition
        entry.leaderEpoch = result.appender.leaderEpoch
        entry.segmentBase = result.appender.segment.base
        entry.position = result.appender.tail.position
        entry.offset = result.appender.tail.offset
        entry.time = max(0, result.appender.tail.appendTime)
        entry.checksum = result.appender.tail.checksum
        return entry
    }

    private func event(
        _ kind: RecoveryEvent.Kind, from: Int64 = -1, to: Int64 = -1, bytes: Int64 = 0,
        _ detail: String
    ) -> RecoveryEvent {
        RecoveryEvent(
            kind, topic: topicName, partition: key.partition, from: from, to: to, bytes: bytes,
            detail: detail)
    }
}
