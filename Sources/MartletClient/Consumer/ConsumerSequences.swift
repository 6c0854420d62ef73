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
        @usableFromInline var batches: ConsumerBatches.AsyncIterator
        @usableFromInline var current: ConsumerBatch.Iterator?

        init(_ batches: ConsumerBatches.AsyncIterator) {
            self.batches = batches
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
                if let record = current?.next() { return record }
                guard let batch = try await batches.next(isolation: actor) else {
                    current = nil
                    return nil
                }
                current = batch.makeIterator()
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

    /// A reader.
    ///
    /// - Returns: the reader.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(batches.makeAsyncIterator()) }
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
