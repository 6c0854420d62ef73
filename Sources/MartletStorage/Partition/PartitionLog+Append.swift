package import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

extension PartitionLog {
    /// A wall clock this far behind the segment's append time rolls the segment (design: two times).
    static let clockBackMilliseconds: Int64 = 3_600_000
    /// Offsets that a `written` topic reserves ahead at a time.
    static let reserveBlock: Int64 = 1_000_000

    /// Appends one batch, which `RecordBatch.validateForAppend` has passed.
    ///
    /// Called inline on the queue of a connection: assigns the offset (patching the slab), writes to
    /// the page cache, asks for the flush. Never waits for the disk: what would is answered `later`.
    package func append(
        _ slab: ByteSlab, _ range: Range<Int>, _ header: RecordBatchHeader, retry: any AppendRetry
    ) -> AppendOutcome {
        let (outcome, effects) = appender.withLock { appender in
            var effects = AppendEffects()
            let outcome = append(slab, range, header, retry, &appender, &effects)
            return (outcome, effects)
        }
        perform(effects)
        return outcome
    }

    private func perform(_ effects: AppendEffects) {
        if effects.asksForFlush { context.flush.request(self) }
        for waiter in effects.woken { waiter.highWatermarkAdvanced(self) }
        switch effects.job {
        case nil: break
        case .warmUp: context.reader().execute { [self] in warmUp() }
        case .prepare: context.executors.housekeeping.execute { [self] in prepareNextSegment() }
        case .reserve: context.executors.housekeeping.execute { [self] in reserveOffsets() }
        }
    }

    private func append(
        _ slab: ByteSlab, _ range: Range<Int>, _ header: RecordBatchHeader,
        _ retry: any AppendRetry, _ appender: inout Appender, _ effects: inout AppendEffects
    ) -> AppendOutcome {
        // Under the append lock: once `goOffline` had it, nothing is appended any more.
        if let failure = context.failed { return .refused(.failed(failure)) }
        if let offline = state.withLock({ $0.offline }) { return .refused(.offline(offline)) }
        if let reason = appender.readOnly { return .refused(.diskFull(reason)) }
        guard appender.files != nil, appender.hasProducers, appender.hasMessageIDs else {
            if let refusal = messageIDShortage(&appender) { return .refused(refusal) }
            if let refusal = shortage(&appender) { return .refused(refusal) }
            appender.wait(retry)
            if !appender.isWarming {
                appender.isWarming = true
                effects.job = .warmUp
            }
            return .later
        }
        guard !appender.isCutting else {
            appender.wait(retry)
            return .later
        }
        if let refusal = refusal(header, range.count, appender.settings) {
            return .refused(refusal)
        }
        if appender.settings.cleanup.compacts, Self.hasNullKey(slab.span(range), header) {
            return .refused(.nullKey)
        }
        switch appender.producers.judge(header) {
        case .accept: break
        case .duplicate(let original):
            if context.options.has(.noDeduplication) { break }
            context.metrics.duplicates.add()
            let receipt = AppendReceipt(
                baseOffset: original.baseOffset, endOffset: original.nextOffset,
                leaderEpoch: original.leaderEpoch)
            return .duplicate(recalling(slab.span(range), header, receipt, appender))
        case .outOfOrder(let expected):
            if context.options.has(.acceptSequenceGaps) { break }
            return .refused(.outOfOrderSequence(expected: expected))
        case .tooOld: return .refused(.duplicateSequence)
        case .unknownProducer: return .refused(.unknownProducer)
        case .staleEpoch(let current):
            if context.options.has(.noFencing) { break }
            return .refused(.staleEpoch(current: current))
        }
        let batch: BatchToWrite
        switch withoutDuplicates(slab, range, header, &appender) {
        case .batch(let judged): batch = judged
        case .refused(let refusal): return .refused(refusal)
        }
        if let outcome = makeRoom(batch.range.count, header, retry, &appender, &effects) {
            return outcome
        }
        return write(batch, &appender, &effects)
    }

