import Glibc
import MartletFormat
import MartletSystem
import MartletTestSupport
import Testing

@testable import MartletStorage

/// A directory that has no room for a name is a full disk: nothing is lost, and all goes on by itself
/// when there is room. A sync that fails is final whatever it says.
@Suite struct FullDirectoryTests {
    /// There is no room for the new names of files whose old names have `part`.
    private func fill(_ disk: HookedFileSystem, _ part: String, code: CInt = ENOSPC) {
        disk.set { call, path in call == .rename && path.contains(part) ? code : 0 }
    }

    private let rolling = ["segment.bytes": "65536"]
    private let filler = String(repeating: "x", count: 3_000)

    /// Appends, without a flush in between, until the log has another segment.
    private func roll(_ log: PartitionLog) throws {
        let segments = log.view.segments
        for _ in 0..<100 where log.view.segments == segments {
            guard case .appended = try log.appendNow(batch([filler])) else { return }
        }
    }

    private func names(_ folder: TemporaryFolder, _ id: TopicID) throws -> [String] {
        try PosixFileSystem().list("\(folder.path)/topics/\(id)/0")
    }

    @Test(arguments: [ENOSPC, EDQUOT])
    func `a segment that gets no name is named when there is room`(_ code: CInt) throws {
        let folder = TemporaryFolder()
        let disk = HookedFileSystem()
        let clock = ManualClock()
        let flush = ManualExecutor(clock: clock, label: "flush")
        var appended: Int64 = 0
        do {
            let harness = try StorageHarness(folder.path, disk, clock: clock, flush: flush)
            let log = try #require(try harness.topic("t", settings: rolling).partition(0))
            for part in ["prepared.index", "prepared.log"] {
                fill(disk, part, code: code)
                try roll(log)
                let probe = DurabilityProbe()
                appended = log.view.logEnd
                log.whenDurable(appended, probe)
                flush.runAll()
                #expect(harness.engine.context.failed == nil)
                #expect(!harness.engine.isWritable && !probe.isDurable)
                guard case .refused(.diskFull) = try log.appendNow(batch(["more"])) else {
                    Issue.record("a producer was not told that the disk is full")
                    return
                }
                disk.set(nil)
                harness.executor.fireTimers(upTo: 100_000_000)
                flush.runAll()
                #expect(probe.isDurable)
                harness.engine.tick()
                #expect(harness.engine.isWritable)
            }
            flush.runAll()
        }
        // Killed: what was acknowledged is there.
        let harness = try StorageHarness(folder.path, PosixFileSystem(), clock: clock)
        let log = try #require(harness.engine.topic(named: "t")?.partition(0))
        #expect(try log.values().count == Int(appended))
        #expect(log.view.damaged.isEmpty)
        try harness.engine.close()
    }

    @Test func `segments that are flushed together wait for room, too`() throws {
        let folder = TemporaryFolder()
        let disk = HookedFileSystem()
        let clock = ManualClock()
        let flush = ManualExecutor(clock: clock, label: "flush")
        let harness = try StorageHarness(folder.path, disk, clock: clock, flush: flush) {
            $0.syncFileSystemThreshold = 2
        }
        let topic = try harness.topic("t", partitions: 3, settings: rolling)
        flush.runAll()
        fill(disk, "prepared.log")
        let probes = topic.partitions.map { _ in DurabilityProbe() }
        for log in topic.partitions { try roll(log) }
        for (log, probe) in zip(topic.partitions, probes) {
            log.whenDurable(log.view.logEnd, probe)
        }
        flush.runAll()
        #expect(harness.engine.context.failed == nil)
        #expect(probes.contains { !$0.isDurable })
        disk.set(nil)
        harness.executor.fireTimers(upTo: 100_000_000)
        flush.runAll()
        #expect(!probes.contains { !$0.isDurable })
        try harness.engine.close()
    }

