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
        guard var verification = try startWalk(request, request.start, maxBytes) else {
            return .needsDisk
        }
        try verification.run()
        while let next = goesOn(verification) {
            // What begins there may be known as damaged, or passed.
            let start: Int64
            switch state.withLock({ admit(next, for: request, $0) }) {
            case .refused(let outcome): return outcome
            case .accepted(let accepted): start = accepted.start
            }
            if let outcome = state.withLock({ tooManyGaps(request, before: start, $0) }) {
                return outcome
            }
            guard let walk = try startWalk(request, start, maxBytes) else { return .needsDisk }
            verification = walk
            try verification.run()
        }
        return state.withLock { state in
            guard verification.output.count > 0 else {
                if let first = verification.beyond,
                    let outcome = tooManyGaps(request, before: first, state)
                {
                    return outcome
                }
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
                    gaps: request.crossed.filter { $0.lowerBound < verification.nextOffset },
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
            return walk.output.count == 0 && walk.beyond == nil ? passEmpty(walk) : nil
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
        _ request: ReadRequest, _ offset: Int64, _ maxBytes: Int
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
                from: offset, below: request.end, maxBytes: maxBytes,
                mayHaveHoles: segment.generation > 0,
                openEnd: segment.base == state.visible.base ? end.offset : nil, gaps: state.gaps,
                leaderEpoch: state.leaderEpoch)
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
