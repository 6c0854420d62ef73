import MartletConfiguration
import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import Testing

@testable import MartletBroker

/// What a start records of groups that are ahead comes later than it: the first append to a log waits
/// for its files. Producers do not wait for that.
@Suite struct AheadStartTests {
    private static let group = "g"

    /// Logs and groups without a listener. What groups do later is done when the test says so.
    private struct Bench {
        let engine: StorageEngine
        let service: GroupService
        let later = ManualExecutor(clock: ManualClock())

        init(_ directory: TemporaryDirectory) throws {
            let queues = BrokerQueues(BrokerConfiguration().storage)
            var options = StorageOptions(dataDirectory: directory.path("data"))
            (options.diskFreeLow, options.diskFreeHigh, options.diskReserve) = (0, 0, 0)
            engine = try StorageEngine.open(
                options, fileSystem: PosixFileSystem(), clock: SystemClock(),
                executors: queues.storage, logger: .disabled)
            service = GroupService(
                GroupService.Setup(
                    engine: engine, limits: GroupLimits(), clock: SystemClock(), executor: later,
                    disk: queues.changes, readers: ReaderPool(queues.readers),
                    pool: SlabPool(retainedBytesMax: 1 << 20),
                    counters: GroupCounters(MetricsRegistry()), logger: .disabled, events: nil))
            try service.open()
        }

        /// Returns the first offset.
        func append(_ count: Int, to log: PartitionLog) throws -> Int64 {
            let slab = ByteSlab(capacity: 4_096)
            unsafe slab.append(makeBatch(count).span.bytes)
            let header = try RecordBatch.validateForAppend(slab.bytes)
            var first: Int64?
            #expect(
                eventually {
                    guard
                        case .appended(let receipt) = log.append(
                            slab, 0..<slab.count, header, retry: Nobody())
                    else { return false }
                    first = receipt.baseOffset
                    return true
                })
            return try #require(first)
        }

        /// Runs what groups do later, until the group is there.
        func committed(
            in shard: GroupShard, _ isEnough: (GroupDescription) -> Bool
        ) throws -> Int64? {
            let isDone = eventually {
                later.runAll()
                do {
                    return isEnough(try shard.describe(AheadStartTests.group))
                } catch {
                    return false
                }
            }
            #expect(isDone)
            return try shard.describe(AheadStartTests.group).partitions.first?.committed?.offset
        }
    }

    private final class Nobody: AppendRetry {
        func retryAppend(_ log: PartitionLog) {}
    }

    /// A log with five records, and a group that has committed ten.
    private func prepare(_ directory: TemporaryDirectory) throws -> TopicID {
        let bench = try Bench(directory)
        let id = TopicID.random()
        let topic = try #require(
            try bench.engine.createTopic(name: "t", partitions: 1, settings: [:], id: id))
        #expect(try bench.append(5, to: try #require(topic.partition(0))) == 0)
        let isOpen = Latch()
        bench.service.withShard(of: Self.group) { _ in isOpen.arrive() }
        #expect(isOpen.wait())
        let shard = try #require(bench.service.shard(of: Self.group))
        let key = TopicPartition(id, 0)
        shard.record(
            { _ in
                [
                    .created(group: Self.group, at: 1, .stream),
                    .granted(group: Self.group, key, MemberID(.zero), epoch: 7),
                    .committed(group: Self.group, key, CommittedOffset(offset: 10, at: 1)),
                ]
            }, {})
        #expect(try bench.committed(in: shard) { !$0.partitions.isEmpty } == 10)
        try bench.engine.close()
        return id
    }

    /// With fewer than the group had committed above the end, and with more.
    @Test(arguments: [2, 7])
    func `what is appended before a start has set a stream back is read`(count: Int) throws {
        let directory = try TemporaryDirectory("ahead-start")
        let id = try prepare(directory)
        let bench = try Bench(directory)
        let shard = try #require(bench.service.shard(of: Self.group))
        // Not yet: its record waits for the files of its log.
        let before = try shard.describe(Self.group).partitions.first
        #expect(before?.committed?.offset == 10 && before?.epoch == 7)
        let log = try #require(bench.engine.topic(id: id)?.partition(0))
        #expect(try bench.append(count, to: log) == 5)
        let after = try bench.committed(in: shard) { $0.partitions.first?.epoch != 7 }
        #expect(after == 5)
        try bench.engine.close()
    }
}
