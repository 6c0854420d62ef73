import MartletFormat
import MartletSystem
import MartletTestSupport
import Testing

@testable import MartletStorage

/// Opens a data directory that an earlier build wrote and that is never written anew but on purpose:
/// what lies on disk is a promise. `Golden/format-1.txt` says what is in it.
///
///     rm -r Tests/MartletStorageTests/Golden/format-1
///     MARTLET_WRITE_GOLDEN=1 swift test --filter GoldenDataTests
@Suite struct GoldenDataTests {
    private static let golden = Repository.root + "/Tests/MartletStorageTests/Golden"
    private let disk = PosixFileSystem()
    private let folder: TemporaryDirectory

    init() throws {
        folder = try TemporaryDirectory("golden")
        let data = "\(Self.golden)/format-1"
        if CurrentProcess.environment["MARTLET_WRITE_GOLDEN"] != nil {
            try GoldenData(path: data).write()
            let lines = try Self.lines(try GoldenData(path: copy(data, "seen")).open())
            try write(lines.joined(separator: "\n") + "\n", to: "\(Self.golden)/format-1.txt")
        }
        _ = try copy(data, "data")
    }

    private func write(_ text: String, to path: String) throws {
        let file = try disk.open(path, .createOrOpen)
        let slab = ByteSlab(capacity: text.utf8.count)
        unsafe slab.append(Array(text.utf8).span.bytes)
        try file.truncate(to: 0)
        try file.write(slab, at: 0)
    }

    private func copy(_ source: String, _ name: String) throws -> String {
        try copyTree(source, to: folder.path(name))
        return folder.path(name)
    }

    private func copyTree(_ source: String, to target: String) throws {
        try disk.makeDirectory(target)
        for name in try disk.list(source) {
            let (from, to) = ("\(source)/\(name)", "\(target)/\(name)")
            if try disk.status(from)?.kind == .directory {
                try copyTree(from, to: to)
            } else {
                let file = try disk.open(from, .readOnly)
                try file.copy(
                    from: 0, to: try file.size(), into: try disk.open(to, .createNew), at: 0)
            }
        }
    }

    private func data() -> GoldenData { GoldenData(path: folder.path("data")) }

    private func expected() throws -> [String] {
        let bytes = try disk.contents(of: "\(Self.golden)/format-1.txt", atMost: 1 << 20)
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// Everything that a reader of the directory sees, a line each.
    private static func lines(_ harness: StorageHarness) throws -> [String] {
        var lines: [String] = []
        for topic in harness.engine.topics() {
            let settings = topic.metadata.overrides.sorted { $0.key < $1.key }
                .map { " \($0.key)=\($0.value)" }.joined()
            lines.append("topic \(topic.name) \(topic.id) \(topic.partitionCount)\(settings)")
            for log in topic.partitions {
                let view = log.view
                lines.append(
                    "partition \(topic.name)/\(log.partition) \(view.logStart)..<\(view.highWatermark) epoch \(view.leaderEpoch)"
                )
                var reader = DamageReader(log, isCompacted: topic.settings.cleanup.compacts)
                reader.run(from: view.logStart)
                #expect(reader.problems.isEmpty)
                lines += reader.told.map { "passed \($0)" }
                lines += reader.records.map { "\($0.offset) \($0.value)" }
            }
        }
        return lines
    }

    @Test func `a data directory of format 1 is read exactly`() throws {
        let harness = try data().open()
        let report = harness.engine.startReport
        #expect(report.isClean)
        #expect(report.events.isEmpty, "\(report.events)")
        let expected = try expected()
        #expect(expected.count > 200)
        #expect(try Self.lines(harness) == expected)
        try harness.engine.close()
    }

    @Test func `every batch of a data directory of format 1 passes every check`() throws {
        let harness = try data().open()
        for log in harness.engine.topics().flatMap(\.partitions) {
            var offset = log.view.logStart
            while offset < log.view.highWatermark {
                switch try log.verifiedRead(from: offset, maxBytes: 700) {
                case .data(let plan): offset = plan.nextOffset
                case .gap(let gap, _), .lost(let gap, _): offset = gap.upperBound
                case .atEnd, .outOfRange, .corrupt, .needsDisk, .needsVerification, .offline:
                    Issue.record("\(log.name) at \(offset)")
                    return
                }
            }
            // One range is damaged on purpose, and skipped.
            #expect(log.view.damaged.isEmpty)
        }
    }

    @Test func `a data directory of format 1 is written on`() throws {
        let old = try expected()
        for round in 0..<2 {
            let harness = try data().open()
            for log in harness.engine.topics().flatMap(\.partitions) {
                let end = log.view.logEnd
                guard case .appended(let receipt) = try log.appendNow(batch(["new"], key: "new"))
                else {
                    Issue.record("\(log.name) takes no records")
                    return
                }
                #expect(receipt.baseOffset == end)
            }
            if round == 0 {
                // The producers are known: their last batch is not stored again.
                let log = try #require(harness.engine.topic(named: "orders")?.partition(0))
                let (slab, offset) = GoldenData.lastOrder
                guard case .duplicate(let receipt) = try log.appendNow(slab) else {
                    Issue.record("a retry was not recognised")
                    return
                }
                #expect(receipt.baseOffset == offset)
            }
            let seen = try Self.lines(harness)
            let isOld = Set(seen)
            #expect(old.filter { !$0.hasPrefix("partition ") }.allSatisfy(isOld.contains))
            #expect(seen.filter { $0.hasSuffix(" new") }.count == 5 * (round + 1))
            try harness.engine.close()
        }
    }
}

/// Writes the golden data directory, and opens it with the same small sizes.
struct GoldenData {
    let path: String
    /// The last batch of the topic `orders`, partition 0, and its offset.
    static var lastOrder: (ByteSlab, Int64) { (order(39, partition: 0), 78) }

