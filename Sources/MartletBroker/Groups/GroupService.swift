import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire
import Synchronization

/// All groups of the broker: the partitions of `$groups`, each with its coordinator. The topics are
/// made with the first group, so a broker without groups has nothing of them.
final class GroupService: Sendable {
    static let topicName = "$groups"
    static let shardCount: Int32 = 16

    /// What it works with.
    struct Setup: Sendable {
        let engine: StorageEngine
        let limits: GroupLimits
        let clock: any Clock
        /// What time does to groups; must never wait for the disk.
        let executor: any Executor
        /// What waits for the disk, one job at a time.
        let disk: any Executor
        /// Where records are read.
        let readers: ReaderPool
        let pool: SlabPool
        let counters: GroupCounters
        let logger: Logger
        /// nil: nothing is written to `$group-events`.
        let events: GroupEventTopic.Options?
    }

    let setup: Setup
    /// Reads records that die, and fills dead letter topics.
    let clerk: DeadLetterClerk
    /// Copies what retention is about to take.
    let rescue: RescueDesk
    private let keys: KeyReader
    let herald: GroupHerald
    /// Empty while there are no topics.
    private let shards = Mutex<[GroupShard]>([])
    /// What the start found that groups knew of and logs did not have, in words.
    let ahead = Mutex<[String]>([])

    init(_ setup: Setup) {
        self.setup = setup
        keys = KeyReader(setup)
        herald = GroupHerald(setup)
        let told = Mutex<(@Sendable () -> Void)?>(nil)
        clerk = DeadLetterClerk(setup) { told.withLock { $0 }?() }
        rescue = RescueDesk(setup, clerk)
        told.withLock { $0 = { [weak self] in self?.topicsChanged() } }
    }

    /// Reads what the last start left. Blocks.
    func open() throws(StorageError) {
        guard setup.engine.topic(named: Self.topicName) != nil else { return }
        try openShards()
        herald.began(isClean: setup.engine.startReport.isClean)
    }

    /// Groups change no more. Calls `done` when nothing of them is on its way to the disk.
    func stop(_ done: @escaping @Sendable () -> Void) {
        clerk.stop()
        rescue.stop()
        keys.stop()
        for shard in all { shard.stop() }
        awaitDurable(all[...]) { [self] in
            herald.stop()
            setup.disk.execute(done)
        }
    }

    /// What is on its way is told when it is on the disk, and not later than that.
    private func awaitDurable(
        _ shards: ArraySlice<GroupShard>, _ then: @escaping @Sendable () -> Void
    ) {
        guard let shard = shards.first else { return then() }
        shard.whenDurable { [self] in awaitDurable(shards.dropFirst(), then) }
    }

    /// Where a group lives: by its name alone, for ever. nil: there are no groups at all.
    func shard(of group: String) -> GroupShard? {
        let bytes = Array(group.utf8)
        let hash = unsafe CRC32C.checksum(bytes.span.bytes)
        return shards.withLock { shards in
            shards.isEmpty ? nil : shards[Int(hash % UInt32(shards.count))]
        }
    }

    var all: [GroupShard] { shards.withLock { $0 } }

    /// The group whose dead letters a topic of this name holds; nil: there is none.
    func ownerOfLetters(_ topic: String) -> String? {
        guard topic.hasSuffix(Coordinator.reservedSuffix) else { return nil }
        let group = String(topic.dropLast(Coordinator.reservedSuffix.count))
        return shard(of: group)?.names.contains(group) == true ? group : nil
    }

    /// Names of all groups, in no order.
    var names: [String] { all.flatMap { $0.names } }

    /// Every group, in no order.
    var descriptions: [GroupDescription] {
        all.flatMap { $0.descriptions(gaps: setup.engine.vacant) }
    }

    /// Calls `body` with the group's shard; makes the topics first when this is the first group.
    func withShard(
        of group: String, _ body: @escaping @Sendable (Result<GroupShard, StorageError>) -> Void
    ) {
        if let shard = shard(of: group) { return body(.success(shard)) }
        setup.disk.execute { [self] in
            do throws(StorageError) {
                if all.isEmpty { try openShards() }
            } catch {
                return body(.failure(error))
            }
            if let shard = shard(of: group) { body(.success(shard)) }
        }
    }

    /// Topics were made, grew or went. Any thread; what follows happens soon.
    func topicsChanged(deleted: TopicID? = nil) {
        setup.executor.execute { self.tellTopics(deleted: deleted) }
    }

