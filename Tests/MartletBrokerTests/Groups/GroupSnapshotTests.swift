import MartletFormat
import MartletGroups
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker
@testable import MartletStorage

/// Snapshots bound what a start reads, and cost nothing when one of them rots.
@Suite struct GroupSnapshotTests {
    private static let commits: Int64 = 700

    private func harness(_ directory: TemporaryDirectory) throws -> BrokerHarness {
        try BrokerHarness(
            directory: directory, setUp: { $0.groupLimits.snapshotRecordsMin = 50 })
    }

    /// A broker with many commits behind it, stopped.
    private func prepare() throws -> (directory: TemporaryDirectory, topic: TopicID) {
        let directory = try TemporaryDirectory("snapshots")
        let harness = try harness(directory)
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        var create = CreateGroupRequest()
        create.group = "g"
        #expect(try client.ask(create).error == .none)
        _ = try client.produce(topic, makeBatch(Int(Self.commits)))
        for offset in 1...Self.commits {
            #expect(try client.commit(topic, offset) == .none)
        }
        try harness.stop()
        return (directory, topic)
    }

    private func shard(_ broker: Broker, _ topic: String) throws -> PartitionLog {
        let logs = try #require(broker.engine.topic(named: topic)).partitions
        return try #require(logs.first { $0.view.logEnd > 0 })
    }

    @Test func `a start reads the newest snapshot and what came after`() throws {
        let (directory, topic) = try prepare()
        let again = try harness(directory)
        let client = try again.hello()
        #expect(try client.committed() == Self.commits)
        // What two snapshots cover is gone, and so are the snapshots before them.
        #expect(try shard(again.broker, "$groups").view.logStart > Self.commits / 2)
        #expect(try shard(again.broker, "$group-snapshots").view.logStart > 0)
        #expect(try client.commit(topic, 5) == .none)
        try again.stop()
        let last = try harness(directory)
        #expect(try last.hello().committed() == 5)
        try last.stop()
    }

    @Test func `rot in the newest snapshot costs no commit`() throws {
        let (directory, _) = try prepare()
        let before = try harness(directory)
        let log = try shard(before.broker, "$group-snapshots")
        let folder = directory.path("data/topics/\(log.topicID)/\(log.partition)")
        let end = log.view.bytes
        try before.stop()
        let disk = PosixFileSystem()
        let name = try #require(try disk.list(folder).filter { $0.hasSuffix(".log") }.min())
        let rot = ByteSlab(capacity: 1)
        rot.append(UInt8(0x55))
        try disk.open("\(folder)/\(name)", .readWrite).write(rot, at: end - 3)
        let again = try harness(directory)
        #expect(try again.hello().committed() == Self.commits)
        try again.stop()
    }

    /// Two threads of a shard may come with their snapshots in the other order. What the newer one
    /// covers is about to go from `$groups`.
    @Test func `a snapshot of an older state does not take the place of a newer one`() throws {
        let (directory, _) = try prepare()
        let harness = try harness(directory)
        let groups = try shard(harness.broker, "$groups")
        let log = try shard(harness.broker, "$group-snapshots")
        let disk = ManualExecutor(clock: ManualClock())
        let start = groups.view.logStart
        let snapshots = GroupSnapshots(
            groups: groups, log: log, newest: .init(offset: start + 1, begin: 0),
            clock: SystemClock(), disk: disk, logger: .disabled)
        let coordinator = Coordinator(limits: GroupLimits(), incarnation: 1)
        let end = groups.view.logEnd
        snapshots.write(coordinator, covering: end)
        #expect(
            eventually {
                disk.runAll()
                return groups.view.logStart > start
            })
        snapshots.write(coordinator, covering: end - 1)
        #expect(disk.runAll() == 0)
        try harness.stop()
    }
}
