import MartletFormat
import MartletSystem
import Synchronization
import Testing

@testable import MartletStorage

@Suite struct CompactionTests {
    @Test func `the newest value of each key stays, in order, at its offset`() throws {
        let folder = TemporaryFolder()
        let path = folder.path
        let settings = ["segment.bytes": "65536", "cleanup.policy": "compact"]
        let filler = String(repeating: "x", count: 500)
        var last: [String: (Int64, String)] = [:]
        do {
            let harness = try StorageHarness(path, PosixFileSystem())
            let log = try #require(try harness.topic("t", settings: settings).partition(0))
            for round in 0..<1000 {
                let key = "key-\(round % 37)"
                let value = "\(round)-\(filler)"
                guard case .appended(let receipt) = try log.appendNow(batch([value], key: key))
                else {
                    Issue.record("not appended")
                    return
                }
                last[key] = (receipt.baseOffset, value)
            }
            let before = log.view.bytes
            harness.engine.tick()
            #expect(log.view.bytes < before / 3)
            try check(log, last)
        }
        let harness = try StorageHarness(path, PosixFileSystem())
        let log = try #require(try harness.topic("t").partition(0))
        try check(log, last)
        #expect(log.view.logEnd == 1000)
        guard case .appended(let receipt) = try log.appendNow(batch(["new"], key: "key-0")) else {
            Issue.record("not appended after compaction")
            return
        }
        #expect(receipt.baseOffset == 1000)
    }

    private func check(_ log: PartitionLog, _ last: [String: (Int64, String)]) throws {
        let values = try log.values()
        #expect(values.map(\.0) == values.map(\.0).sorted())
        for (offset, value) in last.values {
            #expect(values.contains { $0.0 == offset && $0.1 == value })
        }
    }

    @Test func `a record without a key is refused`() throws {
        let folder = TemporaryFolder()
        let harness = try StorageHarness(folder.path, PosixFileSystem())
        let topic = try harness.topic("t", settings: ["cleanup.policy": "compact"])
        let log = try #require(topic.partition(0))
        guard case .refused(.nullKey) = try log.appendNow(batch(["v"])) else {
            Issue.record("a null key was taken")
            return
        }
    }

    @Test func `compaction leaves alone what is not what was written`() throws {
        let folder = TemporaryFolder()
        let disk = PosixFileSystem()
        let settings = ["segment.bytes": "65536", "cleanup.policy": "compact"]
        let filler = String(repeating: "x", count: 500)
        do {
            let harness = try StorageHarness(folder.path, disk)
            let log = try #require(try harness.topic("t", settings: settings).partition(0))
            for round in 0..<400 {
                _ = try log.appendNow(batch(["\(round)-\(filler)"], key: "key-\(round % 5)"))
            }
            try harness.engine.close()
        }
        // The leader epoch of the first batch: no checksum of a batch covers it.
        let name = LogFileNames.log(0, generation: 0)
        let path = "\(folder.path)/topics/\(TopicID(high: 1, low: 1))/0/\(name)"
        let epoch = ByteSlab(capacity: 1)
        epoch.append(UInt8(0x55))
        try disk.open(path, .readWrite).write(epoch, at: 15)
        let harness = try StorageHarness(folder.path, disk)
        let log = try #require(try harness.topic("t").partition(0))
        harness.engine.tick()
        #expect(log.state.withLock { $0.segments.allSatisfy { $0.generation == 0 } })
        var reader = DamageReader(log, isCompacted: true)
        reader.run(from: 0)
        #expect(reader.told.contains { $0.contains(0) })
        #expect(!reader.records.contains { $0.offset == 0 })
    }
}
