import MartletFormat
import MartletSystem
import Synchronization

@testable import MartletStorage

/// Reads a partition as a client does: checks every batch it is handed, asks for a verified read
/// when something does not fit, and crosses gaps and damage only when it is told of them.
struct ClientReader {
    let log: PartitionLog
    var maxBytes = 1 << 20
    /// Offsets may be missing between batches, and within.
    private let isCompacted: Bool

    private(set) var records: [(offset: Int64, value: String)] = []
    private(set) var gaps: [Range<Int64>] = []
    private(set) var damaged: [Range<Int64>] = []
    /// Gaps that one answer named.
    private(set) var most = 0
    /// What a correct broker never makes a client see.
    private(set) var problems: [String] = []

    init(_ log: PartitionLog, maxBytes: Int = 1 << 20) {
        self.log = log
        self.maxBytes = maxBytes
        isCompacted = log.appender.withLock { $0.settings.cleanup.compacts }
    }

    /// Reads from `start` (the log start when nil) to the high watermark.
    mutating func run(from start: Int64? = nil) {
        var offset = start ?? log.view.logStart
        var verifies = false
        for _ in 0..<10_000 {
            do {
                let outcome = try log.answer(
                    from: offset, maxBytes: maxBytes, verifies: verifies)
                switch outcome {
                case .atEnd: return
                case .gap(let gap, _):
                    gaps.append(gap)
                    offset = gap.upperBound
                case .lost(let gap, _):
                    gaps.append(gap)
                    offset = gap.upperBound
                case .corrupt(let ranges, _):
                    damaged += ranges
                    let next = ranges.filter { $0.lowerBound <= offset }.map(\.upperBound).max()
                    guard let next, next > offset else {
                        problems.append("corrupt \(ranges) does not cover \(offset)")
                        return
                    }
                    offset = next
                    verifies = false
                case .data(let plan):
                    if let problem = take(plan, offset) {
                        if verifies {
                            problems.append("after verify: \(problem)")
                            return
                        }
                        verifies = true
                        continue
                    }
                    verifies = false
                    offset = plan.nextOffset
                case .outOfRange(let view):
                    problems.append(
                        "offset \(offset) out of range \(view.logStart) ... \(view.highWatermark)")
                    return
                case .offline(let reason):
                    problems.append("offline: \(reason.text)")
                    return
                case .needsDisk, .needsVerification:
                    problems.append("no answer at \(offset)")
                    return
                }
            } catch {
                problems.append("at \(offset): \(error)")
                return
            }
        }
        problems.append("does not end, at \(offset)")
    }

    /// Takes over what a plan holds; returns what is wrong with it, and takes nothing then.
    private mutating func take(_ plan: ReadPlan, _ offset: Int64) -> String? {
        do {
            let slab = try plan.bytes()
            guard slab.count == plan.length, plan.length > 0 else {
                return "\(slab.count) bytes of \(plan.length)"
            }
            var found: [(offset: Int64, value: String)] = []
            var expected = offset
            var chain = plan.startChecksum
            var at = 0
            while at < slab.count {
                let header = try RecordBatchHeader(reading: slab.bytes, at: at)
                guard at + header.byteCount <= slab.count else { return "cut batch" }
                let range = at..<(at + header.byteCount)
                try RecordBatch.checkChecksum(slab.span(range), header)
                chain = RecordBatch.prefixChecksum(slab.span(range), continuing: chain)
                if let problem = continuity(header, expected, at == 0, plan) { return problem }
                found += try slab.records(in: range, header, from: offset)
                expected = max(expected, header.nextOffset)
                at = range.upperBound
            }
            guard chain == plan.endChecksum else { return "prefix chain" }
            guard plan.nextOffset >= expected else { return "next offset \(plan.nextOffset)" }
            records += found
            gaps += plan.gaps
            most = max(most, plan.gaps.count)
            return nil
        } catch {
            return "\(error)"
        }
    }

    /// Offsets follow each other but for gaps that the plan names (and, in a compacted topic, holes).
    private func continuity(
        _ header: RecordBatchHeader, _ expected: Int64, _ isFirst: Bool, _ plan: ReadPlan
    ) -> String? {
        guard header.nextOffset > expected else {
            return "batch \(header.baseOffset) ends before \(expected)"
        }
        if header.baseOffset == expected { return nil }
        if isFirst, header.baseOffset < expected { return nil }
        var reached = expected
        for gap in plan.gaps where gap.contains(reached) { reached = gap.upperBound }
        if reached == header.baseOffset || (isCompacted && reached < header.baseOffset) {
            return nil
        }
        return "offset \(header.baseOffset) where \(expected) must be"
    }
}
