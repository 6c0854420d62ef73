import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

extension PartitionLog {
    /// Asks for a sync of what is not on disk yet.
    func syncIfDirty() {
        let isDirty = state.withLock { !$0.unsynced.isEmpty && $0.failure == nil }
        if isDirty { context.flush.request(self) }
    }

    /// Removes segments that are too old, too many bytes, or below the log start. Upkeep.
    func applyRetention() {
        do {
            try rollIfOld()
            let settings = appender.withLock { $0.settings }
            if let taking = try newLogStart(settings) { try take(taking) }
            try removeBelowLogStart()
        } catch {
            if error.isFatal {
                context.fail(error)
            } else if error.code == .noDescriptors {
                context.lacksDescriptors(error)
            } else {
                context.logger.warning(
                    "RETENTION_FAILED", "retention of \(name): \(error.message)")
            }
        }
    }

    /// What is still needed of it is copied first; until then it stays, and the next round asks.
    private func take(_ taking: Taking) throws(StorageError) {
        guard let target = context.consumed.release(self, below: taking.target) else { return }
        // Who let it go hears of it however it ends.
        defer { context.consumed.released(self, below: state.withLock { $0.logStart }) }
        guard target > taking.start else { return }
        if let consumed = taking.consumed { tellOvertaken(consumed, taking.start, target) }
        try moveLogStart(to: target)
    }

    /// What age, size and groups ask for.
    private struct Taking {
        let start: Int64
        /// Everything below may go.
        let target: Int64
        /// How far groups were; nil: that did not count.
        let consumed: ConsumedMark?
    }

    /// Makes `before` the log start. Returns the log start, which never goes back. Blocks.
    /// - Throws: `offsetOutOfRange` when `before` is above the high watermark.
    package func deleteRecords(before: Int64) throws(StorageError) -> Int64 {
        try moveLogStart(to: try newLogStart(before: before))
        retainSoon()
        return state.withLock { $0.logStart }
    }

    /// The log start that somebody asks for; -1: the high watermark.
    func newLogStart(before: Int64) throws(StorageError) -> Int64 {
        let (start, end) = state.withLock { ($0.logStart, $0.visible.offset) }
        let target = before == -1 ? end : before
        guard target >= 0, target <= end else {
            throw StorageError(
                .offsetOutOfRange, "offset \(before) is not within \(start) … \(end)")
        }
        return target
    }

    /// What is below the log start goes.
    func retainSoon() {
        context.executors.upkeep.execute { [self] in upkeep { applyRetention() } }
    }

    /// The mark is on disk before anyone is told and before a file goes.
    private func moveLogStart(to offset: Int64) throws(StorageError) {
        guard offset > state.withLock({ $0.logStart }) else { return }
        try context.syncMarks([startMark(offset)])
        didMoveLogStart(to: offset)
    }

    func startMark(_ offset: Int64) -> MarkEntry {
        var mark = MarkEntry(.start)
        mark.topic = topicID
        mark.partition = partition
        mark.offset = offset
        return mark
    }

    /// Its mark is on disk. Of two that move it at once the higher one holds, here as in the marks.
    func didMoveLogStart(to offset: Int64) {
        state.withLock { state in
            let offset = max(state.logStart, offset)
            state.logStart = offset
            // Whoever reads the oldest segment from its beginning crosses the gaps inside it.
            let stored = min(offset, state.segments.first?.base ?? offset)
            state.gaps.removeAll { $0.upperBound <= stored }
            state.damaged.removeAll { $0.offsets.upperBound <= offset }
            state.skipped.removeAll { $0.upperBound <= offset }
        }
    }

    /// The log start that age, size and groups ask for; nil when it stays.
    private func newLogStart(_ settings: TopicSettings) throws(StorageError) -> Taking? {
        guard settings.cleanup.deletes else { return nil }
        let isUntilConsumed = settings.retentionMode == .untilConsumed
        guard isUntilConsumed || settings.retentionMilliseconds >= 0 || settings.retentionBytes >= 0
        else { return nil }
        let (segments, start) = state.withLock { ($0.segments, $0.logStart) }
        let consumed = isUntilConsumed && segments.count > 1 ? context.consumed.mark(self) : nil
        var bytes = segments.reduce(Int64(0)) { $0 + $1.bytes }
        var target: Int64?
        // Never the open segment: `rollIfOld` closes it when its time has come.
        for (index, segment) in segments.dropLast().enumerated() {
            let next = segments[index + 1]
            let isTooMuch =
                settings.retentionBytes >= 0 && bytes - segment.bytes >= settings.retentionBytes
            let isOld = try isTooOld(segment, next, settings)
            let isConsumed = consumed.map { next.base <= $0.offset } ?? false
            guard isTooMuch || isOld || isConsumed else { break }
            guard isDurable(next.base) else { break }
            target = next.base
            bytes -= segment.bytes
        }
        guard let target, target > start else { return nil }
        return Taking(start: start, target: target, consumed: consumed)
    }

