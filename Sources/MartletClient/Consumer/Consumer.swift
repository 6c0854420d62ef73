import MartletFormat
import MartletSystem
import MartletWire

/// What happens to a consumer beside its records.
public enum ConsumerEvent: Sendable {
    /// The newest record of the partition was fetched; posted again after it fell behind.
    case caughtUp(TopicPartition, offset: Int64)
    /// These offsets of a `written` topic have no records: the broker did not stop in order, and
    /// what may have been there was lost before it was durable. Reading goes on behind them.
    case offsetsLost(TopicPartition, Range<Int64>)
    /// These offsets are damaged, and a person decided to pass them.
    case damageSkipped(TopicPartition, Range<Int64>)
    /// The wanted offset was not there, and the reset policy chose another.
    case reset(TopicPartition, from: Int64, to: Int64)
    /// The connection broke, or the first attempt failed; it is made again until the deadline.
    case disconnected(MartletError)
    /// The connection is back; reading goes on where it was.
    case reconnected
    /// Partitions were added to a topic of which all are read; they are read from their start.
    case partitionsAdded(topic: String, total: Int)
}

/// Reads partitions from where it was told to, in order, each record once.
///
///     for try await batch in consumer.batches {
///         for record in batch { ... }
///     }
///
/// Every batch's checksum is checked, and that its offsets follow those before: what cannot be
/// trusted is fetched once more and then thrown as `CORRUPT_MESSAGE` with the range, never handed
/// out. A topic that was deleted throws `UNKNOWN_TOPIC_ID`, also when a new one has its name. Such
/// errors stop one partition (`error.context` names it): ask the sequence again, and it goes on with
/// the others; `seek` starts the stopped one again. When nothing is left to read, the sequence
/// throws again and again, so that no loop waits for ever; such an error is `isFatal`.
///
/// When the broker is lost the consumer reconnects and goes on where it was; when it stays away
/// longer than the deadline the sequence throws `CONNECTION_FAILED`.
///
/// Records are fetched ahead while the application works, up to `prefetchBytes`. The sequences may
/// be read by several tasks: each batch goes to one of them.
public final class Consumer: Sendable {
    let core: ConsumerCore
    private let shelf: BatchShelf
    private let admin: AdminClient
    private let members: ClientMembers

    private init(_ core: ConsumerCore, _ admin: AdminClient, _ members: ClientMembers) {
        self.core = core
        shelf = core.shelf
        self.admin = admin
        self.members = members
    }

    /// The records in batches: the fast way.
    public var batches: ConsumerBatches { ConsumerBatches(shelf: shelf) }

    /// The records one by one. When a loop over them ends in the middle of a batch, the next loop goes
    /// on with the record behind the last one that was handed out.
    public var records: ConsumerRecords { ConsumerRecords(batches: batches) }

    /// What happens beside the records. It need not be read: the newest 1,024 events are kept.
    public var events: ConsumerEvents { ConsumerEvents(buffer: core.events) }

    /// Runs tasks on the thread that receives this consumer's records, which saves the change of
    /// threads between a record's arrival and the task that waits for it:
    ///
    ///     try await withTaskExecutorPreference(consumer.executor) {
    ///         for try await batch in consumer.batches { ... }
    ///     }
    ///
    /// For short work where microseconds count. The one rule: nothing there may block or compute for
    /// long, because meanwhile the thread receives nothing, for no producer and consumer that it
    /// serves. Once the client is closed, such tasks go on elsewhere.
    public var executor: any TaskExecutor { core.context.loop }

    /// The offset behind the last record of each partition that was handed to the application. For
    /// `records`, the batch that is being read counts as handed out while its reader is there.
    ///
    /// - Returns: the next offset by partition.
    public func positions() -> [TopicPartition: Int64] { shelf.positions }

    /// Goes elsewhere in a partition. What was fetched of it and not handed out is forgotten, and so
    /// is an error that ended the sequence.
    ///
    /// - Parameters:
    ///   - partition: one of the consumer's.
    ///   - start: where to go on.
    /// - Throws: `INVALID_ARGUMENT` when the consumer does not read the partition; what looking an
    ///   offset up may throw.
    public func seek(_ partition: TopicPartition, to start: StartPosition) async throws {
        guard let id = core.topicIDs[partition.topic] else {
            throw MartletError.invalid("partition", "\(partition) is not assigned")
        }
        let offset: Int64
        if let query = start.query {
            offset = try await admin.offsets([(id, partition, query)])[0].offset
        } else if case .offset(let wanted) = start {
            offset = wanted
        } else {
            throw MartletError.invalid("start", "is of an unknown kind")
        }
        let done = Promise<Void>()
        core.context.loop.execute { [core] in
            if core.seek(partition, to: offset) {
                done.succeed(())
            } else {
                done.fail(MartletError.invalid("partition", "\(partition) is not assigned"))
            }
        }
        try await done.value()
    }

    /// Ends the sequences (they return nil), and the connection. Idempotent.
    public func close() async {
        let done = Promise<Void>()
        core.context.loop.execute { [core] in
            core.close()
            done.succeed(())
        }
        await done.settled()
        members.remove(self)
    }

    /// Looks up what is to be read and where to begin, then starts to fetch.
    static func make(
        _ configuration: ConsumerConfiguration, _ context: ConnectionContext,
        _ admin: AdminClient, _ members: ClientMembers
    ) async throws -> Consumer {
        var topics: [String: (id: TopicID, partitions: Int32, isCompacted: Bool)] = [:]
        for name in Set(configuration.assignments.map(\.topic)) {
            let found = try await admin.metadata(name)
            topics[name] = (found.id, found.partitions, found.compacted)
        }
        var cursors: [PartitionCursor] = []
        var questions: [(id: TopicID, partition: TopicPartition, query: OffsetQuery)] = []
        var askers: [PartitionCursor] = []
        var seen: Set<TopicPartition> = []
        for assignment in configuration.assignments {
            guard let topic = topics[assignment.topic] else { continue }
            for number in assignment.partition.map({ [$0] }) ?? Array(0..<topic.partitions) {
                let name = TopicPartition(assignment.topic, number)
                guard number >= 0, number < topic.partitions else {
                    throw MartletError(.unknownPartition, "", context: name.context)
                }
                guard seen.insert(name).inserted else {
                    throw MartletError.invalid("assignments", "name \(name) twice")
                }
                let cursor = PartitionCursor(
                    name, id: topic.id, position: 0, isCompacted: topic.isCompacted)
                let start = assignment.start ?? configuration.start
                if case .offset(let offset) = start { cursor.position = offset }
                if let query = start.query {
                    questions.append((topic.id, name, query))
                    askers.append(cursor)
                }
                cursors.append(cursor)
            }
        }
        for (cursor, found) in zip(askers, try await admin.offsets(questions)) {
            cursor.position = found.offset
        }
        let core = ConsumerCore(
            configuration, context, cursors: cursors, topicIDs: topics.mapValues(\.id))
        context.loop.execute { core.start() }
        return Consumer(core, admin, members)
    }
}

extension StartPosition {
    /// What has to be asked to know the offset; nil when it is known.
    var query: OffsetQuery? {
        switch self {
        case .earliest: .earliest
        case .latest: .latest
        case .time(let time): .time(time)
        case .offset: nil
        }
    }
}
