import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire
import Synchronization

/// Fills dead letter topics from what `$groups` has of records that died. One job at a time, so what
/// it holds in memory is bounded; who reads records that are about to die does it in one of them.
///
/// A crash may come between the topic and `$groups`: what the topic has behind the last place that
/// is known is looked at before anything is written to it again.
final class DeadLetterClerk: Sendable {
    private let engine: StorageEngine
    private let clock: any Clock
    private let disk: any Executor
    private let pool: SlabPool
    private let logger: Logger
    let reader: DeadRecordReader
    /// A topic was made.
    private let onTopic: @Sendable () -> Void
    private let state = Mutex(State())

    private struct State {
        /// Groups whose entries are on their way.
        var busy: Set<String> = []
        /// Groups whose topics were looked at in this start.
        var searched: Set<String> = []
        var isStopped = false
    }

    init(_ setup: GroupService.Setup, onTopic: @escaping @Sendable () -> Void) {
        engine = setup.engine
        clock = setup.clock
        disk = setup.disk
        pool = setup.pool
        logger = setup.logger.limited()
        reader = DeadRecordReader(engine: engine, pool: pool, logger: logger)
        self.onTopic = onTopic
    }

    func stop() { state.withLock { $0.isStopped = true } }

    /// Nobody was handed what the log does not have: no more is suspect, whatever is known of the
    /// owner that was lost.
    func inLog(_ record: GroupRecord) -> GroupRecord {
        guard case .suspected(let group, let key, let below) = record,
            let end = engine.topic(id: key.topic)?.partition(key.partition)?.view.logEnd
        else { return record }
        return .suspected(group: group, key, below: min(below, end))
    }

    /// Runs what waits for the disk, in its turn.
    func execute(_ job: @escaping @Sendable () -> Void) { disk.execute(job) }

    // MARK: - Filling

    /// Enough for one turn.
    private static let turnBytes = 4 << 20
    private static let retryNanoseconds: Int64 = 1_000_000_000

    /// Writes what waits to the topic. Any thread.
    func fill(_ group: String, _ shard: GroupShard) {
        let isFree = state.withLock { state in
            !state.isStopped && state.busy.insert(group).inserted
        }
        if isFree { disk.execute { self.turn(group, shard) } }
    }

    private func turn(_ group: String, _ shard: GroupShard) {
        guard !state.withLock({ $0.isStopped }) else { return }
        guard let waiting = shard.waitingEntries(of: group, bytesMax: Self.turnBytes) else {
            state.withLock { state in _ = state.busy.remove(group) }
            // Something may have come since the look.
            if shard.waitingEntries(of: group, bytesMax: 0) != nil { fill(group, shard) }
            return
        }
        do throws(StorageError) {
            let (topic, log) = try topic(of: group)
            let lane = TopicPartition(topic.id, 0)
            var places: [UInt64: Int64] = [:]
            if state.withLock({ !$0.searched.contains(group) }) {
                places = try search(log, topic.name, after: waiting.lastPlace, waiting.createdAt)
                state.withLock { state in _ = state.searched.insert(group) }
            }
            let isWhole = write(waiting.entries, group, waiting.createdAt, to: log, &places)
            note(places, of: group, in: lane, log, shard, isWhole: isWhole)
        } catch {
            warn(group, error)
            again(group, shard)
        }
    }

    /// False: the topic takes no more now. What it took is in `places` all the same.
    private func write(
        _ entries: [LetterEntry], _ group: String, _ createdAt: Int64, to log: PartitionLog,
        _ places: inout [UInt64: Int64]
    ) -> Bool {
        for entry in entries where places[entry.number] == nil {
            do throws(StorageError) {
                guard let place = try append(entry, group, createdAt, to: log) else {
                    return false
                }
                places[entry.number] = place
            } catch {
                warn(group, error)
                return false
            }
        }
        return true
    }

