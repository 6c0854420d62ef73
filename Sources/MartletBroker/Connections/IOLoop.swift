import MartletSystem
import Synchronization

/// Something for a loop to do on its own queue.
enum LoopEvent: Sendable {
    case adopt(AcceptedSocket)
    /// Every batch of a produce is as durable as was asked, or failed.
    case produceSettled(PendingProduce)
    /// The storage may take the batch now that it put off.
    case appendRetry(PendingProduce)
    /// The high watermark of a partition that a fetch waits for went up.
    case fetchWoken(ParkedFetch)
    /// A job that a handler did elsewhere came back.
    case run(@Sendable () -> Void)
}

/// One of the few serial queues that all connections share, with everything confined to it: its
/// connections, the requests they have parked, and one timer for the deadlines of all of them.
// Sendable: confined to `queue`; other threads reach it through `post` only.
final class IOLoop: @unchecked Sendable {
    /// How often deadlines of connections are looked at.
    private static let tickNanoseconds: Int64 = 250_000_000
    /// A peer that was heard of so recently may have requests on their way when the broker stops.
    private static let quietNanoseconds: Int64 = 300_000_000
    /// No peer is waited for longer, however much it goes on asking.
    private static let graceNanoseconds: Int64 = 2_000_000_000

    let queue: SerialQueue
    let index: Int
    let clock: any Clock
    let parked: DelayedRequests
    /// A copy of its own, so that a reload needs no lock.
    var limits: BrokerLimits
    private let mailbox: Mailbox<LoopEvent>
    private var connections: [UInt64: Connection] = [:]
    /// Connections that have something to send at the end of this turn.
    private var dirty: [Connection] = []
    /// Fetches that wait for what this turn has appended.
    private var woken: [ParkedFetch] = []
    private var isInTurn = false
    private var tickArmed = false
    /// Monotonic nanoseconds; nil while the broker serves.
    private var drainingSince: Int64?
    private let makeConnection: @Sendable (AcceptedSocket, IOLoop) -> Connection?

    init(
        index: Int, limits: BrokerLimits, clock: any Clock,
        makeConnection: @escaping @Sendable (AcceptedSocket, IOLoop) -> Connection?
    ) {
        self.index = index
        self.clock = clock
        self.limits = limits
        self.makeConnection = makeConnection
        let queue = SerialQueue(label: "martlet.io.\(index)")
        self.queue = queue
        mailbox = Mailbox(executor: queue)
        parked = DelayedRequests(clock: clock, executor: queue)
        mailbox.connect { [weak self] events in self?.receive(events) }
        parked.onExpired = { [weak self] requests in
            self?.turn { for request in requests { request.expire() } }
        }
    }

    /// Any thread. The loop has a turn of its own for it, after those that are under way.
    func post(_ event: LoopEvent) {
        mailbox.post(event)
    }

    /// Any thread. A reader that waits is answered by the thread that appended, within its turn,
    /// when both are of this loop.
    func wake(_ fetch: ParkedFetch) {
        guard queue.isCurrent, isInTurn else { return mailbox.post(.fetchWoken(fetch)) }
        woken.append(fetch)
    }

    var connectionCount: Int { connections.count }

    /// Runs `body` as one turn: what it makes the connections want to send goes out at its end, in
    /// as few writes as possible.
    func turn(_ body: () -> Void) {
        assert(queue.isCurrent)
        guard !isInTurn else { return body() }
        isInTurn = true
        body()
        // Sending may resume reading, and reading may answer: so until nothing is left.
        while !woken.isEmpty || !dirty.isEmpty {
            let fetches = woken
            woken.removeAll(keepingCapacity: true)
            for fetch in fetches { fetch.woken() }
            let now = dirty
            dirty.removeAll(keepingCapacity: true)
            // The last first: records that were waited for before the acks of who sent them.
            for connection in now.reversed() { connection.flush() }
        }
        isInTurn = false
    }

    /// A connection has something to send; inside a turn only.
    func markDirty(_ connection: Connection) {
        assert(queue.isCurrent && isInTurn)
        dirty.append(connection)
    }

    func remove(_ connection: Connection) {
        assert(queue.isCurrent)
        connections[connection.id] = nil
    }

    /// No new requests from now on; connections close when what they asked is answered.
    func drain() {
        turn {
            drainingSince = clock.monotonicNanoseconds()
            parked.expireAll()
            for connection in connections.values { connection.drain() }
        }
    }

    /// While the broker stops: whether a connection has to stay open because its peer, which knows
    /// nothing of it yet, may be asking this very moment. Such requests are refused; a closed
    /// connection would leave their outcome unknown.
    func expectsRequests(lastActivity: Int64) -> Bool {
        guard let drainingSince else { return false }
        let now = clock.monotonicNanoseconds()
        return now - lastActivity < Self.quietNanoseconds
            && now - drainingSince < Self.graceNanoseconds
    }

    /// Closes what is still open.
    func closeAll() {
        turn {
            for connection in connections.values { connection.close(.stopping) }
        }
    }

    private func receive(_ events: [LoopEvent]) {
        turn {
            for event in events {
                switch event {
                case .adopt(let socket): adopt(socket)
                case .produceSettled(let pending): pending.settle()
                case .appendRetry(let pending): pending.connection.retry(pending)
                case .fetchWoken(let fetch): fetch.woken()
                case .run(let job): job()
                }
            }
        }
    }

    private func adopt(_ socket: AcceptedSocket) {
        guard drainingSince == nil, let connection = makeConnection(socket, self) else {
            socket.release()
            return
        }
        connections[connection.id] = connection
        connection.start()
        armTick()
    }

    private func armTick() {
        guard !tickArmed, !connections.isEmpty else { return }
        tickArmed = true
        queue.execute(after: Self.tickNanoseconds) { [weak self] in self?.tick() }
    }

    private func tick() {
        tickArmed = false
        let now = clock.monotonicNanoseconds()
        turn {
            for connection in connections.values { connection.checkDeadlines(now) }
        }
        armTick()
    }
}
