import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

extension PartitionLog {
    /// Reads from `offset` with every check that there is: CRC of each batch, continuity, and the
    /// running prefix checksums of the index. What does not hold is quarantined and reported, never
    /// handed out. Reader queue; blocks.
    package func verifiedRead(
        from offset: Int64, maxBytes: Int
    ) throws(StorageError) -> ReadOutcome {
        try lookingAgain { () throws(StorageError) in try verify(offset, maxBytes) }
    }

    private func verify(_ offset: Int64, _ maxBytes: Int) throws(StorageError) -> ReadOutcome {
        let request: ReadRequest
        switch state.withLock({ admit(offset, $0) }) {
        case .refused(let outcome): return outcome
        case .accepted(let accepted): request = accepted
        }
        guard var verification = try startWalk(request.start, maxBytes) else { return .needsDisk }
        try verification.run()
        while let next = goesOn(verification) {
            // What begins there may be known as damaged, or passed.
            let start: Int64
            switch state.withLock({ admit(next, for: request, $0) }) {
            case .refused(let outcome): return outcome
            case .accepted(let accepted): start = accepted.start
            }
            guard let walk = try startWalk(start, maxBytes) else { return .needsDisk }
            verification = walk
            try verification.run()
        }
        return state.withLock { state in
            guard verification.output.count > 0 else {
                switch admit(verification.from, for: request, state) {
                case .refused(let outcome): return outcome
                // The log changed meanwhile. That it ends here would make a reader pass what came.
                case .accepted: return .needsDisk
                }
            }
            return .data(
                ReadPlan(
                    file: nil, slab: verification.output, position: 0,
                    length: verification.output.count, startChecksum: 0,
                    endChecksum: verification.outputChecksum, nextOffset: verification.nextOffset,
                    gaps: gaps(from: request.asked, to: verification.nextOffset, state),
                    view: state.view))
        }
    }

    /// Judges a place behind gaps, or behind holes of a compacted segment, for a reader who stands
    /// before them.
    private func admit(_ offset: Int64, for reader: ReadRequest, _ state: LogState) -> Admission {
        switch admit(offset, state) {
        case .refused(.atEnd): .refused(endOfLog(from: reader.asked, state))
        // Damage is told to who stands at it.
        case .refused(.corrupt(_, let view)) where reader.start > reader.asked:
            .refused(.gap(reader.asked..<reader.start, view))
        case .refused(let outcome): .refused(Self.outcome(outcome, for: reader.asked))
        case .accepted(let request): .accepted(request)
        }
    }

    /// What was found behind holes of a compacted segment, for a reader who stands before them.
    private static func outcome(_ outcome: ReadOutcome, for asked: Int64) -> ReadOutcome {
        switch outcome {
        case .gap(let gap, let view), .lost(let gap, let view):
            .gap(min(asked, gap.lowerBound)..<gap.upperBound, view)
        case .corrupt(let ranges, let view) where !ranges.contains { $0.contains(asked) }:
            .corrupt(
                ranges.map { min(asked, $0.lowerBound)..<$0.upperBound }, view)
        case .data, .atEnd, .outOfRange, .corrupt, .needsDisk, .needsVerification, .offline:
            outcome
        }
    }

    /// Quarantines what a walk found. Where it has nothing to give for another reason than damage at
    /// its start, returns where the next walk begins: at the same place when the damage lies before
    /// it (the next walk knows it and passes), or in the next segment.
    private func goesOn(_ walk: VerifiedWalk) -> Int64? {
        guard let damage = walk.damage else {
            return walk.output.count == 0 ? passEmpty(walk) : nil
        }
        let isNew = quarantine(damage)
        let isBefore = isNew && damage.offsets.upperBound <= walk.from
        return walk.output.count == 0 && isBefore ? walk.from : nil
    }