    private func warn(_ group: String, _ error: StorageError) {
        logger.warning(
            "DEAD_LETTERS_NOT_STORED", "dead letters wait in $groups: their topic takes none now",
            [("group", LogValue(group)), ("reason", LogValue(error.message))])
    }

    private func again(_ group: String, _ shard: GroupShard) {
        disk.execute(after: Self.retryNanoseconds) { [weak self] in self?.turn(group, shard) }
    }

    /// Says in `$groups` what the topic has, once that is durable, and goes on.
    private func note(
        _ places: [UInt64: Int64], of group: String, in lane: TopicPartition, _ log: PartitionLog,
        _ shard: GroupShard, isWhole: Bool
    ) {
        guard !places.isEmpty else { return again(group, shard) }
        let sorted = places.sorted { $0.key < $1.key }.map { (number: $0.key, place: $0.value) }
        let end = (places.values.max() ?? 0) + 1
        log.whenDurable(
            end,
            WhenDurable { failure in
                // A disk that fails here ends the broker.
                guard failure == nil else { return }
                shard.record {
                    $0.store(group, sorted, in: lane)
                } _: { [self] in
                    if isWhole {
                        disk.execute { self.turn(group, shard) }
                    } else {
                        again(group, shard)
                    }
                }
            })
    }

    /// The group's dead letter topic; made with its first dead letter.
    private func topic(of group: String) throws(StorageError) -> (Topic, PartitionLog) {
        let name = group + Coordinator.reservedSuffix
        if let found = engine.topic(named: name) {
            return (found, try InternalLog.partition(0, of: found))
        }
        let made = try InternalLog.topic(name, partitions: 1, engine)
        onTopic()
        return (made, try InternalLog.partition(0, of: made))
    }

    /// Entries of the group that the topic has behind `last`.
    private func search(
        _ log: PartitionLog, _ name: String, after last: Int64, _ createdAt: Int64
    ) throws(StorageError) -> [UInt64: Int64] {
        var places: [UInt64: Int64] = [:]
        let reader = InternalLog(log: log, name: name, pool: pool) { [logger] offset in
            logger.error(
                "DEAD_LETTERS_DAMAGED", "a dead letter topic is damaged",
                [("topic", LogValue(name)), ("from", LogValue(offset))])
        }
        try reader.readRecords(from: last + 1) { place throws(WireError) in
            let record = try DeadRecord(reading: place)
            if let identity = DeadLetterNote.identity(record),
                identity.groupCreatedAt == createdAt
            {
                places[identity.number] = place.offset
            }
            return true
        }
        return places
    }

    /// nil: the log takes nothing at the moment.
    private func append(
        _ entry: LetterEntry, _ group: String, _ createdAt: Int64, to log: PartitionLog
    ) throws(StorageError) -> Int64? {
        var record = try Self.record(of: entry)
        record.headers.append(DeadLetterNote.header(of: entry, record, group, createdAt: createdAt))
        guard let (slab, header) = record.batch() else {
            throw StorageError(.corrupt, "dead letter \(entry.number) of \(group) fits in no batch")
        }
        switch log.append(slab, 0..<slab.count, header, retry: NoRetry()) {
        case .appended(let receipt), .duplicate(let receipt): return receipt.baseOffset
        case .later: return nil
        case .refused(let refusal):
            throw StorageError(.offline, StorageErrors.refusal(refusal).text)
        }
    }

    /// What was resolved or said has no record of its own.
    private static func record(of entry: LetterEntry) throws(StorageError) -> DeadRecord {
        guard !entry.body.isEmpty else { return DeadRecord(at: entry.at) }
        do throws(FormatError) {
            return try DeadRecord(body: entry.body)
        } catch {
            throw StorageError(.corrupt, "dead letter \(entry.number): \(error)")
        }
    }
}

/// The clerk tries again by itself.
private final class NoRetry: AppendRetry {
    func retryAppend(_ log: PartitionLog) {}
}
