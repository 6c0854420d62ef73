import MartletFormat
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// Oldest segments that nobody deleted by the broker, and that are gone.
@Suite struct RemovedFilesTests {
    /// A log of several segments after a stop in order; returns its bases.
    private func fill(_ folder: TemporaryFolder, deleting: Int64 = 0) throws -> [Int64] {
        let harness = try StorageHarness(folder.path, PosixFileSystem())
        let topic = try harness.topic("t", settings: ["segment.bytes": "65536"])
        let log = try #require(topic.partition(0))
        let value = String(repeating: "x", count: 3_000)
        for _ in 0..<100 { _ = try log.appendNow(batch([value])) }
        if deleting > 0 {
            _ = try log.deleteRecords(before: deleting)
            harness.engine.tick()
        }
        let bases = log.state.withLock { $0.segments.map(\.base) }
        try harness.engine.close()
        return bases
    }

    private func remove(_ folder: TemporaryFolder, _ bases: some Sequence<Int64>) throws {
        let home = "\(folder.path)/topics/\(TopicID(high: 1, low: 1))/0"
        for base in bases {
            try PosixFileSystem().removeFile("\(home)/\(LogFileNames.log(base, generation: 0))")
        }
    }

    private func removed(_ harness: StorageHarness) -> [RecoveryEvent] {
        harness.engine.startReport.events.filter { $0.kind == .removed }
    }

    @Test func `oldest segments that were taken away are told, once`() throws {
        let folder = TemporaryFolder()
        let bases = try fill(folder)
        try #require(bases.count > 3)
        try remove(folder, bases.prefix(2))
        let sink = LogCapture()
        for round in 0..<2 {
            let harness = try StorageHarness(
                folder.path, PosixFileSystem(),
                logger: Logger(label: "test", level: .warning, sink: sink))
            let found = removed(harness)
            #expect(found.count == (round == 0 ? 1 : 0))
            if let event = found.first {
                #expect(event.topic == "t" && event.partition == 0)
                #expect(event.from == 0 && event.to == bases[2])
            }
            let log = try #require(harness.engine.topic(named: "t")?.partition(0))
            #expect(log.view.logStart == bases[2] && log.view.logEnd == 100)
            #expect(try log.values().count == Int(100 - bases[2]))
            try harness.engine.close()
        }
        #expect(sink.codes == ["RECOVERY"])
    }

    @Test func `what was deleted in order is not told`() throws {
        let folder = TemporaryFolder()
        let bases = try fill(folder, deleting: 60)
        try #require(bases[0] > 0)
        let harness = try StorageHarness(folder.path, PosixFileSystem())
        #expect(harness.engine.startReport.events.isEmpty)
        try harness.engine.close()
    }

    @Test func `more than was deleted is told from the log start on`() throws {
        let folder = TemporaryFolder()
        let bases = try fill(folder, deleting: 50)
        try #require(bases.count > 2)
        try remove(folder, bases.prefix(1))
        let harness = try StorageHarness(folder.path, PosixFileSystem())
        let event = try #require(removed(harness).first)
        #expect(event.from == 50 && event.to == bases[1])
        try harness.engine.close()
    }

    @Test func `without any marks nothing is known of a deletion`() throws {
        let folder = TemporaryFolder()
        let bases = try fill(folder, deleting: 60)
        let disk = PosixFileSystem()
        for name in try disk.list(folder.path) where name.hasPrefix("marks-") {
            try disk.removeFile("\(folder.path)/\(name)")
        }
        for _ in 0..<2 {
            let harness = try StorageHarness(folder.path, PosixFileSystem())
            #expect(removed(harness).isEmpty)
            let log = try #require(harness.engine.topic(named: "t")?.partition(0))
            #expect(log.view.logStart == bases[0])
            try harness.engine.close()
        }
    }
}
