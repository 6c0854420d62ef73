import MartletFormat
import MartletSystem

/// What `append` did, and what its caller has to do once it has let go of the lock.
struct AppendResult {
    enum Outcome {
        case done
        case full
        case closed
        case gone
        case noPartition
        case tooLarge
    }

    var outcome: Outcome
    /// The queue has to be woken, also when the record itself was not taken.
    var wakes = false
    /// The linger timer has to be started.
    var armsLinger = false
    /// A topic that nobody has asked for yet.
    var unresolved: TopicLane?
}

/// The part of a producer that application threads and the connection's queue share: the buffers.
///
/// Lives in one mutex. A record costs one lock and a copy into its batch; nothing is allocated, no
/// thread is woken, until a batch is opened or sealed.
struct ProducerState {
    /// A `flush` and the batches that it still waits for.
    final class Flush {
        let serialLimit: UInt64
        var remaining: Int
        var error: (any Error)?
        let promise: Promise<Void>

        init(
            serialLimit: UInt64, remaining: Int, error: (any Error)?, promise: Promise<Void>
        ) {
            self.serialLimit = serialLimit
            self.remaining = remaining
            self.error = error
            self.promise = promise
        }
    }

    /// No record can be larger, whatever a broker allows.
    private static let recordBytesMax = 1 << 30

    /// Arrays that are kept, and what is too large to be kept.
    private static let spareArraysMax = 16
    private static let spareRecordsMax = 4_096

    let lingerNanoseconds: Int64
    private let batchBytes: Int
    let bufferBytes: Int
    private let pool: SlabPool
    private let clock: any Clock

    var topics: [String: TopicLane] = [:]
    var usedBytes = 0
    private(set) var ready: [PartitionLane] = []
    var isDrainScheduled = false
    private var lingering = Fifo<(batch: ProducerBatch, dueAt: Int64)>()
    private var isLingerArmed = false
    private var lastSerial: UInt64 = 0
    /// Batches that were opened and not completed.
    private(set) var outstanding = 0
    private var flushes: [Flush] = []
    /// The first failure of an enqueued record that no flush has told yet.
    private var untold: (any Error)?
    /// Calls that wait for memory, in their order. New ones queue behind them.
    var spaceWaiters = Fifo<SpaceWaiter>()
    /// What the last record that was refused for want of memory needs.
    private(set) var refusedBytes = 0
    /// Arrays of batches that were acknowledged.
    private var spareWaiters: [[ProducerBatch.Waiter]] = []
    /// Acknowledged records whose messages were there already.
    var duplicates = 0
    /// Set once: why nothing is taken any more.
    var end: MartletError?

    init(_ configuration: ProducerConfiguration, pool: SlabPool, clock: any Clock) {
        batchBytes = configuration.batchBytes
        bufferBytes = configuration.bufferBytes
        lingerNanoseconds = configuration.linger.nanosecondsClamped
        self.pool = pool
        self.clock = clock
    }

    // MARK: - Appending

    /// Copies a record into its partition's open batch.
    ///
    /// - Parameters:
    ///   - claim: what the record may take.
    ///   - since: when it was given, if that was before now.
    mutating func append(
        _ topic: TopicLane, partition: Int32?, key: RawSpan?, value: RawSpan?,
        headers: [(key: String, value: [UInt8]?)], timestamp: Int64,
        promise: Promise<DeliveryReceipt>?, claim: MemoryClaim = .new, since: Int64? = nil
    ) -> AppendResult {
        guard end == nil else { return AppendResult(outcome: .closed) }
        guard case .ready = topic.state else { return AppendResult(outcome: .gone) }
        guard let lane = topic.partition(partition, key: key) else {
            return AppendResult(outcome: .noPartition)
        }
        let estimate = Self.estimate(key, value, headers)
        if claim == .new, !spaceWaiters.isEmpty {
            return refuse(RecordBatch.headerBytes + estimate)
        }
        var result = AppendResult(outcome: .done)
        if let open = lane.open {
            if open.byteCount + estimate <= topic.batchBytesMax,
                open.append(key: key, value: value, headers: headers, timestamp: timestamp)
            {
                guard let promise else { return result }
                open.addWaiter(promise)
                finishAppend(lane, isAwaited: true, isNew: false, &result)
                return result
            }
            grow(lane)
            result.wakes = seal(lane)
        }
        let need = RecordBatch.headerBytes + estimate
        guard need <= Self.recordBytesMax else {
            result.outcome = .tooLarge
            return result
        }
        guard let batch = openBatch(lane, need: need, force: claim == .counted, since: since)
        else {
            result.outcome = refuse(need).outcome
            return result
        }
        guard batch.append(key: key, value: value, headers: headers, timestamp: timestamp) else {
            preconditionFailure("a record does not fit the slab that was made for it")
        }
        lane.open = batch
        if let promise { batch.addWaiter(promise) }
        finishAppend(lane, isAwaited: promise != nil, isNew: true, &result)
        return result
    }

