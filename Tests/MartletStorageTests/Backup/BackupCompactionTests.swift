import MartletSystem
import Synchronization
import Testing

@testable import MartletStorage

/// Backups of compacted topics: what compaction drops has a newer record, and the copy has that one.
@Suite struct BackupCompactionTests {
    private static let keys = (0..<40).map { "key-\($0)" }
    private let folder = TemporaryFolder()
    private var data: String { folder.path + "/data" }
    private var copy: String { folder.path + "/copy" }

    @Test func `a topic that is compacted while it is copied lacks no key`() throws {
        let (harness, log) = try compactedTopic(PosixFileSystem())
        let before = try #require(try write(Self.keys, to: log).last)
        let disk = HookedFileSystem()
        let meanwhile = Atomic(0)
        disk.set { call, path in
            // The first log file after the marks: its turn comes before the rest is copied.
            guard call == .open, path.contains("/data/topics/"), path.hasSuffix(".log"),
                meanwhile.add(1, ordering: .relaxed).newValue == 1
            else { return 0 }
            do {
                _ = try write(Self.keys, to: log)
                log.closeSegment()
                harness.engine.tick()
            } catch {
                Issue.record("\(error)")
            }
            return 0
        }
        _ = try Backup(from: data, to: copy, disk, links: false).run()
        #expect(log.state.withLock { $0.segments[0].generation } == 1, "nothing was compacted")
        let copied = try requireAllKeys()
        #expect(copied.view.logEnd > before)
    }

    /// A backup ends at the marks in the file, and what is dropped has its newer record above them.
    @Test func `nothing is compacted while marks find no room`() throws {
        let disk = FullMarksFileSystem()
        let (harness, log) = try compactedTopic(disk)
        let generation = { log.state.withLock { $0.segments[0].generation } }
        _ = try write(Self.keys, to: log)
        disk.isFull.store(true, ordering: .relaxed)
        _ = try write(Self.keys, to: log)
        log.closeSegment()
        harness.engine.tick()
        #expect(generation() == 0)
        _ = try Backup(from: data, to: copy, PosixFileSystem(), links: false).run()
        _ = try requireAllKeys()
        disk.isFull.store(false, ordering: .relaxed)
        for _ in 0..<2 { harness.engine.tick() }
        #expect(generation() == 1)
    }

    private func compactedTopic(_ disk: any FileSystem) throws -> (StorageHarness, PartitionLog) {
        let harness = try StorageHarness(data, disk)
        let settings = ["segment.bytes": "65536", "cleanup.policy": "compact"]
        let log = try #require(try harness.topic("t", settings: settings).partition(0))
        return (harness, log)
    }

    /// Several segments, each key several times. Returns the log's end after each record.
    private func write(_ keys: [String], to log: PartitionLog) throws -> [Int64] {
        let filler = String(repeating: "x", count: 500)
        var ends: [Int64] = []
        for round in 0..<20 {
            for key in keys {
                _ = try log.appendNow(batch(["\(key) \(round) \(filler)"], key: key))
                ends.append(log.view.logEnd)
            }
        }
        log.flush()
        return ends
    }

    /// Starts on the copy: each key is there with its last value, and nothing is damaged.
    private func requireAllKeys() throws -> PartitionLog {
        let harness = try StorageHarness(copy, PosixFileSystem())
        let log = try #require(try harness.topic("t").partition(0))
        #expect(log.state.withLock { $0.damaged.isEmpty })
        var newest: [Substring: Substring] = [:]
        for (_, value) in try log.values() {
            let parts = value.split(separator: " ")
            newest[parts[0]] = parts[1]
        }
        for key in Self.keys { #expect(newest[key[...]] == "19", "\(key)") }
        return log
    }
}
