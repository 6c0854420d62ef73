import MartletFormat
import MartletStorage
import MartletSystem
import MartletWire

@testable import MartletClient

/// Reads a partition with the checks of the client library itself: the scan of a run, the checksum
/// of each batch, a second try with `verify`. Where an application would be stopped, this one notes
/// the range and goes on behind it.
struct DamageReader {
    let log: PartitionLog
    let isCompacted: Bool
    var maxBytes = 1 << 20

    private(set) var records: [(offset: Int64, value: String)] = []
    /// What the application was told about: damage, gaps, a moved log start.
    private(set) var told: [Range<Int64>] = []
    private(set) var offline: String?
    private(set) var problems: [String] = []
    private var position: Int64 = 0
    private var verifies = false
    private var isDone = false

    init(_ log: PartitionLog, isCompacted: Bool) {
        self.log = log
        self.isCompacted = isCompacted
    }

    mutating func run(from start: Int64) {
        position = start
        for _ in 0..<10_000 where !isDone {
            do {
                try take(
                    try log.answer(from: position, maxBytes: maxBytes, verifies: verifies))
            } catch {
                problems.append("at \(position): \(error)")
                return
            }
        }
        if !isDone { problems.append("does not end, at \(position)") }
    }

    private mutating func take(_ outcome: ReadOutcome) throws {
        switch outcome {
        case .data(let plan): try take(plan)
        case .atEnd: isDone = true
        case .gap(let gap, _), .lost(let gap, _): pass(gap)
        case .corrupt(let ranges, _):
            guard let range = ranges.first(where: { $0.upperBound > position }) else {
                problems.append("corrupt \(ranges) does not cover \(position)")
                isDone = true
                return
            }
            pass(range)
        case .outOfRange(let view):
            if position < view.logStart {
                pass(position..<view.logStart)
            } else {
                told.append(view.highWatermark..<Int64.max)
                isDone = true
            }
        case .offline(let reason):
            offline = reason.text
            isDone = true
        case .needsDisk, .needsVerification:
            problems.append("no answer at \(position)")
            isDone = true
        }
    }

    private mutating func pass(_ range: Range<Int64>) {
        told.append(range)
        position = max(position, range.upperBound)
        verifies = false
    }

    /// As `ConsumerCore` does with an answer.
    private mutating func take(_ plan: ReadPlan) throws {
        let slab = try plan.bytes()
        var result = FetchResult()
        result.startChecksum = plan.startChecksum
        result.endChecksum = plan.endChecksum
        result.gaps = plan.gaps.map { OffsetRange($0.lowerBound, $0.upperBound) }
        var scan = RunScan(expected: position, isCompacted: isCompacted, result: result)
        if let (range, reason) = Self.problem(of: &scan, slab) { return suspect(range, reason) }
        var at = 0
        var found: [(offset: Int64, value: String)] = []
        while at < slab.count {
            let header = try RecordBatchHeader(reading: slab.bytes, at: at)
            let range = at..<(at + header.byteCount)
            do {
                try RecordBatch.checkChecksum(slab.span(range), header)
            } catch {
                return suspect(header.baseOffset..<header.nextOffset, "\(error)")
            }
            found += try slab.records(in: range, header, from: position)
            at = range.upperBound
        }
        records += found
        told += scan.crossed.map(\.range)
        guard scan.expected > position else {
            problems.append("no progress at \(position)")
            isDone = true
            return
        }
        position = scan.expected
        verifies = false
    }

    private static func problem(
        of scan: inout RunScan, _ slab: ByteSlab
    ) -> (Range<Int64>, String)? {
        do throws(RunProblem) {
            try scan.run(slab.bytes)
            return nil
        } catch {
            switch error {
            case .damaged(let range, let reason): return (range, reason)
            case .compressed(let codec): return (scan.expected..<scan.expected, "codec \(codec)")
            }
        }
    }

    private mutating func suspect(_ range: Range<Int64>, _ reason: String) {
        guard verifies else {
            verifies = true
            return
        }
        // The library would stop here for good, without an answer from the broker.
        problems.append("after verify, \(range): \(reason)")
        isDone = true
    }
}
