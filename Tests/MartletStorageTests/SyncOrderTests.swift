import Glibc
import MartletFormat
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// A failed sync is told once for each open file: whoever asks must be the one who acknowledges, and
/// nobody asks again.
@Suite struct SyncOrderTests {
    private let disk = InterruptingFileSystem()

    /// A clock that does something else the next time it is asked.
    private final class InterruptingClock: Clock {
        private let base = SystemClock()
        let next = Mutex<(@Sendable () -> Void)?>(nil)

        func monotonicNanoseconds() -> Int64 {
            let body = next.withLock { next in
                defer { next = nil }
                return next
            }
            body?()
            return base.monotonicNanoseconds()
        }

        func wallMilliseconds() -> Int64 { base.wallMilliseconds() }
    }

    @Test func `the space ahead is never synced beside a flush`() throws {
        let folder = try TemporaryDirectory("ahead")
        let housekeeping = ManualExecutor(clock: ManualClock())
        let harness = try StorageHarness(folder.path, disk, housekeeping: housekeeping) {
            $0.aheadAfterFlushes = 1
        }
        let log = try #require(try harness.topic("t").partition(0))
        housekeeping.forgetJobs()
        _ = try log.appendNow(batch(["v"]))
        let isFree = Mutex<Bool?>(nil)
        disk.interrupt(.sync, LogFileNames.log(0, generation: 0)) {
            let found = log.flushLock.withLockIfAvailable { _ in true } ?? false
            isFree.withLock { $0 = found }
        }
        #expect(housekeeping.runAll() > 0)
        #expect(isFree.withLock { $0 } == false)
        try harness.engine.close()
    }

    /// A backup ends at the mark, and must have what was acknowledged.
    @Test func `a mark does not go back when a flush is told last that began first`() throws {
        let folder = try TemporaryDirectory("back")
        let flush = ManualExecutor(clock: ManualClock())
        defer { flush.forgetJobs() }
        let harness = try StorageHarness(folder.path, disk, flush: flush)
        let topic = try harness.topic("t", partitions: 2)
        let (first, second) = (topic.partitions[0], topic.partitions[1])
        for log in topic.partitions { _ = try log.appendNow(batch(["v"])) }
        disk.interrupt(.sync, "/0/\(LogFileNames.log(0, generation: 0))") {
            do {
                _ = try second.appendNow(batch(["meanwhile"]))
            } catch {
                Issue.record("not appended: \(error)")
            }
            second.flush()
        }
        PartitionLog.flushTogether([first, second])
        #expect(!disk.isWaiting && second.view.durableEnd == 2)
        #expect(second.context.marks.marks(of: second.key).end?.offset == 2)
        try harness.engine.close()
    }

    @Test func `a flush that comes after a failed sync acknowledges nothing`() throws {
        let folder = try TemporaryDirectory("after")
        let clock = InterruptingClock()
        let flush = ManualExecutor(clock: ManualClock())
        defer { flush.forgetJobs() }
        let harness = try StorageHarness(folder.path, disk, clock: clock, flush: flush)
        let log = try #require(try harness.topic("t").partition(0))
        _ = try log.appendNow(batch(["v"]))
        // Where a flush stands that waits for another's sync.
        clock.next.withLock {
            $0 = { log.context.fail(StorageError(.syncFailed, "another's sync")) }
        }
        #expect(!log.flush())
        #expect(log.view.durableEnd == 0)
    }

    @Test func `a failed sync is known before the next one has its turn`() throws {
        let folder = try TemporaryDirectory("turn")
        let harness = try StorageHarness(folder.path, disk)
        let log = try #require(try harness.topic("t").partition(0))
        #expect(throws: StorageError.self) {
            try log.inTurn { () throws(StorageError) in throw StorageError(.syncFailed, "lost") }
        }
        let refused = #expect(throws: StorageError.self) { try log.inTurn {} }
        #expect(refused?.message == "lost")
    }

    @Test func `marks whose sync failed are not synced again`() throws {
        let folder = try TemporaryDirectory("marks")
        let harness = try StorageHarness(folder.path, disk)
        let marks = harness.engine.context.marks
        disk.interrupt(.sync, "marks-1.log.tmp", errno: EIO)
        for _ in 0..<2 {
            let failure = #expect(throws: StorageError.self) {
                try marks.recordAndSync([MarkEntry(.clock)])
            }
            #expect(failure?.isFatal == true)
        }
    }

    @Test func `what a durable topic had is seen when it is on disk, also as a written one`() throws
    {
        let folder = try TemporaryDirectory("became")
        let flush = ManualExecutor(clock: ManualClock())
        let harness = try StorageHarness(folder.path, disk, flush: flush)
        let topic = try harness.topic("t")
        let log = try #require(topic.partition(0))
        _ = try log.appendNow(batch(["first"]))
        _ = try harness.engine.alterTopic(
            topic.id, changes: [("durability", "written")], validateOnly: false)
        #expect(log.view.highWatermark == 0, "no mark reserves this offset")
        flush.runAll()
        #expect(log.view.highWatermark == 1)
        _ = try log.appendNow(batch(["second"]))
        #expect(log.view.highWatermark == 2 && log.view.durableEnd == 1)
        flush.runAll()
        try harness.engine.close()
    }

    @Test func `a roll shows nothing of a durable topic that became a written one`() throws {
        let folder = try TemporaryDirectory("roll")
        let (flush, housekeeping) = (
            ManualExecutor(clock: ManualClock()), ManualExecutor(clock: ManualClock())
        )
        let harness = try StorageHarness(
            folder.path, disk, flush: flush, housekeeping: housekeeping)
        let topic = try harness.topic("t", settings: ["segment.bytes": "65536"])
        let log = try #require(topic.partition(0))
        let value = String(repeating: "x", count: 30_000)
        /// Whether the batch has to wait for something.
        func waits() throws -> Bool {
            guard case .later = try log.appendNow(batch([value])) else { return false }
            return true
        }
        #expect(try !waits() && !waits())
        #expect(try waits(), "a next segment is made")
        housekeeping.runAll()
        _ = try harness.engine.alterTopic(
            topic.id, changes: [("durability", "written")], validateOnly: false)
        #expect(try waits(), "offsets are reserved")
        #expect(log.view.segments == 2 && log.view.highWatermark == 0)
        housekeeping.runAll()
        flush.runAll()
        #expect(log.view.highWatermark == 2)
        try harness.engine.close()
    }
}
