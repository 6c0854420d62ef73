import MartletFormat
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// What the fuzzers found: files that no broker writes, with good checksums, and files that are not
/// all there.
@Suite struct ForeignFilesTests {
    private let folder = TemporaryFolder()
    private let disk = PosixFileSystem()
    private var partition: String { "\(folder.path)/topics/\(TopicID(high: 1, low: 1))/0" }

    // MARK: Loaders

    @Test func `a seal that goes back in offsets ends the index`() throws {
        let header = IndexHeader(topic: .zero, partition: 0, base: 100, generation: 0)
        let slab = ByteSlab(capacity: 256)
        header.encode(into: slab)
        IndexEntry.first(of: 100).encode(into: slab)
        var seal = IndexEntry.first(of: 0)
        seal.isSeal = true
        seal.encode(into: slab)
        let file = try disk.open("\(folder.path)/index", .createNew)
        try file.write(slab, at: 0)
        let entries = try SparseIndex.readEntries(header, from: file, end: 1000)
        #expect(entries == [.first(of: 100)])
    }

    @Test func `numbers that no broker reaches make no mark`() throws {
        let bad: [(inout MarkEntry) -> Void] = [
            { $0.sequence = .max }, { $0.offset = .max }, { $0.position = .max },
            { $0.leaderEpoch = .max }, { $0.leaderEpoch = -1 }, { $0.time = -1 },
            { ($0.segmentBase, $0.offset) = (10, 9) },
        ]
        #expect(Self.readAgain(MarkEntry(.end)) == MarkEntry(.end))
        for change in bad {
            var entry = MarkEntry(.end)
            change(&entry)
            #expect(Self.readAgain(entry) == nil, "\(entry)")
        }
    }

    @Test func `numbers that no broker reaches make no index entry`() throws {
        let bad: [(inout IndexEntry) -> Void] = [
            { $0.offset = .max }, { $0.offset = -1 }, { $0.position = .max }, { $0.position = -1 },
            { $0.appendTime = .max }, { $0.appendTime = -1 },
        ]
        var good = IndexEntry.first(of: 7)
        #expect(Self.readAgain(good) == good)
        (good.appendTime, good.maxEventTime) = (0, -5)
        #expect(Self.readAgain(good) == good)
        for change in bad {
            var entry = good
            change(&entry)
            #expect(Self.readAgain(entry) == nil, "\(entry)")
        }
    }

    private static func readAgain(_ entry: IndexEntry) -> IndexEntry? {
        let slab = ByteSlab(capacity: IndexEntry.byteCount)
        entry.encode(into: slab)
        return IndexEntry.read(slab.bytes, at: 0)
    }

    @Test func `marks are read again also after the highest number that is taken`() throws {
        let loader = MarksLoader(fileSystem: disk, directory: folder.path)
        var loaded = try loader.load()
        loaded.table.sequence = UInt64(LogLimits.offsetMax)
        let writer = try MarksWriter(
            fileSystem: disk, directory: folder.path, options: MarksOptions(),
            executor: ManualExecutor(clock: ManualClock()), loaded: loaded, onFatal: { _ in })
        try writer.recordAndSync([MarkEntry(.clean)])
        let again = try loader.load()
        #expect(again.damagedSlots == 0)
        #expect(again.table.isClean)
    }

    private static func readAgain(_ entry: MarkEntry) -> MarkEntry? {
        let slab = ByteSlab(capacity: MarkEntry.byteCount)
        entry.encode(into: slab)
        return MarkEntry(reading: slab.bytes, at: 0)
    }

    @Test func `a producer with more batches than are kept makes no snapshot`() throws {
        var table = ProducerTable()
        let batch = ProducedBatch(
            baseSequence: 0, lastSequence: 0, baseOffset: 0, nextOffset: 1, leaderEpoch: 0)
        for (count, isGood) in [(ProducerState.windowCount, true), (6, false)] {
            table.producers[1] = ProducerState(
                epoch: 0, batches: Array(repeating: batch, count: count), lastAppendTime: 0)
            table.producers[2] = ProducerState(epoch: 0, batches: [], lastAppendTime: 0)
            let slab = ProducerSnapshot.encode(table, offset: 7)
            #expect((ProducerSnapshot.decode(slab.bytes, offset: 7) == table) == isGood)
        }
    }

