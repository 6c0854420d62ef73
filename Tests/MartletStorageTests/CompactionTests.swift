import MartletFormat
import MartletStorage
import MartletSystem
import Testing

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
}
