import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

extension PartitionLog {
    /// Says which bytes answer a fetch from `offset`, without ever asking the disk.
    ///
    /// Whole batches below the high watermark, at most `maxBytes` unless the first batch alone is
    /// larger. The start is known when a reader stopped there before, or an index entry stands
    /// there; otherwise the answer is `needsDisk`.
    package func plan(from offset: Int64, maxBytes: Int) -> ReadOutcome {
        state.withLock { state in
            let request: ReadRequest
            switch admit(offset, state) {
            case .refused(let outcome): return outcome
            case .accepted(let accepted): request = accepted
            }
            guard let start = knownPlace(of: request.start, &state) else { return .needsDisk }
            return plan(request, start, maxBytes, &state)
        }
    }

    /// As `plan`, but looks the start up in the index and the log. Reader queue; blocks.
    package func planFromDisk(from offset: Int64, maxBytes: Int) throws(StorageError) -> ReadOutcome
    {
        try lookingAgain { () throws(StorageError) in try lookUpAndPlan(offset, maxBytes) }
    }

    /// Reads again when retention or compaction took the segment away under the reader: the list of
    /// segments is a newer one before a file goes, so that this comes to an end.
    func lookingAgain<R>(_ read: () throws(StorageError) -> R) throws(StorageError) -> R {
        while true {
            do throws(StorageError) {
                return try read()
            } catch {
                // Its files have another name by now, or are gone.
                if offlineReason == .deleted {
                    throw StorageError(.unknownTopic, OfflineReason.deleted.text)
                }
                guard error.code == .removed else { throw error }
            }
        }
    }

    private func lookUpAndPlan(
        _ offset: Int64, _ maxBytes: Int
    ) throws(StorageError) -> ReadOutcome {
        let admitted = state.withLock { admit(offset, $0) }
        let request: ReadRequest
        switch admitted {
        case .refused(let outcome): return outcome
        case .accepted(let accepted): request = accepted
        }
        guard var start = try lookUp(request.start) else { return .needsVerification }
        // A place at the end of a closed segment (or in one that compaction emptied) is in the next.
        while let next = try settle(start) { start = .start(of: next) }
        guard let segment = state.withLock({ $0.segment(base: start.base) }) else {
            return .needsVerification
        }
        var small: LogEnd?
        if needsCut(start, segment, maxBytes, request.end) {
            switch try cut(start, segment, maxBytes, request.end) {
            case .at(let end): small = end
            case .beyond(let first): return beyond(first, offset)
            // Nothing whole stands where a batch must begin.
            case .damaged: return .needsVerification
            }
        }
        return state.withLock { state in
            switch admit(offset, state) {
            case .refused(let outcome): return outcome
            case .accepted(let request):
                // Gaps may have come since: it was cut for those that there were then.
                if let small, small.offset > request.end { return .needsDisk }
                return plan(request, start, maxBytes, &state, smallEnd: small)
            }
        }
    }

    /// The first batch at or behind `offset` begins at `first`, behind more gaps than one answer names.
    private func beyond(_ first: Int64, _ offset: Int64) -> ReadOutcome {
        state.withLock { state in
            switch admit(offset, state) {
            case .refused(let outcome): return outcome
            case .accepted(let request):
                if passesDamage(from: request.start, to: first, state) { return .needsVerification }
                return tooManyGaps(request, before: first, state) ?? .needsDisk
            }
        }
    }

    /// What was compacted may be passed, but not with damage in it.
    private func passesDamage(from start: Int64, to end: Int64, _ state: LogState) -> Bool {
        let passed = start..<max(start, end)
        return state.damaged.contains {
            $0.offsets.overlaps(passed) && !state.isSkipped($0.offsets)
        }
    }

    /// Brings what is needed to read at `start` into memory; returns the next segment when there is
    /// nothing left in this one.
    private func settle(_ place: LogEnd) throws(StorageError) -> Segment? {
        let (segment, next) = state.withLock { state in
            (state.segment(base: place.base), state.segments.first { $0.base > place.base })
        }
        guard let segment else { return nil }
        try loadIndex(segment)
        _ = try segment.log.open()
        if state.withLock({ segmentEnd(place.base, $0) }) == nil { try closeLookUp(segment) }
        guard let end = state.withLock({ segmentEnd(place.base, $0) }),
            place.position >= end.position
        else { return nil }
        return next
    }

    /// A fetch that may be answered.
    struct ReadRequest {
        /// The offset that was asked for.
        let asked: Int64
        /// Where reading begins: behind a gap that starts at the asked offset.
        let start: Int64
        /// Gaps and skipped damage from the asked offset on, as many as one answer names.
        let crossed: [Range<Int64>]
        /// One answer leads no further: the next gap begins here, and would not be named.
        let end: Int64
    }

    /// Gaps that one answer names: it leads no further than to the next.
    package static let gapsMax = 16

    enum Admission {
        case accepted(ReadRequest)
        case refused(ReadOutcome)
    }

