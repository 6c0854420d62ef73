import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

/// What is written of a batch, and what it says of messages.
struct BatchToWrite {
    let slab: ByteSlab
    let range: Range<Int>
    let header: RecordBatchHeader
    var fresh: [MessageIDWindow.Fresh] = []
    var duplicates: [DuplicateRecord] = []
}

// A topic with `deduplication.window.ms` stores no message twice within that time. All of this runs
// under the append lock, but for what reads the log.
extension PartitionLog {
    enum Deduplicated {
        case batch(BatchToWrite)
        case refused(AppendRefusal)
    }

    /// The batch without the records whose messages are there. It keeps its offsets and sequences,
    /// also when no record is left: what comes behind it must follow.
    func withoutDuplicates(
        _ slab: ByteSlab, _ range: Range<Int>, _ header: RecordBatchHeader,
        _ appender: inout Appender
    ) -> Deduplicated {
        guard appender.settings.deduplicationWindowMilliseconds > 0,
            !context.options.has(.noIDWindow)
        else { return .batch(BatchToWrite(slab: slab, range: range, header: header)) }
        expireMessageIDs(&appender)
        guard let window = appender.messageIDs else { return .refused(noRoomForMessageIDs) }
        let batch = slab.span(range)
        let verdict: MessageIDWindow.Verdict
        do throws(MessageIDWindow.Problem) {
            verdict = try window.judge(batch, header, base: appender.tail.offset)
        } catch {
            switch error {
            case .tooLong(let index, let bytes):
                return .refused(.messageIDTooLong(index: index, bytes: bytes))
            }
        }
        guard context.messageIDs.hasRoom(for: verdict.bytes) else {
            return .refused(noRoomForMessageIDs)
        }
        var judged = BatchToWrite(slab: slab, range: range, header: header)
        if !verdict.duplicates.isEmpty {
            judged = Self.thinned(batch, header, without: verdict.duplicates)
        }
        (judged.fresh, judged.duplicates) = (verdict.fresh, verdict.duplicates)
        return .batch(judged)
    }

    private var noRoomForMessageIDs: AppendRefusal {
        .tooManyMessageIDs(bytesMax: context.messageIDs.limit)
    }

    private static func thinned(
        _ batch: RawSpan, _ header: RecordBatchHeader, without duplicates: [DuplicateRecord]
    ) -> BatchToWrite {
        var thinned = ThinnedBatch(batch)
        var left = duplicates[...]
        var cursor = RecordCursor(header)
        var start = cursor.position
        do {
            while let record = try cursor.next(in: batch) {
                if left.first?.index == record.offsetDelta {
                    left.removeFirst()
                    thinned.drop()
                } else {
                    thinned.keep(batch, start..<cursor.position)
                }
                start = cursor.position
            }
            thinned.seal(marking: true)
            let slab = thinned.slab
            return BatchToWrite(
                slab: slab, range: 0..<slab.count,
                header: try RecordBatchHeader(reading: slab.bytes))
        } catch {
            preconditionFailure("a validated batch cannot be read: \(error)")
        }
    }

    /// The batch is in the log.
    func remember(_ batch: BatchToWrite, base: Int64, _ appender: inout Appender) {
        if !batch.duplicates.isEmpty {
            context.metrics.duplicateMessages.add(batch.duplicates.count)
        }
        guard !batch.fresh.isEmpty else { return }
        appender.messageIDs?.take(
            batch.fresh, base: base, time: context.clock.monotonicNanoseconds())
        context.messageIDs.add(batch.fresh.reduce(0) { $0 + MessageIDWindow.cost($1.id) })
    }

    /// A batch that was appended before may have lost records then: they are where they are.
    func recalling(
        _ batch: RawSpan, _ header: RecordBatchHeader, _ receipt: AppendReceipt,
        _ appender: Appender
    ) -> AppendReceipt {
        guard appender.settings.deduplicationWindowMilliseconds > 0,
            let window = appender.messageIDs
        else { return receipt }
        var receipt = receipt
        receipt.duplicates = window.recall(
            batch, header, receipt.baseOffset..<receipt.endOffset)
        return receipt
    }

