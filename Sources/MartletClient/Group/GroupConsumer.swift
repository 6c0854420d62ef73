import MartletSystem
import Synchronization

/// A member of a group: reads the partitions that the group gives it, and commits how far it is.
///
///     try await client.withGroupConsumer("board", topics: ["flights"]) { consumer in
///         for try await record in consumer.records { ... }
///     }
///
/// The members of a group share its partitions: each has one owner at a time. When members come or
/// go, a partition passes on once its owner has finished what it was handed of it and committed;
/// all others go on meanwhile. Within one partition records come in order.
///
/// Records come at least once, as `commitPolicy` has it by default: a member that dies leaves those
/// to others that it had not committed. A member that is cut off for the session's time stops; what
/// it was handed before may be handled twice.
///
/// When the broker is lost the member reconnects and goes on; when it stays away longer than the
/// deadline the sequence throws `CONNECTION_FAILED`, which is `isFatal`: join again. A partition that cannot be read throws as with
/// `Consumer`, once; ask the sequence again, and it goes on with the others.
public final class GroupConsumer: Sendable {
    let core: GroupCore
    let feed: GroupFeed
    private let members: ClientMembers
    private let closing = Mutex(Closing())

    /// Whose `onAssign` or `onRevoke` the task runs.
    @TaskLocal private static var hooked: ObjectIdentifier?

    private struct Closing {
        var hasBegun = false
        var isOver = false
        var waiters: [Promise<Void>] = []
    }

    init(_ core: GroupCore, _ members: ClientMembers) {
        self.core = core
        self.members = members
        feed = GroupFeed(core)
        let (assign, revoke) = (core.configuration.onAssign, core.configuration.onRevoke)
        core.hooks = GroupCore.Hooks(
            assign: { [weak self] partitions in
                await self?.hook { await assign?($0, partitions) }
            },
            revoke: { [weak self] partitions, isLost in
                await self?.hook { await revoke?($0, partitions, isLost) }
            })
    }

    private func hook(_ body: (GroupConsumer) async -> Void) async {
        await Self.$hooked.withValue(ObjectIdentifier(self)) { await body(self) }
    }

    /// The records one by one.
    public var records: GroupRecords { GroupRecords(feed: feed) }

    /// The records in batches: the fast way.
    public var batches: GroupBatches { GroupBatches(feed: feed) }

    /// What happens beside the records. It need not be read: the newest 1,024 events are kept.
    public var events: GroupEvents { GroupEvents(buffer: core.events) }

    /// Runs tasks on the thread that receives this consumer's records; see `Consumer.executor` for
    /// what that saves and its one rule.
    public var executor: any TaskExecutor { core.context.loop }

    /// What has records handled that were sent to the group again; nil: this member takes none.
    func replays(
        _ handling: GroupHandling, _ slots: HandlerSlots,
        _ handler: @escaping GroupHandlers.Handler,
        failed: @escaping @Sendable (any Error) -> Void
    ) -> GroupReplays? {
        guard core.configuration.commitPolicy != .beforeProcessing else { return nil }
        return GroupReplays(core, handling, slots, handler, failed: failed)
    }

    /// The partitions that are read now.
    ///
    /// - Returns: them, in order.
    public func assignment() async -> [TopicPartition] {
        await core.onQueue { core in
            core.held.values.filter { $0.phase == .reading }.map(\.key.name).sorted()
        }
    }

    /// Commits now, and waits until that is durable. With `CommitPolicy.manual` all that was handed
    /// out, the record or batch at hand included; otherwise what counts as done. With
    /// `CommitPolicy.beforeProcessing` there is nothing to do: it was committed before.
    ///
    /// - Parameter metadata: words of your own, kept with the offset of each partition that is
    ///   committed by this call, until the next commit there: one by itself, too, takes them away.
    ///   `AdminClient.describeGroup` tells them (`GroupPartitionInfo.metadata`). At most 4,096 bytes of
    ///   UTF-8, or less as the broker allows. nil: none.
    /// - Throws: `INVALID_ARGUMENT` for too many words, or any with `beforeProcessing`; `STALE_MEMBER_EPOCH` or `FENCED_MEMBER` when a partition was lost meanwhile (what was
    ///   to be committed of the others is committed), `OFFSET_OUT_OF_RANGE` when the broker has lost
    ///   what was read, `CONNECTION_FAILED` when it stays away longer than the deadline, `CLOSED`;
    ///   `CancellationError`.
    public func commit(metadata: String? = nil) async throws {
        try CommitMetadata.check(metadata ?? "")
        if core.configuration.commitPolicy == .beforeProcessing {
            guard metadata == nil else {
                throw MartletError.invalid(
                    "metadata", "comes too late for what was committed before")
            }
            return
        }
        if core.configuration.commitPolicy == .manual { core.ledger.markHanded() }
        try await commit(only: nil, metadata)
    }

    /// Commits a record and all before it in its partition, and waits until that is durable. For
    /// `CommitPolicy.manual`.
    ///
    /// - Parameters:
    ///   - record: one that this consumer handed out.
    ///   - metadata: words of your own, as with `commit(metadata:)`.
    /// - Throws: `INVALID_ARGUMENT` when it is not, or the policy is another; `STALE_MEMBER_EPOCH` when
    ///   its partition was lost since; else as `commit()`.
    public func commit(_ record: ConsumedRecord, metadata: String? = nil) async throws {
        try await commit(record.run, below: record.offset + 1, metadata)
    }

