import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

extension PartitionLog {
    /// Compacts what was closed since the last run. Upkeep; blocks.
    func compactIfDue() {
        let settings = appender.withLock { $0.settings }
        // Nothing of a topic that was deleted meanwhile is touched.
        guard settings.cleanup.compacts, isOnline else { return }
        do {
            guard let compaction = try nextCompaction(settings) else { return }
            try run(compaction)
        } catch {
            if error.isFatal {
                context.fail(error)
                return
            }
            guard error.code != .noDescriptors else { return context.lacksDescriptors(error) }
            guard isForUpkeep else { return }
            appender.withLock { $0.compactionRestsTo = $0.tail.offset }
            context.logger.warning(
                "COMPACTION_FAILED", "compaction of \(name): \(error.message)")
        }
    }

    /// nil when nothing was closed since the last run, and that came to its end.
    private func nextCompaction(_ settings: TopicSettings) throws(StorageError) -> Compaction? {
        let wall = context.clock.wallMilliseconds()
        // A start reads the ids of the window in the log.
        let lag = max(
            settings.compactionLagMilliseconds, settings.deduplicationWindowMilliseconds)
        // Of the open segment a mark must be on disk, or a start would go on in a compacted one.
        let (segments, durable) = state.withLock { ($0.segments, $0.durable.base) }
        var closed: [Segment] = []
        for (index, segment) in segments.dropLast().enumerated() {
            if segment.end == nil { try loadIndex(segment) }
            guard let end = segment.end, segments[index + 1].base <= durable, segment.isNamed,
                !state.withLock({ $0.damaged.contains { $0.base == segment.base } }),
                end.appendTime <= wall - lag
            else { break }
            closed.append(segment)
        }
        let limit = closed.last.map { last in
            segments.first { $0.base > last.base }?.base ?? last.base
        }
        let (done, rests) = appender.withLock { ($0.compactedTo, $0.compactionRestsTo) }
        guard let limit, limit > max(done, rests) else { return nil }
        return Compaction(
            keyBytesMax: context.options.compactionKeyBytes, settings: settings,
            segments: closed, limit: limit,
            tombstoneHorizon: wall - settings.tombstoneRetentionMilliseconds,
            isUnchecked: context.options.has(.compactUnchecked), start: done,
            isWanted: { [self] in isForUpkeep })
    }

    private func run(_ compaction: Compaction) throws(StorageError) {
        // Which producers are still remembered must be known, and the mark behind them on disk.
        if appender.withLock({ !$0.hasProducers }) { beWarm() }
        guard appender.withLock({ $0.hasProducers }) else { return }
        guard context.marks.isComplete else { return }
        try context.marks.syncNow()
        let alive = appender.withLock { Set($0.producers.producers.keys) }
        let newest = try compaction.newest()
        for segment in compaction.segments where segment.base < newest.end {
            try replace(segment, compaction, newest, alive)
        }
        appender.withLock { $0.compactedTo = newest.end }
    }

    /// Writes the next generation of a segment beside it and swaps by rename; readers that hold the
    /// old file go on reading it.
    private func replace(
        _ old: Segment, _ compaction: Compaction, _ newest: Compaction.Newest,
        _ alive: Set<Int64>
    ) throws(StorageError) {
        let generation = old.generation + 1
        let logPath = "\(directory)/\(LogFileNames.log(old.base, generation: generation))"
        let indexPath = "\(directory)/\(LogFileNames.index(old.base, generation: generation))"
        let fileSystem = context.fileSystem
        let temporary = logPath + LogFileNames.temporarySuffix
        let file = try storage("making \(temporary)") { () throws(SystemError) in
            let file = try fileSystem.open(temporary, .createOrOpen)
            try file.truncate(to: 0)
            return file
        }
        let segment: Segment
        do throws(StorageError) {
            let dropped = try compaction.rewrite(
                old, newest, producers: alive, into: file)
            guard dropped > 0 else {
                try storage("removing \(temporary)") { () throws(SystemError) in
                    try fileSystem.removeFile(temporary)
                }
                return
            }
            segment = try describe(old, generation, file, logPath, indexPath)
        } catch {
            // As large as a segment: a disk that it has filled would stay full, and the next run waits
            // for appends, which a full disk refuses.
            fileSystem.removeUnfinished(temporary)
            throw error
        }
        let home = try fileSystem.directory(directory)
        try storageFatal("syncing \(temporary)") { () throws(SystemError) in
            try file.sync()
            try segment.index.file.openFile?.sync()
        }
        do throws(StorageError) {
            try fileSystem.rename(unfinished: temporary, to: logPath)
        } catch {
            if !error.isFatal { forget(unnamed: segment) }
            throw error
        }
        try storageFatal("swapping \(logPath)") { () throws(SystemError) in try home.sync() }
        swap(old, segment)
        segment.log.share()
        try storage("removing the old generation of \(logPath)") { () throws(SystemError) in
            try old.log.remove()
            try old.index.file.remove()
        }
        context.indexes.forget(old.index)
        context.metrics.compactedSegments.add()
    }

    /// The new segment with its index, which ends with the old one's end: offsets stay.
    private func describe(
        _ old: Segment, _ generation: UInt32, _ file: any File, _ logPath: String,
        _ indexPath: String
    ) throws(StorageError) -> Segment {
        let size = try storage("reading \(file.path)") { () throws(SystemError) in
            try file.size()
        }
        let header = IndexHeader(
            topic: topicID, partition: partition, base: old.base, generation: generation)
        let segment = Segment(
            key: key, base: old.base, generation: generation,
            log: CachedFile(logPath, open: file, context.fileSystem, context.files),
            index: SparseIndex(
                header, CachedFile(indexPath, context.fileSystem, context.files, makes: true),
                context.indexes),
            size: size, isNamed: true)
        let built = try IndexBuilder(
            segment: segment, end: size, offsetLimit: .max,
            fallbackTime: old.end?.appendTime ?? context.clock.wallMilliseconds(),
            interval: context.options.indexIntervalBytes
        ).load()
        var end = built.end
        if let oldEnd = old.end {
            end.offset = oldEnd.offset
            end.appendTime = oldEnd.appendTime
        }
        segment.seal(end)
        segment.firstAppendTime = old.firstAppendTime
        guard let sealed = segment.end else { return segment }
        try segment.index.rewrite(
            built.entries + [sealed], in: try segment.index.file.open())
        segment.index.install(built.entries, pinned: false)
        return segment
    }

    /// The index of a segment that got no name goes with it.
    private func forget(unnamed segment: Segment) {
        context.indexes.forget(segment.index)
        do throws(SystemError) {
            try segment.index.file.remove()
        } catch {
            // The next run writes it anew.
        }
    }

    private func swap(_ old: Segment, _ new: Segment) {
        // First: a reader who meets a hole asks whether the topic is a compacted one.
        noteCompacted()
        state.withLock { state in
            guard let index = state.segments.firstIndex(where: { $0 === old }) else { return }
            state.segments[index] = new
            state.cursors.forget()
        }
    }
}
