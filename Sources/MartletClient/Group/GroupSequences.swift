/// The records of the partitions that a member owns, one by one. Throws what `GroupConsumer`
/// describes; ends when the consumer is closed.
public struct GroupRecords: AsyncSequence, Sendable {
    /// What it is a sequence of.
    public typealias Element = ConsumedRecord

    let feed: GroupFeed

    /// Reads one record after the other.
    public struct AsyncIterator: AsyncIteratorProtocol {
        @usableFromInline let reader: GroupRecordReader

        init(_ reader: GroupRecordReader) {
            self.reader = reader
        }

        /// The next record; the one before counts as done.
        ///
        /// - Parameter actor: not looked at; this runs where the caller does.
        /// - Returns: the record; nil when the consumer is closed.
        /// - Throws: `MartletError`; `CancellationError` when the task was cancelled while waiting.
        @inlinable
        public nonisolated(nonsending) mutating func next(
            isolation actor: (any Actor)?
        ) async throws -> ConsumedRecord? {
            // No isolated parameter: with one the runtime is asked each time where the task is to run,
            // which costs more than all else that is done for a record.
            while true {
                if let record = reader.take() { return record }
                guard try await reader.advance(isolation: #isolation) else { return nil }
            }
        }

        /// The next record; the one before counts as done.
        ///
        /// - Returns: the record; nil when the consumer is closed.
        /// - Throws: `MartletError`; `CancellationError` when the task was cancelled while waiting.
        public mutating func next() async throws -> ConsumedRecord? {
            try await next(isolation: #isolation)
        }
    }

    /// A reader. What an earlier reader was handed and left counts as done once this one is asked.
    ///
    /// - Returns: the reader.
    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(GroupRecordReader(feed))
    }
}

/// The records of the partitions that a member owns, in batches: the fast way. Throws what
/// `GroupConsumer` describes; ends when the consumer is closed.
public struct GroupBatches: AsyncSequence, Sendable {
    /// What it is a sequence of.
    public typealias Element = ConsumerBatch

    let feed: GroupFeed

    /// Reads one batch after the other.
    public struct AsyncIterator: AsyncIteratorProtocol {
        private let reader: GroupBatchReader

        init(_ reader: GroupBatchReader) {
            self.reader = reader
        }

        /// The next batch; the one before counts as done.
        ///
        /// - Parameter actor: where the caller runs; it is not left.
        /// - Returns: the batch; nil when the consumer is closed.
        /// - Throws: `MartletError`; `CancellationError` when the task was cancelled while waiting.
        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws -> ConsumerBatch? {
            try await reader.next(isolation: actor)
        }

        /// The next batch; the one before counts as done.
        ///
        /// - Returns: the batch; nil when the consumer is closed.
        /// - Throws: `MartletError`; `CancellationError` when the task was cancelled while waiting.
        public mutating func next() async throws -> ConsumerBatch? {
            try await next(isolation: #isolation)
        }
    }

    /// A reader. What an earlier reader was handed and left counts as done once this one is asked.
    ///
    /// - Returns: the reader.
    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(GroupBatchReader(feed))
    }
}

/// Hands out records and keeps the account of them. What it holds when it goes is handed out again.
@usableFromInline
final class GroupRecordReader {
    private let feed: GroupFeed
    private let isBefore: Bool
    private var batch: ConsumerBatch?
    private var records: ConsumerBatch.Iterator?
    private var left: [Delivery]

    init(_ feed: GroupFeed) {
        self.feed = feed
        isBefore = feed.isBefore
        left = feed.takeLeft()
    }

    deinit {
        if let batch, let delivery = batch.run.delivery { feed.leave(batch, delivery) }
    }

    /// The next record of the batch at hand; nil when another is needed.
    @usableFromInline
    func take() -> ConsumedRecord? {
        guard let delivery = batch?.run.delivery else { return nil }
        if !delivery.isCut, let record = records?.next() {
            delivery.hand(record.offset, isDone: isBefore)
            if !isBefore || !delivery.isSurelyCut { return record }
        }
        feed.ledger.finish(delivery, isWhole: !delivery.isCut && !delivery.isDamaged)
        batch = nil
        records = nil
        return nil
    }

    /// Takes another batch; false: there will be none.
    @usableFromInline
    func advance(isolation: isolated (any Actor)?) async throws -> Bool {
        for delivery in left { feed.ledger.finish(delivery, isWhole: false) }
        left = []
        guard let next = try await feed.next(isolation: isolation) else { return false }
        batch = next
        records = next.makeIterator()
        return true
    }
}

/// Hands out batches and keeps the account of them.
final class GroupBatchReader {
    private let feed: GroupFeed
    private var current: Delivery?
    private var left: [Delivery]

    init(_ feed: GroupFeed) {
        self.feed = feed
        left = feed.takeLeft()
    }

    deinit {
        if let current { feed.leave(current) }
    }

    func next(isolation: isolated (any Actor)?) async throws -> ConsumerBatch? {
        for delivery in left { feed.ledger.finish(delivery, isWhole: false) }
        left = []
        if let current {
            feed.ledger.finish(current, isWhole: !current.isDamaged)
            self.current = nil
        }
        guard let batch = try await feed.next(isolation: isolation) else { return nil }
        current = batch.run.delivery
        current?.hand(all: batch.nextOffset, isDone: feed.isBefore)
        return batch
    }
}
