import MartletFormat
@testable import MartletStorage
import MartletSystem
import Synchronization

/// Recovery of a partition from any files. Input: flags u8 (1: repair batches, 2: repair marks,
/// 4: repair indexes and snapshots, 8: a `written` topic, 16: a compacted one), then pieces: kind
/// u8, base i64, generation u8, length u16, bytes.
///
/// Oracles: no trap; everything that a verified read serves has a good checksum, at rising offsets,
/// and a reader gets past whatever is wrong. Unless an index or the mark of the log's end lies with a
/// good checksum: a second recovery finds the same; what is appended and durable after recovery is
/// there after the next one.
enum SegmentTarget: FuzzTarget {
    static let name = "segment"
    static let key = PartitionKey(topic: TopicID(high: 1, low: 2), partition: 0)
    private static let home = "/d/topics/\(key.topic)"
    private static let logBytesMax = 1 << 20

    static func run(_ input: [UInt8]) {
        let disk = MemoryFileSystem()
        guard !input.isEmpty else { return }
        let forges = lay(input, on: disk)
        let first = Recovered(disk)
        var again = Recovered(disk)
        if forges { return }
        again.compare(first, "a second recovery")
        guard let appended = again.append() else { return }
        let last = Recovered(disk)
        last.compare(again, "a recovery after an append")
        require(last.served.contains(appended), "an acknowledged batch is gone, there is \(last.served)")
    }

    /// Makes a data directory from the pieces of the input. True when it has forged pieces.
    private static func lay(_ input: [UInt8], on disk: MemoryFileSystem) -> Bool {
        var forges = false
        var feed = Feed(input)
        let flags = feed.byte()
        var metadata = TopicMetadata(id: key.topic, name: "t", partitions: 1)
        if flags & 8 != 0 { metadata.overrides["durability"] = "written" }
        if flags & 16 != 0 { metadata.overrides["cleanup.policy"] = "compact" }
        disk.put("/d/format.version", Array("martlet-data 1\n".utf8))
        var slots: [UInt8] = []
        var pieces = 0
        var total = 0
        while !feed.isEmpty, pieces < 16, total < logBytesMax {
            let kind = feed.byte() % 8
            let base = feed.integer(Int64.self)
            let generation = UInt32(feed.byte() % 4)
            var bytes = feed.take(Int(feed.integer(UInt16.self)))
            pieces += 1
            total += bytes.count
            let folder = "\(home)/0"
            if base < 0 || base > LogLimits.offsetMax / 2 { continue }
            switch kind {
            case 0, 1:
                if flags & 1 != 0 { bytes.repairBatches() }
                let name = LogFileNames.log(base, generation: generation)
                disk.put("\(folder)/\(kind == 0 ? name : LogFileNames.preparedLog)", bytes)
            case 2:
                let header = IndexHeader(
                    topic: key.topic, partition: 0, base: base, generation: generation)
                if flags & 4 != 0, Repair.index(&bytes, header) { forges = true }
                disk.put("\(folder)/\(LogFileNames.index(base, generation: generation))", bytes)
            case 3:
                if flags & 4 != 0 { Repair.producers(&bytes, offset: base) }
                disk.put("\(folder)/\(LogFileNames.producers(base))", bytes)
            case 4: slots += bytes
            case 5:
                let gap = base..<(base + Int64(bytes.count) + 1)
                metadata.gaps[0, default: []].append(gap)
            case 6: disk.put("\(folder)/\(LogFileNames.torn(base, at: 1))", bytes)
            default: disk.put("\(folder)/x\(base).tmp", bytes)
            }
        }
        if flags & 2 != 0, Repair.marks(&slots, key: key) { forges = true }
        if !slots.isEmpty {
            let header = [UInt8](repeating: 0, count: MarkEntry.byteCount)
            disk.put("/d/\(MarksFileFormat.name(1))", header + slots)
        }
        disk.put("\(home)/topic.meta", TopicMetadataText.encode(metadata))
        disk.put("\(home)/0/00000000000000000000.torn-0", [])
        return forges
    }

