import MartletFormat
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// What a pass of the scrubber says of what it read.
@Suite struct ScrubPassTests {
    private final class Bench {
        let folder = TemporaryFolder()
        let clock = ManualClock()
        let sink = LogCapture()
        let harness: StorageHarness
        let logs: [PartitionLog]

        init() throws {
            harness = try StorageHarness(
                folder.path, PosixFileSystem(), clock: clock,
                logger: Logger(label: "test", level: .info, sink: sink)
            ) { $0.scrubMilliseconds = -1 }
            let topic = try harness.topic("t", partitions: 2, settings: ["segment.bytes": "65536"])
            logs = topic.partitions
            let value = String(repeating: "x", count: 3_000)
            for log in logs {
                for _ in 0..<80 { _ = try log.appendNow(batch([value])) }
            }
        }

        /// Runs one pass, with `read` in the place of the scrubber's own.
        func scrub(rounds: Int = 40, _ read: @escaping Scrubber.Read) {
            var options = StorageOptions(dataDirectory: folder.path)
            options.scrubMilliseconds = 60_000
            options.scrubBytesPerSecondMax = 128 << 10
            let scrubber = Scrubber(options, read: read)
            for _ in 0..<rounds {
                clock.advance(seconds: 1)
                scrubber.round(harness.engine)
            }
        }

        var told: [String] { sink.codes.filter { $0.hasPrefix("SCRUB") } }
        var metrics: StorageMetrics { harness.engine.context.metrics }
    }

    /// Every offset that was read of a log, as ranges; a pass reads them in order.
    private final class Seen: Sendable {
        private let ranges = Mutex<[PartitionKey: [Range<Int64>]]>([:])

        func read(
            _ log: PartitionLog, _ offset: Int64, _ maxBytes: Int
        ) throws(StorageError) -> ReadOutcome {
            let outcome = try log.verifiedRead(from: offset, maxBytes: maxBytes)
            if case .data(let plan) = outcome {
                ranges.withLock { $0[log.key, default: []].append(offset..<plan.nextOffset) }
            }
            return outcome
        }

        /// Whether all of `log` was read without a hole, from `start` on.
        func hasAll(of log: PartitionLog, from start: Int64 = 0) -> Bool {
            var next = start
            for range in ranges.withLock({ $0[log.key] ?? [] }) where range.lowerBound == next {
                next = range.upperBound
            }
            return next == log.view.logEnd
        }
    }

    @Test func `what changes under a pass is looked at again`() throws {
        let bench = try Bench()
        let seen = Seen()
        let calls = Atomic(0)
        bench.scrub { (log, offset, maxBytes) throws(StorageError) in
            // Two of three times something was swapped meanwhile, or there was no descriptor.
            switch calls.add(1, ordering: .relaxed).newValue % 3 {
            case 0: return try seen.read(log, offset, maxBytes)
            case 1: return .needsDisk
            case _: throw StorageError(.noDescriptors, "none is free")
            }
        }
        #expect(bench.logs.filter { seen.hasAll(of: $0) }.count == 2)
        #expect(bench.told == ["SCRUBBED"])
        #expect(bench.metrics.scrubPasses.value == 1 && bench.metrics.scrubUnread.value == 0)
        try bench.harness.engine.close()
    }

    @Test func `a pass goes on where retention has left something`() throws {
        let bench = try Bench()
        let seen = Seen()
        let isFirst = Atomic(true)
        bench.scrub { (log, offset, maxBytes) throws(StorageError) in
            // The log start moves between the scrubber's look at it and the read.
            if offset > 0, isFirst.exchange(false, ordering: .relaxed) {
                _ = try log.deleteRecords(before: 50)
            }
            return try seen.read(log, offset, maxBytes)
        }
        let starts = bench.logs.map { $0.view.logStart }
        #expect(starts.sorted() == [0, 50])
        for log in bench.logs { #expect(seen.hasAll(of: log, from: log.view.logStart)) }
        #expect(bench.told == ["SCRUBBED"])
        try bench.harness.engine.close()
    }

    @Test func `a pass that could not read all says so`() throws {
        let bench = try Bench()
        let seen = Seen()
        let bad = try #require(bench.logs.first).key
        bench.scrub { (log, offset, maxBytes) throws(StorageError) in
            if log.key == bad, offset > 0 { throw StorageError(.ioFailed, "the disk is silent") }
            return try seen.read(log, offset, maxBytes)
        }
        #expect(!seen.hasAll(of: bench.logs[0]) && seen.hasAll(of: bench.logs[1]))
        #expect(bench.told == ["SCRUB_FAILED", "SCRUB_INCOMPLETE"])
        #expect(bench.metrics.scrubPasses.value == 0 && bench.metrics.scrubUnread.value == 1)
        try bench.harness.engine.close()
    }

    @Test func `a partition that is offline was not read, one that is deleted is not missed`()
        throws
    {
        let bench = try Bench()
        let engine = bench.harness.engine
        let other = try #require(
            try engine.createTopic(
                name: "other", partitions: 1, settings: [:], id: TopicID(high: 2, low: 2)))
        let seen = Seen()
        bench.logs[0].goOffline(.broken("its file is gone"))
        let isThere = Atomic(true)
        bench.scrub { (log, offset, maxBytes) throws(StorageError) in
            if isThere.exchange(false, ordering: .relaxed) { try engine.deleteTopic(other.id) }
            return try seen.read(log, offset, maxBytes)
        }
        #expect(bench.told == ["SCRUB_FAILED", "SCRUB_INCOMPLETE"])
        #expect(bench.metrics.scrubUnread.value == 1)
        try engine.close()
    }
}
