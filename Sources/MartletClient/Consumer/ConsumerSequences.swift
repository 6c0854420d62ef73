/// The records of a consumer in batches. Throws what `Consumer` describes; ends when it is closed.
public struct ConsumerBatches: AsyncSequence, Sendable {
    /// What it is a sequence of.
    public typealias Element = ConsumerBatch

    let shelf: BatchShelf

    /// Reads one batch after the other.
    public struct AsyncIterator: AsyncIteratorProtocol {
        let shelf: BatchShelf

        /// Waits for the next batch, or takes one that is there without any waiting.
        ///
        /// - Parameter actor: where the caller runs; it is not left.
        /// - Returns: the batch; nil when the consumer is closed.
        /// - Throws: `MartletError`; `CancellationError` when the task was cancelled while waiting.
        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws -> ConsumerBatch? {
            try await shelf.next(isolation: actor)
        }

        /// Waits for the next batch, or takes one that is there without any waiting.
        ///
        /// - Returns: the batch; nil when the consumer is closed.
        /// - Throws: `MartletError`; `CancellationError` when the task was cancelled while waiting.
        public mutating func next() async throws -> ConsumerBatch? {
            try await shelf.next()
        }
    }

    /// A reader.
    ///
    /// - Returns: the reader.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(shelf: shelf) }
}

/// The records of a consumer one by one: the comfortable way over `ConsumerBatches`.
public struct ConsumerRecords: AsyncSequence, Sendable {
    /// What it is a sequence of.
    public typealias Element = ConsumedRecord

    let batches: ConsumerBatches

    /// Reads one record after the other.
    public struct AsyncIterator: AsyncIteratorProtocol {
        @usableFromInline let reader: RecordReader

        init(_ reader: RecordReader) {
            self.reader = reader
        }

        /// The next record; waits only when a batch is used up and no other is there.
        ///
        /// - Parameter actor: where the caller runs; it is not left.
        /// - Returns: the record; nil when the consumer is closed.
        /// - Throws: `MartletError`; `CancellationError` when the task was cancelled while waiting.
        @inlinable
        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws -> ConsumedRecord? {
            while true {
                if let record = reader.take() { return record }
                guard try await reader.advance(isolation: actor) else { return nil }
            }
        }

        /// The next record; waits only when a batch is used up and no other is there.
        ///
        /// - Returns: the record; nil when the consumer is closed.
        /// - Throws: `MartletError`; `CancellationError` when the task was cancelled while waiting.
        public mutating func next() async throws -> ConsumedRecord? {
            try await next(isolation: #isolation)
        }
    }

    /// A reader. What it was not handed of a batch when it goes comes to the next one.
    ///
    /// - Returns: the reader.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(RecordReader(batches.shelf)) }
}

/// Hands out the records of one batch after the other. What it holds when it goes is handed out again.
@usableFromInline
final class RecordReader {
    private let shelf: BatchShelf
    private var batch: ConsumerBatch?
    private var records: ConsumerBatch.Iterator?

    init(_ shelf: BatchShelf) {
        self.shelf = shelf
    }

    deinit {
        guard let batch, let next = records?.next() else { return }
        shelf.putBack(ConsumerBatch(run: FetchedRun(batch.run, from: next.offset)))
    }

    /// The next record of the batch at hand; nil when another is needed.
    @usableFromInline
    func take() -> ConsumedRecord? {
        if let record = records?.next() { return record }
        batch = nil
        records = nil
        return nil
    }

    /// Takes another batch; false: there will be none.
    @usableFromInline
    func advance(isolation: isolated (any Actor)?) async throws -> Bool {
        guard let next = try await shelf.next(isolation: isolation) else { return false }
        batch = next
        records = next.makeIterator()
        return true
    }
}

/// What happens to a consumer beside its records; ends when the consumer is closed.
public struct ConsumerEvents: AsyncSequence, Sendable {
    /// What it is a sequence of.
    public typealias Element = ConsumerEvent
    /// It never throws.
    public typealias Failure = Never

    let buffer: EventBuffer<ConsumerEvent>

    /// Reads one event after the other.
    public struct AsyncIterator: AsyncIteratorProtocol {
        let buffer: EventBuffer<ConsumerEvent>

        /// Waits for the next event.
        ///
        /// - Parameter actor: where the caller runs; it is not left.
        /// - Returns: the event; nil when the consumer is closed or the task cancelled.
        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws(Never) -> ConsumerEvent? {
            await buffer.next(isolation: actor)
        }
    }

    /// A reader.
    ///
    /// - Returns: the reader.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(buffer: buffer) }
}
