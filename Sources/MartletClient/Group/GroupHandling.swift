/// How many records a member of a group handles at a time, and in which order.
public enum GroupHandling: Sendable, Equatable {
    /// One after the other.
    case serial
    /// Up to so many at a time (1 to 512). Those of one key in one partition are handled one after
    /// the other, in their order; records without a key in any order.
    case perKey(Int)
    /// Up to so many at a time (1 to 512), in any order.
    case unordered(Int)

    static let concurrencyMax = 512

    /// Handlers that run at a time.
    var concurrency: Int {
        switch self {
        case .serial: 1
        case .perKey(let count), .unordered(let count): count
        }
    }

    /// Records that are with handlers or wait for one. More than run, when some wait for their key.
    /// What is done between them must fit the ranges of a commit.
    var window: Int {
        switch self {
        case .serial, .unordered: concurrency
        case .perKey(let count): max(count, min(8 * count, Self.concurrencyMax))
        }
    }

    func validate() throws(MartletError) {
        guard 1...Self.concurrencyMax ~= concurrency else {
            throw .invalid("handling", "must be 1 to \(Self.concurrencyMax) at a time")
        }
    }
}

extension MartletClient {
    /// Joins a group and calls `handler` with each record that comes to this member, until the task is
    /// cancelled or the client closed.
    ///
    ///     try await client.consumeGroup("billing", topics: ["orders"], handling: .perKey(8)) {
    ///         record in
    ///         try await bill(record)
    ///     }
    ///
    /// A record is done when its handler returns. What is committed is the lowest record that is not
    /// done, together with the ranges that are done above it: who goes on after a hand-over or a
    /// restart is not handed those again. No more records are taken from the broker than handlers and
    /// `prefetchBytes` have room for.
    ///
    /// A record that the group's policy parks (`failures = .byPolicy`) is left out, and with its key all
    /// later records of the key in its partition, whichever `handling`; they are lag until
    /// `AdminClient.releaseParked` lets them come, in their order. Members that read sequences, or
    /// commit before they handle, leave nothing out: a group that parks should have none.
    ///
    /// A partition that goes to another member waits for the handlers that have begun with records
    /// of it, at most `drainTimeout`; none begins any more. When the task is cancelled the same holds
    /// for all partitions: handlers that have begun may end; those that have not after `drainTimeout`
    /// are cancelled, and their records come again. With `CommitPolicy.beforeProcessing` a record
    /// whose handler began is done, whatever becomes of it. A handler that closes the client ends the
    /// call in the same way, without an error.
    ///
    /// Records and dead letters that somebody sends to the group again (`AdminClient.replayRecords`,
    /// `replayDeadLetters`) come to the handler too, beside the flow, in no order, and whoever owns
    /// their partition; a dead letter as it was, or as it was edited. They count as handlers that run
    /// at a time, and not in what is committed. When the handler throws, they come again, or the
    /// group's policy decides, as `failures` says. With `CommitPolicy.beforeProcessing` they do not
    /// come to this member.
    ///
    /// - Parameters:
    ///   - configuration: which group, what to read, and how. The commit policy is not `manual`.
    ///   - handling: how many at a time, and in which order.
    ///   - handler: what to do with a record. What it throws ends the call, once the handlers that
    ///     have begun have ended and what is done is committed; its record comes again. With
    ///     `failures = .byPolicy` the broker decides instead what becomes of the record.
    /// - Throws: what `handler` throws; `CancellationError`; else as `withGroupConsumer` and its
    ///   sequences.
    public func consumeGroup(
        _ configuration: GroupConsumerConfiguration, handling: GroupHandling = .serial,
        _ handler: @escaping @Sendable (ConsumedRecord) async throws -> Void
    ) async throws {
        try handling.validate()
        guard configuration.commitPolicy != .manual else {
            throw MartletError.invalid("commitPolicy", "is manual, and nobody is there to commit")
        }
        try await withGroupConsumer(configuration) { consumer in
            // Not cancelled with this one: it ends with the consumer, and misses nothing of the end.
            let events = configuration.onEvent.map { tell in
                Task { for await event in consumer.events { tell(event) } }
            }
            let slots = HandlerSlots(handling.concurrency)
            let handlers = GroupHandlers(consumer.feed, handling, slots, handler)
            // Not cancelled with this one: what handlers have begun they may end.
            let work = Task {
                await TaskPool.use { await callingHandlers { await handlers.run() } }
            }
            let replays = consumer.replays(handling, slots, handler) { handlers.stop($0) }
            let again = Task {
                let error = await callingHandlers { await replays?.run() }
                if let error { handlers.stop(error) }
            }
            await withTaskCancellationHandler {
                await handlers.end.stopped.settled()
            } onCancel: {
                handlers.stop(CancellationError())
            }
            // A record that was sent again is the member's as long as it is in the group.
            replays?.stop()
            await again.value
            // Waits for the handlers, but not for ever, and commits.
            await consumer.close()
            work.cancel()
            await work.value
            await events?.value
            if let error = handlers.end.error { throw error }
        }
    }

    /// Joins a group with the default settings (at least once, from the oldest record on) and calls
    /// `handler` with each record.
    ///
    /// - Parameters:
    ///   - group: the group's name.
    ///   - topics: names of topics, and patterns with `*`.
    ///   - handling: how many at a time, and in which order.
    ///   - handler: what to do with a record.
    /// - Throws: as with a configuration.
    public func consumeGroup(
        _ group: String, topics: [String], handling: GroupHandling = .serial,
        _ handler: @escaping @Sendable (ConsumedRecord) async throws -> Void
    ) async throws {
        try await consumeGroup(
            GroupConsumerConfiguration(group, topics: topics), handling: handling, handler)
    }
}
