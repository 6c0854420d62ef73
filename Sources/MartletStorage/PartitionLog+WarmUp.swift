import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

extension PartitionLog {
    /// Opens what appending needs: files, index, producers' state. Reader queue; blocks.
    func warmUp() {
        do {
            try openForAppend()
        } catch {
            context.logger.error(
                "PARTITION_OFFLINE", "partition \(name) cannot be appended to: \(error.message)")
            appender.withLock { $0.isWarming = false }
            goOffline(error.message)
            return
        }
        let retries = appender.withLock { appender in
            appender.isWarming = false
            return appender.takeWaiting()
        }
        for retry in retries { retry.retryAppend(self) }
    }

    private func openForAppend() throws(StorageError) {
        // Nobody appends while the partition is cold, so the tail stands still.
        let (segment, tail, hasProducers) = appender.withLock {
            ($0.segment, $0.tail, $0.hasProducers)
        }
        let log = try segment.log.open()
        let index = try segment.index.file.open()
        let built = try IndexBuilder(
            segment: segment, end: tail.position, offsetLimit: tail.offset,
            fallbackTime: tail.appendTime == .min
                ? context.clock.wallMilliseconds() : tail.appendTime
        ).load()
        if built.isRebuilt { try segment.index.rewrite(built.entries, in: index) }
        segment.index.install(built.entries, pinned: true)
        if built.hasDamage || built.end.checksum != tail.checksum {
            context.logger.error(
                "LOG_DAMAGED",
                "the open segment \(segment.base) of \(name) does not match its mark; it is checked as it is read"
            )
        }
        let producers = hasProducers ? nil : try loadProducers(segment, tail)
        let size = try storage("opening \(log.path)") { () throws(SystemError) in try log.size() }
        appender.withLock { appender in
            if let producers {
                appender.producers = producers.table
                appender.snapshotOffset = producers.offset
                appender.hasProducers = true
            }
            var tracker = IndexTracker(
                after: tail, indexedPosition: built.entries.last?.position ?? 0)
            tracker.keepTimes(of: built.end)
            appender.files = Appender.Files(
                log: log, index: index, tracker: tracker, aheadEnd: max(size, tail.position))
        }
    }

    private func loadProducers(
        _ open: Segment, _ tail: IndexEntry
    ) throws(StorageError) -> (table: ProducerTable, offset: Int64) {
        let (segments, logStart) = state.withLock { ($0.segments, $0.logStart) }
        var (table, offset) = try ProducerSnapshot.load(
            directory: directory, from: logStart, to: tail.offset, context.fileSystem)
        for (index, segment) in segments.enumerated() {
            let limit = index + 1 < segments.count ? segments[index + 1].base : tail.offset
            guard limit > offset else { continue }
            let end = segment === open ? tail.position : segment.bytes
            try replay(segment, from: offset, to: end, into: &table)
        }
        let now = context.retentionClock.withLock { $0 }.ageTime(
            wall: context.clock.wallMilliseconds())
        table.expire(before: now - context.options.producerExpiryMilliseconds)
        return (table, offset)
    }

    /// Takes the headers of a segment's batches from `offset` on into the table. The append time of
    /// a replayed batch is the segment's, close enough for an expiry of days.
    private func replay(
        _ segment: Segment, from offset: Int64, to end: Int64, into table: inout ProducerTable
    ) throws(StorageError) {
        let log = try segment.log.open()
        let start = try place(of: offset, in: segment, end: end)
        let time = context.clock.wallMilliseconds()
        var scanner = BatchScanner(log, from: start, to: end, checksBody: false)
        while case .batch(let header, _) = try scanner.next() {
            if header.baseOffset >= offset { table.record(header, appendTime: time) }
        }
    }

    /// A position at or before the batch of `offset`.
    private func place(
        of offset: Int64, in segment: Segment, end: Int64
    ) throws(StorageError) -> Int64 {
        guard offset > segment.base else { return 0 }
        let file = try segment.index.file.open()
        let entries = try SparseIndex.readEntries(segment.index.header, from: file, end: end)
        guard let index = entries.lastIndex(where: { $0.offset <= offset }) else { return 0 }
        return entries[index].position
    }

    /// What is to be done once a partition was quiet for a moment. Housekeeping.
    func settleIfQuiet(now: Int64) {
        let isQuiet = appender.withLock { appender in
            appender.files != nil && now - appender.lastAppend >= 1_000_000_000
        }
        guard isQuiet else {
            snapshotIfLarge()
            return
        }
        dropAhead()
        writeSnapshot()
    }

    private func snapshotIfLarge() {
        let appended = state.withLock { $0.appendedBytes }
        let isDue = appender.withLock {
            appended - min($0.snapshotBytes, appended) >= 64 << 20 || $0.snapshotBytes > appended
        }
        if isDue { writeSnapshot() }
    }

    /// Saves the producers' state when it changed. Housekeeping, and when the broker stops.
    func writeSnapshot() {
        let appended = state.withLock { $0.appendedBytes }
        let work = appender.withLock { appender -> (ProducerTable, Int64)? in
            guard appender.hasProducers, appender.snapshotOffset < appender.tail.offset else {
                return nil
            }
            let now = context.retentionClock.withLock { $0 }.ageTime(
                wall: context.clock.wallMilliseconds())
            appender.producers.expire(before: now - context.options.producerExpiryMilliseconds)
            appender.snapshotOffset = appender.tail.offset
            appender.snapshotBytes = appended
            return (appender.producers, appender.tail.offset)
        }
        guard let (table, offset) = work else { return }
        do {
            try ProducerSnapshot.write(
                table, offset: offset, directory: directory, context.fileSystem)
        } catch {
            context.logger.warning(
                "SNAPSHOT_NOT_WRITTEN", "producers of \(name) not saved: \(error)")
        }
    }
}

extension IndexTracker {
    /// The mark does not hold the largest event time; the index does.
    mutating func keepTimes(of built: IndexEntry) {
        end.maxEventTime = max(end.maxEventTime, built.maxEventTime)
        end.appendTime = max(end.appendTime, built.appendTime)
    }
}