    /// Nothing wrong was found in a walk, and nothing at all: the segment ends there. Where it was
    /// compacted, reading goes on in the next one, or at what was the end of the log; otherwise the
    /// offsets up to there are missing, and that is damage too.
    private func passEmpty(_ walk: VerifiedWalk) -> Int64? {
        let start = walk.from
        let missing = state.withLock { state -> (range: Range<Int64>, segment: Segment)? in
            // A segment that was found to be damaged when it was opened is not just empty.
            if state.damaged.contains(where: { $0.offsets.contains(start) }) { return nil }
            guard let index = state.segmentIndex(for: start) else { return nil }
            let segment = state.segments[index]
            let following = index + 1 < state.segments.count ? state.segments[index + 1].base : nil
            // What was appended since the walk began was not looked at.
            let next = walk.openEnd ?? following ?? state.visible.offset
            let gap = state.gaps.map(\.lowerBound).filter { $0 > start }.min() ?? next
            guard start < min(next, gap) else { return nil }
            return (start..<min(next, gap), segment)
        }
        guard let (range, segment) = missing else { return nil }
        if segment.generation > 0 { return range.upperBound }
        quarantine(
            DamagedRange(
                offsets: range, base: segment.base, positions: segment.bytes..<segment.bytes,
                reason: "the segment ends before them"))
        return nil
    }

    private func startWalk(
        _ offset: Int64, _ maxBytes: Int
    ) throws(StorageError) -> VerifiedWalk? {
        guard
            let segment = state.withLock({ state in
                state.segmentIndex(for: offset).map { state.segments[$0] }
            })
        else { return nil }
        let entries = try loadIndex(segment)
        let file = try segment.log.open()
        if state.withLock({ segmentEnd(segment.base, $0) }) == nil { try closeLookUp(segment) }
        return state.withLock { state -> VerifiedWalk? in
            guard let end = segmentEnd(segment.base, state) else { return nil }
            var boundaries = entries.filter { $0.position < end.position }
                .map { LogEnd($0, in: segment) }
            boundaries.append(end)
            let damaged = state.damaged.filter { $0.base == segment.base }
            return VerifiedWalk(
                file: file, base: segment.base, boundaries: boundaries, known: damaged,
                from: offset, maxBytes: maxBytes, mayHaveHoles: segment.generation > 0,
                openEnd: segment.base == state.visible.base ? end.offset : nil, gaps: state.gaps)
        }
    }

    /// Notes damage: reads that touch it are answered `CORRUPT_MESSAGE`, everything else is served.
    /// False when it was known.
    @discardableResult
    func quarantine(_ damage: DamagedRange) -> Bool {
        let isNew = state.withLock { state in
            if state.damaged.contains(where: {
                $0.base == damage.base && $0.positions == damage.positions
                    && $0.offsets == damage.offsets
            }) {
                return false
            }
            state.damaged.append(damage)
            state.damaged.sort { $0.offsets.lowerBound < $1.offsets.lowerBound }
            return true
        }
        guard isNew else { return false }
        context.metrics.damagedRanges.add()
        context.logger.error(
            "LOG_DAMAGED",
            "partition \(name): offsets \(damage.offsets.lowerBound) to \(damage.offsets.upperBound - 1) are damaged (\(damage.reason)); the bytes are kept, readers are told",
            [
                ("segment", .integer(damage.base)),
                ("position", .integer(damage.positions.lowerBound)),
                ("length", .integer(Int64(damage.positions.count))),
            ])
        return true
    }

    /// Whether there is damage that no operator has let readers pass.
    package var hasOpenDamage: Bool {
        state.withLock { state in state.damaged.contains { !state.isSkipped($0.offsets) } }
    }

    /// The damaged ranges within these offsets that readers do not pass yet.
    func damage(from: Int64, to: Int64) -> [Range<Int64>] {
        state.withLock { state in
            state.damaged.map(\.offsets).filter {
                $0.lowerBound >= from && $0.upperBound <= to && !state.isSkipped($0)
            }
        }
    }

    /// Lets readers go on behind damage, by an operator's word.
    func skip(_ ranges: [Range<Int64>]) {
        state.withLock { $0.skipped += ranges }
    }
}

/// One verified read: walks from index entry to index entry and keeps what holds.
struct VerifiedWalk {
    let file: any File
    let base: Int64
    /// Index entries and the end of the readable part.
    let boundaries: [LogEnd]
    let known: [DamagedRange]
    let from: Int64
    let maxBytes: Int
    /// A compacted segment: offsets may be missing between batches.
    let mayHaveHoles: Bool
    /// Where the log ended when the walk began, if that is in this segment.
    let openEnd: Int64?
    let gaps: [Range<Int64>]