    /// Decides whether the lane's open batch leaves at once, waits for company, or is just open.
    private mutating func finishAppend(
        _ lane: PartitionLane, isAwaited: Bool, isNew: Bool, _ result: inout AppendResult
    ) {
        if isAwaited || lingerNanoseconds == 0 {
            if !lane.isBusy, seal(lane) { result.wakes = true }
            return
        }
        guard isNew, let batch = lane.open else { return }
        // Batches that left early need no timer; dropping them here keeps the list short.
        while let first = lingering.first?.batch, first.lane.open !== first {
            _ = lingering.popFirst()
        }
        lingering.append((batch, batch.openedAt.addingClamped(lingerNanoseconds)))
        result.armsLinger = !isLingerArmed
        isLingerArmed = true
    }

    @inline(__always)
    private static func estimate(
        _ key: RawSpan?, _ value: RawSpan?, _ headers: [(key: String, value: [UInt8]?)]
    ) -> Int {
        if !headers.isEmpty {
            return RecordBatchBuilder.estimatedBytes(
                keyBytes: key?.byteCount ?? 0, valueBytes: value?.byteCount ?? 0, headers: headers)
        }
        // Lengths, deltas, counts: at most 36 bytes beside the parts.
        return (key?.byteCount ?? 0) &+ (value?.byteCount ?? 0) &+ 36
    }

    private mutating func openBatch(
        _ lane: PartitionLane, need: Int, force: Bool, since: Int64?
    ) -> ProducerBatch? {
        let wanted = max(min(lane.slabBytes, lane.topic.batchBytesMax), need)
        let slab: ByteSlab
        if let fits = takeSlab(wanted, force: false) {
            slab = fits
        } else if let smaller = takeSlab(max(need, PartitionLane.slabBytesMin), force: force) {
            slab = smaller
        } else {
            return nil
        }
        lastSerial += 1
        outstanding += 1
        return ProducerBatch(
            lane: lane, lease: SlabLease(slab, pool), serial: lastSerial,
            openedAt: since ?? clock.monotonicNanoseconds(), waiters: spareWaiters.popLast() ?? [])
    }

    private mutating func takeSlab(_ bytes: Int, force: Bool) -> ByteSlab? {
        guard force || fits(bytes) else { return nil }
        let slab = pool.take(atLeast: bytes)
        usedBytes += slab.capacity
        return slab
    }

    /// The batch was full: the next one may be larger.
    private func grow(_ lane: PartitionLane) {
        lane.slabBytes = min(lane.slabBytes * 2, max(batchBytes, PartitionLane.slabBytesMin))
    }

    // MARK: - Sealing

    /// Closes the open batch and lists the lane; true when the queue has to be woken.
    @discardableResult
    mutating func seal(_ lane: PartitionLane) -> Bool {
        guard let batch = lane.open else { return false }
        lane.open = nil
        lane.isBusy = true
        lane.sealed.append(batch)
        lane.topic.sealed(lane, bytes: batch.byteCount)
        if batch.byteCount < batch.slab.capacity / 4 {
            lane.slabBytes = max(PartitionLane.slabBytesMin, lane.slabBytes / 2)
        }
        if !lane.isListed {
            lane.isListed = true
            ready.append(lane)
        }
        if isDrainScheduled { return false }
        isDrainScheduled = true
        return true
    }

    /// Closes all open batches; true when the queue has to be woken.
    mutating func sealAll() -> Bool {
        var wakes = false
        for topic in topics.values {
            for lane in topic.partitions where lane.open != nil { wakes = seal(lane) || wakes }
        }
        return wakes
    }

    /// The linger timer fired: closes the batches that waited long enough. Returns when to look
    /// again, in nanoseconds from now; nil: not before the next batch is opened.
    mutating func lingerEnded() -> (wakes: Bool, again: Int64?) {
        let now = clock.monotonicNanoseconds()
        var wakes = false
        while let (batch, dueAt) = lingering.first {
            // Batches that are sealed already are passed over, whenever they were due.
            if batch.lane.open === batch {
                guard dueAt <= now else { return (wakes, max(dueAt - now, 1)) }
                wakes = seal(batch.lane) || wakes
            }
            _ = lingering.popFirst()
        }
        isLingerArmed = false
        return (wakes, nil)
    }