    @Test func `marks that get no new file go on in the old one`() throws {
        let folder = TemporaryFolder()
        let disk = HookedFileSystem()
        do {
            let harness = try StorageHarness(folder.path, disk) {
                $0.marksRewriteBytes = 800
            }
            let log = try #require(try harness.topic("t").partition(0))
            fill(disk, "/marks-")
            for round in 0..<40 {
                if round == 30 { disk.set(nil) }
                _ = try log.appendNow(batch(["\(round)"]))
                log.flush()
                harness.executor.fireTimers(upTo: 100_000_000)
                #expect(
                    harness.engine.context.failed == nil && harness.engine.context.marks.isComplete)
                if round == 29 {
                    #expect(try marks(folder) == ["marks-1.log"])
                }
            }
            #expect(try marks(folder) != ["marks-1.log"])
        }
        let harness = try StorageHarness(folder.path, PosixFileSystem())
        let log = try #require(harness.engine.topic(named: "t")?.partition(0))
        #expect(try log.values().count == 40)
        #expect(!harness.engine.startReport.events.contains { $0.kind == .keptAboveMark })
        try harness.engine.close()
    }

    private func marks(_ folder: TemporaryFolder) throws -> [String] {
        try PosixFileSystem().list(folder.path).filter { $0.hasPrefix("marks-") }
    }

    @Test func `a start whose marks get no name gives the reserve back, or says so`() throws {
        let folder = TemporaryFolder()
        let disk = HookedFileSystem()
        try StorageHarness(folder.path, disk).engine.close()
        fill(disk, "/marks-")
        let error = #expect(throws: StorageError.self) { try StorageHarness(folder.path, disk) }
        #expect(error?.code == .diskFull)
        disk.set(nil)
        try StorageHarness(folder.path, disk).engine.close()
    }

    @Test func `a prepared segment that gets no name at a start keeps its records`() throws {
        let folder = TemporaryFolder()
        let disk = HookedFileSystem()
        let clock = ManualClock()
        var end: Int64 = 0
        do {
            let flush = ManualExecutor(clock: clock, label: "flush")
            let harness = try StorageHarness(folder.path, disk, clock: clock, flush: flush)
            let log = try #require(try harness.topic("t", settings: rolling).partition(0))
            try roll(log)
            end = log.view.logEnd
        }
        fill(disk, "prepared.log")
        do {
            let harness = try StorageHarness(folder.path, disk, clock: clock)
            #expect(harness.engine.startReport.events.contains { $0.kind == .offline })
            try harness.engine.close()
        }
        disk.set(nil)
        let harness = try StorageHarness(folder.path, disk, clock: clock)
        let log = try #require(harness.engine.topic(named: "t")?.partition(0))
        #expect(log.view.logEnd == end)
        #expect(try log.values().count == Int(end))
        try harness.engine.close()
    }

    @Test func `a topic is made, changed and deleted, or not`() throws {
        let folder = TemporaryFolder()
        let disk = HookedFileSystem()
        let harness = try StorageHarness(folder.path, disk)
        let engine = harness.engine
        func expectFull(_ body: () throws -> Void) {
            let error = #expect(throws: StorageError.self) { try body() }
            #expect(error?.code == .diskFull)
            #expect(engine.context.failed == nil)
        }
        let topics = "\(folder.path)/topics"
        for part in ["topic.meta.tmp", ".creating"] {
            disk.set { call, path in call == .rename && path.hasSuffix(part) ? ENOSPC : 0 }
            expectFull { _ = try harness.topic("t") }
            #expect(try disk.list(topics) == [])
        }
        disk.set(nil)
        engine.tick()
        let topic = try harness.topic("t")
        _ = try topic.partition(0)?.appendNow(batch(["kept"]))
        fill(disk, "topic.meta")
        expectFull {
            _ = try engine.alterTopic(
                topic.id, changes: [("retention.ms", "77")], validateOnly: false)
        }
        #expect(topic.settings.retentionMilliseconds != 77)
        #expect(try disk.list("\(topics)/\(topic.id)") == ["0", "topic.meta"])
        fill(disk, "/topics/")
        expectFull { try engine.deleteTopic(topic.id) }
        // Its name is not free: after the next start there would be two.
        engine.tick()
        let error = #expect(throws: StorageError.self) {
            _ = try engine.createTopic(
                name: "t", partitions: 1, settings: [:], id: TopicID(high: 2, low: 2))
        }
        #expect(error?.code == .topicExists)
        disk.set(nil)
        try engine.deleteTopic(topic.id)
        #expect(engine.topic(named: "t") == nil)
        engine.tick()
        #expect(try disk.list(topics) == [])
        _ = try harness.topic("t")
        try engine.close()
    }

    @Test func `a topic that could not be deleted is back after a start`() throws {
        let folder = TemporaryFolder()
        let disk = HookedFileSystem()
        do {
            let harness = try StorageHarness(folder.path, disk)
            let topic = try harness.topic("t")
            _ = try topic.partition(0)?.appendNow(batch(["kept"]))
            fill(disk, "/topics/")
            #expect(throws: StorageError.self) { try harness.engine.deleteTopic(topic.id) }
            disk.set(nil)
            try harness.engine.close()
        }
        let harness = try StorageHarness(folder.path, disk)
        let log = try #require(harness.engine.topic(named: "t")?.partition(0))
        #expect(try log.values().map(\.1) == ["kept"])
        try harness.engine.close()
    }

    @Test func `retention and compaction wait for room, and leave nothing half done`() throws {
        let folder = TemporaryFolder()
        let disk = HookedFileSystem()
        let clock = ManualClock()
        let harness = try StorageHarness(folder.path, disk, clock: clock)
        let deleted = try harness.topic("deleted", settings: rolling)
        let compacted = try harness.topic(
            "compacted", settings: rolling.merging(["cleanup.policy": "compact"]) { $1 },
            id: TopicID(high: 2, low: 2))
        let logs = try (
            #require(deleted.partition(0)), #require(compacted.partition(0))
        )
        for _ in 0..<100 {
            for log in [logs.0, logs.1] { _ = try log.appendNow(batch([filler], key: "key")) }
        }
        let before = (logs.0.view.segments, logs.1.view.bytes)
        fill(disk, ".tmp")
        _ = try logs.0.deleteRecords(before: -1)
        clock.advance(seconds: 2)
        harness.engine.tick()
        #expect(harness.engine.context.failed == nil)
        #expect(logs.0.view.segments == before.0 && logs.1.view.bytes == before.1)
        for topic in [deleted, compacted] {
            let left = try names(folder, topic.id).filter {
                $0.contains(".tmp") || $0.contains(".g1")
            }
            #expect(left == [])
        }
        disk.set(nil)
        // A compaction that failed rests until what came since is in a closed segment.
        harness.engine.tick()
        for _ in 0..<50 { _ = try logs.1.appendNow(batch([filler], key: "key")) }
        clock.advance(seconds: 2)
        harness.engine.tick()
        harness.engine.tick()
        #expect(logs.0.view.segments < before.0 && logs.1.view.bytes < before.1)
        #expect(logs.1.view.damaged.isEmpty)
        try harness.engine.close()
    }

    @Test(arguments: [ENOSPC, EDQUOT, EIO])
    func `a sync that fails is final, also for want of space`(_ code: CInt) throws {
        for (call, path) in [
            (InterruptingFileSystem.Call.sync, ".log"), (.syncDirectory, "/0"),
        ] {
            let folder = TemporaryFolder()
            let disk = InterruptingFileSystem()
            let clock = ManualClock()
            let flush = ManualExecutor(clock: clock, label: "flush")
            let harness = try StorageHarness(folder.path, disk, clock: clock, flush: flush)
            let log = try #require(try harness.topic("t", settings: rolling).partition(0))
            flush.runAll()
            try roll(log)
            disk.interrupt(call, path, errno: code)
            flush.runAll()
            #expect(!disk.isWaiting)
            #expect(harness.engine.context.failed?.isFatal == true)
        }
    }

    @Test func `a rename that fails for another reason is final`() throws {
        let folder = TemporaryFolder()
        let disk = HookedFileSystem()
        let clock = ManualClock()
        let flush = ManualExecutor(clock: clock, label: "flush")
        let harness = try StorageHarness(folder.path, disk, clock: clock, flush: flush)
        let log = try #require(try harness.topic("t", settings: rolling).partition(0))
        try roll(log)
        fill(disk, "prepared.log", code: EIO)
        flush.runAll()
        #expect(harness.engine.context.failed?.isFatal == true)
    }
}
