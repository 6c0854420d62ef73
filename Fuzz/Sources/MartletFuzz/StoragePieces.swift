import MartletFormat
@testable import MartletStorage
import MartletSystem

/// Puts the right checksums into pieces of a data directory, so that what lies behind them is
/// reached.
enum Repair {
    /// Marks: each slot's version and checksum, and, unless `key` is nil, its topic and partition.
    /// True when the end of a log is among what was repaired: it lies, and its checksum is good.
    @discardableResult
    static func marks(_ bytes: inout [UInt8], key: PartitionKey?) -> Bool {
        let size = MarkEntry.byteCount
        var forgesEnd = false
        for at in stride(from: 0, to: bytes.count - size + 1, by: size) {
            // An empty slot stays one.
            if bytes[at + 4] == 0 { continue }
            bytes[at + 4] = (bytes[at + 4] - 1) % 6 + 1
            bytes[at + 5] = 1
            if let key {
                bytes.put(UInt32(truncatingIfNeeded: key.topic.high >> 32), at: at + 8)
                bytes.put(UInt32(truncatingIfNeeded: key.topic.high), at: at + 12)
                bytes.put(UInt32(truncatingIfNeeded: key.topic.low >> 32), at: at + 16)
                bytes.put(UInt32(truncatingIfNeeded: key.topic.low), at: at + 20)
                bytes.put(UInt32(bitPattern: key.partition), at: at + 24)
            }
            let old = bytes[at..<(at + 4)]
            bytes.put(bytes.crc((at + 4)..<(at + size)), at: at)
            if bytes[at + 4] == MarkKind.end.rawValue, bytes[at..<(at + 4)] != old {
                forgesEnd = true
            }
        }
        return forgesEnd
    }

    /// An index: its header, and each entry's checksum. True when an entry's was wrong.
    @discardableResult
    static func index(_ bytes: inout [UInt8], _ header: IndexHeader) -> Bool {
        var forges = false
        let slab = ByteSlab(capacity: IndexHeader.byteCount)
        header.encode(into: slab)
        for (at, byte) in slab.array.enumerated() where at < bytes.count { bytes[at] = byte }
        let size = IndexEntry.byteCount
        for at in stride(from: IndexHeader.byteCount, to: bytes.count - size + 1, by: size) {
            let old = bytes[(at + 40)..<(at + 44)]
            bytes.put(bytes.crc(at..<(at + 40)), at: at + 40)
            if bytes[(at + 40)..<(at + 44)] != old { forges = true }
        }
        return forges
    }

    /// A snapshot of producers: magic, offset and checksum.
    static func producers(_ bytes: inout [UInt8], offset: Int64) {
        guard bytes.count >= 24 else { return }
        let empty = ProducerSnapshot.encode(ProducerTable(), offset: offset).array
        bytes.replaceSubrange(0..<16, with: empty[0..<16])
        bytes.put(bytes.crc(0..<(bytes.count - 4)), at: bytes.count - 4)
    }
}

/// An index file. Input: flags u8 (1: repair), the log's end i64, the base i64, the file.
///
/// Oracle: the entries rise, lie below the end, and are what stands in the file.
enum IndexTarget: FuzzTarget {
    static let name = "index"

    static func run(_ input: [UInt8]) {
        var feed = Feed(input)
        let flags = feed.byte()
        let end = feed.integer(Int64.self)
        let base = feed.integer(Int64.self)
        guard end >= 0, base >= 0 else { return }
        let header = IndexHeader(
            topic: TopicID(high: 1, low: 2), partition: 3, base: base, generation: 0)
        var bytes = feed.remainder()
        if flags & 1 != 0 { Repair.index(&bytes, header) }
        let disk = MemoryFileSystem()
        disk.put("/d/index", bytes)
        do {
            let file = try disk.open("/d/index", .readOnly)
            let entries = try SparseIndex.readEntries(header, from: file, end: end)
            let slab = ByteSlab(
                capacity: IndexHeader.byteCount + entries.count * IndexEntry.byteCount)
            if entries.isEmpty { return }
            header.encode(into: slab)
            for (index, entry) in entries.enumerated() {
                require(entry.position >= 0 && entry.position <= end, "position \(entry.position)")
                require(entry.offset >= base, "offset \(entry.offset) below \(base)")
                if index > 0 { require(entry.offset >= entries[index - 1].offset, "offsets fall") }
                entry.encode(into: slab)
            }
        } catch {
            require(false, "an error of a disk that has none: \(error)")
        }
    }

