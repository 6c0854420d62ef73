import MartletFormat
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// Work that takes long does not hold up work that appends wait for.
@Suite struct UpkeepTests {
    private static let value = String(repeating: "x", count: 25_000)

    /// Tells a latch that another try is worth it.
    private final class Knock: AppendRetry {
        let latch = Latch()
        func retryAppend(_ log: PartitionLog) { latch.arrive() }
    }

    /// Appends, waiting on other threads for what is put off.
    private func append(_ log: PartitionLog, key: String? = nil) throws -> Bool {
        let slab = batch([Self.value], key: key)
        let header = try RecordBatch.validateForAppend(slab.bytes)
        for _ in 0..<16 {
            let knock = Knock()
            switch log.append(slab, 0..<slab.count, header, retry: knock) {
            case .appended: return true
            case .duplicate, .refused: return false
            case .later: guard knock.latch.wait(seconds: 20) else { return false }
            }
        }
        return false
    }

    /// A log with something to compact.
    private func compacted(_ harness: StorageHarness) throws -> PartitionLog {
        let topic = try harness.topic(
            "c", settings: ["cleanup.policy": "compact", "segment.bytes": "65536"])
        let log = try #require(topic.partition(0))
        while log.view.segments < 4 { #expect(try append(log, key: "k")) }
        return log
    }

    @Test func `a directory is not let go while something works on its files`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let harness = try StorageHarness(
            folder.path, disk, upkeep: SerialQueue(label: "upkeep"))
        let engine = harness.engine
        let log = try compacted(harness)
        let segments = log.view.segments
        let (closed, gone) = (Latch(), Latch())
        disk.set { call, path in
            guard call == .open, path.hasPrefix(log.directory), path.hasSuffix(".log.tmp") else {
                return 0
            }
            disk.set(nil)
            DetachedThread.start("close") {
                do {
                    try engine.close()
                } catch {
                    Issue.record("not closed: \(error)")
                }
                closed.arrive()
            }
            // The clean mark comes before.
            _ = eventually { engine.context.isClosing.load(ordering: .relaxed) }
            #expect(!closed.wait(seconds: 1))
            gone.arrive()
            return 0
        }
        engine.askForRound()
        #expect(gone.wait() && closed.wait())
        // It gave up, and left nothing behind.
        #expect(log.view.segments == segments && !log.wasCompacted)
        let names = try disk.list(log.directory)
        #expect(names.filter { $0.hasSuffix(".tmp") } == [])
        let again = try StorageHarness(folder.path, disk)
        #expect(again.engine.startReport.isClean && again.engine.startReport.events.isEmpty)
        try again.engine.close()
    }

    @Test func `a compaction that hangs holds up no roll and no reservation`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let harness = try StorageHarness(
            folder.path, disk, housekeeping: ThreadQueue(label: "housekeeping"),
            upkeep: SerialQueue(label: "upkeep"))
        let log = try compacted(harness)
        let written = try harness.topic(
            "w", settings: ["durability": "written", "segment.bytes": "65536"],
            id: TopicID(high: 2, low: 2))
        let other = try #require(written.partition(0))

        let (reached, mayGoOn) = (Latch(), Latch())
        disk.set { call, path in
            guard call == .open, path.hasPrefix(log.directory), path.hasSuffix(".log.tmp") else {
                return 0
            }
            reached.arrive()
            _ = mayGoOn.wait()
            return 0
        }
        harness.engine.askForRound()
        #expect(reached.wait())
        while other.view.segments < 5 {
            guard try append(other) else {
                Issue.record("an append waits for the compaction")
                break
            }
        }
        mayGoOn.arrive()
        disk.set(nil)
        let isOver = Latch()
        harness.engine.context.executors.upkeep.execute { isOver.arrive() }
        #expect(isOver.wait())
        #expect(log.wasCompacted && harness.engine.context.failed == nil)
        try harness.engine.close()
    }

    @Test func `upkeep that hangs holds up no look at the disk`() throws {
        let folder = try TemporaryDirectory()
        let clock = ManualClock()
        let housekeeping = ManualExecutor(clock: clock)
        let upkeep = ManualExecutor(clock: clock)
        let harness = try StorageHarness(
            folder.path, PosixFileSystem(), clock: clock, housekeeping: housekeeping,
            upkeep: upkeep)
        let engine = harness.engine
        engine.context.space.didFill("told by the test")
        #expect(!engine.isWritable)
        clock.advance(seconds: 1)
        housekeeping.runAll()
        #expect(engine.isWritable && upkeep.pendingCount > 0)
        // The round is still to come, and is not asked for twice.
        let pending = upkeep.pendingCount
        clock.advance(seconds: 5)
        housekeeping.runAll()
        #expect(upkeep.pendingCount == pending)
        let rounds = engine.context.metrics.housekeepingRounds.value
        upkeep.runAll()
        #expect(engine.context.metrics.housekeepingRounds.value == rounds + 1)
    }

    /// Told when a partition goes offline.
    private final class OfflineWatch: AdvanceWaiter {
        let latch = Latch()
        func highWatermarkAdvanced(_ log: PartitionLog) { latch.arrive() }
    }

    /// Deletes a topic while a compaction of it is held at a call, and lets that go on.
    private func delete(
        during call: HookedFileSystem.Call, _ isPlace: @escaping @Sendable (String) -> Bool
    ) throws -> PartitionLog {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let upkeep = SerialQueue(label: "upkeep")
        let harness = try StorageHarness(folder.path, disk, upkeep: upkeep)
        let engine = harness.engine
        let log = try compacted(harness)
        let (reached, isRenamed, isDeleted) = (Latch(), Latch(), Latch())
        let isOffline = OfflineWatch()
        let isEarly = Atomic<Bool>(false)
        let failure = Mutex<StorageError?>(nil)
        let home = engine.context.directory.topic(log.topicID)
        disk.set { asked, path in
            if asked == .rename, path == home { isRenamed.arrive() }
            guard asked == call, isPlace(path) else { return 0 }
            reached.arrive()
            _ = isOffline.latch.wait()
            // The directory must not go under a compaction: nobody comes, however long it waits.
            if isRenamed.wait(seconds: 1) { isEarly.store(true, ordering: .relaxed) }
            return 0
        }
        #expect(log.waitForAdvance(above: log.view.highWatermark, isOffline))
        engine.askForRound()
        #expect(reached.wait())
        let changes = ThreadQueue(label: "changes")
        changes.execute {
            do throws(StorageError) {
                try engine.deleteTopic(log.topicID)
            } catch {
                let thrown = error
                failure.withLock { $0 = thrown }
            }
            isDeleted.arrive()
        }
        #expect(isDeleted.wait())
        #expect(!isEarly.load(ordering: .relaxed) && failure.withLock { $0 } == nil)
        disk.set(nil)
        #expect(engine.context.failed == nil && engine.topics().isEmpty)
        let isOver = Latch()
        upkeep.execute { isOver.arrive() }
        #expect(isOver.wait())
        try engine.close()
        return log
    }

    @Test func `a topic that is deleted ends its compaction`() throws {
        let log = try delete(during: .open) { $0.hasSuffix(".log.tmp") && !$0.contains("marks") }
        #expect(!log.wasCompacted)
    }

    @Test func `a topic that is deleted waits for what its compaction cannot leave half done`()
        throws
    {
        let log = try delete(during: .openDirectory) { $0.hasSuffix("/0") }
        #expect(log.wasCompacted)
    }
}
