import MartletFormat

/// A record for a topic whose partitions are not known yet: the only kind that is copied apart.
struct PendingRecord {
    let record: ProducerRecord
    let timestamp: Int64
    let openedAt: Int64
    let promise: Promise<DeliveryReceipt>?

    /// What it counts against the buffer.
    var byteCount: Int {
        64 + (record.key?.count ?? 0) + (record.value?.count ?? 0)
            + record.headers.reduce(0) { $0 + $1.key.utf8.count + ($1.value?.count ?? 0) }
    }
}

/// A topic, as one producer knows it.
///
/// Sendable: guarded by the producer's mutex, except what is constant.
final class TopicLane: @unchecked Sendable {
    enum State {
        case resolving
        case ready
        /// Deleted, or never there; a new lane has to be made to use the name again.
        case gone(MartletError)
    }

    let name: String
    var state = State.resolving
    var pending = Fifo<PendingRecord>()
    /// Calls that wait for the topic to be resolved.
    var resolvers: [Promise<Void>] = []
    var id = TopicID.zero
    var partitions: [PartitionLane] = []
    /// Bytes of the largest batch that is built for it.
    var batchBytesMax = 0

    /// Where records without a key go now, and how many bytes went there.
    private var sticky = 0
    private var stickyBytes = 0

    /// A partition is kept for at least so many bytes, so that slow producers do not spread single
    /// records over all partitions.
    private static let stickyBytesMin = 16 * 1024

    init(name: String) {
        self.name = name
    }

    /// The partition of a record; nil when there is none of the number.
    func partition(_ wanted: Int32?, key: RawSpan?) -> PartitionLane? {
        if let wanted {
            let index = Int(wanted)
            return partitions.indices.contains(index) ? partitions[index] : nil
        }
        guard !partitions.isEmpty else { return nil }
        if let key {
            let index = Partitioner.partition(forKey: key, partitions: partitions.count)
            return partitions[Int(index)]
        }
        if sticky >= partitions.count { sticky = 0 }
        return partitions[sticky]
    }

    /// A batch of this partition was sealed: records without a key may go elsewhere now.
    func sealed(_ lane: PartitionLane, bytes: Int) {
        guard partitions.count > 1, Int(lane.partition) == sticky else { return }
        stickyBytes += bytes
        if stickyBytes < Self.stickyBytesMin { return }
        stickyBytes = 0
        // Any other partition, all with the same chance.
        sticky = (sticky + Int.random(in: 1..<partitions.count)) % partitions.count
    }

    func chooseSticky() {
        sticky = partitions.isEmpty ? 0 : Int.random(in: partitions.indices)
    }
}

/// One partition's open batch and those that are sealed and wait to be sent.
///
/// Sendable: guarded by the producer's mutex; `flight` belongs to the connection's queue.
final class PartitionLane: @unchecked Sendable {
    /// The first batch of a partition is small, so that thousands of partitions need little memory;
    /// each full batch doubles the next one.
    static let slabBytesMin = 16 * 1024
    /// What a batch with one record has at most beside the record's parts.
    static let recordOverheadMax = 4 * 1024

    unowned let topic: TopicLane
    let topicName: String
    let topicID: TopicID
    let partition: Int32
    let flight = PartitionFlight()

    var open: ProducerBatch?
    var sealed = Fifo<ProducerBatch>()
    /// Something is sealed or in flight: an awaited record can wait for company.
    var isBusy = false
    /// In the list of lanes that the queue has to look at.
    var isListed = false
    var slabBytes = PartitionLane.slabBytesMin

    init(_ topic: TopicLane, _ partition: Int32) {
        self.topic = topic
        topicName = topic.name
        topicID = topic.id
        self.partition = partition
    }

    var context: [String: String] { TopicPartition(topicName, partition).context }
}

/// What of one partition is on its way or has to go again. Confined to the connection's queue.
final class PartitionFlight {
    /// Sent, not answered; in the order of sending.
    var inFlight: [ProducerBatch] = []
    /// To be sent again, before anything new; in the order of the first sending.
    var retries: [ProducerBatch] = []
    /// Records that were sent at least once.
    var recordsSent: UInt64 = 0
    /// Who sent the batches that have a sequence.
    var identity: ProducerIdentity?
    var nextSequence: Int32 = 0
    /// The broker and we disagree about the sequence: everything in flight has to come back, then
    /// the partition goes on under another identity.
    var needsReset = false
    /// The identity that must not be used here any more.
    var refusedIdentity: ProducerIdentity?
    /// Leader epoch of the last acknowledgement; -1: none yet.
    var lastLeaderEpoch: Int32 = -1
    /// Nothing is sent before this time of the monotonic clock.
    var blockedUntil: Int64 = 0
    /// In the queue's list of lanes with work.
    var isActive = false

    var isEmpty: Bool { inFlight.isEmpty && retries.isEmpty }

    /// False: it was not in flight, or failed in the meantime.
    @discardableResult
    func remove(_ batch: ProducerBatch) -> Bool {
        guard let index = inFlight.firstIndex(where: { $0 === batch }) else { return false }
        inFlight.remove(at: index)
        return true
    }

    /// Puts a batch among those to be sent again, at its place in the order.
    func retry(_ batch: ProducerBatch) {
        let index = retries.firstIndex { $0.order > batch.order } ?? retries.endIndex
        retries.insert(batch, at: index)
    }

    /// Whether nothing that was sent before it is still open.
    func isHead(_ batch: ProducerBatch) -> Bool {
        !inFlight.contains { $0.order < batch.order }
            && !retries.contains { $0.order < batch.order }
    }

    /// Whether what is sent next has to wait until everything before it is answered: the parts of a
    /// batch go one by one, so that another refusal does not upset what follows.
    var goesAlone: Bool {
        retries.first?.isPart == true || inFlight.contains { $0.isPart }
    }

    /// Whether another identity can be taken: nothing here carries the old one any more.
    var canAdopt: Bool { inFlight.isEmpty && retries.allSatisfy { $0.sequence == nil } }

    /// The sequence for `count` records; wraps from the largest Int32 to 0.
    func takeSequence(_ count: Int32) -> Int32 {
        let sequence = nextSequence
        nextSequence = Self.advance(sequence, by: count)
        return sequence
    }

    static func advance(_ sequence: Int32, by count: Int32) -> Int32 {
        let sum = Int64(sequence) + Int64(count)
        return Int32(truncatingIfNeeded: sum > Int64(Int32.max) ? sum - Int64(Int32.max) - 1 : sum)
    }
}