    static var seeds: [(name: String, bytes: [UInt8])] {
        let header = IndexHeader(
            topic: TopicID(high: 1, low: 2), partition: 3, base: 100, generation: 0)
        let slab = ByteSlab(capacity: 4096)
        header.encode(into: slab)
        var entry = IndexEntry.first(of: 100)
        for step in 0..<4 {
            if step == 3 { entry.isSeal = true }
            entry.encode(into: slab)
            entry.offset += 10
            entry.position += 70_000
            entry.appendTime = 1_000 + Int64(step)
            entry.maxEventTime = 900 + Int64(step)
            entry.checksum &+= 77
        }
        var head: [UInt8] = []
        head.append(bigEndian: Int64(300_000))
        head.append(bigEndian: Int64(100))
        return [
            ("sealed", [1] + head + slab.array), ("plain", [0] + head + slab.array),
            ("cut", [1] + head + slab.array.dropLast(9)),
        ]
    }
}

/// A marks file. Input: flags u8 (1: repair), a count of slots in an older file u8, the slots.
///
/// Oracle: what was understood is understood again from the file that a start writes.
enum MarksTarget: FuzzTarget {
    static let name = "marks"

    static func run(_ input: [UInt8]) {
        var feed = Feed(input)
        let flags = feed.byte()
        let older = Int(feed.byte() % 8) * MarkEntry.byteCount
        var bytes = feed.remainder()
        if flags & 1 != 0 { Repair.marks(&bytes, key: nil) }
        let disk = MemoryFileSystem()
        let slot = [UInt8](repeating: 0, count: MarkEntry.byteCount)
        disk.put("/d/\(MarksFileFormat.name(1))", slot + bytes.prefix(older))
        disk.put("/d/\(MarksFileFormat.name(2))", slot + bytes.dropFirst(older))
        do {
            let loader = MarksLoader(fileSystem: disk, directory: "/d")
            let loaded = try loader.load()
            let writer = try MarksWriter(
                fileSystem: disk, directory: "/d", options: MarksOptions(),
                executor: InlineExecutor(), loaded: loaded,
                onFatal: { require(false, "fatal: \($0)") })
            try writer.recordAndSync([MarkEntry(.clean)])
            let again = try loader.load()
            require(again.damagedSlots == 0, "writes what it cannot read")
            require(again.table.partitions == loaded.table.partitions, "partitions change")
            require(again.table.epoch == loaded.table.epoch, "the epoch changes")
            require(again.table.retentionClock == loaded.table.retentionClock, "the clock changes")
            require(again.table.isClean, "clean is not the last")
        } catch {
            require(false, "an error of a disk that has none: \(error)")
        }
    }

    /// One entry of each kind.
    static var slots: [UInt8] {
        let slab = ByteSlab(capacity: 4096)
        for (index, kind) in [
            MarkKind.epoch, .end, .reserve, .start, .clock, .end, .clean,
        ].enumerated() {
            var entry = MarkEntry(kind)
            entry.sequence = UInt64(index + 1)
            entry.leaderEpoch = 1
            entry.topic = SegmentTarget.key.topic
            entry.offset = [0, 4, 8, 2, 0, 6, 0][index]
            entry.time = 1_700_000_000_000
            entry.encode(into: slab)
        }
        return slab.array
    }

    static var seeds: [(name: String, bytes: [UInt8])] {
        [
            ("all", [1, 0] + slots), ("two-files", [1, 3] + slots),
            ("holes", [0, 2] + slots.dropFirst(3)),
            ("ahead", [1, 0] + slots + [UInt8](repeating: 0, count: 240)),
        ]
    }
}