    /// Takes everything out that was not sent yet, also what is still open: it is to fail.
    func takeUnsent(_ lane: PartitionLane) -> [ProducerBatch] {
        var unsent = lane.sealed.removeAll()
        if let open = lane.open { unsent.append(open) }
        lane.open = nil
        return unsent
    }

    /// The queue takes the list of lanes that have something sealed.
    mutating func takeReady() -> [PartitionLane] {
        isDrainScheduled = false
        let lanes = ready
        ready.removeAll(keepingCapacity: true)
        for lane in lanes { lane.isListed = false }
        return lanes
    }

    /// Nothing of the lane is in flight: what is awaited need not wait any longer. True when there
    /// is something sealed to send.
    mutating func becameIdle(_ lane: PartitionLane) -> Bool {
        if lane.sealed.isEmpty, let open = lane.open,
            lingerNanoseconds == 0 || !open.waiters.isEmpty
        {
            lane.open = nil
            lane.sealed.append(open)
            lane.topic.sealed(lane, bytes: open.byteCount)
        }
        lane.isBusy = !lane.sealed.isEmpty
        return lane.isBusy
    }

    // MARK: - Completion

    /// Promises that a completion keeps, to be kept once the lock is released.
    struct Kept: Sendable {
        /// Somebody waits for the memory that was given back: `admit` has to be called.
        var admits: Bool
        var flushes: [(promise: Promise<Void>, error: (any Error)?)]
    }

    /// A batch is done, well or not.
    mutating func completed(
        _ batch: ProducerBatch, _ error: (any Error)?
    ) -> Kept {
        outstanding -= 1
        if error == nil { keep(batch.takeWaiters()) }
        let isCovered = flushes.contains { batch.serial <= $0.serialLimit }
        if let error, !isCovered, batch.waiters.count < Int(batch.recordCount) {
            failedUnheard(error)
        }
        var done: [Flush] = []
        for flush in flushes where batch.serial <= flush.serialLimit {
            flush.remaining -= 1
            if flush.error == nil { flush.error = error }
            if flush.remaining == 0 { done.append(flush) }
        }
        if !done.isEmpty { flushes.removeAll { $0.remaining == 0 } }
        release(batch.slab.capacity)
        return Kept(
            admits: !spaceWaiters.isEmpty, flushes: done.map { ($0.promise, $0.error) })
    }

    private mutating func keep(_ waiters: [ProducerBatch.Waiter]) {
        guard 1...Self.spareRecordsMax ~= waiters.capacity else { return }
        if spareWaiters.count < Self.spareArraysMax { spareWaiters.append(waiters) }
    }

    /// The batch goes on as `parts`.
    mutating func divided(_ batch: ProducerBatch, into parts: [ProducerBatch]) {
        outstanding += parts.count - 1
        for flush in flushes where batch.serial <= flush.serialLimit {
            flush.remaining += parts.count - 1
        }
        usedBytes += parts.reduce(0) { $0 + $1.slab.capacity } - batch.slab.capacity
    }

    /// Records that never came into a batch failed.
    mutating func failed(_ pending: [PendingRecord], _ error: any Error) {
        if pending.contains(where: { $0.promise == nil }) { failedUnheard(error) }
    }

    /// The same of records that are still counted.
    mutating func drop(_ pending: [PendingRecord], _ error: any Error) {
        failed(pending, error)
        release(pending.reduce(0) { $0 + $1.byteCount })
    }

    /// A record that nobody awaits failed.
    private mutating func failedUnheard(_ error: any Error) {
        if untold == nil { untold = error }
    }

    /// Starts a flush of everything that was appended so far. It may be over at once.
    mutating func startFlush() -> (promise: Promise<Void>, wakes: Bool) {
        let wakes = sealAll()
        let promise = Promise<Void>()
        let error = untold
        untold = nil
        if outstanding == 0 {
            if let error { promise.fail(error) } else { promise.succeed(()) }
        } else {
            flushes.append(
                Flush(
                    serialLimit: lastSerial, remaining: outstanding, error: error,
                    promise: promise))
        }
        return (promise, wakes)
    }

    // MARK: - Memory

    func fits(_ bytes: Int) -> Bool {
        // With nothing in use, a record larger than the whole buffer may still pass.
        usedBytes == 0 || usedBytes + bytes <= bufferBytes
    }

    /// Gives memory back; `admit` has to follow.
    mutating func release(_ bytes: Int) {
        usedBytes -= bytes
    }

    mutating func refuse(_ bytes: Int) -> AppendResult {
        refusedBytes = max(bytes, PartitionLane.slabBytesMin)
        return AppendResult(outcome: .full)
    }
}