    /// What the topic's settings have against a batch.
    private func refusal(
        _ header: RecordBatchHeader, _ byteCount: Int, _ settings: TopicSettings
    ) -> AppendRefusal? {
        guard context.space.isWritable else { return .diskFull(context.space.reason) }
        guard Int64(byteCount) <= settings.batchBytesMax else {
            return .tooLarge(max: settings.batchBytesMax)
        }
        let wall = context.clock.wallMilliseconds()
        let (latest, overflow) = wall.addingReportingOverflow(
            settings.eventTimeFutureMaxMilliseconds)
        if !overflow, header.maxTimestamp > latest {
            return .invalidTimestamp(
                "event time \(header.maxTimestamp) is more than event.time.future.max.ms (\(settings.eventTimeFutureMaxMilliseconds)) ahead of the broker's clock (\(wall))"
            )
        }
        return nil
    }

    /// Compaction keeps the newest record of each key, so each record needs one.
    private static func hasNullKey(_ batch: RawSpan, _ header: RecordBatchHeader) -> Bool {
        var cursor = RecordCursor(header)
        do {
            while let record = try cursor.next(in: batch) {
                if record.key == nil { return true }
            }
        } catch {
            return false  // validated before: cannot happen
        }
        return false
    }

    /// Sees that the batch can be written now: un-synced bytes, reserved offsets, the next segment.
    /// nil when it can.
    private func makeRoom(
        _ byteCount: Int, _ header: RecordBatchHeader, _ retry: any AppendRetry,
        _ appender: inout Appender, _ effects: inout AppendEffects
    ) -> AppendOutcome? {
        let durability = appender.settings.durability
        let unsynced = state.withLock { $0.appendedBytes - $0.syncedBytes }
        guard unsynced < partitionBytesMax(durability) else {
            appender.wait(retry)
            effects.asksForFlush = true
            return .later
        }
        if rollIsDue(byteCount, appender) {
            guard let prepared = appender.prepared else {
                if let refusal = shortage(&appender) { return .refused(refusal) }
                appender.wait(retry)
                askToPrepare(&appender, &effects)
                return .later
            }
            roll(to: prepared, &appender)
            effects.asksForFlush = true
            guard context.failed == nil else {
                appender.wait(retry)
                return .later
            }
        }
        guard appender.tail.offset + Int64(header.recordCount) <= appender.reservedUntil else {
            appender.wait(retry)
            askToReserve(&appender, &effects)
            return .later
        }
        let hasTaken = context.budget(durability).take(Int64(byteCount), for: self, retry: retry)
        guard !hasTaken else { return nil }
        effects.asksForFlush = true
        return .later
    }

    private func partitionBytesMax(_ durability: Durability) -> Int64 {
        switch durability {
        case .durable: context.options.unsyncedDurablePartitionBytesMax
        case .written: context.options.unsyncedWrittenPartitionBytesMax
        }
    }

    private func rollIsDue(_ byteCount: Int, _ appender: Appender) -> Bool {
        guard appender.tail.position > 0 else { return false }
        if appender.tail.position + Int64(byteCount) > appender.settings.segmentBytes {
            return true
        }
        let wall = context.clock.wallMilliseconds()
        let (earliest, overflow) = appender.tail.appendTime.subtractingReportingOverflow(
            Self.clockBackMilliseconds)
        if !overflow, wall < earliest { return true }
        guard let start = appender.segmentStart else { return false }
        let (age, isHuge) = wall.subtractingReportingOverflow(start)
        return isHuge || age >= appender.settings.segmentMilliseconds
    }

    private func askToPrepare(_ appender: inout Appender, _ effects: inout AppendEffects) {
        guard !appender.isPreparing, shortage(&appender) == nil else { return }
        appender.isPreparing = true
        effects.job = .prepare
    }

    private func askToReserve(_ appender: inout Appender, _ effects: inout AppendEffects) {
        guard !appender.isReserving else { return }
        appender.isReserving = true
        effects.job = .reserve
    }