    /// Age or size take what a group was promised: loud, because it is lost to the group.
    private func tellOvertaken(_ consumed: ConsumedMark, _ start: Int64, _ target: Int64) {
        guard let group = consumed.group, target > consumed.offset else { return }
        let from = max(start, consumed.offset)
        context.metrics.overtakenOffsets.add(Int(clamping: target - from))
        context.logger.error(
            "GROUP_OVERTAKEN", "retention takes records that a group has not handled",
            [
                ("group", LogValue(group)), ("log", LogValue(name)), ("from", LogValue(from)),
                ("to", LogValue(target)),
            ])
    }

    private func isDurable(_ offset: Int64) -> Bool {
        state.withLock { $0.durable.offset >= offset && $0.visible.offset >= offset }
    }

    private func isTooOld(
        _ segment: Segment, _ next: Segment, _ settings: TopicSettings
    ) throws(StorageError) -> Bool {
        guard settings.retentionMilliseconds >= 0 else { return false }
        if segment.end == nil { try loadIndex(segment) }
        guard let end = segment.end, end.appendTime != .min else { return false }
        let start = try ageStart(segment, end.appendTime, next)
        return isTooLongAgo(start, settings)
    }

    /// A wrong clock spoils one segment, not its neighbours. Where the next one begins before this
    /// one ends, the clock was ahead then: the smaller time counts. Where it begins before this one
    /// began, too, the clock may have been behind later, and nothing may go too early for that: the
    /// smaller time counts only as long as the other one is still to come.
    private func ageStart(
        _ segment: Segment, _ last: Int64, _ next: Segment
    ) throws(StorageError) -> Int64 {
        let following = try firstAppendTime(of: next)
        guard following < last else { return last }
        let mayBeBehind = try following < firstAppendTime(of: segment)
        return mayBeBehind && last <= ageTime() ? last : following
    }

    private func isTooLongAgo(_ time: Int64, _ settings: TopicSettings) -> Bool {
        let (age, overflow) = ageTime().subtractingReportingOverflow(time)
        return !overflow && age > settings.retentionMilliseconds
    }

    /// What ages are counted to.
    func ageTime() -> Int64 {
        context.retentionClock.withLock { $0 }.ageTime(wall: context.clock.wallMilliseconds())
    }

    /// An open segment whose newest record has passed the retention would never go without this.
    private func rollIfOld() throws(StorageError) {
        let (settings, tail, mayRoll) = appender.withLock {
            ($0.settings, $0.tail, $0.segment.isNamed && $0.readOnly == nil)
        }
        guard settings.cleanup.deletes, settings.retentionMilliseconds >= 0, tail.position > 0,
            tail.appendTime != .min, mayRoll, isTooLongAgo(tail.appendTime, settings)
        else { return }
        if appender.withLock({ $0.files == nil }) { beWarm() }
        let isMine = appender.withLock { appender in
            guard appender.prepared == nil, !appender.isPreparing else { return false }
            appender.isPreparing = true
            return true
        }
        if isMine { prepareNextSegment() }
        let rolled = appender.withLock { appender in
            guard let prepared = appender.prepared, appender.files != nil,
                appender.tail.position > 0
            else { return false }
            roll(to: prepared, &appender)
            return true
        }
        if rolled { context.flush.request(self) }
    }

    private func removeBelowLogStart() throws(StorageError) {
        let below = state.withLock { state in
            state.segments.dropFirst().last {
                $0.base <= state.logStart && $0.base <= state.durable.base
            }?.base
        }
        guard let below else { return }
        let end = try endOfForgotten(upTo: below)
        guard try keepProducers(below: end) else { return }
        let removed = state.withLock { state -> [Segment] in
            var count = 0
            while count + 1 < state.segments.count,
                state.segments[count + 1].base <= end,
                state.durable.base >= state.segments[count + 1].base,
                state.visible.base >= state.segments[count + 1].base
            { count += 1 }
            guard count > 0 else { return [] }
            let removed = Array(state.segments[..<count])
            state.segments.removeFirst(count)
            state.cursors.forget()
            return removed
        }
        guard !removed.isEmpty else { return }
        // The end mark in a later segment must be on disk before an older one goes.
        try context.marks.syncNow()
        for segment in removed {
            try storage("removing segment \(segment.base) of \(name)") { () throws(SystemError) in
                try segment.log.remove()
                try segment.index.file.remove()
            }
            context.indexes.forget(segment.index)
            context.metrics.deletedSegments.add()
        }
    }

