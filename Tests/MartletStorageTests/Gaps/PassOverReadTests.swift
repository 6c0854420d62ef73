import Glibc
import MartletFormat
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// Logs that went on above offsets again and again, over starts of all kinds, are read as they are.
@Suite struct PassOverReadTests {
    /// What a log should hold.
    private struct Model {
        var records: [(offset: Int64, value: String)] = []
        var gaps: [Range<Int64>] = []
        var end: Int64 = 0
    }

    private struct Opened {
        let harness: StorageHarness
        let topic: Topic
        let log: PartitionLog
        let compacts: Bool

        init(_ path: String, _ compacts: Bool) throws {
            harness = try StorageHarness(path, PosixFileSystem())
            topic = try harness.topic(
                "t", settings: ["cleanup.policy": compacts ? "compact" : "delete"])
            log = try #require(topic.partition(0))
            self.compacts = compacts
        }

        func passOver(below offset: Int64) throws -> [Int32: Range<Int64>] {
            try harness.engine.passOver(topic, below: [0: offset])
        }
    }

    @Test(arguments: [false, true])
    func `what was passed over is told to readers wherever they begin`(compacts: Bool) throws {
        for seed in UInt64(1)...6 { try run(seed, compacts) }
    }

    private func run(_ seed: UInt64, _ compacts: Bool) throws {
        var random = SeededRandom(seed: seed)
        let folder = try TemporaryDirectory("pass-over-read")
        var model = Model()
        var open: Opened? = try Opened(folder.path, compacts)
        for _ in 0..<60 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<4:
                let count = Int.random(in: 1...3, using: &random)
                let values = (0..<count).map { "\(model.end + Int64($0))" }
                let key = compacts ? "\(Int.random(in: 0..<6, using: &random))" : nil
                let outcome = try open?.log.appendNow(batch(values, key: key))
                guard case .appended(let receipt) = outcome else {
                    Issue.record("seed \(seed): \(String(describing: outcome)) at \(model.end)")
                    return
                }
                #expect(receipt.baseOffset == model.end, "seed \(seed)")
                model.records += values.enumerated().map { (model.end + Int64($0), $1) }
                model.end += Int64(count)
                open?.log.flush()
            case 4..<8:
                let next = model.end + Int64.random(in: 1...5, using: &random)
                #expect(try open?.passOver(below: next) == [0: model.end..<next])
                model.gaps.append(model.end..<next)
                model.end = next
            case 8:
                open?.log.beWarm()
                if open?.log.appender.withLock({ $0.tail.position > 0 }) == true {
                    open?.log.closeSegment()
                }
                if compacts { open?.harness.engine.tick() }
            default:
                if Bool.random(using: &random) { try open?.harness.engine.close() }
                open = nil
                open = try Opened(folder.path, compacts)
            }
            #expect(open?.log.view.logEnd == model.end, "seed \(seed)")
        }
        try check(try #require(open), model, "seed \(seed)", &random)
        open = nil
        try check(try Opened(folder.path, compacts), model, "seed \(seed) anew", &random)
    }

    private func check(
        _ opened: Opened, _ model: Model, _ words: String, _ random: inout SeededRandom
    ) throws {
        let (log, compacts) = (opened.log, opened.compacts)
        #expect(!log.hasOpenDamage, "\(words)")
        for start in 0..<model.end {
            var reader = ClientReader(
                log, maxBytes: [1, 100, 300, 1 << 20].randomElement(using: &random) ?? 1)
            reader.run(from: start)
            #expect(reader.problems == [] && reader.damaged == [], "\(words) from \(start)")
            let wanted = model.records.filter { $0.offset >= start }
            if !compacts {
                #expect(
                    reader.records.map(\.value) == wanted.map(\.value), "\(words) from \(start)")
            }
            #expect(reader.most <= PartitionLog.gapsMax)
            for gap in model.gaps where gap.upperBound > start {
                let isTold = reader.gaps.contains {
                    $0.lowerBound <= max(gap.lowerBound, start) && $0.upperBound >= gap.upperBound
                }
                // A compacted log may end with holes alone: then nothing is crossed.
                #expect(isTold || compacts, "\(words) from \(start): \(gap) of \(reader.gaps)")
            }
            try verify(log, from: start, model, compacts, words)
        }
    }

    /// The same by reads with all checks.
    private func verify(
        _ log: PartitionLog, from start: Int64, _ model: Model, _ compacts: Bool, _ words: String
    ) throws {
        var offset = start
        for _ in 0..<1_000 {
            switch try log.verifiedRead(from: offset, maxBytes: 200) {
            case .data(let plan):
                #expect(plan.nextOffset > offset, "\(words)")
                offset = plan.nextOffset
            case .gap(let gap, _), .lost(let gap, _):
                #expect(gap.upperBound > offset, "\(words)")
                offset = gap.upperBound
            case .atEnd:
                #expect(offset == model.end || compacts, "\(words)")
                return
            case let other:
                Issue.record("\(words) from \(start) at \(offset): \(other)")
                return
            }
        }
        Issue.record("\(words) from \(start) does not end")
    }

    /// Without space for it, and stopped before there was some.
    @Test(arguments: [false, true])
    func `what could not be passed over leaves no damage behind`(stops: Bool) throws {
        let folder = try TemporaryDirectory("pass-over-full")
        do {
            let disk = HookedFileSystem()
            let harness = try StorageHarness(folder.path, disk)
            let topic = try harness.topic("t")
            let log = try #require(topic.partition(0))
            _ = try log.appendNow(batch(["first"]))
            log.flush()
            disk.set { call, path in call == .open && path.contains("topic.meta") ? ENOSPC : 0 }
            #expect(try harness.engine.passOver(topic, below: [0: 7]) == [0: 1..<7])
            log.flush()
            if stops { try harness.engine.close() }
        }
        let harness = try StorageHarness(folder.path, PosixFileSystem())
        let topic = try harness.topic("t")
        let log = try #require(topic.partition(0))
        #expect(!log.hasOpenDamage && log.view.logEnd == 1)
        #expect(harness.engine.startReport.events.isEmpty, "\(harness.engine.startReport.events)")
        #expect(try harness.engine.passOver(topic, below: [0: 7]) == [0: 1..<7])
        _ = try log.appendNow(batch(["second"]))
        log.flush()
        #expect(try log.values().map(\.0) == [0, 7])
    }
}
