import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

/// What one flush of a partition is about to make durable.
struct FlushPoint {
    let end: LogEnd
    let leaderEpoch: Int32
    let segments: [(segment: Segment, file: any File)]
    let appendedBytes: Int64
}

extension PartitionLog {
    /// How long a flush for which no descriptor was free waits for its next try.
    private static let againNanoseconds: Int64 = 100_000_000

    /// Makes everything appended so far durable and tells who waited; false when that could not be
    /// done. Flush queue; blocks.
    @discardableResult
    func flush() -> Bool {
        guard context.failed == nil else { return false }
        let start = context.clock.monotonicNanoseconds()
        let flushed: FlushPoint?
        do {
            // One at a time: a topic that is deleted and a broker that stops flush out of turn.
            flushed = try inTurn { () throws(StorageError) -> FlushPoint? in
                guard let point = flushPoint() else { return nil }
                if context.options.has(.ackBeforeSync) { complete(point) }
                try sync(point)
                try context.recordMarks([mark(point)])
                return point
            }
        } catch {
            if isGone {
                fail(error)
            } else if Self.mayFlushAgain(error) {
                flushAgain(error)
            }
            return false
        }
        guard let point = flushed else { return true }
        context.metrics.flushes.add()
        context.metrics.flushNanoseconds.observe(context.clock.monotonicNanoseconds() - start)
        complete(point)
        extendAheadIfIdle(point)
        return true
    }

    /// Runs what syncs, one at a time until it fails, and tells of that. The system tells of an error
    /// once for each open file: the failure is known before the next one has its turn, who would
    /// hear of success.
    func inTurn<R: Sendable>(_ body: () throws(StorageError) -> R) throws(StorageError) -> R {
        try flushLock.withLock { _ throws(StorageError) -> R in
            if let failure = context.failed { throw failure }
            do throws(StorageError) {
                return try body()
            } catch {
                // A segment of a topic that was deleted meanwhile gets no name any more: nothing of it
                // matters to the others.
                if !Self.mayFlushAgain(error), !isGone { context.fail(error) }
                throw error
            }
        }
    }

    /// Before a sync nothing is final: a segment for whose name there was no descriptor, or no room in
    /// the directory, gets it soon.
    private static func mayFlushAgain(_ error: StorageError) -> Bool {
        error.code == .noDescriptors || error.code == .diskFull
    }

    private func flushAgain(_ error: StorageError) {
        if isGone { return fail(error) }
        if error.code == .diskFull {
            context.space.didFill(error.message)
        } else {
            context.lacksDescriptors(error)
        }
        context.executors.marks.execute(after: Self.againNanoseconds) { [weak self] in
            guard let self else { return }
            context.flush.request(self)
        }
    }

    /// One `syncfs` writes what many partitions have, together; then each file is asked on its own,
    /// for `syncfs` does not tell of every write that failed (none before Linux 5.8, and later none
    /// that somebody else was told of). Last, one file is synced: a file system that shut itself
    /// down may have let `syncfs` pass. Flush queue; blocks.
    static func flushTogether(_ logs: [PartitionLog]) {
        guard let context = logs.first?.context, context.failed == nil else { return }
        let start = context.clock.monotonicNanoseconds()
        var points: [(PartitionLog, FlushPoint)] = []
        do {
            for log in logs {
                guard let point = try log.settledPoint() else { continue }
                points.append((log, point))
                if context.options.has(.ackBeforeSync) { log.complete(point) }
            }
            guard let first = points.first, let any = first.1.segments.first?.file else { return }
            try storageFatal("syncing the file system") { () throws(SystemError) in
                try any.syncFileSystem()
            }
            for (log, point) in points {
                try log.inTurn { () throws(StorageError) in try log.checkWrites(point) }
            }
            try first.0.inTurn { () throws(StorageError) in
                try storageFatal("syncing \(any.path)") { () throws(SystemError) in
                    try any.sync()
                }
            }
            try context.recordMarks(points.map { $0.0.mark($0.1) })
        } catch {
            context.fail(error)
            return
        }
        context.metrics.flushes.add()
        context.metrics.flushNanoseconds.observe(context.clock.monotonicNanoseconds() - start)
        for (log, point) in points {
            log.writeSeals(point)
            log.complete(point)
        }
    }