    /// Where files begin that have to stay although nobody reads them any more: a start looks there
    /// for the message ids that are in the topic's window. Only its size takes them before.
    private func endOfForgotten(upTo end: Int64) throws(StorageError) -> Int64 {
        let settings = appender.withLock { $0.settings }
        guard settings.deduplicationWindowMilliseconds > 0 else { return end }
        let (horizon, _) = ageTime().subtractingReportingOverflow(
            settings.deduplicationWindowMilliseconds)
        let segments = state.withLock { $0.segments }
        var bytes = segments.reduce(Int64(0)) { $0 + $1.bytes }
        for (segment, next) in zip(segments, segments.dropFirst()) where segment.base < end {
            if segment.end == nil { try loadIndex(segment) }
            let last = try ageStart(segment, segment.end?.appendTime ?? .min, next)
            let isTooMuch =
                settings.retentionBytes >= 0 && bytes - segment.bytes >= settings.retentionBytes
            guard last < horizon || isTooMuch else { return segment.base }
            bytes -= segment.bytes
        }
        return end
    }

    /// The first record at or above the log start whose event time is at least `time`; nil when
    /// there is none below the high watermark. Reader queue; blocks.
    package func offset(forTime time: Int64) throws(StorageError) -> (offset: Int64, time: Int64)? {
        try lookingAgain { () throws(StorageError) in try search(time) }
    }

    private func search(_ time: Int64) throws(StorageError) -> (offset: Int64, time: Int64)? {
        let (segments, logStart, visible, skipped) = state.withLock {
            ($0.segments, $0.logStart, $0.visible, $0.skipped)
        }
        for segment in segments {
            if segment.base > visible.offset { break }
            let entries = try loadIndex(segment)
            guard let end = state.withLock({ segmentEnd(segment.base, $0) }) else { continue }
            let search = TimeSearch(
                file: try segment.log.open(), time: time, logStart: logStart,
                endOffset: visible.offset, skipped: skipped)
            if let found = try search.find(entries, end: end) { return found }
        }
        return nil
    }
}

/// Finds a record by event time in one segment.
struct TimeSearch {
    let file: any File
    let time: Int64
    let logStart: Int64
    let endOffset: Int64
    /// Damaged offsets that readers may pass.
    let skipped: [Range<Int64>]

    /// Event times may be out of order: each entry holds the running maximum below it, so the
    /// interval before the first entry whose maximum reaches `time` is where the search begins.
    ///
    /// Nobody knows the times of damaged records. Where they may be the ones that are looked for,
    /// the answer is where they begin, with the time -1: whoever reads there is told.
    func find(
        _ entries: [IndexEntry], end: LogEnd
    ) throws(StorageError) -> (offset: Int64, time: Int64)? {
        guard !entries.isEmpty else { return nil }
        let below = entries.lastIndex { $0.maxEventTime < time }
        // What is deleted is not read: it may be nearly all of a segment.
        let deleted = entries.lastIndex { $0.offset <= logStart }
        let start = entries[max(below ?? 0, deleted ?? 0)]
        var next = start.offset
        var scanner = BatchScanner(
            file, from: start.position, to: end.position, checksBody: true)
        while true {
            switch try scanner.next() {
            case .batch(let header, _):
                next = header.nextOffset
                guard header.maxTimestamp >= time, next > logStart else { continue }
                guard header.baseOffset < endOffset else { return nil }
                if let found = record(header, scanner.bytes) { return found }
            case .bad(let position, _), .zeros(let position):
                let whole = try BatchSearch.next(
                    in: file, from: position + 1, to: end.position, offset: next,
                    offsetLimit: end.offset)
                let resume = whole?.header.baseOffset ?? end.offset
                guard next >= resume || mayPass(next..<resume) else {
                    return (max(next, logStart), -1)
                }
                guard let whole else { return nil }
                next = resume
                scanner = BatchScanner(
                    file, from: whole.position, to: end.position, checksBody: true)
            case .end: return nil
            }
        }
    }

    private func mayPass(_ damaged: Range<Int64>) -> Bool {
        damaged.upperBound <= logStart
            || skipped.contains {
                $0.contains(damaged.lowerBound) && $0.upperBound >= damaged.upperBound
            }
    }

    private func record(
        _ header: RecordBatchHeader, _ bytes: RawSpan
    ) -> (offset: Int64, time: Int64)? {
        var cursor = RecordCursor(header)
        do {
            while let fields = try cursor.next(in: bytes) {
                let (eventTime, overflow) = header.baseTimestamp.addingReportingOverflow(
                    fields.timestampDelta)
                let offset = header.baseOffset + Int64(fields.offsetDelta)
                if !overflow, eventTime >= time, offset >= logStart { return (offset, eventTime) }
            }
        } catch {
            return nil  // cannot happen: its checksum holds
        }
        return nil
    }
}
