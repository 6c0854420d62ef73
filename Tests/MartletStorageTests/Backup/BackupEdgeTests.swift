import MartletFormat
import MartletSystem
import Synchronization
import Testing

@testable import MartletStorage

/// What a backup lacks after a full disk, or because the broker goes on.
@Suite struct BackupEdgeTests {
    private let folder = TemporaryFolder()
    private var data: String { folder.path + "/data" }
    private var copy: String { folder.path + "/copy" }

    @Test func `a mark that had no room is in the file once there is room, and in a backup`() throws
    {
        let disk = FullMarksFileSystem()
        let harness = try StorageHarness(data, disk)
        let log = try #require(try harness.topic("quiet").partition(0))
        _ = try log.appendNow(batch(["first"]))
        log.flush()
        disk.isFull.store(true, ordering: .relaxed)
        _ = try log.appendNow(batch(["last"]))
        log.flush()
        #expect(log.view.highWatermark == 2, "acknowledged all the same")
        // Also a try for which there is no room yet costs nothing.
        harness.engine.tick()
        disk.isFull.store(false, ordering: .relaxed)
        harness.engine.tick()
        #expect(harness.engine.context.failed == nil)
        _ = try Backup(from: data, to: copy, PosixFileSystem(), links: false).run()
        let copied = try StorageHarness(copy, PosixFileSystem())
        let again = try #require(try copied.topic("quiet").partition(0))
        #expect(try again.values().map(\.1) == ["first", "last"])
    }

    @Test func `the broker's own topics are copied first`() throws {
        let harness = try StorageHarness(data, PosixFileSystem())
        for number in 1...9 {
            let log =
                try number == 5
                ? ownLog(harness, number)
                : #require(harness.topic("t\(number)", id: Self.id(number)).partition(0))
            _ = try log.appendNow(batch(["record"]))
            log.flush()
        }
        let disk = HookedFileSystem()
        let copied = Mutex<[String]>([])
        disk.set { call, path in
            if call == .open, path.hasSuffix(".log"), path.contains("/data/topics/") {
                copied.withLock { $0.append(path) }
            }
            return 0
        }
        _ = try Backup(from: data, to: copy, disk, links: false).run()
        let paths = copied.withLock { $0 }
        #expect(paths.count == 9)
        #expect(paths.first?.contains("\(Self.id(5))") == true, "\(paths)")
    }

    @Test func `a backup that is overtaken by snapshots of the broker's own topics fails`() throws {
        let harness = try StorageHarness(data, PosixFileSystem())
        let log = try ownLog(harness, 1)
        try fill(log)
        try expectTooLong(harness) {
            // As a snapshot at the log's end lets what is below it go.
            _ = try log.deleteRecords(before: 100)
            harness.engine.tick()
        }
        // What was gone before is no reason.
        _ = try Backup(from: data, to: folder.path + "/next", PosixFileSystem(), links: true).run()
    }

    @Test func `a backup whose last segment goes before it is copied fails`() throws {
        let harness = try StorageHarness(data, PosixFileSystem())
        let log = try #require(
            try harness.topic("t", settings: ["segment.bytes": "65536"]).partition(0))
        try fill(log)
        try expectTooLong(harness) {
            try fill(log)
            _ = try log.deleteRecords(before: -1)
            harness.engine.tick()
        }
    }

    private static func id(_ number: Int) -> TopicID { TopicID(high: 1, low: UInt64(number)) }

    private func ownLog(_ harness: StorageHarness, _ number: Int) throws -> PartitionLog {
        let topic = try harness.engine.createTopic(
            name: "$own", partitions: 1, settings: ["segment.bytes": "65536"],
            id: Self.id(number), isInternal: true)
        return try #require(topic?.partition(0))
    }

    /// Several segments.
    private func fill(_ log: PartitionLog) throws {
        let filler = String(repeating: "x", count: 2000)
        for _ in 0..<150 { _ = try log.appendNow(batch([filler])) }
        log.flush()
    }

    /// A backup during which the broker goes on like this, once the marks are read.
    private func expectTooLong(
        _ harness: StorageHarness, _ goOn: @escaping @Sendable () throws -> Void
    ) throws {
        let disk = HookedFileSystem()
        let hasMarks = Atomic(false)
        let isDone = Atomic(false)
        disk.set { call, path in
            guard call == .open, path.contains("/data/") else { return 0 }
            if path.contains("/marks-") {
                hasMarks.store(true, ordering: .relaxed)
            } else if hasMarks.load(ordering: .relaxed),
                !isDone.exchange(true, ordering: .relaxed)
            {
                do { try goOn() } catch { Issue.record("\(error)") }
            }
            return 0
        }
        let error = #expect(throws: StorageError.self) {
            try Backup(from: data, to: copy, disk, links: true).run()
        }
        #expect(error?.code == .removed, "\(String(describing: error))")
        let hasGoneOn = isDone.load(ordering: .relaxed)
        #expect(hasGoneOn)
    }
}
