extension MartletClient {
    /// Joins a queue group and calls `handler` with each record that is handed to this member, until
    /// the task is cancelled or the client closed.
    ///
    ///     try await client.consumeQueue(QueueConfiguration("notify", topics: ["flights"])) { flight in
    ///         try await notify(flight.record)
    ///         return .done
    ///     }
    ///
    /// Any number of members share the records of a partition: each record is with one of them at a
    /// time. It is done when the handler says so, which is durable soon after; a record whose member
    /// dies goes to another, so a handler may see a record more than once. The order is that of the
    /// partition only as far as one handler after the other goes.
    ///
    /// While the member lives its leases are extended, each up to `handlerTimeout`. When the task is
    /// cancelled, handlers that have begun may end; those that have not after `drainTimeout` are
    /// cancelled. What they finished is said before this call returns, and the rest is at once ready
    /// for others. A handler that closes the client ends the call in the same way, without an error.
    ///
    /// When the broker is lost the member reconnects, `onEvent` is told (`disconnected`, `reconnected`), and
    /// handlers that have begun go on. When it stays away longer than the client's `deadline` the call
    /// throws `CONNECTION_FAILED`, once those handlers are over, `drainTimeout` later at most if they heed
    /// cancellation. A broker that was restarted hands out again what is not settled: what a handler of
    /// this member runs with, or ended with meanwhile, is taken over, and handled once; another member
    /// may begin beside it.
    ///
    /// A record that cannot be read is nobody's: it stays with the group, neither acked nor counted as
    /// tried, `onEvent` is told (`damaged`), and all other records go on.
    ///
    /// - Parameters:
    ///   - configuration: which group, what to read, and how.
    ///   - handler: what to do with a record. When it throws, `onFailure` is told, and the broker
    ///     does what the group's `FailurePolicy` says: the record comes again after a pause that
    ///     grows with its attempts, until they are used up; after a `PermanentFailure` it does not
    ///     come again by itself.
    /// - Throws: `CancellationError`; `INVALID_ARGUMENT`, `WRONG_GROUP_KIND`, `CONNECTION_FAILED`.
    public func consumeQueue(
        _ configuration: QueueConfiguration,
        _ handler: @escaping @Sendable (QueueRecord) async throws -> QueueOutcome
    ) async throws {
        try configuration.validate()
        let member = QueueMember(configuration, try takeContext(), handler)
        guard members.add(member) else { throw MartletError.closed("client") }
        defer { members.remove(member) }
        try await callingHandlers { try await member.run() }
    }

    /// The same for a handler that has done its work when it returns.
    ///
    /// - Parameters:
    ///   - group: the group's name.
    ///   - topics: names of topics, and patterns with `*`.
    ///   - handler: what to do with a record.
    /// - Throws: as with a configuration.
    public func consumeQueue(
        _ group: String, topics: [String],
        _ handler: @escaping @Sendable (QueueRecord) async throws -> Void
    ) async throws {
        try await consumeQueue(QueueConfiguration(group, topics: topics)) { record in
            try await handler(record)
            return .done
        }
    }
}
