import Synchronization

/// What is known of the record at an offset: when it came, and when retention may take it.
package struct RecordStanding: Equatable, Sendable {
    /// It was appended at this time or before, ms since 1970: as close as is known to the time
    /// itself, which no batch carries. nil: not known.
    package var appendedBy: Int64?
    /// Retention by age takes it no sooner than this; 0: it may take it now. nil: never.
    package var headroomMilliseconds: Int64?
    /// Retention by size takes it no sooner than so many bytes were appended. nil: never.
    package var headroomBytes: Int64?
}

extension PartitionLog {
    /// The standing of the record at `offset`, or of the first behind it, from what is in memory;
    /// nil when there is none below the high watermark. Never asks the disk.
    package func standing(of offset: Int64, _ settings: TopicSettings) -> RecordStanding? {
        let ageTime = ageTime()
        return state.withLock { state in
            guard offset < state.visible.offset,
                let index = state.segmentIndex(for: max(offset, state.logStart))
            else { return nil }
            var standing = RecordStanding()
            standing.appendedBy = appendedBy(offset, index, state)
            guard settings.cleanup.deletes else { return standing }
            if settings.retentionMilliseconds >= 0, let last = lastAppend(upTo: index, state) {
                let (due, overflow) = last.addingReportingOverflow(settings.retentionMilliseconds)
                standing.headroomMilliseconds = overflow ? .max : max(0, due - ageTime)
            }
            if settings.retentionBytes >= 0 {
                let behind = state.segments[(index + 1)...].reduce(Int64(0)) { $0 + $1.bytes }
                standing.headroomBytes = max(0, settings.retentionBytes - behind)
            }
            return standing
        }
    }

    /// As `standing`, with the index of the segment read first. Reader queue; blocks.
    package func standingFromDisk(
        of offset: Int64, _ settings: TopicSettings
    ) throws(StorageError) -> RecordStanding? {
        try lookingAgain { () throws(StorageError) in
            let segment = state.withLock { state in
                state.segmentIndex(for: max(offset, state.logStart)).map { state.segments[$0] }
            }
            if let segment { try loadIndex(segment) }
        }
        return standing(of: offset, settings)
    }

    /// The earliest time that is known of a place above the offset: what lies below such a place
    /// was appended by then.
    private func appendedBy(_ offset: Int64, _ index: Int, _ state: LogState) -> Int64? {
        let segment = state.segments[index]
        var times = [state.visible.appendTime]
        if let end = segment.end { times.append(end.appendTime) }
        let entry = segment.index.withEntries { entries in
            entries.first { $0.offset > offset }?.appendTime
        }
        if let time = entry ?? nil { times.append(time) }
        if let time = state.cursors.appendTime(above: offset) { times.append(time) }
        return times.filter { $0 != .min }.min()
    }

    /// When the newest record of a segment came, by which retention goes, or the newest of an
    /// earlier one: not later than that.
    private func lastAppend(upTo index: Int, _ state: LogState) -> Int64? {
        if index == state.segments.count - 1 {
            return state.visible.appendTime == .min ? nil : state.visible.appendTime
        }
        // Where a clock was ahead the next segment's beginning counts.
        let next = state.segments[index + 1].firstAppendTime
        let known = state.segments[...index].last { $0.end.map { $0.appendTime != .min } ?? false }
        guard let last = known?.end?.appendTime else { return nil }
        return min(last, next)
    }
}