    /// Forgets what has left the window.
    func expireMessageIDs(_ appender: inout Appender) {
        let window = appender.settings.deduplicationWindowMilliseconds * 1_000_000
        let horizon = context.clock.monotonicNanoseconds() - window
        guard let freed = appender.messageIDs?.expire(upTo: horizon), freed > 0 else { return }
        context.messageIDs.give(freed)
    }

    /// What is not needed any more, or has to be read from the log anew.
    func dropMessageIDs(_ appender: inout Appender) {
        guard let window = appender.messageIDs else { return }
        context.messageIDs.give(window.bytes)
        appender.messageIDs = nil
    }

    /// The window's ids were more than there is room for, a moment ago.
    func messageIDShortage(_ appender: inout Appender) -> AppendRefusal? {
        guard !appender.hasMessageIDs, let rest = appender.messageIDsRestUntil else { return nil }
        guard context.clock.monotonicNanoseconds() < rest else {
            appender.messageIDsRestUntil = nil
            return nil
        }
        return noRoomForMessageIDs
    }
}

// MARK: - Out of the log

extension PartitionLog {
    /// A window that has no room is read again after so long.
    private static let messageIDsRest: Int64 = 1_000_000_000

    /// Reads the ids that are in the window of a topic that removes duplicates: what a restart, or
    /// the setting, made necessary. Nothing is appended meanwhile. Reader queue; blocks.
    func loadMessageIDs() throws(StorageError) {
        let length = appender.withLock {
            $0.hasMessageIDs ? 0 : $0.settings.deduplicationWindowMilliseconds
        }
        guard length > 0 else { return }
        let window = try lookingAgain { () throws(StorageError) in try readMessageIDs(length) }
        let now = context.clock.monotonicNanoseconds()
        appender.withLock { appender in
            // The setting may have changed meanwhile: then whoever appends asks again.
            guard appender.settings.deduplicationWindowMilliseconds == length, isOnline else {
                if let window { context.messageIDs.give(window.bytes) }
                return
            }
            appender.messageIDs = window
            appender.messageIDsRestUntil = window == nil ? now + Self.messageIDsRest : nil
        }
        if window == nil {
            context.logger.warning(
                "MESSAGE_IDS_FULL",
                "the message ids in the window of \(name) need more memory than there is left")
        }
    }

    /// nil: there is no room for them.
    private func readMessageIDs(_ length: Int64) throws(StorageError) -> MessageIDWindow? {
        var window = MessageIDWindow()
        var reader = MessageIDReader(
            now: ageTime(), monotonic: context.clock.monotonicNanoseconds(), length: length,
            memory: context.messageIDs)
        do throws(StorageError) {
            for part in try partsInWindow(reader.horizon) {
                guard try reader.read(part, into: &window) else { return nil }
            }
        } catch {
            context.messageIDs.give(window.bytes)
            throw error
        }
        return window
    }

    /// The parts of the log that may hold records of the window, oldest first.
    private func partsInWindow(_ horizon: Int64) throws(StorageError) -> [MessageIDReader.Part] {
        let tail = appender.withLock { $0.tail }
        let segments = state.withLock { $0.segments }
        var parts: [MessageIDReader.Part] = []
        var next: Segment?
        for index in segments.indices.reversed() {
            let segment = segments[index]
            let entries = try loadIndex(segment)
            var end = segment.end ?? tail
            // One that was just begun says nothing of those before it.
            if end.position == 0 { continue }
            end.appendTime = try lastAppendTime(end, before: next)
            let older = index > 0 ? segments[index - 1] : nil
            let isDoubtful = try mayBeBehind(segment, after: older)
            guard end.appendTime >= horizon || isDoubtful else { break }
            parts.append(
                MessageIDReader.Part(
                    segment: segment, entries: entries, end: end, isDoubtful: isDoubtful))
            next = segment
        }
        return parts.reversed()
    }

