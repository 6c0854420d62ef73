import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

/// The files that a partition keeps open to append are one item of the pool of open files: the ones
/// that were appended to least recently are synced and closed, and opened again by the next append.
extension PartitionLog: Evictable {
    /// How long producers are refused before it is tried again to open files.
    private static let shortageNanoseconds: Int64 = 200_000_000

    var lastUse: UInt64 { appendUse.load(ordering: .relaxed) }
    var goesLater: Bool { true }

    /// Not here: the caller may hold another partition's locks.
    func evict() { context.executors.housekeeping.execute { [self] in letGoWhenQuiet() } }

    /// Tells the pool how many files are kept open.
    func countFiles() {
        let count = appender.withLock { ($0.files == nil ? 0 : 2) + ($0.prepared == nil ? 0 : 2) }
        if count > 0 { context.files.didLoad(self, cost: count) }
    }

    /// Closes the files of others while more are open than may be: who opens files faster than they
    /// are synced does that himself. Blocks.
    func makeRoomForFiles() {
        for item in context.files.overdue {
            guard context.files.isOver else { return }
            guard let log = item as? PartitionLog, log !== self else { continue }
            log.flush()
            log.letGoWhenQuiet()
        }
    }

    /// Closes the files that appending needs, now or when what was appended is synced. Blocks.
    func letGoWhenQuiet() {
        guard appender.withLock({ mayLetGo(&$0) }) else { return syncIfDirty() }
        dropAhead()
        let segment = appender.withLock { appender -> Segment? in
            guard mayLetGo(&appender) else { return nil }
            appender.files = nil
            if appender.prepared != nil { appender.hasClosedPrepared = true }
            appender.prepared = nil
            // Under the lock: the next warm-up pins it again.
            appender.segment.index.unpin()
            return appender.segment
        }
        guard let segment else { return }
        context.files.forget(self)
        segment.log.release()
        segment.index.file.release()
    }

    private func mayLetGo(_ appender: inout Appender) -> Bool {
        guard appender.files != nil else { return false }
        appender.isToLetGo =
            appender.isWarming || appender.isPreparing || appender.isExtending
            || appender.isCutting || state.withLock { !$0.unsynced.isEmpty }
        return !appender.isToLetGo
    }

    /// A flush has closed segments: their files are the pool's from now on. Flush queue.
    func shareClosed(_ point: FlushPoint) {
        let closed = point.segments.filter { $0.segment.base != point.end.base }
        guard !closed.isEmpty else { return }
        for (segment, _) in closed {
            segment.log.share()
            segment.index.file.share()
        }
        countFiles()
    }

    /// Closes everything: the topic was deleted.
    func closeFiles() {
        let segments = appender.withLock { appender in
            appender.files = nil
            appender.prepared = nil
            return state.withLock { $0.segments }
        }
        context.files.forget(self)
        for segment in segments {
            segment.log.release()
            segment.index.file.release()
            context.indexes.forget(segment.index)
        }
    }

    /// What an append needs could not be opened: producers are told to come back.
    func lacksDescriptors(_ error: StorageError) {
        let now = context.clock.monotonicNanoseconds()
        appender.withLock {
            $0.shortage = Appender.Shortage(
                until: now + Self.shortageNanoseconds, reason: error.message)
        }
        context.lacksDescriptors(error)
        context.files.relieve(CachedFile.relief)
    }

    /// Why nothing is opened right now; nil when it may be tried.
    func shortage(_ appender: inout Appender) -> AppendRefusal? {
        guard let shortage = appender.shortage else { return nil }
        guard context.clock.monotonicNanoseconds() >= shortage.until else {
            return .noDescriptors(shortage.reason)
        }
        appender.shortage = nil
        return nil
    }
}
