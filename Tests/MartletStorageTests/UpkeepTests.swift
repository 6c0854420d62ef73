import MartletFormat
import MartletSystem
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

    @Test func `a compaction that hangs holds up no roll, reservation or look at the disk`() throws
    {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let harness = try StorageHarness(
            folder.path, disk, housekeeping: ThreadQueue(label: "housekeeping"),
            upkeep: SerialQueue(label: "upkeep"))
        let segment = ["segment.bytes": "65536"]
        let compacted = try harness.topic(
            "c", settings: ["cleanup.policy": "compact"].merging(segment) { old, _ in old })
        let log = try #require(compacted.partition(0))
        while log.view.segments < 4 { #expect(try append(log, key: "k")) }
        let written = try harness.topic(
            "w", settings: ["durability": "written"].merging(segment) { old, _ in old },
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
}
