import MartletFormat
import MartletGroups
import MartletStorage
import MartletWire
import Synchronization

/// A receive that waits until its queue has something for it, or its time is over.
///
/// It waits in three places: on its loop's wheel, with the partitions for new records, and with its
/// shard for records that come back. Whichever is first takes it out of all three, and it asks again.
// Sendable: confined to the connection's loop, but for what never changes and `isPosted` (Atomic).
final class ParkedReceive: AdvanceWaiter, ParkedRequest, @unchecked Sendable {
    let request: Request<ReceiveRequest>
    let deadline: Int64
    var wheelPlace = WheelPlace()
    private let shard: GroupShard
    private let askAgain: @Sendable (ParkedReceive) -> Void
    private var waitingFor: [PartitionLog] = []
    private var isParked = false
    /// Woken before it was parked.
    private var isEarly = false
    private let isPosted = Atomic<Bool>(false)

    init(
        _ request: Request<ReceiveRequest>, _ shard: GroupShard, deadline: Int64,
        askAgain: @escaping @Sendable (ParkedReceive) -> Void
    ) {
        self.request = request
        self.shard = shard
        self.deadline = deadline
        self.askAgain = askAgain
    }

    /// On any thread, once the shard knows it. `ends`: what the partitions had to give so far.
    func park(_ ends: [(log: PartitionLog, end: Int64)]) {
        request.connection.loop.post(.run { self.parkOnLoop(ends) })
    }

    private func parkOnLoop(_ ends: [(log: PartitionLog, end: Int64)]) {
        guard request.connection.mayPark else { return expire() }
        isParked = true
        request.connection.loop.parked.add(self, deadline: deadline)
        request.connection.park(self)
        for (log, end) in ends {
            guard log.waitForAdvance(above: end, self) else { return again() }
            waitingFor.append(log)
        }
        if isEarly { again() }
    }

    /// Records are ready. Any thread.
    func wake() {
        guard !isPosted.exchange(true, ordering: .acquiringAndReleasing) else { return }
        request.connection.loop.post(
            .run {
                // Who wakes it from here on is heard by another look.
                _ = self.isPosted.exchange(false, ordering: .acquiringAndReleasing)
                self.again()
            })
    }

    func highWatermarkAdvanced(_ log: PartitionLog) { wake() }

    private func again() {
        guard isParked else {
            isEarly = true
            return
        }
        isEarly = false
        leaveParking()
        askAgain(self)
    }

    /// Its time is over: there is nothing.
    func expire() {
        leaveParking()
        request.reply(ReceiveReply())
    }

    /// Its connection is gone.
    func abandon() { leaveParking() }

    private func leaveParking() {
        shard.withdraw(self)
        for log in waitingFor { log.cancelWait(self) }
        waitingFor.removeAll(keepingCapacity: true)
        guard isParked else { return }
        isParked = false
        request.connection.loop.parked.remove(self)
        request.connection.unpark(self)
    }
}
