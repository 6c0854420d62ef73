import MartletFormat

/// One batch on its way from `enqueue` to its acknowledgement.
///
/// Sendable: it has one owner at a time. While it is open, that is the producer's mutex; once it is
/// sealed, the connection's queue.
final class ProducerBatch: @unchecked Sendable {
    let lane: PartitionLane
    let slab: ByteSlab
    /// Who else may still read the slab, such as a socket, holds it too. The last one gives the slab
    /// back to its pool.
    private(set) var lease: SlabLease?
    private let builder: RecordBatchBuilder
    /// Number of the batch in the producer, in the order of opening.
    let serial: UInt64
    /// When its first record came, on the monotonic clock.
    let openedAt: Int64
    /// Somebody who awaits one of its records.
    struct Waiter {
        /// The record's place in the batch.
        let index: Int32
        /// nil: was told.
        var promise: Promise<DeliveryReceipt>?
    }

    private(set) var waiters: [Waiter]

    // What follows belongs to the queue.

    /// Number of its first record in the partition, in the order of the first sending, from 1; 0: not
    /// sent yet.
    var order: UInt64 = 0
    /// Whether it was part of a batch that the broker refused.
    var isPart = false
    /// nil: none was given, or it has to be given anew.
    var sequence: Int32?
    private(set) var isFinished = false
    /// How often it was answered with an error that allows another try.
    var failures = 0
    /// Whether some try may have written it although no answer said so. Only an acknowledgement
    /// takes this away.
    var mayBeWritten = false
    var lastError: MartletError?

    /// - Parameter waiters: an empty array with room, to be used again.
    init(
        lane: PartitionLane, lease: SlabLease, serial: UInt64, openedAt: Int64,
        waiters: [Waiter] = []
    ) {
        self.waiters = waiters
        self.lane = lane
        let slab = lease.slab
        self.slab = slab
        self.lease = lease
        self.serial = serial
        self.openedAt = openedAt
        builder = RecordBatchBuilder(slab: slab)
    }

    var recordCount: Int32 { builder.recordCount }
    var byteCount: Int { builder.byteCount }

    /// False: it does not fit.
    @inline(__always)
    func append(
        key: RawSpan?, value: RawSpan?, headers: [(key: String, value: [UInt8]?)], timestamp: Int64
    ) -> Bool {
        builder.append(key: key, value: value, headers: headers, timestamp: timestamp)
    }

    /// Builds batches of the same records, with half of them in each; more when a half cannot say
    /// its event times. They hold memory beyond the budget. The batch must be finished.
    func halves(_ pool: SlabPool) -> [ProducerBatch] {
        var parts: [ProducerBatch] = []
        let records = records()
        let awaited = Dictionary(uniqueKeysWithValues: waiters.map { (Int($0.index), $0) })
        // In another batch the event time of a record may need up to ten bytes more.
        let bytes = byteCount + records.count * 10
        for (index, record) in records.enumerated() {
            let time = record.timestamp ?? 0
            if index == records.count / 2 || parts.last?.append(record, timestamp: time) != true {
                let part = ProducerBatch(
                    lane: lane, lease: SlabLease(pool.take(atLeast: bytes), pool), serial: serial,
                    openedAt: openedAt)
                part.isPart = true
                part.order = order + UInt64(index)
                guard part.append(record, timestamp: time) else {
                    preconditionFailure("a record does not fit a slab that held it before")
                }
                parts.append(part)
            }
            if let promise = awaited[index]?.promise { parts.last?.addWaiter(promise) }
        }
        return parts
    }

    private func append(_ record: ProducerRecord, timestamp: Int64) -> Bool {
        record.withSpans { key, value in
            append(
                key: key, value: value, headers: record.headers.map { ($0.key, $0.value) },
                timestamp: timestamp)
        }
    }

    /// Someone awaits the record that was appended last.
    func addWaiter(_ promise: Promise<DeliveryReceipt>) {
        waiters.append(Waiter(index: builder.recordCount - 1, promise: promise))
    }

    /// Tells everyone who awaits a record. A promise is let go of before its task wakes, so that the
    /// task's next `send` can use it again.
    func tell(_ result: (Int32) -> Result<DeliveryReceipt, any Error>) {
        for place in waiters.indices {
            let wake = waiters[place].promise?.settle(result(waiters[place].index))
            waiters[place].promise = nil
            wake?()
        }
    }

    /// Gives the array away, emptied. For a batch whose records are all acknowledged.
    func takeWaiters() -> [Waiter] {
        var taken: [Waiter] = []
        swap(&taken, &waiters)
        taken.removeAll(keepingCapacity: true)
        return taken
    }

    /// Writes header and checksum. Again when the identity changed.
    func finish(_ identity: ProducerIdentity?, sequence: Int32?) {
        self.sequence = sequence
        isFinished = true
        guard let identity, let sequence else {
            _ = builder.finish()
            return
        }
        _ = builder.finish(
            producerID: identity.id, producerEpoch: identity.epoch, baseSequence: sequence)
    }

    /// The batch is done and its records are not needed any more.
    func letGo() {
        lease = nil
    }

    /// The records again, for whoever has to know which ones failed. The batch must be finished.
    func records() -> [ProducerRecord] {
        do {
            let slab = slab
            let header = try RecordBatchHeader(reading: slab.bytes)
            var cursor = RecordCursor(header)
            var records: [ProducerRecord] = []
            while let fields = try cursor.next(in: slab.bytes) {
                var headers: [RecordHeader] = []
                var headerCursor = HeaderCursor(fields)
                while let header = try headerCursor.next(in: slab.bytes) {
                    headers.append(
                        RecordHeader(
                            slab.bytes.string(header.key) ?? "",
                            header.value.map { slab.bytes.array($0) }))
                }
                records.append(
                    ProducerRecord(
                        topic: lane.topicName, key: fields.key.map { slab.bytes.array($0) },
                        value: fields.value.map { slab.bytes.array($0) }, headers: headers,
                        partition: lane.partition,
                        timestamp: header.baseTimestamp &+ fields.timestampDelta))
            }
            return records
        } catch {
            preconditionFailure("a batch built here cannot be read: \(error)")
        }
    }
}

/// Who a producer is to the broker.
struct ProducerIdentity: Equatable, Sendable {
    var id: Int64
    var epoch: Int16
}

extension RawSpan {
    /// A copy of some bytes.
    func array(_ range: Range<Int>) -> [UInt8] {
        unsafe extracting(range).withUnsafeBytes { unsafe [UInt8]($0) }
    }

    /// Some bytes as text; nil when they are not UTF-8.
    func string(_ range: Range<Int>) -> String? {
        String(validating: array(range), as: UTF8.self)
    }
}
