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
        do throws(FormatError) {
            if !verdict.duplicates.isEmpty {
                judged = try Self.thinned(batch, header, without: verdict.duplicates)
            }
        } catch {
            // Validated before: cannot happen. If it does, nothing is written.
            return .refused(.failed(StorageError(.corrupt, "the batch to append: \(error)")))
        }
        (judged.fresh, judged.duplicates) = (verdict.fresh, verdict.duplicates)
        return .batch(judged)
    }

    private var noRoomForMessageIDs: AppendRefusal {
        .tooManyMessageIDs(bytesMax: context.messageIDs.limit)
    }

    private static func thinned(
        _ batch: RawSpan, _ header: RecordBatchHeader, without duplicates: [DuplicateRecord]
    ) throws(FormatError) -> BatchToWrite {
        var left = duplicates[...]
        let thinned = try ThinnedBatch(batch, header, marking: true) { record in
            guard left.first?.index == record.offsetDelta else { return true }
            left.removeFirst()
            return false
        }
        let slab = thinned.slab
        return BatchToWrite(
            slab: slab, range: 0..<slab.count, header: try RecordBatchHeader(reading: slab.bytes))
    }

    /// The batch is in the log.
    func remember(_ batch: BatchToWrite, base: Int64, _ appender: inout Appender) {
        if !batch.duplicates.isEmpty {
            context.metrics.duplicateMessages.add(batch.duplicates.count)
        }
        guard !batch.fresh.isEmpty, let before = appender.messageIDs?.bytes else { return }
        appender.messageIDs?.take(
            batch.fresh, base: base, time: context.clock.monotonicNanoseconds())
        context.messageIDs.add((appender.messageIDs?.bytes ?? before) - before)
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
        let (length, end) = appender.withLock {
            ($0.hasMessageIDs ? 0 : $0.settings.deduplicationWindowMilliseconds, $0.tail.offset)
        }
        guard length > 0 else { return }
        let window = try lookingAgain { () throws(StorageError) in try readMessageIDs(length) }
        let now = context.clock.monotonicNanoseconds()
        appender.withLock { appender in
            // The setting may have changed meanwhile, and even back again, with records stored in
            // between: then whoever appends asks again.
            guard appender.settings.deduplicationWindowMilliseconds == length,
                appender.tail.offset == end, isOnline
            else {
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
