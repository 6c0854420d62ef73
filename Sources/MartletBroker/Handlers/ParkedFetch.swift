import MartletFormat
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire
import Synchronization

/// A fetch that waits: for records, for its time to run out, or for a reader queue.
///
/// An advance of a high watermark posts it to its loop once, however many of its partitions moved.
// Sendable: confined to the connection's loop, except `isPosted` (Atomic), which is all that the
// threads that advance a high watermark touch.
final class ParkedFetch: AdvanceWaiter, ParkedRequest, @unchecked Sendable {
    let request: Request<FetchRequest>
    let receivedAt: Int64
    /// Monotonic nanoseconds by which it is answered, with or without records.
    let deadline: Int64
    var wheelPlace = WheelPlace()
    private let handler: FetchHandler
    /// Logs it is registered with.
    private var waitingFor: [PartitionLog] = []
    private var isOnDisk = false
    /// It is on the wheel or waits there to be answered; counted once.
    private var isParked = false
    private(set) var isDone = false
    /// What the first of its batches takes, if there was no memory for it before.
    var bytesNeeded = 0
    private let isPosted = Atomic<Bool>(false)

    init(
        _ request: Request<FetchRequest>, _ handler: FetchHandler, receivedAt: Int64,
        deadline: Int64
    ) {
        self.request = request
        self.handler = handler
        self.receivedAt = receivedAt
        self.deadline = deadline
    }

    var connection: Connection { request.connection }

    // MARK: - On the loop

    /// Waits for the partitions to advance above these offsets. False when one has already.
    func wait(for partitions: [(log: PartitionLog, above: Int64)]) -> Bool {
        isPosted.store(false, ordering: .relaxed)
        for (log, offset) in partitions {
            guard log.waitForAdvance(above: offset, self) else {
                stopWaiting()
                return false
            }
            waitingFor.append(log)
        }
        if !isParked {
            isParked = true
            connection.loop.parked.add(self, deadline: deadline)
            connection.services.metrics.parkedFetches.add()
            connection.park(self)
        }
        return true
    }

    /// The disk is asked: neither an advance nor the deadline answers it meanwhile.
    func waitForDisk() {
        isOnDisk = true
        leaveParking()
    }

    func diskAnswered() {
        isOnDisk = false
    }

    /// A partition it waits for has advanced.
    func woken() {
        guard !isDone, !isOnDisk else { return }
        stopWaiting()
        handler.evaluate(self, mayWait: true)
    }

    /// Its time is over.
    func expire() {
        guard !isDone, !isOnDisk else { return }
        stopWaiting()
        handler.evaluate(self, mayWait: false)
    }

    /// Its connection is gone.
    func abandon() {
        guard !isDone else { return }
        isDone = true
        leaveParking()
    }

    func finish(_ reply: FetchReply, _ parts: [OutboundPart]) {
        guard !isDone else { return }
        isDone = true
        leaveParking()
        let now = connection.loop.clock.monotonicNanoseconds()
        connection.services.metrics.fetchLatency.observe(now - receivedAt)
        connection.reply(reply, to: request.header, parts)
    }

    private func leaveParking() {
        stopWaiting()
        guard isParked else { return }
        isParked = false
        connection.loop.parked.remove(self)
        connection.services.metrics.parkedFetches.subtract()
        connection.unpark(self)
    }

    private func stopWaiting() {
        for log in waitingFor { log.cancelWait(self) }
        waitingFor.removeAll(keepingCapacity: true)
    }

    // MARK: - On any thread

    func highWatermarkAdvanced(_ log: PartitionLog) {
        guard !isPosted.exchange(true, ordering: .relaxed) else { return }
        connection.loop.wake(self)
    }
}