    func open() throws -> StorageHarness {
        try StorageHarness(path, PosixFileSystem(), clock: ManualClock()) { options in
            options.defaults.segmentBytes = 2048
            options.indexIntervalBytes = 500
            options.marksAheadBytes = 512
            options.syncFileSystemThreshold = 0
        }
    }

    private static func order(_ round: Int32, partition: Int32) -> ByteSlab {
        let values = (0..<2).map { "order \(round).\($0) of partition \(partition)" }
        return batch(
            values, key: "customer \(round % 5)", time: 1_000 + Int64(round) * 10,
            producer: Int64(partition) + 1, epoch: 0, sequence: round * 2)
    }

    func write() throws {
        let disk = PosixFileSystem()
        for life in 0..<2 as Range<Int32> {
            let harness = try open()
            if life == 0 {
                _ = try harness.topic("orders", partitions: 2, id: TopicID(high: 1, low: 1))
                _ = try harness.topic(
                    "metrics", settings: ["durability": "written"], id: TopicID(high: 1, low: 2))
                _ = try harness.topic(
                    "latest", settings: ["cleanup.policy": "compact"], id: TopicID(high: 1, low: 3))
                _ = try harness.topic(
                    "recent", settings: ["retention.ms": "-1"], id: TopicID(high: 1, low: 4))
            }
            for round in (life * 20)..<(life * 20 + 20) { try fill(harness, round) }
            if life == 1 { try finish(harness, disk) }
        }
    }

    private func fill(_ harness: StorageHarness, _ round: Int32) throws {
        for topic in harness.engine.topics() {
            for log in topic.partitions {
                let slab =
                    topic.name == "orders"
                    ? Self.order(round, partition: log.partition)
                    : batch(
                        ["\(topic.name) \(round) " + String(repeating: "v", count: 60)],
                        key: "key \(round % 7)", time: 1_000 + Int64(round))
                _ = try log.appendNow(slab)
            }
        }
    }

    /// Deletes, compacts, damages, skips, and stops in order.
    private func finish(_ harness: StorageHarness, _ disk: PosixFileSystem) throws {
        let recent = harness.engine.topic(named: "recent")?.partition(0)
        _ = try recent?.deleteRecords(before: 25)
        harness.engine.tick()
        guard let orders = harness.engine.topic(named: "orders"), let log = orders.partition(1)
        else { return }
        let name = LogFileNames.log(0, generation: 0)
        let file = try disk.open("\(path)/topics/\(orders.id)/1/\(name)", .readWrite)
        let byte = ByteSlab(capacity: 1)
        byte.append(UInt8(0xFF))
        try file.write(byte, at: Int64(RecordBatch.headerBytes) + 20)
        _ = try log.verifiedRead(from: 0, maxBytes: 1)
        _ = try harness.engine.skipDamage(
            orders.id, partition: 1, from: 0, to: 100, execute: true)
        try harness.engine.close()
    }
}
