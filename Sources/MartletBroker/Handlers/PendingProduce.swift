import MartletFormat
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire
import Synchronization

/// One produce request between its first batch and its reply.
///
/// The loop fills `results` batch by batch; the flush tells through `DurabilityWaiter` when what was
/// appended is on disk. When nothing is outstanding any more, it settles: its slot is filled.
// Sendable: confined to the connection's loop, except `outstanding` (Atomic) and `failures` (Mutex),
// which are all that flush threads touch.
final class PendingProduce: DurabilityWaiter, AppendRetry, @unchecked Sendable {
    let connection: Connection
    let header: FrameHeader
    let session: Authenticated
    let acks: Acks
    let entries: [ProduceEntry]
    let receivedAt: Int64
    /// Where the next batch lies, counted from the frame's start, since the frame may be moved
    /// within the input while the produce is held.
    var attachmentOffset: Int
    /// Index of the next entry.
    var next = 0
    /// The next entry's batch, when it passed every check and the storage put it off.
    var checked: ProduceHandler.CheckedBatch?
    private(set) var results: [ProduceResult] = []
    /// Logs that results wait for.
    private var waits: [(log: ObjectIdentifier, result: Int)] = []
    private var slot: UInt64?
    private(set) var isSettled = false
    private var unacknowledgedRefusal: ProduceResult?
    /// Waits under way, and one more while batches are still being appended.
    private let outstanding = Atomic<Int>(1)
    private let failures = Mutex<[ObjectIdentifier: StorageError]>([:])

    init(
        _ request: ProduceRequest, _ acks: Acks, _ frame: Frame, attachment: Range<Int>,
        _ connection: Connection, _ session: Authenticated, receivedAt: Int64
    ) {
        self.connection = connection
        self.session = session
        self.acks = acks
        self.receivedAt = receivedAt
        header = frame.header
        entries = request.batches
        attachmentOffset = attachment.lowerBound - frame.payload.lowerBound
        results.reserveCapacity(entries.count)
        guard acks != .none else { return }
        let deadline =
            request.timeoutMilliseconds == 0
            ? Int64.max
            : receivedAt + BrokerLimits.nanoseconds(Int(request.timeoutMilliseconds))
        slot = connection.reserveSlot(self, deadline: deadline)
    }

    // MARK: - On the loop

    /// The next batch was refused.
    func refuse(_ error: ErrorCode, _ text: String, leaderEpoch: Int32 = -1) {
        var result = ProduceResult(error: error, message: text)
        result.leaderEpoch = leaderEpoch
        if acks == .none, unacknowledgedRefusal == nil { unacknowledgedRefusal = result }
        finishEntry(result)
    }

    /// The next batch is in the log, or was already.
    func accept(_ receipt: AppendReceipt, of log: PartitionLog, isDuplicate: Bool) {
        var result = ProduceResult()
        result.baseOffset = receipt.baseOffset
        result.leaderEpoch = receipt.leaderEpoch
        result.duplicate = isDuplicate
        result.durability = acks.rawValue
        result.duplicates = receipt.duplicates.map {
            DuplicateItem(index: $0.index, offset: $0.offset)
        }
        finishEntry(result)
        guard acks == .durable else { return }
        waits.append((ObjectIdentifier(log), results.count - 1))
        outstanding.wrappingAdd(1, ordering: .relaxed)
        log.whenDurable(receipt.endOffset, self)
    }

    /// Every entry has its result or waits for the disk.
    func finishAppending() {
        if release() { settle() }
    }

    /// Refuses every entry that was not reached: the broker stops.
    func refuseRest(_ error: ErrorCode) {
        while next < entries.count { refuse(error, error.text) }
        finishAppending()
    }

    /// Everything this request waited for has happened: answers it.
    func settle() {
        guard !isSettled else { return }
        isSettled = true
        let failed = failures.withLock { $0 }
        for wait in waits {
            guard let failure = failed[wait.log] else { continue }
            results[wait.result] = ProduceResult(
                error: StorageErrors.code(failure), message: failure.message)
        }
        finish()
    }

    /// The request's own time is over: what is not on disk yet is unknown.
    func expire() {
        guard !isSettled else { return }
        isSettled = true
        let text = "not durable within the request's time-out"
        for wait in waits {
            results[wait.result] = ProduceResult(error: .requestTimedOut, message: text)
        }
        while results.count < entries.count {
            results.append(ProduceResult(error: .requestTimedOut, message: text))
        }
        finish()
    }

    private func finish() {
        let metrics = connection.services.metrics
        metrics.produceLatency.observe(connection.loop.clock.monotonicNanoseconds() - receivedAt)
        for result in results where result.error != .none { metrics.count(result.error) }
        guard let slot else {
            if let refusal = unacknowledgedRefusal {
                connection.refuseUnacknowledged(refusal.error, refusal.message, header)
            } else {
                connection.finishWithoutReply()
            }
            return
        }
        var reply = ProduceReply()
        reply.results = results
        connection.fillSlot(slot, reply)
    }

    private func finishEntry(_ result: ProduceResult) {
        results.append(result)
        next += 1
        checked = nil
    }

    // MARK: - On any thread

    func durabilityReached(_ log: PartitionLog, _ failure: StorageError?) {
        if let failure {
            failures.withLock { $0[ObjectIdentifier(log)] = failure }
        }
        if release() { connection.loop.post(.produceSettled(self)) }
    }

    func retryAppend(_ log: PartitionLog) {
        connection.loop.post(.appendRetry(self))
    }

    /// Takes one wait off; true for the last. Acquire-release, so that whoever settles sees every
    /// failure that was noted before.
    private func release() -> Bool {
        outstanding.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0
    }
}