    private(set) var output = ByteSlab(capacity: 0)
    private(set) var outputChecksum: UInt32 = 0
    private(set) var nextOffset: Int64
    private(set) var damage: DamagedRange?
    private var isFull = false

    init(
        file: any File, base: Int64, boundaries: [LogEnd], known: [DamagedRange], from: Int64,
        maxBytes: Int, mayHaveHoles: Bool, openEnd: Int64?, gaps: [Range<Int64>]
    ) {
        self.file = file
        self.base = base
        self.boundaries = boundaries
        self.known = known
        self.from = from
        self.maxBytes = maxBytes
        self.mayHaveHoles = mayHaveHoles
        self.openEnd = openEnd
        self.gaps = gaps
        nextOffset = from
    }

    /// A batch whose own checks held.
    private struct Sound {
        let header: RecordBatchHeader
        let position: Int64
        let bytes: ByteSlab
    }

    mutating func run() throws(StorageError) {
        guard var index = boundaries.dropLast().lastIndex(where: { $0.offset <= from }) else {
            return
        }
        // The first batch is given however little was asked for, or nothing would look like damage.
        while index + 1 < boundaries.count, !isFull, damage == nil,
            output.count == 0 || output.count < maxBytes
        {
            try verifyInterval(boundaries[index], boundaries[index + 1])
            index += 1
        }
    }

    private mutating func verifyInterval(
        _ start: LogEnd, _ target: LogEnd
    ) throws(StorageError) {
        // Behind damage that is known already, the chain of checksums begins anew.
        let passed = known.last {
            $0.positions.lowerBound >= start.position && $0.positions.upperBound <= target.position
                && $0.offsets.upperBound <= from
        }
        var sound: [Sound] = []
        var place = start
        var hasChain = true
        if let passed {
            place.offset = passed.offsets.upperBound
            place.position = passed.positions.upperBound
            hasChain = false
        }
        if place.position >= target.position { return }
        let first = place
        if let problem = try scan(&place, target, &sound) {
            if mayHaveHoles, !problem.isOfBatch {
                // With holes between them, nobody can say which of the batches is out of place.
                note(first, target, problem.reason)
                sound = []
            } else {
                try locate(problem.reason, place, target)
            }
        } else if hasChain, place.checksum != target.checksum {
            let suspect = Self.oddEpoch(sound) ?? 0..<sound.count
            blame(sound, suspect, after: first.offset)
            sound = Array(sound[..<suspect.lowerBound])
        }
        for batch in sound { take(batch) }
    }

    private struct Problem {
        let reason: String
        /// The bytes are no batch; otherwise a sound one is not where it must be.
        let isOfBatch: Bool
    }

    /// Collects the batches up to `target`; returns what is wrong with the first that is.
    private func scan(
        _ place: inout LogEnd, _ target: LogEnd, _ sound: inout [Sound]
    ) throws(StorageError) -> Problem? {
        var scanner = BatchScanner(
            file, from: place.position, to: target.position, checksBody: true)
        while true {
            switch try scanner.next() {
            case .batch(let header, let position):
                if let problem = continuity(header, place, target) {
                    return Problem(reason: problem, isOfBatch: false)
                }
                place.checksum = RecordBatch.prefixChecksum(
                    scanner.bytes, continuing: place.checksum)
                place.offset = header.nextOffset
                place.position = scanner.position
                let copy = ByteSlab(capacity: header.byteCount)
                copy.append(scanner.bytes)
                sound.append(Sound(header: header, position: position, bytes: copy))
            case .bad(_, let reason): return Problem(reason: reason, isOfBatch: true)
            case .zeros: return Problem(reason: "zeros where a batch must be", isOfBatch: true)
            case .end:
                if mayHaveHoles || gaps.join(place.offset, to: target.offset) { return nil }
                return Problem(reason: "the last of these offsets are missing", isOfBatch: true)
            }
        }
    }