    private func tellTopics(deleted: TopicID? = nil) {
        let shapes = setup.engine.topics().filter { !$0.isInternal }.map { topic in
            TopicShape(
                name: topic.name, id: topic.id, partitions: Int32(clamping: topic.partitionCount),
                isUntilConsumed: topic.settings.retentionMode == .untilConsumed)
        }
        for shard in all { shard.topicsChanged(shapes, deleted: deleted) }
    }

    /// Whether the member may read the partition.
    func checkOwner(
        _ entry: FetchEntry, _ group: String, _ member: TopicID
    ) throws(TopicCatalog.Refusal) {
        let key = TopicPartition(entry.topic, entry.partition)
        do throws(GroupRefusal) {
            guard let shard = shard(of: group) else { throw GroupRefusal.unknownGroup }
            try shard.checkOwner(group, MemberID(member), key, epoch: entry.epoch)
        } catch {
            throw TopicCatalog.Refusal(error.code, error.text)
        }
    }
}

extension GroupService {
    /// A member is about to be handed partitions of its request, each up to an end.
    func served(_ fetch: FetchRequest, _ ends: [(index: Int, end: Int64)]) {
        guard !fetch.group.isEmpty, !ends.isEmpty else { return }
        shard(of: fetch.group)?.served(fetch, ends)
    }
}

// MARK: - Opening

extension GroupService {
    private func openShards() throws(StorageError) {
        let topic = try InternalLog.topic(
            Self.topicName, partitions: Self.shardCount, setup.engine)
        let snapshots = try InternalLog.topic(
            GroupSnapshots.topicName, partitions: Self.shardCount, setup.engine)
        // What is counted in each part must not be more in all.
        var limits = setup.limits
        limits.groupsMax = max(1, limits.groupsMax / Int(Self.shardCount))
        limits.keysMax = max(1, limits.keysMax / Int(Self.shardCount))
        let empty = Coordinator(
            limits: limits, incarnation: UInt32.random(in: 1 ... .max))
        var opened: [GroupShard] = []
        for number in 0..<Self.shardCount {
            opened.append(
                try openShard(
                    topic.id, groups: try InternalLog.partition(number, of: topic),
                    snapshots: try InternalLog.partition(number, of: snapshots), empty))
        }
        let ready = opened
        shards.withLock { $0 = ready }
        tellTopics()
        forgetDeleted()
        try holdAgainstLogs(ready)
        for shard in ready { shard.start() }
    }

    /// Of topics that went just before the last end groups may not have heard. A topic that is
    /// offline is there.
    private func forgetDeleted() {
        for shard in all {
            for id in shard.knownTopics.sorted() where setup.engine.topic(id: id) == nil {
                shard.forget(id)
            }
        }
    }

    /// The newest snapshot, and what happened since.
    private func openShard(
        _ topic: TopicID, groups: PartitionLog, snapshots: PartitionLog, _ empty: Coordinator
    ) throws(StorageError) -> GroupShard {
        var loaded = try GroupSnapshots.load(
            reader(snapshots, GroupSnapshots.topicName), empty: empty,
            groupsStart: groups.view.logStart)
        // Nothing new gets an offset that the snapshot covers: the next start would not read it.
        try passOver(topic, [groups.partition: loaded.covered.offset])
        var replayed = 0
        try reader(groups, Self.topicName).readAll(from: loaded.covered.offset) {
            slab, place, _ throws(WireError) in
            guard let record = try GroupEntry(reading: slab, place).record else { return }
            loaded.coordinator.replay(record)
            replayed += record.weight
        }
        loaded.coordinator.forgetOutcomes()
        let saved = GroupSnapshots(
            groups: groups, log: snapshots, newest: loaded.covered, clock: setup.clock,
            disk: setup.disk, logger: setup.logger)
        return GroupShard(
            log: groups, coordinator: loaded.coordinator, replayed: replayed, snapshots: saved,
            clerk: clerk, keys: keys, clock: setup.clock, executor: setup.executor,
            herald: herald, logger: setup.logger)
    }

    private func reader(_ log: PartitionLog, _ name: String) -> InternalLog {
        InternalLog(log: log, name: name, pool: setup.pool) { [setup] offset in
            setup.logger.error(
                "GROUPS_DAMAGED",
                "records of groups are damaged: commits may be older than they were",
                [
                    ("topic", LogValue(name)), ("partition", LogValue(Int64(log.partition))),
                    ("from", LogValue(offset)),
                ])
        }
    }
}
