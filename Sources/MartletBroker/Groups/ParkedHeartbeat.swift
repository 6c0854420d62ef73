import MartletGroups
import MartletStorage
import MartletWire

/// A heartbeat that waits until what its member owns has changed, there is news of its group, or its
/// time is over.
///
/// Whoever takes it out of its shard answers it, so it is answered once.
// Sendable: confined to the connection's loop, but for what never changes.
final class ParkedHeartbeat: ParkedRequest, @unchecked Sendable {
    let request: Request<HeartbeatRequest>
    let key: MemberKey
    var wheelPlace = WheelPlace()
    private let shard: GroupShard
    private let deadline: Int64
    private var isParked = false
    private var isDone = false

    init(
        _ request: Request<HeartbeatRequest>, _ key: MemberKey, _ shard: GroupShard,
        deadline: Int64
    ) {
        self.request = request
        self.key = key
        self.shard = shard
        self.deadline = deadline
    }

    /// On any thread, once the shard knows it.
    func park() {
        request.connection.loop.post(.run { self.parkOnLoop() })
    }

    private func parkOnLoop() {
        guard !isDone else { return }
        guard request.connection.mayPark else { return expire() }
        isParked = true
        request.connection.loop.parked.add(self, deadline: deadline)
        request.connection.park(self)
    }

    /// Its time is over: nothing has changed.
    func expire() {
        guard shard.withdraw(self) else { return }
        finish(HeartbeatReply(unchanged: request.message))
    }

    /// Its connection is gone. The member is not: it may come back on another.
    func abandon() {
        _ = shard.withdraw(self)
        isDone = true
        leaveParking()
    }

    /// A later heartbeat of the member took its place. Any thread.
    func supersede() {
        answer(HeartbeatReply(unchanged: request.message), nil)
    }

    /// By who took it out of the shard. Any thread.
    func answer(_ reply: HeartbeatReply, _ failure: StorageError?) {
        let reply =
            failure.map { HeartbeatReply(error: StorageErrors.code($0), message: $0.message) }
            ?? reply
        request.connection.loop.post(.run { self.finish(reply) })
    }

    /// On the loop.
    private func finish(_ reply: HeartbeatReply) {
        guard !isDone else { return }
        isDone = true
        leaveParking()
        request.reply(reply)
    }

    private func leaveParking() {
        guard isParked else { return }
        isParked = false
        request.connection.loop.parked.remove(self)
        request.connection.unpark(self)
    }
}
