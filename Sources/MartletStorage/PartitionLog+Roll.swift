import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

extension PartitionLog {
    /// Goes on in the prepared files. They get their names, on disk, with the next flush, before
    /// anything in them is acknowledged as durable.
    func roll(to prepared: Appender.Prepared, _ appender: inout Appender) {
        let old = appender.segment
        let base = appender.tail.offset
        if let files = appender.files { old.seal(files.tracker.end) }
        let header = IndexHeader(
            topic: topicID, partition: partition, base: base, generation: 0)
        let index = SparseIndex(header, prepared.index, context.indexes)
        let segment = Segment(
            key: key, base: base, generation: 0, log: prepared.log, index: index, size: 0,
            isNamed: false)
        let first = IndexEntry.first(of: base)
        index.install([first], pinned: true)
        do {
            try index.rewrite([first], in: prepared.indexFile)
        } catch {
            context.logger.warning(
                "INDEX_NOT_WRITTEN", "index of \(name) not begun: \(error.message)")
        }
        old.index.unpin()
        appender.prepared = nil
        appender.segment = segment
        appender.tail = first
        appender.segmentStart = nil
        appender.files = Appender.Files(
            log: prepared.logFile, index: prepared.indexFile,
            tracker: IndexTracker(after: first, indexedPosition: 0), aheadEnd: 0)
        state.withLock { state in
            state.segments.append(segment)
            state.unsynced.append((segment, prepared.logFile))
        }
        snapshotSoon(&appender)
    }

    /// Makes the files of the next segment. Housekeeping.
    func prepareNextSegment() {
        let isNamed = appender.withLock { $0.segment.isNamed }
        guard isNamed else {
            // The prepared names are still in use: the flush gives them up.
            context.flush.request(self)
            appender.withLock { $0.isPreparing = false }
            return
        }
        do {
            let prepared = try makePrepared()
            let retries = appender.withLock { appender in
                appender.prepared = prepared
                appender.isPreparing = false
                return appender.takeWaiting()
            }
            for retry in retries { retry.retryAppend(self) }
        } catch {
            appender.withLock { $0.isPreparing = false }
            if error.code == .diskFull {
                context.space.didFill(error.message)
            } else {
                context.fail(.init(.syncFailed, error.message))
            }
            for retry in appender.withLock({ $0.takeWaiting() }) { retry.retryAppend(self) }
        }
    }

    private func makePrepared() throws(StorageError) -> Appender.Prepared {
        let logPath = "\(directory)/\(LogFileNames.preparedLog)"
        let indexPath = "\(directory)/\(LogFileNames.preparedIndex)"
        let fileSystem = context.fileSystem
        let (logFile, indexFile) = try storage("preparing the next segment of \(name)") {
            () throws(SystemError) in
            // Never a file that held batches: an old batch at the right offset passes every check.
            for path in [logPath, indexPath] where try fileSystem.status(path) != nil {
                try fileSystem.removeFile(path)
            }
            let log = try fileSystem.open(logPath, .createNew)
            let index = try fileSystem.open(indexPath, .createNew)
            if !context.options.has(.dropDirectorySync) {
                try fileSystem.syncDirectory(directory)
            }
            return (log, index)
        }
        return Appender.Prepared(
            log: CachedFile(logPath, open: logFile, fileSystem, context.files), logFile: logFile,
            index: CachedFile(indexPath, open: indexFile, fileSystem, context.files),
            indexFile: indexFile)
    }

    /// Gives the prepared files of a rolled segment their names, on disk. Flush queue.
    func giveName(_ segment: Segment) throws(StorageError) {
        guard !segment.isNamed else { return }
        let log = "\(directory)/\(LogFileNames.log(segment.base, generation: 0))"
        let index = "\(directory)/\(LogFileNames.index(segment.base, generation: 0))"
        try storageFatal("naming the segment \(segment.base) of \(name)") {
            () throws(SystemError) in
            try segment.index.file.rename(to: index)
            try segment.log.rename(to: log)
            if !context.options.has(.dropDirectorySync) {
                try context.fileSystem.syncDirectory(directory)
            }
        }
        segment.didName()
        // Appends that found the prepared names in use may go on.
        for retry in appender.withLock({ $0.takeWaiting() }) { retry.retryAppend(self) }
    }

    /// Reserves the next block of offsets of a `written` topic. Housekeeping.
    func reserveOffsets() {
        let target = appender.withLock { $0.tail.offset } + 2 * Self.reserveBlock
        var mark = MarkEntry(.reserve)
        mark.topic = topicID
        mark.partition = partition
        mark.offset = target
        do {
            try context.marks.recordAndSync([mark])
        } catch {
            context.fail(.init(.syncFailed, error.message))
        }
        let retries = appender.withLock { appender in
            appender.isReserving = false
            if appender.reservedUntil != .max {
                appender.reservedUntil = max(appender.reservedUntil, target)
            }
            return appender.takeWaiting()
        }
        for retry in retries { retry.retryAppend(self) }
    }

    /// Notes that the producers' state should be written with the next tick.
    private func snapshotSoon(_ appender: inout Appender) {
        appender.snapshotBytes = .max / 2
    }
}