    /// Commits a batch and all before it in its partition, and waits until that is durable. For
    /// `CommitPolicy.manual`.
    ///
    /// - Parameters:
    ///   - batch: one that this consumer handed out.
    ///   - metadata: words of your own, as with `commit(metadata:)`.
    /// - Throws: as for a record.
    public func commit(_ batch: ConsumerBatch, metadata: String? = nil) async throws {
        try await commit(batch.run, below: batch.nextOffset, metadata)
    }

    private func commit(
        _ run: FetchedRun, below offset: Int64, _ metadata: String?
    ) async throws {
        try CommitMetadata.check(metadata ?? "")
        guard core.configuration.commitPolicy == .manual else {
            throw MartletError.invalid("commitPolicy", "is not manual")
        }
        guard let key = run.delivery?.key else {
            throw MartletError.invalid("record", "does not come from a group")
        }
        guard core.ledger.mark(key, below: offset) else {
            throw MartletError(.staleMemberEpoch, "", context: key.name.context)
        }
        try await commit(only: key, metadata)
    }

    private func commit(only key: OwnedKey?, _ metadata: String?) async throws {
        let done = Promise<Void>()
        core.context.loop.execute { [core] in
            let keys = key.map { [$0] } ?? core.ledger.uncommitted(all: metadata != nil)
            core.commit(
                keys, deadline: core.now.addingClamped(core.patience), metadata: metadata
            ) { error in
                if let error { done.fail(error) } else { done.succeed(()) }
            }
        }
        try await done.value()
    }

    /// Waits until readers are done with what they have in hand (at most `drainTimeout`), gives all
    /// partitions back after a last commit, leaves the group and ends the sequences (they
    /// return nil). A member with an `instance` does not leave: its partitions wait for it for the
    /// session's time. Takes up to `drainTimeout` when the broker is away. Idempotent; returns when
    /// all that is done; but at once from within `onAssign` or `onRevoke`, which it waits for.
    public func close() async { await close(isPatient: true) }

    /// - Parameter isPatient: whether other tasks may have records in hand.
    func close(isPatient: Bool) async {
        let isInHook = Self.hooked == ObjectIdentifier(self)
        let promise = Promise<Void>()
        let (isFirst, isOver) = closing.withLock { closing in
            defer { closing.hasBegun = true }
            if !closing.isOver, !isInHook { closing.waiters.append(promise) }
            return (!closing.hasBegun, closing.isOver)
        }
        if isOver { return }
        if isFirst {
            core.steward.add { [self] in await leave(isPatient: isPatient) }
            core.context.loop.execute { [core] in core.endQuestions() }
        }
        if !isInHook { await promise.settled() }
    }

    private func leave(isPatient: Bool) async {
        feed.abandonLeft()
        await core.leave(isPatient: isPatient)
        core.steward.finish()
        members.remove(self)
        let waiters = closing.withLock { closing in
            closing.isOver = true
            return closing.waiters
        }
        for waiter in waiters { waiter.succeed(()) }
    }

    /// The client is closed: nothing can be waited for in a hook.
    func closeWithClient() async {
        await close()
        if Self.hooked == ObjectIdentifier(self) { await core.onQueue { $0.end() } }
    }
}

extension MartletClient {
    /// Joins a group, runs `body` with the member, then commits, leaves and closes it; also when
    /// `body` throws or the task is cancelled.
    ///
    /// The record at hand counts as done when `body` returns, not when it throws. Of a batch that is
    /// not known: it comes again.
    ///
    /// - Parameters:
    ///   - configuration: which group, what to read, and how.
    ///   - body: what to do with it.
    /// - Returns: what `body` returns.
    /// - Throws: what `body` throws; `INVALID_ARGUMENT`, `INVALID_GROUP_NAME`, `LIMIT_REACHED`,
    ///   `UNSUPPORTED_VERSION`, `CONNECTION_FAILED`, `CLOSED`.
    public func withGroupConsumer<R>(
        _ configuration: GroupConsumerConfiguration,
        _ body: (GroupConsumer) async throws -> R
    ) async throws -> R {
        try configuration.validate()
        let core = GroupCore(configuration, try takeContext(), admin)
        let consumer = GroupConsumer(core, members)
        // Not cancelled with this one: a member that is cancelled still commits and leaves.
        let steward = Task { await core.steward.run() }
        guard members.add(consumer) else {
            core.steward.finish()
            throw MartletError.closed("client")
        }
        core.context.loop.execute { core.start() }
        do {
            try await core.joined.value()
            let result = try await body(consumer)
            consumer.feed.finishLeft()
            await consumer.close(isPatient: false)
            await steward.value
            return result
        } catch {
            await consumer.close(isPatient: false)
            await steward.value
            throw error
        }
    }

    /// Joins a group with the default settings: at least once, from the oldest record on.
    ///
    /// - Parameters:
    ///   - group: the group's name.
    ///   - topics: names of topics, and patterns with `*`.
    ///   - body: what to do with the member.
    /// - Returns: what `body` returns.
    /// - Throws: as with a configuration.
    public func withGroupConsumer<R>(
        _ group: String, topics: [String], _ body: (GroupConsumer) async throws -> R
    ) async throws -> R {
        try await withGroupConsumer(GroupConsumerConfiguration(group, topics: topics), body)
    }
}