    /// A clock that was ahead when a segment was written: its last record is not younger than the
    /// first one behind it.
    private func lastAppendTime(
        _ end: IndexEntry, before next: Segment?
    ) throws(StorageError) -> Int64 {
        guard let next, end.appendTime > ageTime() else { return end.appendTime }
        return min(end.appendTime, try firstAppendTime(of: next))
    }

    /// The clock went back between two segments. Was the older one right, then nothing that the
    /// newer one says of its times is to be believed.
    private func mayBeBehind(
        _ segment: Segment, after older: Segment?
    ) throws(StorageError) -> Bool {
        guard let older else { return false }
        if older.end == nil { try loadIndex(older) }
        guard let last = older.end?.appendTime, last <= ageTime() else { return false }
        return try firstAppendTime(of: segment) < last
    }
}

/// Reads ids out of parts of a log, oldest first. When a record was appended is known as well as the
/// index knows it: where that is not exact, the latest time counts, so that none is forgotten early.
struct MessageIDReader {
    struct Part {
        let segment: Segment
        let entries: [IndexEntry]
        let end: IndexEntry
        /// Its times are not to be believed: all of it may be new.
        let isDoubtful: Bool
    }

    /// Wall clock, ms, and monotonic clock, ns, of the same moment.
    let now: Int64
    let monotonic: Int64
    /// Of the window, ms.
    let length: Int64
    let memory: MessageIDMemory
    /// The newest time that was given.
    private var latest = Int64.min

    init(now: Int64, monotonic: Int64, length: Int64, memory: MessageIDMemory) {
        (self.now, self.monotonic, self.length, self.memory) = (now, monotonic, length, memory)
    }

    /// What was appended before has left the window.
    var horizon: Int64 {
        let (time, overflow) = now.subtractingReportingOverflow(length)
        return overflow ? .min : time
    }

    /// False: there is no room for the ids; what was taken is given back.
    mutating func read(
        _ part: Part, into window: inout MessageIDWindow
    ) throws(StorageError) -> Bool {
        let log = try part.segment.log.open()
        var places = Places(part)
        let start = part.isDoubtful ? 0 : places.position(notBefore: horizon)
        var next = Int64.min
        var scanner = BatchScanner(
            log, from: start, to: part.end.position, checksBody: true)
        while true {
            switch try scanner.next() {
            case .batch(let header, let position):
                guard header.baseOffset >= next else { continue }
                next = header.nextOffset
                let time = part.isDoubtful ? now : places.appendTime(at: position)
                guard take(header, scanner.bytes, time, &window) else { return false }
            case .bad(let position, _), .zeros(let position):
                // The ids in damaged bytes are lost, those behind them are not.
                guard
                    let found = try BatchSearch.next(
                        in: log, from: position + 1, to: part.end.position,
                        offset: max(next, part.segment.base), offsetLimit: part.end.offset)
                else { return true }
                scanner = BatchScanner(
                    log, from: found.position, to: part.end.position, checksBody: true)
            case .end: return true
            }
        }
    }

    private mutating func take(
        _ header: RecordBatchHeader, _ bytes: RawSpan, _ time: Int64,
        _ window: inout MessageIDWindow
    ) -> Bool {
        let age = max(0, now - max(time, horizon))
        latest = max(latest, monotonic - age * 1_000_000)
        let before = window.bytes
        window.take(bytes, header, time: latest)
        memory.add(window.bytes - before)
        guard memory.bytes > memory.limit else { return true }
        memory.give(window.bytes)
        return false
    }

    /// When the batches at rising positions were appended, at the latest.
    private struct Places {
        private let entries: [IndexEntry]
        private let end: IndexEntry
        private var index = 0

        init(_ part: Part) {
            entries = part.entries
            end = part.end
        }

        /// The position from which on batches may be as young as `horizon`.
        func position(notBefore horizon: Int64) -> Int64 {
            // An entry knows the time of what is below it.
            entries.lastIndex { $0.appendTime < horizon }.map { entries[$0].position } ?? 0
        }

        mutating func appendTime(at position: Int64) -> Int64 {
            while index < entries.count, entries[index].position <= position { index += 1 }
            guard index < entries.count else { return end.appendTime }
            return min(entries[index].appendTime, end.appendTime)
        }
    }
}
