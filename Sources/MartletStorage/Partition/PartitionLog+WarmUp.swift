import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

extension PartitionLog {
    /// Opens what appending needs: files, index, producers' state, message ids. Reader queue; blocks.
    ///
    /// - Parameter isForAppend: false leaves the ids out, which may take long to read: who appends
    ///   asks again.
    func warmUp(isForAppend: Bool = true) {
        let isCold = appender.withLock { $0.files == nil || !$0.hasProducers }
        do {
            if isCold { try openForAppend() }
            if isForAppend { try loadMessageIDs() }
        } catch {
            // No files, no failure: nothing of a deleted topic matters to the others.
            if isGone { return wakeWarm() }
            if error.code == .noDescriptors {
                lacksDescriptors(error)
                return wakeWarm()
            }
            context.logger.error(
                "PARTITION_OFFLINE", "partition \(name) cannot be appended to: \(error.message)")
            appender.withLock { $0.isWarming = false }
            if error.isFatal { context.fail(error) }
            goOffline(.broken(error.message))
            return
        }
        wakeWarm()
    }

    /// Its topic was deleted: the directory has another name, or is gone.
    var isGone: Bool {
        guard state.withLock({ $0.offline }) != nil else { return false }
        do {
            return try context.fileSystem.status(directory) == nil
        } catch {
            return false  // a failure that may be anything
        }
    }

    private func wakeWarm() {
        let retries = appender.withLock { appender in
            appender.isWarming = false
            return appender.takeWaiting()
        }
        for retry in retries { retry.retryAppend(self) }
    }

    private func openForAppend() throws(StorageError) {
        // Nobody appends while the partition is cold, so the tail stands still.
        let (segment, tail, hasProducers, epoch) = appender.withLock {
            ($0.segment, $0.tail, $0.hasProducers, $0.leaderEpoch)
        }
        let log = try segment.log.open()
        let built = try IndexBuilder(
            segment: segment, end: tail.position, offsetLimit: tail.offset,
            fallbackTime: tail.appendTime == .min
                ? context.clock.wallMilliseconds() : tail.appendTime,
            interval: context.options.indexIntervalBytes, gaps: state.withLock { $0.gaps },
            known: IndexBuilder.Known(checksum: tail.checksum, leaderEpoch: epoch)
        ).load()
        if built.isRebuilt { rewriteIndex(segment, built.entries) }
        segment.index.install(built.entries, pinned: true)
        if built.hasDamage || built.end.checksum != tail.checksum {
            context.logger.error(
                "LOG_DAMAGED",
                "the open segment \(segment.base) of \(name) does not match its mark; it is checked as it is read"
            )
        }
        let index = segment.index.file.openFile
        let producers = hasProducers ? nil : try loadProducers(segment, tail)
        let size = try storage("opening \(log.path)") { () throws(SystemError) in try log.size() }
        appender.withLock { appender in
            // Retention and an append may both have asked; once there is an appender, its own view
            // of the tail is the right one.
            guard appender.files == nil, appender.segment === segment else { return }
            if let producers {
                appender.producers = producers.table
                appender.snapshotOffset = producers.offset
                appender.keptOffsets = producers.kept
                appender.hasProducers = true
            }
            var tracker = IndexTracker(
                after: tail, indexedPosition: built.entries.last?.position ?? 0,
                interval: context.options.indexIntervalBytes)
            tracker.keepTimes(of: built.end)
            if appender.segmentStart == nil, tail.position > 0 {
                // A clock that was ahead then must not keep the segment open.
                appender.segmentStart = min(
                    built.entries.firstAppendTime(last: tail.appendTime),
                    context.clock.wallMilliseconds())
            }
            appender.files = Appender.Files(
                log: log, index: index, tracker: tracker, aheadEnd: max(size, tail.position))
        }
        segment.log.hold()
        segment.index.file.hold()
        countFiles()
        makeRoomForFiles()
    }

    private func loadProducers(
        _ open: Segment, _ tail: IndexEntry
    ) throws(StorageError) -> (table: ProducerTable, offset: Int64, kept: [Int64]) {
        let (segments, gaps) = state.withLock { ($0.segments, $0.gaps) }
        var (table, offset, isFile) = try ProducerSnapshot.load(
            directory: directory, from: segments[0].base, to: tail.offset, gaps: gaps,
            context.fileSystem)
        table.limit = context.options.partitionProducersMax
        for (index, segment) in segments.enumerated() {
            let limit = index + 1 < segments.count ? segments[index + 1].base : tail.offset
            guard limit > offset else { continue }
            let end = segment === open ? tail.position : segment.bytes
            try replay(segment, from: offset, to: end, below: limit, into: &table)
        }
        let now = context.retentionClock.withLock { $0 }.ageTime(
            wall: context.clock.wallMilliseconds())
        table.expire(before: now - context.options.producerExpiryMilliseconds)
        // When segments have gone, nothing but this file knows their producers.
        guard isFile, segments[0].base > 0 else { return (table, offset, []) }
        try ProducerSnapshot.sync(offset, directory: directory, context.fileSystem)
        return (table, offset, [offset])
    }

