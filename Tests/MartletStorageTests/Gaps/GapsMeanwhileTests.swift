import MartletFormat
import MartletSystem
import Synchronization
import Testing

@testable import MartletStorage

/// Offsets are given up while a fetch looks for its place on the disk.
@Suite struct GapsMeanwhileTests {
    @Test func `a fetch names all gaps in its answer, also those that came while it looked`() throws
    {
        let folder = TemporaryFolder()
        let filler = String(repeating: "x", count: 1000)
        do {
            let harness = try StorageHarness(folder.path, PosixFileSystem())
            let log = try #require(
                try harness.topic("t", settings: ["segment.bytes": "65536"]).partition(0))
            for _ in 0..<100 { _ = try log.appendNow(batch([filler])) }
            log.flush()
            try harness.engine.close()
        }
        let disk = HookedFileSystem()
        let harness = try StorageHarness(folder.path, disk)
        let log = try #require(try harness.topic("t").partition(0))
        let skipped = Self.everySecondOffset
        let isDone = Atomic(false)
        defer { disk.set(nil) }
        disk.set { call, path in
            if call == .open, path.hasSuffix("/\(LogFileNames.log(0, generation: 0))"),
                !isDone.exchange(true, ordering: .relaxed)
            {
                log.skip(skipped)
            }
            return 0
        }
        // Less than a segment, and more than the gaps take: the index is too coarse for it behind the
        // first record.
        for _ in 0..<2 {
            let outcome = try log.planFromDisk(from: 1, maxBytes: 50_000)
            let hasMore = isDone.load(ordering: .relaxed)
            #expect(hasMore)
            if case .needsDisk = outcome { continue }
            guard case .data(let plan) = outcome else {
                Issue.record("\(outcome)")
                return
            }
            #expect(plan.gaps == skipped.filter { $0.lowerBound < plan.nextOffset })
            return
        }
        Issue.record("no answer at the second try")
    }

    /// Compaction leaves the first record and the last, and more gaps between them than one answer
    /// names.
    @Test(arguments: [false, true])
    func `no gap in a compacted segment is crossed unnamed`(verifies: Bool) throws {
        let folder = TemporaryFolder()
        let harness = try StorageHarness(folder.path, PosixFileSystem())
        let log = try #require(
            try harness.topic("t", settings: ["cleanup.policy": "compact"]).partition(0))
        _ = try log.appendNow(batch(["first"], key: "a"))
        for _ in 0..<60 { _ = try log.appendNow(batch(["again"], key: "b")) }
        log.closeSegment()
        harness.engine.tick()
        #expect(try log.values().map(\.0) == [0, 60])
        let skipped = Self.everySecondOffset
        log.skip(skipped)
        var offset: Int64 = 1
        var named: [Range<Int64>] = []
        var (gaps, data) = (0, 0)
        for _ in 0..<10 where offset < 61 {
            let outcome =
                verifies
                ? try log.verifiedRead(from: offset, maxBytes: 1 << 20)
                : try log.planFromDisk(from: offset, maxBytes: 1 << 20)
            if case .gap(let gap, _) = outcome {
                gaps += 1
                named.append(gap)
                offset = gap.upperBound
            } else if case .data(let plan) = outcome {
                data += 1
                #expect(plan.gaps.count <= PartitionLog.gapsMax)
                named += plan.gaps
                offset = plan.nextOffset
            } else {
                Issue.record("\(outcome)")
                return
            }
        }
        #expect(offset == 61)
        #expect([gaps, data] == [1, 1])
        for gap in skipped {
            let isNamed = named.contains {
                $0.lowerBound <= gap.lowerBound && $0.upperBound >= gap.upperBound
            }
            #expect(isNamed, "\(gap)")
        }
    }

    /// More than one answer names.
    private static let everySecondOffset = (1...20).map { (number: Int64) -> Range<Int64> in
        let first = 2 * number + 1
        return first..<(first + 1)
    }
}