    private func continuity(
        _ header: RecordBatchHeader, _ place: LogEnd, _ target: LogEnd
    ) -> String? {
        guard header.nextOffset >= header.baseOffset, header.nextOffset <= target.offset else {
            return "offset \(header.baseOffset) is beyond the next index entry"
        }
        if gaps.join(place.offset, to: header.baseOffset) { return nil }
        if header.baseOffset > place.offset, mayHaveHoles { return nil }
        return "offset \(header.baseOffset) where \(place.offset) must be"
    }

    /// Notes damage at `place`, up to the next whole batch or index entry.
    private mutating func locate(
        _ reason: String, _ place: LogEnd, _ target: LogEnd
    ) throws(StorageError) {
        // Bytes behind the last offset hold none: the next one lies behind `target`, and is sound.
        guard place.offset < target.offset else { return }
        let next = try BatchSearch.next(
            in: file, from: place.position + 1, to: target.position, offset: place.offset + 1,
            offsetLimit: target.offset,
            endOffset: mayHaveHoles || !gaps.isEmpty ? nil : target.offset)
        let resume =
            next.map { ($0.header.baseOffset, $0.position) }
            ?? (target.offset, target.position)
        // Offsets of a known gap before that were never there.
        let end = gaps.end(before: resume.0, downTo: place.offset + 1)
        damage(place.offset..<max(end, place.offset + 1), place.position..<resume.1, reason)
    }

    /// Notes everything between two places as damaged.
    private mutating func note(_ start: LogEnd, _ end: LogEnd, _ reason: String) {
        damage(
            start.offset..<max(end.offset, start.offset + 1), start.position..<end.position, reason)
    }

    /// Offsets of known gaps at the start were never there: readers cross those first.
    private mutating func damage(
        _ offsets: Range<Int64>, _ positions: Range<Int64>, _ reason: String
    ) {
        let start = gaps.start(from: offsets.lowerBound, below: offsets.upperBound)
        damage = DamagedRange(
            offsets: start..<offsets.upperBound, base: base, positions: positions, reason: reason)
    }

    /// All checksums hold but the chain of prefixes does not: one of these batches' first 17 bytes
    /// is not what was written.
    private mutating func blame(_ sound: [Sound], _ suspect: Range<Int>, after start: Int64) {
        guard let first = sound[suspect].first, let last = sound[suspect].last else { return }
        // A hole before it is a part: that is where readers stand.
        let from = suspect.lowerBound == 0 ? start : sound[suspect.lowerBound - 1].header.nextOffset
        damage(
            min(from, first.header.baseOffset)..<last.header.nextOffset,
            first.position..<(last.position + Int64(last.header.byteCount)),
            "the first 17 bytes of a batch are not what was written")
    }

    /// The one batch whose leader epoch does not fit between its neighbours'.
    private static func oddEpoch(_ sound: [Sound]) -> Range<Int>? {
        let epochs = sound.map(\.header.leaderEpoch)
        guard epochs.count > 1 else { return nil }
        let common = epochs.first == epochs.last ? epochs.first : nil
        let odd = epochs.indices.filter { index in
            if let common { return epochs[index] != common }
            let before = index > 0 ? epochs[index - 1] : epochs[index]
            let after = index + 1 < epochs.count ? epochs[index + 1] : epochs[index]
            return epochs[index] < before || epochs[index] > after
        }
        guard odd.count == 1, let index = odd.first else { return nil }
        return index..<(index + 1)
    }

    private mutating func take(_ batch: Sound) {
        guard batch.header.nextOffset > from else { return }
        let count = batch.bytes.count
        if output.count > 0, output.count + count > maxBytes { isFull = true }
        if isFull { return }
        if nextOffset > from, batch.header.baseOffset < nextOffset { return }
        if output.freeCapacity < count {
            // Never larger than what was asked for, unless its first batch is.
            let doubled = min(max(output.capacity * 2, 64 << 10), maxBytes)
            let larger = ByteSlab(capacity: max(output.count + count, doubled))
            larger.append(output.bytes)
            output = larger
        }
        output.append(batch.bytes.bytes)
        outputChecksum = RecordBatch.prefixChecksum(
            batch.bytes.bytes, continuing: outputChecksum)
        nextOffset = batch.header.nextOffset
    }
}
