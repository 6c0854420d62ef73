import MartletFormat
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// One request moves the log starts of many partitions.
@Suite struct DeleteRecordsTests {
    private func filled(_ harness: StorageHarness, _ partitions: Int32) throws -> [PartitionLog] {
        let topic = try harness.topic("t", partitions: partitions)
        for log in topic.partitions {
            for round in 0..<5 { _ = try log.appendNow(batch(["\(round)"])) }
        }
        return topic.partitions
    }

    @Test func `many log starts are on disk when they are told`() throws {
        let folder = TemporaryFolder()
        do {
            let harness = try StorageHarness(folder.path, PosixFileSystem())
            let logs = try filled(harness, 8)
            let wanted = logs.enumerated().map { ($1, Int64($0 % 4)) }
            // Of several for one partition the highest counts; one that is not there stops none.
            let results = harness.engine.deleteRecords(
                wanted + [(logs[3], 1), (logs[4], 6), (logs[5], -1), (logs[6], 2)])
            let starts = results.map { try? $0.get() }
            #expect(starts == [0, 1, 2, 3, 0, 5, 2, 3, 3, nil, 5, 2])
        }
        // Killed.
        let harness = try StorageHarness(folder.path, PosixFileSystem())
        let topic = try #require(harness.engine.topic(named: "t"))
        #expect(topic.partitions.map { $0.view.logStart } == [0, 1, 2, 3, 0, 5, 2, 3])
        try harness.engine.close()
    }

    @Test func `without room for the marks no log start moves`() throws {
        let folder = TemporaryFolder()
        let disk = FullMarksFileSystem()
        let harness = try StorageHarness(folder.path, disk)
        let logs = try filled(harness, 3)
        disk.isFull.store(true, ordering: .relaxed)
        let results = harness.engine.deleteRecords([(logs[0], 3), (logs[1], 0), (logs[2], 4)])
        for (index, result) in results.enumerated() {
            switch result {
            case .success(let start): #expect(index == 1 && start == 0)
            case .failure(let error): #expect(index != 1 && error.code == .diskFull)
            }
        }
        #expect(logs.map { $0.view.logStart } == [0, 0, 0])
        disk.isFull.store(false, ordering: .relaxed)
        harness.engine.tick()
        try harness.engine.close()
    }

    @Test func `a log start never goes back, in whatever order its marks are written`() {
        var table = MarkTable()
        for (sequence, offset) in [(UInt64(1), Int64(3)), (2, 9), (3, 5)] {
            var mark = MarkEntry(.start)
            mark.offset = offset
            mark.sequence = sequence
            table.apply(mark)
        }
        let key = PartitionKey(topic: .zero, partition: 0)
        #expect(table.partitions[key]?.start?.offset == 9)
        #expect(table.sequence == 3)
    }
}
