import MartletFormat
import MartletSystem
import Synchronization

extension PartitionLog {
    /// A sync of space that was written before is a third cheaper than one that grows the file, so
    /// a partition with many small flushes gets zeros ahead of its tail. Not at disk speed: there
    /// every byte would be written twice.
    private static let aheadBytes: Int64 = 1 << 20
    private static let sliceBytes: Int64 = 64 << 10
    private static let smallFlushBytes: Int64 = 64 << 10
    private static let smallFlushesBefore = 16

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
            guard appender.smallFlushes >= Self.smallFlushesBefore,
                files.aheadEnd - appender.tail.position < Self.aheadBytes / 2,
                files.aheadEnd + Self.aheadBytes <= appender.settings.segmentBytes
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
        while written < Self.aheadBytes {
            let file = appender.withLock { appender -> (any File)? in
                guard var files = appender.files else { return nil }
                let start = max(files.aheadEnd, appender.tail.position)
                do {
                    try writeZeros(files.log, at: start)
                } catch {
                    return nil  // no room to spare: the append itself will say so
                }
                files.aheadEnd = start + Self.sliceBytes
                appender.files = files
                return files.log
            }
            guard let file else { break }
            written += Self.sliceBytes
            guard written >= Self.aheadBytes else { continue }
            do {
                try file.sync()
            } catch {
                context.fail(.fatal(error, "syncing the space ahead of \(name)"))
            }
        }
        appender.withLock { $0.isExtending = false }
    }

    private func writeZeros(_ file: any File, at position: Int64) throws(SystemError) {
        let zeros = ByteSlabZeros.megabyte
        try file.write(zeros, 0..<Int(Self.sliceBytes), at: position)
    }

    /// A partition without appends gives the space back, so that a start has nothing to look at.
    /// Housekeeping.
    func dropAhead() {
        appender.withLock { appender in
            guard let files = appender.files, files.aheadEnd > appender.tail.position,
                !appender.isExtending
            else { return }
            do throws(SystemError) {
                try files.log.truncate(to: appender.tail.position)
                appender.files?.aheadEnd = appender.tail.position
                appender.smallFlushes = 0
            } catch {
                context.fail(.fatal(error, "cutting the space ahead of \(name)"))
            }
        }
    }
}
