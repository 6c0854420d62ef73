import MartletFormat
import MartletSystem
import Synchronization
import Testing

@testable import MartletStorage

/// Readers and appends that meet retention, compaction and housekeeping in the middle of a call.
@Suite struct RacingReaderTests {
    private let folder = TemporaryFolder()
    private let disk = InterruptingFileSystem()
    private let filler = String(repeating: "x", count: 4_000)

    /// Some closed segments of `key-0`, …, with nothing of them open.
    private func storedLog(_ policy: String) throws -> (StorageHarness, PartitionLog) {
        let settings = ["segment.bytes": "65536", "cleanup.policy": policy]
        do {
            let harness = try StorageHarness(folder.path, PosixFileSystem())
            let log = try #require(try harness.topic("t", settings: settings).partition(0))
            for round in 0..<40 {
                _ = try log.appendNow(batch(["\(round)-\(filler)"], key: "key-\(round % 3)"))
            }
            try harness.engine.close()
        }
        let harness = try StorageHarness(folder.path, disk)
        return (harness, try #require(try harness.topic("t").partition(0)))
    }

    private static let index = "/\(LogFileNames.index(0, generation: 0))"

    @Test(arguments: [false, true])
    func `a reader whose segment retention takes is told where the log begins`(
        verifies: Bool
    ) throws {
        let (harness, log) = try storedLog("delete")
        // Files that are opened once the engine is gone stay in its pools for ever.
        defer { withExtendedLifetime(harness) {} }
        let next = try #require(log.state.withLock { $0.segments.dropFirst().first?.base })
        disk.interrupt(.size, Self.index) {
            do { _ = try log.deleteRecords(before: next) } catch { Issue.record(error) }
        }
        let outcome =
            verifies
            ? try log.verifiedRead(from: 0, maxBytes: 1_000)
            : try log.planFromDisk(from: 0, maxBytes: 1_000)
        guard case .outOfRange(let view) = outcome else {
            Issue.record("not told")
            return
        }
        #expect(view.logStart == next)
        #expect(!disk.isWaiting)
    }

    @Test func `a reader whose segment is compacted reads the new one`() throws {
        let (harness, log) = try storedLog("compact")
        let engine = harness.engine
        disk.interrupt(.size, Self.index) { engine.tick() }
        guard case .data(let plan) = try log.planFromDisk(from: 0, maxBytes: 1 << 20) else {
            Issue.record("nothing to read")
            return
        }
        #expect(!disk.isWaiting)
        #expect(log.state.withLock { $0.segments.first?.generation } == 1)
        #expect(plan.nextOffset > 0)
        #expect(try log.values().last?.0 == 39)
    }

    @Test func `a search by time goes on when retention takes its segment`() throws {
        let (harness, log) = try storedLog("delete")
        // Files that are opened once the engine is gone stay in its pools for ever.
        defer { withExtendedLifetime(harness) {} }
        let next = try #require(log.state.withLock { $0.segments.dropFirst().first?.base })
        disk.interrupt(.size, Self.index) {
            do { _ = try log.deleteRecords(before: next) } catch { Issue.record(error) }
        }
        #expect(try log.offset(forTime: 0)?.offset == next)
        #expect(!disk.isWaiting)
    }

    @Test func `a removed file is not opened any more, nor made again`() throws {
        let disk = PosixFileSystem()
        let file = CachedFile("\(folder.path)/f", disk, EvictionPool(limit: 8), makes: true)
        _ = try file.open()
        try file.remove()
        #expect {
            _ = try file.open()
        } throws: {
            ($0 as? StorageError)?.code == .removed
        }
        #expect(try disk.list(folder.path).isEmpty)
    }

    @Test func `whoever asks for an open file does not wait for the disk`() throws {
        let disk = disk
        let pool = EvictionPool(limit: 8)
        // The pool and its open files hold each other.
        defer { pool.clear() }
        let file = CachedFile("\(folder.path)/f", disk, pool, makes: true)
        disk.interrupt(.open, "/f") { #expect(file.openFile == nil) }
        _ = try file.open()
        disk.interrupt(.rename, "/f") { #expect(file.openFile != nil) }
        try file.rename(to: "\(folder.path)/g")
        #expect(!disk.isWaiting && file.path.hasSuffix("/g"))
    }

    @Test func `an append meets the cut of the space ahead and is put off`() throws {
        let harness = try StorageHarness(folder.path, disk) { options in
            options.aheadAfterFlushes = 1
            options.aheadBytes = 1 << 20
        }
        let log = try #require(try harness.topic("t").partition(0))
        for _ in 0..<3 { _ = try log.appendNow(batch(["before"])) }
        #expect(log.appender.withLock { $0.files.map { $0.aheadEnd > 1 << 19 } } == true)
        let slab = batch(["meanwhile"])
        let header = try RecordBatch.validateForAppend(slab.bytes)
        let probe = RetryProbe()
        disk.interrupt(.truncate, ".log") {
            let outcome = log.append(slab, 0..<slab.count, header, retry: probe)
            if case .later = outcome { return }
            Issue.record("appended where the file is being cut")
        }
        log.dropAhead()
        #expect(!disk.isWaiting && probe.count.load(ordering: .relaxed) == 1)
        _ = try log.appendNow(slab)
        #expect(try log.values().map(\.1) == ["before", "before", "before", "meanwhile"])
        try harness.engine.close()
    }
}
