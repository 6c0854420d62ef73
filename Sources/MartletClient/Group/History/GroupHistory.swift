/// What happened to groups, and goes on happening: waits for the next event when there is none.
///
///     try await client.withGroupHistory(of: "board", from: .latest) { history in
///         for try await event in history where event.type == "member.timed-out" { ... }
///     }
///
/// Events are told once what they tell of is durable. They may come a second later, and those of the last
/// moment before the broker is killed may be missing; each comes once.
public struct GroupHistory: AsyncSequence, Sendable {
    /// What it is a sequence of.
    public typealias Element = GroupHistoryEvent

    private let records: ConsumerRecords
    private let group: String?

    init(_ records: ConsumerRecords, _ group: String?) {
        self.records = records
        self.group = group
    }

    /// Reads one event after the other.
    public struct AsyncIterator: AsyncIteratorProtocol {
        private var records: ConsumerRecords.AsyncIterator
        private let group: String?

        fileprivate init(_ records: ConsumerRecords.AsyncIterator, _ group: String?) {
            self.records = records
            self.group = group
        }

        /// Waits for the next event.
        ///
        /// - Parameter actor: where the caller runs; it is not left.
        /// - Returns: the event; nil when the reading was ended.
        /// - Throws: `MartletError`; `CancellationError` when the task was cancelled while waiting.
        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws -> GroupHistoryEvent? {
            while let record = try await records.next(isolation: actor) {
                guard let event = GroupHistoryEvent(record) else { continue }
                // That some are missing concerns every group.
                if group == nil || event.group == group || event.group.isEmpty { return event }
            }
            return nil
        }

        /// The next event.
        ///
        /// - Returns: the event; nil when the reading was ended.
        /// - Throws: `MartletError`; `CancellationError` when the task was cancelled while waiting.
        public mutating func next() async throws -> GroupHistoryEvent? {
            try await next(isolation: #isolation)
        }
    }

    /// A reader.
    ///
    /// - Returns: the reader.
    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(records.makeAsyncIterator(), group)
    }
}

extension MartletClient {
    /// Reads what happened to groups.
    ///
    /// - Parameters:
    ///   - group: only of this one, and `events.missed`; nil for all.
    ///   - start: where to begin.
    ///   - body: what to do with it.
    /// - Returns: what `body` returns.
    /// - Throws: what `body` throws; `UNKNOWN_TOPIC` when the broker never had a group, or writes no
    ///   events (`group.events`).
    public func withGroupHistory<R>(
        of group: String? = nil, from start: StartPosition = .latest,
        _ body: (GroupHistory) async throws -> R
    ) async throws -> R {
        var configuration = ConsumerConfiguration(
            [.topic(GroupHistoryEvent.topic, start: start)])
        // What its retention took is passed.
        configuration.resetPolicy = .earliest
        return try await withConsumer(configuration) { consumer in
            try await body(GroupHistory(consumer.records, group))
        }
    }
}
