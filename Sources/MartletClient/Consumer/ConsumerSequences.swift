import Synchronization

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
        // Here, not in the object: with each record it changes, and it is too large to be changed in
        // another object's memory at that rate.
        @usableFromInline var records: ConsumerBatch.Iterator?
        @usableFromInline let reader: RecordReader

        init(_ reader: RecordReader) {
            self.reader = reader
        }

        /// The next record of the batch at hand; nil when another is needed.
        @usableFromInline
        mutating func take() -> ConsumedRecord? {
            guard let record = records?.next() else {
                records = nil
                reader.finish()
                return nil
            }
            reader.hand(record.offset)
            return record
        }

        /// The next record; waits only when a batch is used up and no other is there.
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
                if let record = take() { return record }
                records = try await reader.advance(isolation: #isolation)
                if records == nil { return nil }
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

/// Knows of the batch at hand how far it was handed out. What is left when it goes is handed out
/// again.
@usableFromInline
final class RecordReader {
    private let shelf: BatchShelf
    private var batch: ConsumerBatch?
    /// The first offset that was not handed out. An atomic, because to change one costs nothing but
    /// the change: it is done for each record.
    private let rest = Atomic<Int64>(0)

    init(_ shelf: BatchShelf) {
        self.shelf = shelf
    }

    deinit {
        guard let batch else { return }
        let left = FetchedRun(batch.run, from: rest.load(ordering: .relaxed))
        var records = ConsumerBatch.Iterator(left)
        guard let next = records.next() else { return }
        shelf.putBack(ConsumerBatch(run: FetchedRun(left, from: next.offset)))
    }

    /// A record was handed out, and those before it.
    func hand(_ offset: Int64) {
        rest.store(offset &+ 1, ordering: .relaxed)
    }

    /// All records of the batch were handed out.
    func finish() {
        batch = nil
    }

    /// The records of another batch; nil: there will be none.
    @usableFromInline
    func advance(isolation: isolated (any Actor)?) async throws -> ConsumerBatch.Iterator? {
        guard let next = try await shelf.next(isolation: isolation) else { return nil }
        batch = next
        rest.store(next.firstOffset, ordering: .relaxed)
        return next.makeIterator()
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