    /// Judges the offset against the log's bounds, gaps and damage.
    func admit(_ offset: Int64, _ state: LogState) -> Admission {
        if let reason = state.offline { return .refused(.offline(reason)) }
        guard offset >= state.logStart, offset <= state.visible.offset else {
            return .refused(.outOfRange(state.view))
        }
        var start = offset
        // Gaps and skipped damage may follow each other.
        for gap in gaps(from: offset, to: .max, state) where gap.contains(start) {
            if start > gap.lowerBound, start == offset, state.gaps.contains(gap) {
                return .refused(.lost(gap, state.view))
            }
            start = gap.upperBound
        }
        if start >= state.visible.offset {
            if start == offset { return .refused(.atEnd(state.view)) }
            return .refused(.gap(offset..<start, state.view))
        }
        let damaged = state.damaged.map(\.offsets).filter { $0.contains(start) }
        if !damaged.isEmpty {
            // Damage is told to who stands at it; who stands before a gap crosses that first.
            return .refused(
                start == offset
                    ? .corrupt(damaged, state.view) : .gap(offset..<start, state.view))
        }
        let named = gaps(from: offset, to: .max, state).joined()
        return .accepted(
            ReadRequest(
                asked: offset, start: start, crossed: Array(named.prefix(Self.gapsMax)),
                end: named.count > Self.gapsMax ? named[Self.gapsMax].lowerBound : .max))
    }

    /// The place of a batch that begins at `offset`, if it is known without the disk.
    private func knownPlace(of offset: Int64, _ state: inout LogState) -> LogEnd? {
        if let place = state.cursors.find(offset), state.segment(base: place.base) != nil {
            return atSegmentStart(place, state)
        }
        guard let index = state.segmentIndex(for: offset) else { return nil }
        let segment = state.segments[index]
        if segment.base == offset { return .start(of: segment) }
        let entry = segment.index.withEntries { entries -> IndexEntry? in
            guard let at = entries.lastIndex(where: { $0.offset <= offset }),
                entries[at].offset == offset
            else { return nil }
            return entries[at]
        }
        guard let entry = entry ?? nil else { return nil }
        return LogEnd(entry, in: segment)
    }

    /// The end of a closed segment is the start of the next.
    private func atSegmentStart(_ place: LogEnd, _ state: LogState) -> LogEnd {
        guard place.base != state.visible.base, let segment = state.segment(base: place.offset),
            segment.base != place.base
        else { return place }
        return .start(of: segment)
    }

    /// Where the readable part of a segment ends; nil when it is not known without the disk.
    func segmentEnd(_ base: Int64, _ state: LogState) -> LogEnd? {
        if base == state.visible.base { return state.visible }
        guard let segment = state.segment(base: base), let end = segment.end else { return nil }
        return LogEnd(end, in: segment)
    }

    private func plan(
        _ request: ReadRequest, _ start: LogEnd, _ maxBytes: Int, _ state: inout LogState,
        smallEnd: LogEnd? = nil
    ) -> ReadOutcome {
        if passesDamage(from: request.start, to: start.offset, state) { return .needsVerification }
        guard let segment = state.segment(base: start.base),
            segment.generation == start.generation,
            let bound = segmentEnd(start.base, state)
        else { return .needsDisk }
        // A closed segment that a reader finished: it goes on in the next one.
        guard start.position < bound.position else {
            guard let next = state.segments.first(where: { $0.base > start.base }) else {
                return endOfLog(from: request.asked, state)
            }
            return plan(request, .start(of: next), maxBytes, &state)
        }
        if let outcome = tooManyGaps(request, before: start.offset, state) { return outcome }
        guard let end = smallEnd ?? end(start, bound, maxBytes, request.end, segment) else {
            return .needsDisk
        }
        let hurt = state.damaged.contains {
            $0.base == start.base && $0.positions.lowerBound < end.position
                && $0.positions.upperBound >= start.position
        }
        if hurt { return .needsVerification }
        guard let file = segment.log.openFile else { return .needsDisk }
        state.cursors.remember(end)
        return .data(
            ReadPlan(
                file: file, position: start.position, length: Int(end.position - start.position),
                startChecksum: start.checksum, endChecksum: end.checksum, nextOffset: end.offset,
                gaps: request.crossed.filter { $0.lowerBound < end.offset }, view: state.view))
    }

    /// Compaction took what lay between more gaps than one answer names: there are only these.
    func tooManyGaps(
        _ request: ReadRequest, before start: Int64, _ state: LogState
    ) -> ReadOutcome? {
        guard start >= request.end, let last = request.crossed.last else { return nil }
        return .gap(request.asked..<last.upperBound, state.view)
    }

    /// Nothing can be read from `asked` on, up to the high watermark: compaction took what was
    /// there, or a gap covers it, which is told first.
    func endOfLog(from asked: Int64, _ state: LogState) -> ReadOutcome {
        guard let gap = gaps(from: asked, to: state.visible.offset, state).first else {
            return .atEnd(state.view)
        }
        return .gap(asked..<gap.upperBound, state.view)
    }

