import MartletFormat
import MartletSystem
import Synchronization

extension PartitionLog {
    /// A sync of space that was written before is a third cheaper than one that grows the file, so
    /// a partition with many small flushes gets zeros ahead of its tail. Not at disk speed: there
    /// every byte would be written twice.
    private static let smallFlushBytes: Int64 = 64 << 10

    /// Decides after a flush. Flush queue.
    func extendAheadIfIdle(_ point: FlushPoint) {
        let isDue = appender.withLock { appender in
            guard let files = appender.files, !appender.isExtending else { return false }
            let unsynced = state.withLock { $0.appendedBytes - point.appendedBytes }
            guard unsynced < Self.smallFlushBytes else {
                appender.smallFlushes = 0
                return false
            }
            appender.smallFlushes += 1
            let ahead = context.options.aheadBytes
            guard appender.smallFlushes >= context.options.aheadAfterFlushes,
                files.aheadEnd - appender.tail.position < ahead / 2,
                files.aheadEnd + ahead <= appender.settings.segmentBytes
            else { return false }
            appender.isExtending = true
            return true
        }
        if isDue { context.executors.housekeeping.execute { [self] in extendAhead() } }
    }

    /// Writes zeros behind the tail in slices, each under the append lock, so that a batch can
    /// never be written over. Housekeeping; blocks.
    private func extendAhead() {
        var written: Int64 = 0
        let slice = Int64(context.options.aheadSliceBytes)
        while written < context.options.aheadBytes {
            let file = appender.withLock { appender -> (any File)? in
                guard var files = appender.files else { return nil }
                let start = max(files.aheadEnd, appender.tail.position)
                do {
                    try writeZeros(files.log, at: start)
                } catch {
                    return nil  // no room to spare: the append itself will say so
                }
                files.aheadEnd = start + slice
                appender.files = files
                return files.log
            }
            guard let file else { break }
            written += slice
            guard written >= context.options.aheadBytes else { continue }
            syncAhead(file)
        }
        appender.withLock { $0.isExtending = false }
    }

    /// Not beside a flush: if both asked for the same file, only one would be told that batches did
    /// not reach the disk.
    private func syncAhead(_ file: any File) {
        do throws(StorageError) {
            try inTurn { () throws(StorageError) in
                try storageFatal("syncing the space ahead of \(name)") { () throws(SystemError) in
                    try file.sync()
                }
            }
        } catch {
            return  // told by `inTurn`
        }
    }

    private func writeZeros(_ file: any File, at position: Int64) throws(SystemError) {
        let zeros = ByteSlabZeros.megabyte
        try file.write(
            zeros, 0..<min(context.options.aheadSliceBytes, zeros.count), at: position)
    }

    /// A partition without appends gives the space back, so that a start has nothing to look at.
    /// Housekeeping.
    func dropAhead() {
        // An append waits for the cut without the lock: a loop does not.
        let cut = appender.withLock { appender -> (file: any File, end: Int64)? in
            guard let files = appender.files, files.aheadEnd > appender.tail.position,
                !appender.isExtending, appender.readOnly == nil
            else { return nil }
            appender.isExtending = true
            appender.isCutting = true
            return (files.log, appender.tail.position)
        }
        guard let cut else { return }
        do throws(SystemError) {
            try cut.file.truncate(to: cut.end)
        } catch {
            context.fail(.fatal(error, "cutting the space ahead of \(name)"))
        }
        let retries = appender.withLock { appender in
            if appender.files?.log === cut.file { appender.files?.aheadEnd = cut.end }
            appender.smallFlushes = 0
            appender.isExtending = false
            appender.isCutting = false
            return appender.takeWaiting()
        }
        for retry in retries { retry.retryAppend(self) }
    }
}