/// A snapshot of producers. Input: flags u8 (1: repair), offset i64, the file.
///
/// Oracle: what is read is written and read as the same, and takes further batches.
enum ProducersTarget: FuzzTarget {
    static let name = "producers"

    static func run(_ input: [UInt8]) {
        var feed = Feed(input)
        let flags = feed.byte()
        let offset = feed.integer(Int64.self)
        var bytes = feed.remainder()
        if flags & 1 != 0 { Repair.producers(&bytes, offset: offset) }
        let slab = bytes.slab
        guard var table = ProducerSnapshot.decode(slab.bytes, offset: offset) else { return }
        let written = ProducerSnapshot.encode(table, offset: offset)
        require(
            ProducerSnapshot.decode(written.bytes, offset: offset) == table, "reads differently")
        var header = RecordBatchHeader(
            batchLength: 49, recordCount: 3, baseTimestamp: 0, maxTimestamp: 0)
        for (id, state) in table.producers {
            require(state.batches.count <= ProducerState.windowCount, "a window too large")
            header.producerID = id
            header.producerEpoch = state.epoch
            header.baseSequence = state.batches.last?.lastSequence ?? 0
            header.baseOffset = 5
            for _ in 0..<3 {
                _ = table.judge(header)
                header.baseSequence = header.baseSequence &+ 1
            }
            table.record(header, appendTime: 1)
        }
        table.expire(before: 0)
        _ = ProducerSnapshot.encode(table, offset: offset)
    }

    static var table: ProducerTable {
        var table = ProducerTable()
        var header = RecordBatchHeader(
            batchLength: 49, recordCount: 2, baseTimestamp: 0, maxTimestamp: 0)
        for id in 1...3 as ClosedRange<Int64> {
            for step in 0..<Int32(id * 2) {
                header.producerID = id
                header.producerEpoch = 1
                header.baseSequence = step * 2
                header.baseOffset = Int64(step) * 2
                table.record(header, appendTime: 1_000)
            }
        }
        return table
    }

    static var seeds: [(name: String, bytes: [UInt8])] {
        let offset: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 12]
        let file = ProducerSnapshot.encode(table, offset: 12).array
        return [
            ("three", [1] + offset + file), ("plain", [0] + offset + file),
            ("empty", [1] + offset + ProducerSnapshot.encode(ProducerTable(), offset: 12).array),
        ]
    }
}

/// `topic.meta`. Input: flags u8 (1: put the right checksum behind it), the text.
///
/// Oracle: what is read is written and read as the same.
enum TopicMetaTarget: FuzzTarget {
    static let name = "topicmeta"

    static func run(_ input: [UInt8]) {
        var feed = Feed(input)
        let flags = feed.byte()
        var bytes = feed.remainder()
        if flags & 1 != 0 {
            bytes += Array("crc \(String(bytes.crc(0..<bytes.count), radix: 16))\n".utf8)
        }
        do {
            let metadata = try TopicMetadataText.decode(bytes)
            do {
                let again = try TopicMetadataText.decode(TopicMetadataText.encode(metadata))
                require(again == metadata, "reads \(again), was \(metadata)")
            } catch {
                require(false, "cannot read what it wrote: \(error)")
            }
            _ = try metadata.settings(over: TopicSettings())
        } catch {
            require(!error.message.isEmpty, "an error without a text")
        }
    }

    static var metadata: TopicMetadata {
        var metadata = TopicMetadata(
            id: SegmentTarget.key.topic, name: "orders.v1", partitions: 1)
        metadata.overrides = ["durability": "written", "segment.bytes": "65536"]
        metadata.gaps = [0: [10..<20, 30..<31], 2: [5..<9]]
        return metadata
    }

    static var seeds: [(name: String, bytes: [UInt8])] {
        let file = TopicMetadataText.encode(metadata)
        let lines = file.split(separator: 10, omittingEmptySubsequences: false)
        let body = Array(lines.dropLast(2).joined(separator: [10])) + [10]
        return [("whole", [0] + file), ("body", [1] + body)]
    }
}
