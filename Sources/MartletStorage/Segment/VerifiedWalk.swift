import MartletFormat
import MartletSystem

/// One verified read: walks from index entry to index entry and keeps what holds.
struct VerifiedWalk {
    private static let wrongPrefix = "the first 17 bytes of a batch are not what was written"

    let file: any File
    let base: Int64
    /// Index entries and the end of the readable part.
    let boundaries: [LogEnd]
    let known: [DamagedRange]
    let from: Int64
    /// Batches that begin there or above are for the next read.
    let below: Int64
    let maxBytes: Int
    /// A compacted segment: offsets may be missing between batches.
    let mayHaveHoles: Bool
    /// Where the log ended when the walk began, if that is in this segment.
    let openEnd: Int64?
    let gaps: [Range<Int64>]
    /// The highest that a batch can have.
    let leaderEpoch: Int32

    private(set) var output = ByteSlab(capacity: 0)
    private(set) var damage: DamagedRange?
    private var taken: Taken

    /// How much of the output holds, as far as it was judged.
    private struct Taken {
        var count = 0
        var checksum: UInt32 = 0
        var nextOffset: Int64
        var isFull = false
        /// Where the first batch begins, when that is not below the end that was asked for.
        var beyond: Int64?
    }

    var outputChecksum: UInt32 { taken.checksum }
    var nextOffset: Int64 { taken.nextOffset }
    var beyond: Int64? { taken.beyond }

    init(
        file: any File, base: Int64, boundaries: [LogEnd], known: [DamagedRange], from: Int64,
        below: Int64, maxBytes: Int, mayHaveHoles: Bool, openEnd: Int64?, gaps: [Range<Int64>],
        leaderEpoch: Int32
    ) {
        self.file = file
        self.base = base
        self.boundaries = boundaries
        self.known = known
        self.from = from
        self.below = below
        self.maxBytes = maxBytes
        self.mayHaveHoles = mayHaveHoles
        self.openEnd = openEnd
        self.gaps = gaps
        self.leaderEpoch = leaderEpoch
        taken = Taken(nextOffset: from)
    }

    /// A batch whose own checks held.
    private struct Sound {
        let header: RecordBatchHeader
        let position: Int64
        /// What the output held before it.
        let before: Taken
    }

    mutating func run() throws(StorageError) {
        guard var index = boundaries.dropLast().lastIndex(where: { $0.offset <= from }) else {
            return
        }
        // The first batch is given however little was asked for, or nothing would look like damage.
        while index + 1 < boundaries.count, !taken.isFull, damage == nil,
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
        let before = taken
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
                takeBack(to: before)
            } else {
                try locate(problem.reason, place, target)
            }
        } else if hasChain, place.checksum != target.checksum {
            let difference = place.checksum ^ target.checksum
            if let index = wrongEpoch(sound, difference) {
                blame(sound, index, after: first.offset)
                takeBack(to: sound[index].before)
            } else {
                // Where offsets may be missing, a wrong one of them looks right, too.
                note(first, target, Self.wrongPrefix)
                takeBack(to: before)
            }
        }
    }

    private struct Problem {
        let reason: String
        /// The bytes are no batch; otherwise a sound one is not where it must be.
        let isOfBatch: Bool
    }

    /// Takes the batches up to `target`; returns what is wrong with the first that is.
    private mutating func scan(
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
                sound.append(Sound(header: header, position: position, before: taken))
                take(header, scanner.bytes)
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

    /// All checksums hold but the chain of prefixes does not: the first 17 bytes of this batch are
    /// not what was written.
    private mutating func blame(_ sound: [Sound], _ index: Int, after start: Int64) {
        let batch = sound[index]
        // A hole before it is a part: that is where readers stand.
        let from = index == 0 ? start : sound[index - 1].header.nextOffset
        damage(
            min(from, batch.header.baseOffset)..<batch.header.nextOffset,
            batch.position..<(batch.position + Int64(batch.header.byteCount)), Self.wrongPrefix)
    }

    /// The one batch whose leader epoch explains the difference.
    private func wrongEpoch(_ sound: [Sound], _ difference: UInt32) -> Int? {
        let epochs = sound.map(\.header.leaderEpoch)
        let candidates = epochs.indices.map { index in
            WrongEpoch.Candidate(
                batch: index, epoch: epochs[index],
                lowest: max(index > 0 ? epochs[index - 1] : 1, 1),
                highest: min(index + 1 < epochs.count ? epochs[index + 1] : .max, leaderEpoch))
        }
        return WrongEpoch.find(candidates, of: sound.count, difference)
    }

    /// Adds a batch to the output; what it is judged by later may take it back.
    private mutating func take(_ header: RecordBatchHeader, _ bytes: RawSpan) {
        guard header.nextOffset > from else { return }
        let count = bytes.byteCount
        let isBeyond = output.count + count > maxBytes || header.baseOffset >= below
        if output.count > 0, isBeyond { taken.isFull = true }
        if output.count == 0, !taken.isFull, header.baseOffset >= below {
            taken.beyond = header.baseOffset
            taken.isFull = true
        }
        if taken.isFull { return }
        if taken.nextOffset > from, header.baseOffset < taken.nextOffset { return }
        if output.freeCapacity < count {
            // Never larger than what was asked for, unless its first batch is.
            let doubled = min(max(output.capacity * 2, 64 << 10), maxBytes)
            let larger = ByteSlab(capacity: max(output.count + count, doubled))
            larger.append(output.bytes)
            output = larger
        }
        output.append(bytes)
        taken.count = output.count
        taken.checksum = RecordBatch.prefixChecksum(bytes, continuing: taken.checksum)
        taken.nextOffset = header.nextOffset
    }

    private mutating func takeBack(to state: Taken) {
        output.truncate(to: state.count)
        taken = state
    }
}