    static func piece(
        _ kind: UInt8, _ base: Int64, _ generation: UInt8 = 0, _ bytes: [UInt8]
    ) -> [UInt8] {
        var result = [kind]
        result.append(bigEndian: base)
        result.append(generation)
        result.append(bigEndian: UInt16(bytes.count))
        return result + bytes
    }

    private static func mark(_ kind: MarkKind, _ change: (inout MarkEntry) -> Void) -> [UInt8] {
        var entry = MarkEntry(kind)
        entry.topic = key.topic
        entry.leaderEpoch = 1
        change(&entry)
        let slab = ByteSlab(capacity: MarkEntry.byteCount)
        entry.encode(into: slab)
        return slab.array
    }

    static var seeds: [(name: String, bytes: [UInt8])] {
        let four = Samples.run(from: 0, count: 4)
        let end = mark(.end) {
            $0.offset = 4
            $0.position = Int64(Samples.run(from: 0, count: 2).count)
            $0.checksum = chain(Samples.run(from: 0, count: 2))
            $0.sequence = 1
        }
        let reserve = mark(.reserve) {
            $0.offset = 40
            $0.sequence = 2
        }
        let start = mark(.start) {
            $0.offset = 2
            $0.sequence = 3
        }
        let clean = mark(.clean) { $0.sequence = 9 }
        let log = piece(0, 0, 0, four)
        let second = piece(0, 8, 0, Samples.run(from: 8, count: 3))
        let gapped = Samples.run(from: 0, count: 2) + Samples.run(from: 20, count: 2, leaderEpoch: 2)
        let snapshot = ProducerSnapshot.encode(ProducersTarget.table, offset: 4).array
        return [
            ("log", [7] + log), ("marked", [7] + log + piece(4, 0, 0, end)),
            ("torn", [7] + piece(0, 0, 0, four.dropLast(20)) + piece(4, 0, 0, end)),
            ("zeros", [7] + piece(0, 0, 0, four + [UInt8](repeating: 0, count: 300))),
            ("clean", [7] + log + piece(4, 0, 0, end + start + clean)),
            ("written", [15] + log + piece(4, 0, 0, end + reserve) + piece(5, 20, 0, [0, 0])),
            ("gap", [15] + piece(0, 0, 0, gapped) + piece(5, 4, 0, [UInt8](repeating: 0, count: 15))),
            ("two", [7] + log + second + piece(4, 0, 0, end)),
            ("prepared", [7] + log + piece(1, 8, 0, Samples.run(from: 8, count: 1))),
            ("compacted", [23] + piece(0, 0, 1, gapped) + log),
            ("producers", [7] + log + piece(3, 4, 0, snapshot) + piece(4, 0, 0, end)),
            ("flipped", [6] + piece(0, 0, 0, flipped(four)) + piece(4, 0, 0, end)),
            ("lost", [7] + piece(4, 0, 0, end)),
            ("index", [7] + log + second + piece(2, 0, 0, index(four))),
        ]
    }

    private static func flipped(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        bytes[80] ^= 4
        return bytes
    }

    private static func index(_ log: [UInt8]) -> [UInt8] {
        let slab = ByteSlab(capacity: 256)
        IndexHeader(topic: key.topic, partition: 0, base: 0, generation: 0).encode(into: slab)
        IndexEntry.first(of: 0).encode(into: slab)
        var seal = IndexEntry.first(of: 0)
        seal.offset = 8
        seal.position = Int64(log.count)
        seal.appendTime = 1_700_000_000_000
        seal.maxEventTime = 1_100
        seal.checksum = chain(log)
        seal.isSeal = true
        seal.encode(into: slab)
        return slab.array
    }

    private static func chain(_ log: [UInt8]) -> UInt32 {
        let slab = log.slab
        var at = 0
        var checksum: UInt32 = 0
        while let header = try? RecordBatchHeader(reading: slab.bytes, at: at) {
            checksum = RecordBatch.prefixChecksum(
                slab.span(at..<(at + header.byteCount)), continuing: checksum)
            at += header.byteCount
        }
        return checksum
    }
}
