import MartletFormat
import MartletWire

/// Why the batches of an answer cannot be handed out.
enum RunProblem: Error {
    case compressed(codec: Int)
    /// The offsets that cannot be trusted, at least.
    case damaged(Range<Int64>, String)
}

/// Goes over the batches of one partition's answer and checks their order, without their content.
struct RunScan {
    /// The offset that has to come next.
    private(set) var expected: Int64
    /// Gaps and skipped damage that were crossed.
    private(set) var crossed: [Crossed] = []
    private let isCompacted: Bool
    private let named: [Crossed]
    private let startChecksum: UInt32
    private let endChecksum: UInt32

    /// - Parameter expected: the offset that was asked for; the first batch may begin below it.
    init(expected: Int64, isCompacted: Bool, result: FetchResult) {
        self.expected = expected
        self.isCompacted = isCompacted
        named = Crossed.named(by: result)
        startChecksum = result.startChecksum
        endChecksum = result.endChecksum
    }

    /// - Parameter batches: whole batches, one after the other.
    mutating func run(_ batches: RawSpan) throws(RunProblem) {
        var position = 0
        var checksum = startChecksum
        let asked = damaged()
        while position < batches.byteCount {
            let rest = batches.extracting(position..<batches.byteCount)
            let header: RecordBatchHeader
            do {
                header = try RecordBatchHeader(reading: rest)
            } catch {
                throw .damaged(damaged(), "\(error)")
            }
            guard header.byteCount <= rest.byteCount else {
                throw .damaged(damaged(), "the batch is cut short")
            }
            checksum = RecordBatch.prefixChecksum(rest, continuing: checksum)
            if header.codec != 0 { throw .compressed(codec: header.codec) }
            try follow(header, isFirst: position == 0)
            position += header.byteCount
        }
        guard checksum == endChecksum || PlantedBug.noPrefixCheck.isOn else {
            throw .damaged(
                asked.lowerBound..<max(expected, asked.upperBound),
                "the batches' prefixes are not the log's")
        }
        crossNamed()
    }

    /// The offsets from the expected one on that cannot be trusted: at least one. A broker's offsets
    /// are a stranger's, so the last one there is must not overflow.
    private func damaged(upTo end: Int64 = 0) -> Range<Int64> {
        let start = min(expected, .max - 1)
        return start..<max(end, start + 1)
    }

    /// Checks that the batch begins where the one before ended.
    private mutating func follow(
        _ header: RecordBatchHeader, isFirst: Bool
    ) throws(RunProblem) {
        let range = damaged(upTo: header.nextOffset)
        guard header.nextOffset > expected else {
            throw .damaged(range, "a batch ends before offset \(expected)")
        }
        guard isFirst || header.baseOffset >= expected else {
            throw .damaged(range, "batches overlap at offset \(header.baseOffset)")
        }
        if header.baseOffset > expected {
            crossNamed(upTo: header.baseOffset)
            guard expected == header.baseOffset || isCompacted else {
                throw .damaged(
                    expected..<header.baseOffset, "the batches of these offsets are missing")
            }
        }
        guard
            isCompacted || header.isThinned
                || Int64(header.recordCount) == Int64(header.lastOffsetDelta) + 1
        else {
            throw .damaged(range, "records are missing in the batch at \(header.baseOffset)")
        }
        expected = header.nextOffset
    }

    /// Passes named ranges from `expected` on.
    private mutating func crossNamed(upTo limit: Int64 = .max) {
        while expected < limit, let gap = named.first(where: { $0.range.contains(expected) }) {
            // Damage without records behind it is for the next fetch to tell.
            if limit == .max, gap.reason == .damaged { return }
            let end = min(gap.range.upperBound, limit)
            crossed.append(Crossed(range: expected..<end, reason: gap.reason))
            expected = end
        }
    }
}

extension Crossed {
    /// The ranges that an answer names.
    static func named(by result: FetchResult) -> [Crossed] {
        let gaps = result.gaps.compactMap(\.range).map { Crossed(range: $0, reason: .lost) }
        let damaged = result.damaged.compactMap(\.range).map {
            Crossed(range: $0, reason: .damaged)
        }
        return (gaps + damaged).filter { !$0.range.isEmpty }
    }
}
