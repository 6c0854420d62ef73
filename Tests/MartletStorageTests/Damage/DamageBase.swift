import MartletFormat
import MartletStorage
import MartletTestSupport

/// A data directory with something of everything, and all that was ever written to it.
struct DamageBase {
    struct Log {
        var values: [Int64: String] = [:]
        /// Offsets that compaction or retention took away for good.
        var gone: Set<Int64> = []
        var batches: [Sent] = []
        var end: Int64 = 0
    }

    struct Sent {
        let offset: Int64
        let values: [String]
        let producer: Int64
        let sequence: Int32
    }

    private(set) var disk = DiskState()
    private(set) var logs: [LogName: Log] = [:]
    /// Whether the broker that wrote it stopped in order.
    let isClean: Bool

    static let plain = TopicID(high: 1, low: 1)
    static let written = TopicID(high: 1, low: 2)
    static let compacted = TopicID(high: 1, low: 3)
    static let trimmed = TopicID(high: 1, low: 4)

    static func open(_ disk: CrashDisk) throws -> StorageHarness {
        try StorageHarness("/data", disk, clock: ManualClock()) { options in
            options.defaults.segmentBytes = 2048
            options.indexIntervalBytes = 500
            options.marksAheadBytes = 512
            options.aheadAfterFlushes = 2
            options.aheadBytes = 512
            options.aheadSliceBytes = 512
            options.syncFileSystemThreshold = 0
        }
    }

    init(isClean: Bool, seed: UInt64) throws {
        self.isClean = isClean
        var random = SeededRandom(seed: seed)
        let disk = CrashDisk()
        // Three runs: an unclean start raises the leader epoch, so segments hold several.
        for life in 0..<3 {
            let harness = try Self.open(disk)
            if life == 0 { try makeTopics(harness) }
            for round in 0..<14 { try write(harness, life * 14 + round, &random) }
            if life == 1 { harness.engine.tick() }
            if life == 2 {
                let log = harness.engine.topic(id: Self.trimmed)?.partition(0)
                _ = try log?.deleteRecords(before: 37)
                harness.engine.tick()
                // Above the last sync of the `written` topic, its next segment included.
                for round in 42..<56 { try write(harness, round, &random, Self.written) }
            }
            let isLast = life == 2
            if isLast, isClean { try harness.engine.close() }
            disk.unlockAll()
        }
        self.disk = disk.disk
        try learn()
    }

    private func makeTopics(_ harness: StorageHarness) throws {
        _ = try harness.topic("plain", partitions: 2, id: Self.plain)
        _ = try harness.topic(
            "written", settings: ["durability": "written"], id: Self.written)
        _ = try harness.topic(
            "compacted", settings: ["cleanup.policy": "compact"], id: Self.compacted)
        _ = try harness.topic("trimmed", id: Self.trimmed)
    }

    private mutating func write(
        _ harness: StorageHarness, _ round: Int, _ random: inout SeededRandom,
        _ only: TopicID? = nil
    ) throws {
        for topic in harness.engine.topics() where only == nil || topic.id == only {
            for log in topic.partitions {
                let name = LogName(topic: topic.id, partition: log.partition)
                var known = logs[name, default: Log()]
                let producer = Int64(topic.id.low) * 10 + Int64(log.partition)
                let sequence = known.batches.reduce(Int32(0)) { $0 + Int32($1.values.count) }
                let letters = random.below(90)
                let values = (0..<(1 + random.below(3))).map { item in
                    "\(name).\(round).\(item)." + String(repeating: "v", count: 20 + letters)
                }
                let slab = batch(
                    values, key: "k\(random.below(7))", producer: producer, epoch: 0,
                    sequence: sequence)
                guard case .appended(let receipt) = try log.appendNow(slab) else { continue }
                for (item, value) in values.enumerated() {
                    known.values[receipt.baseOffset + Int64(item)] = value
                }
                known.end = receipt.endOffset
                known.batches.append(
                    Sent(
                        offset: receipt.baseOffset, values: values, producer: producer,
                        sequence: sequence))
                logs[name] = known
            }
        }
    }

    /// What an undamaged start shows is what there is.
    private mutating func learn() throws {
        let disk = CrashDisk(disk)
        let harness = try Self.open(disk)
        for name in logs.keys {
            guard let topic = harness.engine.topic(id: name.topic),
                let log = topic.partition(name.partition)
            else { continue }
            var reader = DamageReader(log, isCompacted: name.topic == Self.compacted)
            reader.run(from: log.view.logStart)
            let found = Set(reader.records.map(\.offset))
            let all = Set(logs[name, default: Log()].values.keys)
            logs[name]?.gone = all.subtracting(found)
        }
    }
}