    /// nil when there is nothing to sync, or not now.
    private func settledPoint() throws(StorageError) -> FlushPoint? {
        do throws(StorageError) {
            return try flushLock.withLock { _ throws(StorageError) -> FlushPoint? in
                let point = flushPoint()
                if let point { try settleNames(point) }
                return point
            }
        } catch {
            guard Self.mayFlushAgain(error) || isGone else { throw error }
            flushAgain(error)
            return nil
        }
    }

    /// nil when all is on disk.
    private func flushPoint() -> FlushPoint? {
        state.withLock { state in
            guard state.failure == nil, !state.unsynced.isEmpty else { return nil }
            return FlushPoint(
                end: state.appended, leaderEpoch: state.leaderEpoch, segments: state.unsynced,
                appendedBytes: state.appendedBytes)
        }
    }

    /// Syncs oldest first: an acknowledged record may never stand behind a hole. Together with others
    /// the names come first (`settleNames`), since one `syncfs` then serves all.
    private func sync(_ point: FlushPoint) throws(StorageError) {
        for (segment, file) in point.segments {
            try settle(segment, file, upTo: point)
            try storageFatal("syncing \(name)") { () throws(SystemError) in try file.sync() }
        }
        writeSeals(point)
    }

    private func checkWrites(_ point: FlushPoint) throws(StorageError) {
        for (_, file) in point.segments {
            try storageFatal("syncing \(name)") { () throws(SystemError) in
                try file.checkWrites()
            }
        }
    }

    private func settleNames(_ point: FlushPoint) throws(StorageError) {
        for (segment, file) in point.segments { try settle(segment, file, upTo: point) }
    }

    /// A closed segment is cut to its real length; a new one gets its name.
    private func settle(
        _ segment: Segment, _ file: any File, upTo point: FlushPoint
    ) throws(StorageError) {
        try giveName(segment)
        guard let end = segment.end, segment.base != point.end.base else { return }
        try storageFatal("closing the segment \(segment.base) of \(name)") {
            () throws(SystemError) in
            try file.truncate(to: end.position)
        }
    }

    /// The index of a closed segment ends with an entry that says: all of the log was on disk.
    private func writeSeals(_ point: FlushPoint) {
        for (segment, _) in point.segments where segment.base != point.end.base {
            guard let end = segment.end else { continue }
            do {
                try segment.index.writeSeal(end, to: try segment.index.file.open())
            } catch {
                context.logger.warning(
                    "INDEX_NOT_WRITTEN", "index of \(name) not closed: \(error)")
            }
        }
    }

    func mark(_ point: FlushPoint) -> MarkEntry {
        MarkEntry(point.end, of: topicID, partition, leaderEpoch: point.leaderEpoch)
    }

    private func complete(_ point: FlushPoint) {
        let (durability, bytes, advanced, durable) = state.withLock { state in
            let bytes = point.appendedBytes - state.syncedBytes
            state.syncedBytes = max(state.syncedBytes, point.appendedBytes)
            // Closed segments that were wholly in this flush, and the open one if nothing came since.
            let isQuiet = state.appended == point.end
            state.unsynced.removeAll { entry in
                guard point.segments.contains(where: { $0.segment === entry.segment }) else {
                    return false
                }
                return entry.segment.base != point.end.base || isQuiet
            }
            let durable = state.publishDurable(point.end)
            // A `written` topic is ahead of that, but for what it was given as a durable one.
            let advanced = state.publishVisible(point.end)
            return (state.durability, bytes, advanced, durable)
        }
        context.budget(durability).give(bytes)
        for waiter in durable { waiter.durabilityReached(self, nil) }
        for waiter in advanced { waiter.highWatermarkAdvanced(self) }
        shareClosed(point)
        let (retries, isToLetGo) = appender.withLock { ($0.takeWaiting(), $0.isToLetGo) }
        for retry in retries { retry.retryAppend(self) }
        if isToLetGo { evict() }
    }
}

extension SparseIndex {
    /// Writes the closing entry behind the others. Blocks.
    func writeSeal(_ end: IndexEntry, to open: any File) throws(StorageError) {
        let slab = ByteSlab(capacity: IndexEntry.byteCount)
        end.encode(into: slab)
        try storage("writing \(open.path)") { () throws(SystemError) in
            let size = try open.size()
            let whole = (size - Int64(IndexHeader.byteCount)) / Int64(IndexEntry.byteCount)
            let position =
                Int64(IndexHeader.byteCount) + max(0, whole) * Int64(IndexEntry.byteCount)
            try open.write(slab, at: position)
        }
    }
}
