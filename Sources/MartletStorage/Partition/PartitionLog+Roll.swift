import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

extension PartitionLog {
    /// Goes on in the prepared files. They get their names, on disk, with the next flush, before
    /// anything in them is acknowledged as durable.
    func roll(to prepared: Appender.Prepared, _ appender: inout Appender) {
        let old = appender.segment
        let oldFile = appender.files?.log
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
            tracker: IndexTracker(
                after: first, indexedPosition: 0, interval: context.options.indexIntervalBytes),
            aheadEnd: 0)
        // The log's end is in the new segment from now on, also when the append that rolled is put
        // off: a flush takes the old one for closed only then.
        state.withLock { state in
            state.segments.append(segment)
            if let log = oldFile, state.unsynced.last?.segment !== old {
                state.unsynced.append((old, log))
            }
            state.unsynced.append((segment, prepared.logFile))
            state.appended = .start(of: segment)
            // Nobody waits for that: the offset is the same.
            if state.durability == .written, state.visible.offset == base {
                _ = state.publishVisible(state.appended)
            }
        }
        snapshotSoon(&appender)
    }

    /// Makes the files of the next segment, for the one who set `isPreparing`. Blocks.
    func prepareNextSegment() {
        let isWanted = appender.withLock { $0.segment.isNamed && $0.prepared == nil }
        guard isWanted, state.withLock({ $0.offline }) == nil else { return putOffPreparing() }
        do {
            let prepared = try makePrepared()
            let retries = appender.withLock { appender in
                // Of a topic that was deleted meanwhile nothing is kept open.
                if isOnline {
                    appender.prepared = prepared
                    appender.hasClosedPrepared = false
                }
                appender.isPreparing = false
                return appender.takeWaiting()
            }
            for retry in retries { retry.retryAppend(self) }
            countFiles()
        } catch {
            appender.withLock { $0.isPreparing = false }
            if error.code == .diskFull {
                context.space.didFill(error.message)
            } else if error.code == .noDescriptors {
                lacksDescriptors(error)
            } else if state.withLock({ $0.offline }) == nil {
                context.fail(.init(.syncFailed, error.message))
            }
            for retry in appender.withLock({ $0.takeWaiting() }) { retry.retryAppend(self) }
        }
    }

    /// The prepared names are still in use: the flush gives them up, and wakes who waits. Or there is
    /// nothing to do, or the topic is gone: whoever waits learns it by trying again.
    ///
    /// Under one lock: the flush marks the segment as named before it takes the lock to wake them.
    func putOffPreparing() {
        let (isNamed, retries) = appender.withLock { appender in
            appender.isPreparing = false
            let isNamed = appender.segment.isNamed
            return (isNamed, isNamed ? appender.takeWaiting() : [])
        }
        if !isNamed { context.flush.request(self) }
        for retry in retries { retry.retryAppend(self) }
    }

    private func makePrepared() throws(StorageError) -> Appender.Prepared {
        let logPath = "\(directory)/\(LogFileNames.preparedLog)"
        let indexPath = "\(directory)/\(LogFileNames.preparedIndex)"
        let fileSystem = context.fileSystem
        let home = try fileSystem.directory(directory)
        let isThere = appender.withLock { $0.hasClosedPrepared }
        let (logFile, indexFile) = try storage("preparing the next segment of \(name)") {
            () throws(SystemError) in
            // Never a file that held batches: an old batch at the right offset passes every check.
            for path in isThere ? [] : [logPath, indexPath]
            where try fileSystem.status(path) != nil {
                try fileSystem.removeFile(path)
            }
            let mode: FileOpenMode = isThere ? .readWrite : .createNew
            return (try fileSystem.open(logPath, mode), try fileSystem.open(indexPath, mode))
        }
        if !isThere, !context.options.has(.dropDirectorySync) {
            try storageFatal("preparing the next segment of \(name)") { () throws(SystemError) in
                try home.sync()
            }
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
        let home = try context.fileSystem.directory(directory)
        // When the second finds no room, the next try finds that the first has its name.
        try storageNaming("naming the segment \(segment.base) of \(name)") {
            () throws(SystemError) in
            try segment.index.file.rename(to: index)
            try segment.log.rename(to: log)
        }
        if !context.options.has(.dropDirectorySync) {
            try storageFatal("naming the segment \(segment.base) of \(name)") {
                () throws(SystemError) in try home.sync()
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
        var isReserved = false
        do {
            try context.syncMarks([mark])
            isReserved = true
        } catch {
            // On a full disk nothing is reserved, and producers are refused until there is space.
            if error.code != .diskFull { context.fail(.init(.syncFailed, error.message)) }
        }
        let retries = appender.withLock { appender in
            appender.isReserving = false
            if isReserved, appender.reservedUntil != .max {
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
