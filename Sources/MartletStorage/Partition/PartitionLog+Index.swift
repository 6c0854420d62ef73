import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

extension PartitionLog {
    /// Brings the index of a segment into memory. Blocks.
    @discardableResult
    func loadIndex(_ segment: Segment) throws(StorageError) -> [IndexEntry] {
        if let entries = segment.index.withEntries({ $0 }) { return entries }
        let builder = indexBuilder(segment)
        let (end, limit) = (builder.end, builder.offsetLimit)
        let built = try builder.load()
        let isClosed = state.withLock { $0.appended.base != segment.base }
        // With holes between its offsets nothing but its seal tells that a segment lacks its end.
        if segment.generation > 0, segment.end == nil, let seal = segment.index.storedSeal(),
            seal.position > end
        {
            let whole = built.lastWhole ?? built.end
            quarantine(
                DamagedRange(
                    offsets: whole.offset..<max(limit, whole.offset + 1), base: segment.base,
                    positions: whole.position..<end, reason: "the file is too short"))
            var short = built.end
            short.offset = limit
            segment.seal(short)
            segment.index.install(built.entries, pinned: false)
            return built.entries
        }
        if isClosed {
            if segment.end == nil {
                var last = built.end
                // What lies behind the damage is found as it is read.
                if built.hasDamage { (last.position, last.offset) = (end, limit) }
                segment.seal(last)
            }
            if built.isRebuilt {
                context.logger.notice(
                    "INDEX_REBUILT",
                    "index of segment \(segment.base) of \(name) rebuilt from the log")
                var entries = built.entries
                if let end = segment.end { entries.append(end) }
                rewriteIndex(segment, entries)
            }
        }
        segment.index.install(built.entries, pinned: false)
        return built.entries
    }

    /// When the first batch of a segment was appended; `Int64.max` when that is not known. A start
    /// does not look: only who asks pays for the index.
    func firstAppendTime(of segment: Segment) throws(StorageError) -> Int64 {
        guard segment.firstAppendTime == .max else { return segment.firstAppendTime }
        let entries = try loadIndex(segment)
        let last =
            segment.end?.appendTime
            ?? state.withLock { $0.visible.base == segment.base ? $0.visible.appendTime : .min }
        let first = entries.firstAppendTime(last: last)
        if first != .min { segment.firstAppendTime = first }
        return segment.firstAppendTime
    }

    private func indexBuilder(_ segment: Segment) -> IndexBuilder {
        let now = context.clock.wallMilliseconds()
        let interval = context.options.indexIntervalBytes
        return state.withLock { state in
            var end = segment.end?.position ?? segment.bytes
            var checksum = segment.end?.checksum
            if segment.base == state.appended.base {
                let last =
                    state.durable.base == segment.base ? state.durable : state.appended
                end = last.position
                checksum = last.checksum
            }
            let next = state.segments.first { $0.base > segment.base }?.base
            return IndexBuilder(
                segment: segment, end: end, offsetLimit: next ?? state.appended.offset,
                fallbackTime: now, interval: interval, gaps: state.gaps,
                known: checksum.map {
                    IndexBuilder.Known(checksum: $0, leaderEpoch: state.leaderEpoch)
                })
        }
    }

    /// Writes what was rebuilt; when that fails (a full disk), it is rebuilt again another time.
    func rewriteIndex(_ segment: Segment, _ entries: [IndexEntry]) {
        do {
            try segment.index.rewrite(entries, in: try segment.index.file.open())
        } catch {
            if error.code == .removed { return }  // with its segment
            context.logger.warning(
                "INDEX_NOT_WRITTEN",
                "index of segment \(segment.base) of \(name) not written: \(error.message)")
        }
    }

    /// Learns where a closed segment ends.
    func closeLookUp(_ segment: Segment) throws(StorageError) {
        guard segment.end == nil else { return }
        segment.index.evict()
        try loadIndex(segment)
    }
}
