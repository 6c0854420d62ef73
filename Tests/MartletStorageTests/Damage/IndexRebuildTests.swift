import MartletFormat
import MartletTestSupport
import Testing

@testable import MartletStorage

/// An index that is lost, as a power cut takes it, over a log with a damaged batch.
@Suite struct IndexRebuildTests {
    private static let seed = CampaignSettings.seed
    private static let path = "data/topics/\(TopicID(high: 1, low: 1))/0"
    private static let logPath = "\(path)/\(LogFileNames.log(0, generation: 0))"
    private static let indexPath = "\(path)/\(LogFileNames.index(0, generation: 0))"

    private static func open(_ disk: CrashDisk, _ segmentBytes: Int64) throws -> StorageHarness {
        try StorageHarness("/data", disk, clock: ManualClock()) { options in
            options.defaults.segmentBytes = segmentBytes
            options.indexIntervalBytes = 500
            options.marksAheadBytes = 512
        }
    }

    private static func append(
        _ log: PartitionLog, _ numbers: Range<Int>, _ values: inout [Int64: String]
    ) throws {
        for number in numbers {
            let batch = batch(
                ["\(number).0", "\(number).1 " + String(repeating: "v", count: number % 7 * 9)])
            guard case .appended(let receipt) = try log.appendNow(batch) else {
                Issue.record("\(number) is not appended")
                return
            }
            values[receipt.baseOffset] = "\(number).0"
            values[receipt.baseOffset + 1] =
                "\(number).1 " + String(repeating: "v", count: number % 7 * 9)
        }
    }

    /// A stopped broker's disk, and what was written to it in three runs.
    private static func base(_ segmentBytes: Int64) throws -> (DiskState, [Int64: String]) {
        let disk = CrashDisk()
        var values: [Int64: String] = [:]
        for run in 0..<3 {
            let harness = try open(disk, segmentBytes)
            let log = try #require(try harness.topic("t").partition(0))
            try append(log, (run * 8)..<(run * 8 + 8), &values)
            // The first two runs are killed: the next ones write in other leader epochs.
            log.flush()
            if run == 2 { try harness.engine.close() }
            disk.unlockAll()
        }
        return (disk.disk, values)
    }

    /// Reads everything; what is missing is told and lies within `lost`.
    private static func check(
        _ log: PartitionLog, _ values: [Int64: String], lost: Range<Int64>, _ damage: Damage
    ) {
        for maxBytes in [1 << 20, 300] {
            var reader = DamageReader(log, isCompacted: false)
            reader.maxBytes = maxBytes
            reader.run(from: 0)
            #expect(reader.problems.isEmpty, "\(damage)")
            let found = Dictionary(
                reader.records.map { ($0.offset, $0.value) }, uniquingKeysWith: { $0 + $1 })
            for (offset, value) in values where found[offset] != value {
                let isTold = reader.told.contains { $0.contains(offset) }
                #expect(
                    found[offset] == nil && isTold && lost.contains(offset),
                    "\(damage): offset \(offset): \(found[offset] ?? "missing")")
            }
            #expect(found.keys.allSatisfy { values[$0] != nil }, "\(damage)")
        }
    }

    @Test(arguments: [1 << 20, 2048] as [Int64])
    func `an index that is rebuilt over a damaged batch blames no other`(
        segmentBytes: Int64
    ) throws {
        var random = SeededRandom(seed: Self.seed)
        let (base, values) = try Self.base(segmentBytes)
        let bound = DamageBound(base, log: Self.logPath)
        let places = bound.places
        #expect(places.count > 8)
        var count = 0
        for place in places {
            for field in 0..<RecordBatch.headerBytes where random.chance(1, in: 5) {
                let at = place.bytes.lowerBound + field
                var disk = base
                let mask = UInt8(1 << random.below(8))
                disk.rot(Self.logPath) { $0[at] ^= mask }
                disk.rot(Self.indexPath) { $0 = [] }
                let damage = Damage(kind: .flip, path: Self.logPath, at: at..<(at + 1))
                let lost = try #require(bound.offsets(at..<(at + 1)))
                try Self.judge(CrashDisk(disk), values, segmentBytes, lost, damage)
                count += 1
            }
        }
        print("damage: rebuilt indexes: \(count) damages, seed \(Self.seed)")
    }

    /// Among them those that fit between their neighbours'.
    @Test(arguments: [1 << 20, 2048] as [Int64], [false, true])
    func `a wrong leader epoch costs its batch alone`(
        segmentBytes: Int64, losesIndex: Bool
    ) throws {
        let (base, values) = try Self.base(segmentBytes)
        let bound = DamageBound(base, log: Self.logPath)
        for place in bound.places {
            let at = place.bytes.lowerBound + 15
            let right = base.content(Self.logPath)[at]
            for wrong in UInt8(1)...3 where wrong != right {
                var disk = base
                disk.rot(Self.logPath) { $0[at] = wrong }
                if losesIndex { disk.rot(Self.indexPath) { $0 = [] } }
                try Self.judge(
                    CrashDisk(disk), values, segmentBytes,
                    try #require(bound.offsets(at..<(at + 1))),
                    Damage(kind: .flip, path: Self.logPath, at: at..<(at + 1)))
            }
        }
    }

    /// Cold, while it is written to, and behind a restart.
    private static func judge(
        _ disk: CrashDisk, _ written: [Int64: String], _ segmentBytes: Int64, _ lost: Range<Int64>,
        _ damage: Damage
    ) throws {
        var values = written
        for run in 0..<3 {
            let harness = try open(disk, segmentBytes)
            let log = try #require(try harness.topic("t").partition(0))
            if run != 1 { check(log, values, lost: lost, damage) }
            try append(log, (24 + run * 4)..<(28 + run * 4), &values)
            check(log, values, lost: lost, damage)
            try harness.engine.close()
            disk.unlockAll()
        }
    }
}
