import MartletFormat
import Synchronization

/// Records given to `enqueue` that were not acknowledged and will not be tried again.
public struct DeliveryFailure: Sendable {
    /// The topic's name; empty when the broker did not say which batch it refused (`acks` none).
    public let topic: String
    /// The partition; -1 when none was chosen yet.
    public let partition: Int32
    /// The number of records; 0 when the broker did not say which batch it refused.
    public let recordCount: Int
    /// Why, and whether they may be in the log nevertheless (`error.outcome`).
    public let error: MartletError
    private var batch: ProducerBatch?
    private var pending: [ProducerRecord] = []

    init(
        topic: String, partition: Int32, recordCount: Int, error: MartletError,
        batch: ProducerBatch?
    ) {
        self.topic = topic
        self.partition = partition
        self.recordCount = recordCount
        self.error = error
        self.batch = batch
    }

    init(
        topic: String, partition: Int32, recordCount: Int, error: MartletError,
        pending: [ProducerRecord]
    ) {
        self.init(
            topic: topic, partition: partition, recordCount: recordCount, error: error, batch: nil)
        self.pending = pending
    }

    /// The records themselves, decoded anew by each call; empty when so many failures were waiting
    /// to be read that their records had to be let go.
    public var records: [ProducerRecord] {
        guard let batch else { return pending }
        let awaited = Set(batch.waiters.map { Int($0.index) })
        return batch.records().enumerated().filter { !awaited.contains($0.offset) }.map(\.element)
    }

    var payloadBytes: Int { batch?.slab.capacity ?? 0 }

    mutating func dropRecords() {
        batch = nil
        pending = []
    }
}

/// The failures of a producer, in order. Ends when the producer is closed.
///
/// It need not be read: the newest 1,024 failures are kept. Each failure goes to one reader.
public struct DeliveryFailures: AsyncSequence, Sendable {
    /// What it is a sequence of.
    public typealias Element = DeliveryFailure
    /// It never throws.
    public typealias Failure = Never

    let log: FailureLog

    /// Reads one failure after the other.
    public struct AsyncIterator: AsyncIteratorProtocol {
        let log: FailureLog

        /// Waits for the next failure.
        ///
        /// - Parameter actor: where the caller runs; it is not left.
        /// - Returns: the failure; nil when the producer is closed or the task cancelled.
        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws(Never) -> DeliveryFailure? {
            await log.next(isolation: actor)
        }
    }

    /// A reader.
    ///
    /// - Returns: the reader.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(log: log) }
}

/// The buffer behind `DeliveryFailures`.
final class FailureLog: Sendable {
    private let buffer = EventBuffer<DeliveryFailure>(capacity: 1_024)
    /// Bytes of the slabs that failures in the buffer hold.
    private let payloadBytes = Atomic(0)
    private let payloadBytesMax: Int

    init(payloadBytesMax: Int) {
        self.payloadBytesMax = payloadBytesMax
    }

    func post(_ failure: DeliveryFailure) {
        var failure = failure
        let held = payloadBytes.load(ordering: .relaxed)
        if held + failure.payloadBytes > payloadBytesMax { failure.dropRecords() }
        payloadBytes.wrappingAdd(failure.payloadBytes, ordering: .relaxed)
        if let dropped = buffer.post(failure) { release(dropped) }
    }

    func next(isolation actor: isolated (any Actor)?) async -> DeliveryFailure? {
        guard let failure = await buffer.next(isolation: actor) else { return nil }
        release(failure)
        return failure
    }

    func finish() {
        buffer.finish()
    }

    private func release(_ failure: DeliveryFailure) {
        payloadBytes.wrappingSubtract(failure.payloadBytes, ordering: .relaxed)
    }
}