    /// The last known batch boundary within `maxBytes` of `start`, or the first behind it, and not
    /// above `endOffset`.
    private func end(
        _ start: LogEnd, _ bound: LogEnd, _ maxBytes: Int, _ endOffset: Int64, _ segment: Segment
    ) -> LogEnd? {
        let limit = start.position + Int64(maxBytes)
        if bound.position <= limit, bound.offset <= endOffset { return bound }
        let found = segment.index.withEntries { entries -> LogEnd? in
            let last = entries.lastIndex { $0.position <= limit && $0.offset <= endOffset }
            if let last, entries[last].position > start.position {
                return LogEnd(entries[last], in: segment)
            }
            return nil
        }
        return found ?? nil
    }

    func gaps(from: Int64, to: Int64, _ state: LogState) -> [Range<Int64>] {
        if state.gaps.isEmpty, state.skipped.isEmpty { return [] }
        return (state.gaps + state.skipped).filter { $0.lowerBound < to && $0.upperBound > from }
            .sorted { $0.lowerBound < $1.lowerBound }
    }

    /// Finds the batch that holds `offset`, or the first behind it. nil when damage is in the way.
    private func lookUp(_ offset: Int64) throws(StorageError) -> LogEnd? {
        let found = state.withLock { state -> (Segment, LogEnd?)? in
            if let known = knownPlace(of: offset, &state) {
                return state.segment(base: known.base).map { ($0, known) }
            }
            return state.segmentIndex(for: offset).map { (state.segments[$0], nil) }
        }
        guard let (segment, known) = found else { return nil }
        let entries = try loadIndex(segment)
        _ = try segment.log.open()
        if let known { return known }
        guard let at = entries.lastIndex(where: { $0.offset <= offset }) else { return nil }
        return try walk(from: entries[at], to: offset, in: segment)
    }

    /// Follows batch headers from an index entry to the batch that holds `offset`.
    private func walk(
        from entry: IndexEntry, to offset: Int64, in segment: Segment
    ) throws(StorageError) -> LogEnd? {
        if state.withLock({ segmentEnd(segment.base, $0) }) == nil { try closeLookUp(segment) }
        let end = state.withLock { segmentEnd(segment.base, $0) }
        guard let end else { return nil }
        var place = LogEnd(entry, in: segment)
        var scanner = BatchScanner(
            try segment.log.open(), from: entry.position, to: end.position, checksBody: false)
        while true {
            switch try scanner.next() {
            case .batch(let header, _):
                guard header.baseOffset >= place.offset, header.nextOffset >= header.baseOffset
                else { return nil }
                if header.nextOffset > offset { return place }
                place.checksum = RecordBatch.prefixChecksum(
                    scanner.bytes, continuing: place.checksum)
                place.offset = header.nextOffset
                place.position = scanner.position
            case .end: return place.position == end.position ? place : nil
            case .bad, .zeros: return nil
            }
        }
    }

    /// Whether the index is too coarse for a fetch this small.
    private func needsCut(
        _ start: LogEnd, _ segment: Segment, _ maxBytes: Int, _ endOffset: Int64
    ) -> Bool {
        guard let bound = state.withLock({ segmentEnd(segment.base, $0) }) else { return false }
        return end(start, bound, maxBytes, endOffset, segment) == nil
    }

    private enum Cut {
        case at(LogEnd)
        /// The first batch begins here, which is not below the end that was asked for.
        case beyond(Int64)
        /// No whole batch is at the start.
        case damaged
    }

    /// The last batch boundary within `maxBytes` of `start`, or the first behind it, and below
    /// `endOffset`, by walking.
    private func cut(
        _ start: LogEnd, _ segment: Segment, _ maxBytes: Int, _ endOffset: Int64
    ) throws(StorageError) -> Cut {
        let bound = state.withLock { segmentEnd(segment.base, $0) }
        guard let bound else { return .damaged }
        var place = start
        var scanner = BatchScanner(
            try segment.log.open(), from: start.position, to: bound.position, checksBody: false)
        while case .batch(let header, _) = try scanner.next() {
            let isFirst = place.position == start.position
            let isBeyond =
                scanner.position - start.position > Int64(maxBytes)
                || header.baseOffset >= endOffset
            if !isFirst, isBeyond { break }
            // Compaction took what was between it and the batch before.
            if isFirst, header.baseOffset >= endOffset { return .beyond(header.baseOffset) }
            place.checksum = RecordBatch.prefixChecksum(scanner.bytes, continuing: place.checksum)
            place.offset = header.nextOffset
            place.position = scanner.position
        }
        return place.position > start.position ? .at(place) : .damaged
    }
}

extension LogEnd {
    init(_ entry: IndexEntry, in segment: Segment) {
        self.init(
            offset: entry.offset, base: segment.base, position: entry.position,
            checksum: entry.checksum,
            appendTime: entry.appendTime,
            generation: segment.generation
        )
    }

    static func start(of segment: Segment) -> LogEnd {
        LogEnd(
            offset: segment.base,
            base: segment.base,
            position: 0,
            checksum: 0,
            appendTime: .min,
            generation: segment.generation
        )
    }
}