    @Test func `topic metadata with impossible numbers is refused`() throws {
        var metadata = TopicMetadata(id: .zero, name: "t", partitions: 1)
        #expect(try TopicMetadataText.decode(TopicMetadataText.encode(metadata)) == metadata)
        metadata.partitions = .max
        #expect(throws: StorageError.self) {
            try TopicMetadataText.decode(TopicMetadataText.encode(metadata))
        }
        metadata.partitions = 1
        metadata.gaps = [0: [5..<Int64.max]]
        #expect(throws: StorageError.self) {
            try TopicMetadataText.decode(TopicMetadataText.encode(metadata))
        }
    }

    // MARK: Recovery

    @Test func `metadata that differs in any byte is refused, also in its last`() throws {
        let metadata = TopicMetadata(
            id: TopicID(high: 1, low: 2), name: "orders", partitions: 3,
            overrides: ["retention.ms": "5"], gaps: [1: [4..<9]])
        let whole = TopicMetadataText.encode(metadata)
        for at in whole.indices {
            for byte in [UInt8(0), 0x0B, 0x20, whole[at] ^ 0x20, 0xFF] where byte != whole[at] {
                var bytes = whole
                bytes[at] = byte
                #expect(throws: StorageError.self, "byte \(at) is \(byte)") {
                    try TopicMetadataText.decode(bytes)
                }
            }
            #expect(throws: StorageError.self) {
                try TopicMetadataText.decode(Array(whole.dropLast(at + 1)))
            }
        }
    }

    @Test func `a closed segment that lost its end is damage, not the end of the log`() throws {
        let bases = try closedSegments()
        let first = try disk.open("\(partition)/\(LogFileNames.log(0, generation: 0))", .readWrite)
        try first.truncate(to: 0)
        try disk.removeFile("\(partition)/\(LogFileNames.index(0, generation: 0))")
        let (harness, log) = try openAgain()
        defer { _ = harness }
        _ = try log.planFromDisk(from: 0, maxBytes: 1 << 20)
        guard case .corrupt(let ranges, _) = try log.verifiedRead(from: 0, maxBytes: 1 << 20) else {
            Issue.record("a missing segment is not reported")
            return
        }
        #expect(ranges == [0..<bases[1]])
        guard case .data(let plan) = try log.verifiedRead(from: bases[1], maxBytes: 1) else {
            Issue.record("what is there is not served")
            return
        }
        #expect(plan.nextOffset == bases[1] + 1)
    }

    @Test func `offsets of a missing newest segment are never given again`() throws {
        let bases = try closedSegments()
        let last = bases[bases.count - 1]
        try disk.removeFile("\(partition)/\(LogFileNames.log(last, generation: 0))")
        for base in bases.suffix(2) {
            try disk.removeFile("\(partition)/\(LogFileNames.index(base, generation: 0))")
        }
        // At the first start its offsets are told as damage; the next finds its place empty.
        for _ in 0..<2 {
            let (harness, log) = try openAgain()
            #expect(log.view.logEnd == 60)
            guard case .corrupt(let ranges, _) = try log.verifiedRead(from: last, maxBytes: 1)
            else {
                Issue.record("a missing segment is not reported")
                return
            }
            #expect(ranges == [last..<60])
            withExtendedLifetime(harness) {}
        }
    }

    @Test func `bytes behind a closed segment's last batch cost nothing`() throws {
        let bases = try closedSegments()
        let path = "\(partition)/\(LogFileNames.log(0, generation: 0))"
        let file = try disk.open(path, .readWrite)
        let junk = ByteSlab(capacity: 100)
        while junk.freeCapacity > 0 { junk.append(UInt8(7)) }
        try file.write(junk, at: try file.size())
        try disk.removeFile("\(partition)/\(LogFileNames.index(0, generation: 0))")
        let (harness, log) = try openAgain()
        defer { _ = harness }
        var offset: Int64 = 0
        while offset < bases[1] + 1 {
            _ = try log.planFromDisk(from: offset, maxBytes: 1 << 20)
            guard case .data(let plan) = try log.verifiedRead(from: offset, maxBytes: 1 << 20)
            else {
                Issue.record("nothing at \(offset)")
                return
            }
            offset = plan.nextOffset
        }
    }

    @Test func `damage below the asked offset does not hide what is asked for`() throws {
        do {
            let harness = try StorageHarness(folder.path, disk)
            let log = try #require(try harness.topic("t").partition(0))
            for value in ["first", "second", "third"] { _ = try log.appendNow(batch([value])) }
            try harness.engine.close()
        }
        let path = "\(partition)/\(LogFileNames.log(0, generation: 0))"
        let flipped = ByteSlab(capacity: 1)
        flipped.append(UInt8(0xFF))
        try disk.open(path, .readWrite).write(flipped, at: 64)
        let (harness, log) = try openAgain()
        defer { _ = harness }
        guard case .data(let plan) = try log.verifiedRead(from: 2, maxBytes: 1 << 20) else {
            Issue.record("offset 2 is not served")
            return
        }
        #expect(plan.nextOffset == 3)
    }

    @Test(arguments: [true, false])
    func `a log never goes on below what was deleted or is a known gap`(_ byMark: Bool) throws {
        do {
            let harness = try StorageHarness(folder.path, disk)
            _ = try harness.topic("t")
            try harness.engine.close()
        }
        if byMark { try writeStartMark(5) } else { try writeGap(0..<5) }
        for expected in 5...6 as ClosedRange<Int64> {
            let (harness, log) = try openAgain()
            #expect(log.view.logEnd == expected)
            guard case .appended(let receipt) = try log.appendNow(batch(["v\(expected)"])) else {
                Issue.record("not appended")
                return
            }
            #expect(receipt.baseOffset == expected)
            guard case .data = try log.verifiedRead(from: 5, maxBytes: 1 << 14) else {
                Issue.record("offset 5 is not served")
                return
            }
            try harness.engine.close()
        }
        let (harness, log) = try openAgain()
        #expect(try log.values(from: 5).map(\.1) == ["v5", "v6"])
        try harness.engine.close()
    }

    @Test func `a written topic without marks passes its block at the first start`() throws {
        do {
            let harness = try StorageHarness(folder.path, disk)
            _ = try harness.topic("t")
            try harness.engine.close()
        }
        try removeMarks()
        try writeGap(0..<1, ["durability": "written"])
        // Dropped, not closed: an unclean stop each time.
        for _ in 0..<2 {
            let (_, log) = try openAgain()
            #expect(log.view.logEnd == 1 + 2 * PartitionLog.reserveBlock)
        }
    }

    @Test func `an engine that is dropped lets go of its files`() throws {
        let context: StorageContext
        do {
            let harness = try StorageHarness(folder.path, disk)
            let log = try #require(try harness.topic("t").partition(0))
            _ = try log.appendNow(batch(["v"]))
            context = harness.engine.context
        }
        #expect(context.files.isEmpty)
        #expect(context.indexes.isEmpty)
    }

    // MARK: Helpers

    /// Writes a log of several segments; returns their base offsets.
    private func closedSegments() throws -> [Int64] {
        let harness = try StorageHarness(folder.path, disk)
        let topic = try harness.topic("t", settings: ["segment.bytes": "65536"])
        let log = try #require(topic.partition(0))
        for round in 0..<60 {
            _ = try log.appendNow(batch(["\(round)" + String(repeating: "x", count: 3000)]))
        }
        let bases = log.state.withLock { $0.segments.map(\.base) }
        try #require(bases.count > 2)
        try harness.engine.close()
        return bases
    }

    private func openAgain() throws -> (StorageHarness, PartitionLog) {
        let harness = try StorageHarness(folder.path, disk)
        return (harness, try #require(try harness.topic("t").partition(0)))
    }

    private func removeMarks() throws {
        for name in try disk.list(folder.path) where MarksFileFormat.generation(name) != nil {
            try disk.removeFile("\(folder.path)/\(name)")
        }
    }

    private func writeStartMark(_ offset: Int64) throws {
        try removeMarks()
        var entry = MarkEntry(.start)
        entry.topic = TopicID(high: 1, low: 1)
        entry.offset = offset
        let slab = ByteSlab(capacity: 2 * MarkEntry.byteCount)
        MarksFileFormat.encodeHeader(1, into: slab)
        entry.encode(into: slab)
        let file = try disk.open("\(folder.path)/\(MarksFileFormat.name(1))", .createNew)
        try file.write(slab, at: 0)
    }

    private func writeGap(
        _ gap: Range<Int64>, _ overrides: [String: String] = [:]
    ) throws {
        var metadata = TopicMetadata(id: TopicID(high: 1, low: 1), name: "t", partitions: 1)
        metadata.gaps = [0: [gap]]
        metadata.overrides = overrides
        let home = "\(folder.path)/topics/\(metadata.id)"
        try disk.replace(
            "\(home)/topic.meta", with: TopicMetadataText.encode(metadata), in: home)
    }
}
