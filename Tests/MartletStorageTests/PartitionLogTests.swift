import Glibc
import MartletFormat
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

@Suite struct PartitionLogTests {
    @Test func `a write-back that syncfs does not tell of is not acknowledged`() throws {
        let disk = CrashDisk()
        let flush = ManualExecutor(clock: ManualClock())
        let harness = try StorageHarness("/data", disk, flush: flush) {
            $0.syncFileSystemThreshold = 2
        }
        let topic = try harness.topic("t", partitions: 3)
        var probes: [DurabilityProbe] = []
        for log in topic.partitions {
            guard case .appended(let receipt) = try log.appendNow(batch(["v"])) else {
                Issue.record("not appended")
                return
            }
            let probe = DurabilityProbe()
            log.whenDurable(receipt.endOffset, probe)
            probes.append(probe)
        }
        disk.setFault(
            DiskFault(kind: .inputOutput, operation: disk.operations, isLasting: false))
        flush.runAll()
        #expect(disk.faultHits == 1)
        #expect(harness.engine.context.failed != nil)
        #expect(probes.allSatisfy { !$0.isDurable })
    }

    @Test func `an append that waits is woken when the segment got its name meanwhile`() throws {
        let folder = TemporaryFolder()
        let harness = try StorageHarness(folder.path, PosixFileSystem())
        let log = try #require(try harness.topic("t").partition(0))
        _ = try log.appendNow(batch(["v"]))
        // The preparation began before the flush gave the name; the append came after.
        let probe = RetryProbe()
        log.appender.withLock { appender in
            appender.isPreparing = true
            appender.wait(probe)
        }
        log.putOffPreparing()
        #expect(probe.count.load(ordering: .relaxed) == 1)
        #expect(log.appender.withLock { !$0.isPreparing })
    }

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

    @Test func `an older epoch of a producer is refused, also after a restart`() throws {
        let folder = TemporaryFolder()
        for life in 0..<2 {
            let harness = try StorageHarness(folder.path, PosixFileSystem())
            let log = try #require(try harness.topic("t").partition(0))
            if life == 0 {
                _ = try log.appendNow(batch(["old"], producer: 7, epoch: 0, sequence: 0))
                _ = try log.appendNow(batch(["new"], producer: 7, epoch: 1, sequence: 0))
            }
            let late = batch(["late"], producer: 7, epoch: 0, sequence: 1)
            guard case .refused(.staleEpoch(current: 1)) = try log.appendNow(late) else {
                Issue.record("an older instance goes on")
                return
            }
            #expect(log.view.logEnd == 2)
            try harness.engine.close()
        }
    }
}