    /// Takes the headers of a segment's batches from `offset` on into the table. The append time of
    /// a replayed batch is the segment's, close enough for an expiry of days.
    private func replay(
        _ segment: Segment, from offset: Int64, to end: Int64, below limit: Int64,
        into table: inout ProducerTable
    ) throws(StorageError) {
        let log = try segment.log.open()
        let start = try place(of: offset, in: segment, end: end)
        let time = context.clock.wallMilliseconds()
        var scanner = BatchScanner(log, from: start, to: end, checksBody: true)
        var next = offset
        while true {
            switch try scanner.next() {
            case .batch(let header, _):
                guard header.baseOffset >= next, header.nextOffset <= limit else { continue }
                table.record(header, appendTime: time)
                next = header.nextOffset
            case .bad(let position, _), .zeros(let position):
                // What lies behind damage counts too, or a retry of it would be written again.
                guard
                    let found = try BatchSearch.next(
                        in: log, from: position + 1, to: end, offset: next, offsetLimit: limit)
                else { return }
                scanner = BatchScanner(log, from: found.position, to: end, checksBody: true)
            case .end: return
            }
        }
    }

    /// A position at or before the batch of `offset`.
    private func place(
        of offset: Int64, in segment: Segment, end: Int64
    ) throws(StorageError) -> Int64 {
        guard offset > segment.base else { return 0 }
        let entries = try segment.index.stored(end: end)
        guard let index = entries.lastIndex(where: { $0.offset <= offset }) else { return 0 }
        return entries[index].position
    }

    /// What is to be done once a partition was quiet for a moment. Upkeep.
    func settleIfQuiet(now: Int64) {
        let (isQuiet, isToLetGo) = appender.withLock { appender in
            expireMessageIDs(&appender)
            return (
                appender.hasProducers && now - appender.lastAppend >= 1_000_000_000,
                appender.isToLetGo
            )
        }
        if isToLetGo { letGoWhenQuiet() }
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

    /// Sees that the producers' state that batches below `offset` gave rise to is on disk: it lives
    /// by time, not by retention. False when it will be there a little later. Upkeep; blocks.
    func keepProducers(below offset: Int64) throws(StorageError) -> Bool {
        if appender.withLock({ !$0.hasProducers }) { beWarm() }
        let durable = state.withLock { $0.durable.offset }
        let work = appender.withLock { appender -> (table: ProducerTable, kept: [Int64])? in
            appender.forgetKept(below: durable)
            guard appender.hasProducers, (appender.keptOffsets.last ?? 0) < offset else {
                return nil
            }
            appender.keptOffsets.append(appender.tail.offset)
            // Not to be written over by one that is not synced.
            appender.snapshotOffset = appender.tail.offset
            return (appender.producers, appender.keptOffsets)
        }
        // A snapshot from above the durable end is worth nothing after a power cut.
        guard let (table, kept) = work, let end = kept.last else {
            return appender.withLock {
                $0.keptOffsets.contains { $0 >= offset && $0 <= durable }
            }
        }
        do throws(StorageError) {
            // Retention makes room on a full disk, and must not want for some itself.
            try context.withReserve { () throws(StorageError) in
                try ProducerSnapshot.write(
                    table, offset: end, keeping: kept, syncs: true, directory: directory,
                    context.fileSystem)
            }
        } catch {
            appender.withLock { $0.keptOffsets.removeAll { $0 == end } }
            throw error
        }
        return durable >= end
    }

    /// Opens what appending needs unless somebody else is at it. Blocks.
    func beWarm() {
        let isMine = appender.withLock { appender in
            guard appender.files == nil || !appender.hasProducers, !appender.isWarming else {
                return false
            }
            appender.isWarming = true
            return true
        }
        if isMine { warmUp(isForAppend: false) }
    }

    /// Saves the producers' state when it changed. Upkeep, and when the broker stops.
    func writeSnapshot() {
        let appended = state.withLock { $0.appendedBytes }
        let work = appender.withLock { appender -> (ProducerTable, Int64, [Int64])? in
            guard appender.hasProducers, appender.snapshotOffset < appender.tail.offset else {
                return nil
            }
            let now = context.retentionClock.withLock { $0 }.ageTime(
                wall: context.clock.wallMilliseconds())
            appender.producers.expire(before: now - context.options.producerExpiryMilliseconds)
            appender.snapshotOffset = appender.tail.offset
            appender.snapshotBytes = appended
            return (appender.producers, appender.tail.offset, appender.keptOffsets)
        }
        guard let (table, offset, kept) = work else { return }
        do {
            try ProducerSnapshot.write(
                table, offset: offset, keeping: kept, syncs: false, directory: directory,
                context.fileSystem)
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
