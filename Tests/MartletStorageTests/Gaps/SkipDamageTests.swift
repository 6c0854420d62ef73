import MartletFormat
import MartletSystem
import Synchronization
import Testing

@testable import MartletStorage

/// An operator's word that readers may pass damage.
@Suite struct SkipDamageTests {
    private let folder = TemporaryFolder()
    private let disk = PosixFileSystem()

    /// Three batches, the second with a wrong byte at this place.
    private func damagedLog(at place: Int64 = 66) throws {
        let harness = try StorageHarness(folder.path, disk)
        let log = try #require(try harness.topic("t").partition(0))
        for value in ["first", "second", "third"] { _ = try log.appendNow(batch([value])) }
        try harness.engine.close()
        let first = Int64(batch(["first"]).count)
        let path =
            "\(folder.path)/topics/\(TopicID(high: 1, low: 1))/0/\(LogFileNames.log(0, generation: 0))"
        let flipped = ByteSlab(capacity: 1)
        flipped.append(UInt8(0xFF))
        try disk.open(path, .readWrite).write(flipped, at: first + place)
    }

    private func reader(_ harness: StorageHarness) throws -> DamageReader {
        let log = try #require(harness.engine.topic(named: "t")?.partition(0))
        var reader = DamageReader(log, isCompacted: false)
        reader.run(from: 0)
        #expect(reader.problems.isEmpty)
        return reader
    }

    @Test func `a skip of damage stays after a restart`() throws {
        try damagedLog()
        let id = TopicID(high: 1, low: 1)
        do {
            let harness = try StorageHarness(folder.path, disk)
            let log = try #require(harness.engine.topic(named: "t")?.partition(0))
            #expect(try reader(harness).told == [1..<2])
            #expect(log.view.damaged == [1..<2])
            let engine = harness.engine
            #expect(try engine.skipDamage(id, partition: 0, from: 0, to: 1, execute: true) == [])
            #expect(
                try engine.skipDamage(id, partition: 0, from: 0, to: 3, execute: false) == [1..<2])
            #expect(log.view.damaged == [1..<2], "only looked at")
            #expect(
                try engine.skipDamage(id, partition: 0, from: 0, to: 3, execute: true) == [1..<2])
            #expect(log.view.damaged == [])
        }
        for life in 0..<2 {
            let harness = try StorageHarness(folder.path, disk)
            let log = try #require(harness.engine.topic(named: "t")?.partition(0))
            // Named as a gap, not as damage: nobody is stopped.
            let plan = log.plan(from: 1, maxBytes: 1000)
            if case .corrupt = plan { Issue.record("the skip is forgotten") }
            let seen = try reader(harness)
            #expect(seen.told == [1..<2])
            #expect(seen.records.map(\.value) == ["first", "third"])
            #expect(log.view.damaged == [], "found again, and passed")
            // Other changes of the topic keep it.
            if life == 0 {
                _ = try harness.engine.alterTopic(
                    id, changes: [("retention.ms", "-1")], validateOnly: false)
            }
            try harness.engine.close()
        }
    }

    @Test func `damage behind the cut of a small read is told too`() throws {
        try damagedLog(at: 16)
        let harness = try StorageHarness(folder.path, disk)
        let log = try #require(harness.engine.topic(named: "t")?.partition(0))
        var reader = DamageReader(log, isCompacted: false)
        reader.maxBytes = 1
        reader.run(from: 0)
        #expect(reader.problems.isEmpty, "\(reader.problems)")
        #expect(reader.told == [1..<2])
        #expect(reader.records.map(\.value) == ["first", "third"])
    }

    @Test(arguments: [true, false])
    func `a batch in a record's value is not taken for a stored one`(hasIndex: Bool) throws {
        let inner = batch(["inner"])
        RecordBatch.assign(baseOffset: 2, leaderEpoch: 0, in: inner, at: 0)
        let archive = ByteSlab(capacity: 1024)
        let builder = RecordBatchBuilder(slab: archive)
        _ = builder.append(key: nil, value: inner.bytes, headers: [], timestamp: 1_000)
        _ = builder.finish(producerID: -1, producerEpoch: -1, baseSequence: -1)
        let first = batch(["first"])
        do {
            let harness = try StorageHarness(folder.path, disk) { $0.indexIntervalBytes = 4_096 }
            let log = try #require(try harness.topic("t").partition(0))
            for slab in [first, archive, batch(["third"]), batch(["fourth"])] {
                _ = try log.appendNow(slab)
            }
            try harness.engine.close()
        }
        let partition = "\(folder.path)/topics/\(TopicID(high: 1, low: 1))/0"
        // The archive's magic byte: where it ends is not known any more.
        let wrong = ByteSlab(capacity: 1)
        wrong.append(UInt8(0x55))
        try disk.open("\(partition)/\(LogFileNames.log(0, generation: 0))", .readWrite)
            .write(wrong, at: Int64(first.count + 16))
        if !hasIndex {
            try disk.removeFile("\(partition)/\(LogFileNames.index(0, generation: 0))")
        }
        // Without its index, the log itself says where its batches are.
        let interval: Int64 = hasIndex ? 4_096 : 61
        let harness = try StorageHarness(folder.path, disk) { $0.indexIntervalBytes = interval }
        let seen = try reader(harness)
        #expect(seen.told.first == 1..<2)
        #expect(seen.records.map(\.value).starts(with: ["first", "third"]))
        if hasIndex { #expect(seen.records.last?.value == "fourth" && seen.told.count == 1) }
    }

    @Test func `a skip goes with the offsets that it was for`() throws {
        try damagedLog()
        let id = TopicID(high: 1, low: 1)
        let harness = try StorageHarness(folder.path, disk)
        let log = try #require(harness.engine.topic(named: "t")?.partition(0))
        _ = try reader(harness)
        _ = try harness.engine.skipDamage(id, partition: 0, from: 0, to: 3, execute: true)
        _ = try log.deleteRecords(before: 2)
        let metadata = try #require(harness.engine.topic(named: "t")?.metadata)
        #expect(metadata.skipped == [0: [1..<2]])
        #expect(log.state.withLock { $0.skipped } == [])
        let text = TopicMetadataText.encode(metadata)
        #expect(try TopicMetadataText.decode(text) == metadata)
    }
}
