import Glibc
import MartletFormat
import MartletStorage
import MartletSystem
import Testing

@Suite struct PartitionLogTests {
    @Test func `what is appended is read back, also after a restart`() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/data"
        var expected: [String] = []
        do {
            let harness = try StorageHarness(path, PosixFileSystem())
            let log = try #require(try harness.topic("t").partition(0))
            for round in 0..<50 {
                let values = (0..<20).map { "value-\(round)-\($0)" }
                expected += values
                guard case .appended(let receipt) = try log.appendNow(batch(values)) else {
                    Issue.record("not appended")
                    return
                }
                let probe = DurabilityProbe()
                log.whenDurable(receipt.endOffset, probe)
                #expect(probe.isDurable)
            }
            #expect(try log.values().map(\.1) == expected)
            try harness.engine.close()
        }
        let harness = try StorageHarness(path, PosixFileSystem())
        #expect(harness.engine.startReport.isClean)
        let log = try #require(try harness.topic("t").partition(0))
        #expect(log.view.logEnd == 1000)
        #expect(try log.values().map(\.1) == expected)
        #expect(try log.values(from: 777).first?.0 == 777)
        guard case .appended(let receipt) = try log.appendNow(batch(["after"])) else {
            Issue.record("not appended after a restart")
            return
        }
        #expect(receipt.baseOffset == 1000)
    }

    @Test func `segments roll and all of them are read`() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/data"
        var expected: [String] = []
        let filler = String(repeating: "x", count: 3000)
        do {
            let harness = try StorageHarness(path, PosixFileSystem())
            let topic = try harness.topic("t", settings: ["segment.bytes": "65536"])
            let log = try #require(topic.partition(0))
            for round in 0..<200 {
                let values = ["\(round)-\(filler)"]
                expected += values
                guard case .appended = try log.appendNow(batch(values)) else {
                    Issue.record("not appended")
                    return
                }
            }
            #expect(log.view.segments > 5)
            #expect(try log.values().map(\.1) == expected)
        }
        // No close: as after kill -9.
        let harness = try StorageHarness(path, PosixFileSystem())
        #expect(!harness.engine.startReport.isClean)
        let log = try #require(try harness.topic("t").partition(0))
        #expect(try log.values().map(\.1) == expected)
        #expect(try log.values(from: 100, maxBytes: 100).map(\.1) == Array(expected[100...]))
    }
}