    private func write(
        _ batch: BatchToWrite, _ appender: inout Appender, _ effects: inout AppendEffects
    ) -> AppendOutcome {
        guard var files = appender.files else { return .later }
        let (slab, range) = (batch.slab, batch.range)
        var assigned = batch.header
        assigned.baseOffset = appender.tail.offset
        assigned.leaderEpoch = context.leaderEpoch
        RecordBatch.assign(
            baseOffset: assigned.baseOffset, leaderEpoch: assigned.leaderEpoch, in: slab,
            at: range.lowerBound)
        let position = appender.tail.position
        do {
            try files.log.write(slab, range, at: position)
        } catch {
            return .refused(rollBack(error, range.count, position, files, &appender))
        }
        if let entry = files.tracker.entryIfDue() { put(entry, files, appender.segment) }
        let wall = context.clock.wallMilliseconds()
        let appendTime = max(files.tracker.end.appendTime, wall)
        let checksum = RecordBatch.prefixChecksum(
            slab.span(range), continuing: files.tracker.end.checksum)
        files.tracker.advance(assigned, prefixChecksum: checksum, appendTime: appendTime)
        files.aheadEnd = max(files.aheadEnd, files.tracker.end.position)
        appender.files = files
        appender.tail = files.tracker.end
        appender.leaderEpoch = assigned.leaderEpoch
        if appender.segmentStart == nil {
            appender.segmentStart = appendTime
            appender.segment.firstAppendTime = appendTime
        }
        appender.lastAppend = context.clock.monotonicNanoseconds()
        appender.producers.record(assigned, appendTime: appendTime)
        remember(batch, base: assigned.baseOffset, &appender)
        appender.segment.bytes = appender.tail.position
        publish(Int64(range.count), &appender, files.log, &effects)
        lookAhead(&appender, &effects)
        return .appended(
            AppendReceipt(
                baseOffset: assigned.baseOffset, endOffset: assigned.nextOffset,
                leaderEpoch: assigned.leaderEpoch, duplicates: batch.duplicates))
    }

    /// An index entry that cannot be written is rebuilt from the log some day; the log is right.
    private func put(_ entry: IndexEntry, _ files: Appender.Files, _ segment: Segment) {
        do {
            try segment.index.append(entry, to: files.index)
        } catch {
            context.logger.warning(
                "INDEX_NOT_WRITTEN", "index entry of \(name) not written: \(error)")
        }
    }

    /// A write failed: nothing of the batch may stay. A full disk makes the broker read-only for
    /// producers, anything else is final.
    private func rollBack(
        _ error: SystemError, _ byteCount: Int, _ position: Int64, _ files: Appender.Files,
        _ appender: inout Appender
    ) -> AppendRefusal {
        context.budget(appender.settings.durability).give(Int64(byteCount))
        guard error.isNoSpace else {
            let failure = StorageError.fatal(error, "writing \(name)")
            context.fail(failure)
            return .failed(failure)
        }
        do {
            try files.log.truncate(to: position)
            appender.files?.aheadEnd = position
        } catch {
            let failure = StorageError.fatal(error, "taking back a part of a batch of \(name)")
            context.fail(failure)
            return .failed(failure)
        }
        context.space.didFill("\(error)")
        return .diskFull(context.space.reason)
    }

    /// Tells readers and the flush what was appended.
    private func publish(
        _ byteCount: Int64, _ appender: inout Appender, _ log: any File,
        _ effects: inout AppendEffects
    ) {
        let tail = appender.tail
        let segment = appender.segment
        let end = LogEnd(
            offset: tail.offset, base: segment.base, position: tail.position,
            checksum: tail.checksum, appendTime: tail.appendTime)
        let epoch = appender.leaderEpoch
        let planted = context.options.has(.readersAboveDurable)
        let (woken, unsynced) = state.withLock { state in
            state.appended = end
            state.leaderEpoch = epoch
            state.appendedBytes += byteCount
            if state.unsynced.last?.segment !== segment { state.unsynced.append((segment, log)) }
            let isVisible = state.durability == .written || planted
            return (
                isVisible ? state.publishVisible(end) : [], state.appendedBytes - state.syncedBytes
            )
        }
        effects.woken += woken
        switch appender.settings.durability {
        case .durable: effects.asksForFlush = true
        case .written:
            if unsynced >= context.options.writtenSyncBytes { effects.asksForFlush = true }
        }
        appendUse.store(context.files.tick(), ordering: .relaxed)
        context.metrics.appendedBatches.add()
        context.metrics.appendedBytes.add(Int(byteCount))
    }

    /// What will be needed soon is made now, off this queue.
    private func lookAhead(_ appender: inout Appender, _ effects: inout AppendEffects) {
        if appender.prepared == nil, appender.tail.position > appender.settings.segmentBytes / 2,
            appender.segment.isNamed
        {
            askToPrepare(&appender, &effects)
        } else if appender.reservedUntil != .max,
            appender.reservedUntil - appender.tail.offset < Self.reserveBlock / 2
        {
            askToReserve(&appender, &effects)
        }
    }
}
