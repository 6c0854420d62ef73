/// How record batches are compressed.
public enum Compression: String, Sendable, CaseIterable {
    /// Not at all: the only choice so far.
    case none
}

/// How a producer batches, waits and repeats.
///
/// The values are checked when the producer is made: `INVALID_ARGUMENT` names the field.
public struct ProducerConfiguration: Sendable {
    /// What an acknowledgement means.
    public var acks: AckLevel
    /// Whether repeated batches are recognised by the broker, so that each record is stored once
    /// and in order whatever breaks. Turn it off only for a broker that cannot do it: without it a
    /// lost answer may store records twice and out of order. It has no effect with `acks` none.
    public var idempotent: Bool
    /// How long a record given to `enqueue` may wait for others of its partition. Zero: it leaves as
    /// soon as nothing is in flight for its partition, which is how `send` always behaves.
    public var linger: Duration
    /// Bytes of the largest batch that is built from several records. A larger single record
    /// travels alone. 1,024 to 64 MiB.
    public var batchBytes: Int
    /// Bytes of memory for records that are not acknowledged yet. At least `batchBytes`.
    public var bufferBytes: Int
    /// Batches of one partition that may be on their way at once, 1 to 5.
    public var inFlightPerPartition: Int
    /// How batches are compressed.
    public var compression: Compression
    /// How long a record is tried before its failure is reported. More than zero.
    public var deliveryTimeout: Duration

    /// - Parameters:
    ///   - acks: what an acknowledgement means.
    ///   - idempotent: whether the broker recognises repeated batches.
    ///   - linger: how long an enqueued record may wait for others.
    ///   - batchBytes: bytes of the largest batch.
    ///   - bufferBytes: memory for records that are not acknowledged yet.
    ///   - inFlightPerPartition: batches on their way at once, 1 to 5.
    ///   - compression: of batches.
    ///   - deliveryTimeout: how long a record is tried.
    public init(
        acks: AckLevel = .durable, idempotent: Bool = true, linger: Duration = .milliseconds(2),
        batchBytes: Int = 1 << 20, bufferBytes: Int = 64 << 20, inFlightPerPartition: Int = 5,
        compression: Compression = .none, deliveryTimeout: Duration = .seconds(120)
    ) {
        self.acks = acks
        self.idempotent = idempotent
        self.linger = linger
        self.batchBytes = batchBytes
        self.bufferBytes = bufferBytes
        self.inFlightPerPartition = inFlightPerPartition
        self.compression = compression
        self.deliveryTimeout = deliveryTimeout
    }

    func validate() throws(MartletError) {
        guard linger >= .zero else { throw .invalid("linger", "is negative") }
        guard (1_024...(64 << 20)).contains(batchBytes) else {
            throw .invalid("batchBytes", "must be 1,024 to 67,108,864")
        }
        guard bufferBytes >= batchBytes else {
            throw .invalid("bufferBytes", "is below batchBytes")
        }
        guard (1...5).contains(inFlightPerPartition) else {
            throw .invalid("inFlightPerPartition", "must be 1 to 5")
        }
        guard deliveryTimeout > .zero else {
            throw .invalid("deliveryTimeout", "must be above 0")
        }
    }
}
