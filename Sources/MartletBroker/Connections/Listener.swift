import MartletSystem
import MartletTelemetry
import Synchronization

/// A socket that was accepted and counted. Whoever holds it last closes it, exactly once.
final class AcceptedSocket: Sendable {
    let socket: Socket
    let address: SocketAddress
    private let census: ConnectionCensus
    private let isReleased = Atomic<Bool>(false)

    init(socket: Socket, address: SocketAddress, census: ConnectionCensus) {
        self.socket = socket
        self.address = address
        self.census = census
    }

    /// Closes the socket and gives its place back. With a readiness source on it, only from the
    /// source's cancel handler. Idempotent.
    func release() {
        guard !isReleased.exchange(true, ordering: .acquiringAndReleasing) else { return }
        socket.close()
        census.leave(address)
    }
}

/// How many connections there are, in all and of each address.
final class ConnectionCensus: Sendable {
    private struct State {
        var total = 0
        var byHost: [String: Int] = [:]
        var whenEmpty: [@Sendable () -> Void] = []
        var totalMax: Int
        var totalWanted: Int
        var perAddressMax: Int
    }

    private let state: Mutex<State>

    /// - Parameter totalWanted: what `totalMax` was meant to be.
    init(totalMax: Int, totalWanted: Int, perAddressMax: Int) {
        state = Mutex(
            State(totalMax: totalMax, totalWanted: totalWanted, perAddressMax: perAddressMax))
    }

    /// New limits; connections that are there stay.
    func setLimits(totalMax: Int, totalWanted: Int, perAddressMax: Int) {
        state.withLock { state in
            state.totalMax = totalMax
            state.totalWanted = totalWanted
            state.perAddressMax = perAddressMax
        }
    }

    var total: Int { state.withLock { $0.total } }

    var totalMax: (inForce: Int, wanted: Int) {
        state.withLock { ($0.totalMax, $0.totalWanted) }
    }

    /// Takes a place; nil when there is one, else the limit that is reached.
    func enter(_ address: SocketAddress) -> RefusalReason? {
        state.withLock { state in
            guard state.total < state.totalMax else { return .total }
            let host = address.host
            let count = state.byHost[host, default: 0]
            guard count < state.perAddressMax else { return .perAddress }
            state.byHost[host] = count + 1
            state.total += 1
            return nil
        }
    }

    /// Calls `body` once when there is no connection (any more).
    func whenEmpty(_ body: @escaping @Sendable () -> Void) {
        let isEmpty = state.withLock { state in
            if state.total > 0 { state.whenEmpty.append(body) }
            return state.total == 0
        }
        if isEmpty { body() }
    }

    func leave(_ address: SocketAddress) {
        let told = state.withLock { state -> [@Sendable () -> Void] in
            state.total -= 1
            let host = address.host
            let count = state.byHost[host, default: 1]
            state.byHost[host] = count > 1 ? count - 1 : nil
            guard state.total == 0 else { return [] }
            defer { state.whenEmpty = [] }
            return state.whenEmpty
        }
        for body in told { body() }
    }
}

/// Why a connection was closed right after it was accepted; a metric's label.
enum RefusalReason: String, CaseIterable, Sendable {
    case total
    case perAddress = "per-address"
    case rate
    case descriptors
}

/// How fast connections may come.
struct AcceptRates: Sendable {
    /// Above this the backlog of the kernel waits.
    var perSecond: Int
    /// Above this an address is turned away. Loopback addresses are not counted.
    var perSecondPerAddress: Int
}

/// Accepts connections on one address, within its limits, on a queue of its own, so that a flood
/// of connections takes nothing from those that are there.
// Sendable: confined to `queue` after `start`; `census` has its own lock.
final class Listener: @unchecked Sendable {
    private static let acceptsPerTurnMax = 64
    private static let pauseNanoseconds: Int64 = 100_000_000

    let localAddress: SocketAddress
    let census: ConnectionCensus
    private let socket: Socket
    private let queue: SerialQueue
    private let clock: any Clock
    private let logger: Logger
    private let metrics: ListenerMetrics
    private let onAccept: @Sendable (AcceptedSocket) -> Void
    private var source: ReadinessSource?
    private var total: TokenBucket
    private var byHost: [String: TokenBucket] = [:]
    private var perAddressRate: Int
    /// For the day when no descriptor is free: the waiting peer learns at once instead of hanging
    /// in the backlog.
    private let reserve: DescriptorReserve

    /// The queue keeps its thread from now on, until `stop`.
    init(
        address: SocketAddress, census: ConnectionCensus, rates: AcceptRates, queue: SerialQueue,
        clock: any Clock,
        logger: Logger, metrics: ListenerMetrics,
        onAccept: @escaping @Sendable (AcceptedSocket) -> Void
    ) throws(SystemError) {
        reserve = try DescriptorReserve()
        socket = try Socket.listen(on: address, backlog: 1_024)
        do throws(SystemError) {
            localAddress = try socket.localAddress()
            try queue.keepThread()
        } catch {
            socket.close()
            throw error
        }
        self.census = census
        let now = clock.monotonicNanoseconds()
        total = TokenBucket(perSecond: rates.perSecond, now: now)
        perAddressRate = rates.perSecondPerAddress
        self.queue = queue
        self.clock = clock
        self.logger = logger.limited()
        self.metrics = metrics
        self.onAccept = onAccept
    }

    func start() {
        queue.execute {
            let source = ReadinessSource(
                socket: self.socket, queue: self.queue,
                onReadable: { [weak self] in self?.acceptable() }, onWritable: {})
            self.source = source
            source.resumeReading()
        }
    }

    /// New limits; connections that are there stay.
    func reload(_ limits: BrokerLimits) {
        census.setLimits(
            totalMax: limits.connectionsMax, totalWanted: limits.connectionsWanted,
            perAddressMax: limits.connectionsPerAddressMax)
        queue.execute {
            let now = self.clock.monotonicNanoseconds()
            self.total = TokenBucket(perSecond: limits.acceptsPerSecond, now: now)
            self.perAddressRate = limits.acceptsPerSecondPerAddress
            self.byHost = [:]
        }
    }

    /// Stops accepting, and lets the queue's thread go; the port is free when `completion` runs.
    func stop(_ completion: @escaping @Sendable () -> Void) {
        queue.execute {
            guard let source = self.source else { return completion() }
            self.source = nil
            let (socket, queue) = (self.socket, self.queue)
            source.cancel {
                socket.close()
                queue.releaseThread()
                completion()
            }
        }
    }

    private func acceptable() {
        for _ in 0..<Self.acceptsPerTurnMax {
            let now = clock.monotonicNanoseconds()
            guard total.take(now) else { return pause(total.waitNanoseconds(now)) }
            do throws(SystemError) {
                switch try socket.accept() {
                case .connection(let accepted, let address):
                    take(accepted, address, now)
                case .wouldBlock:
                    return total.putBack()
                }
            } catch {
                return recover(from: error)
            }
        }
    }

    private func take(_ accepted: Socket, _ address: SocketAddress, _ now: Int64) {
        let refusal = mayEnter(address, now) ? census.enter(address) : .rate
        if let refusal {
            accepted.close()
            metrics.count(refusal)
            logger.warning(
                "CONNECTION_REFUSED", "a limit for connections is reached",
                [("peer", .string(address.description)), ("limit", .string(refusal.rawValue))])
            return
        }
        metrics.accepted.add()
        onAccept(AcceptedSocket(socket: accepted, address: address, census: census))
    }

    private func mayEnter(_ address: SocketAddress, _ now: Int64) -> Bool {
        guard !address.isLoopback else { return true }
        let host = address.host
        if byHost.count > 10_000 { byHost = byHost.filter { !$0.value.isFull(now) } }
        return byHost[host, default: TokenBucket(perSecond: perAddressRate, now: now)].take(now)
    }

    /// Nothing can be accepted now; tries again after a while.
    private func recover(from error: SystemError) {
        if error.isTooManyFiles {
            if reserve.refuseOne(of: socket) { metrics.count(.descriptors) }
            logger.error(
                "NO_DESCRIPTORS", "no descriptor is free for a new connection",
                [("error", .string(error.description))])
        } else {
            logger.error("ACCEPT_FAILED", "\(error)")
        }
        pause(Self.pauseNanoseconds)
    }

    /// Leaves the backlog alone for a while, so that a condition that lasts costs no processor.
    private func pause(_ nanoseconds: Int64) {
        guard let source else { return }
        source.suspendReading()
        queue.execute(after: nanoseconds) { [weak self] in
            guard let self, self.source === source else { return }
            source.resumeReading()
        }
    }
}

/// So many a second, after a burst of ten times as many.
struct TokenBucket {
    private let perSecond: Int64
    private var tokens: Int64
    private var refilledAt: Int64

    init(perSecond: Int, now: Int64) {
        self.perSecond = Int64(max(perSecond, 1))
        tokens = self.perSecond * 10
        refilledAt = now
    }

    mutating func take(_ now: Int64) -> Bool {
        refill(now)
        guard tokens > 0 else { return false }
        tokens -= 1
        return true
    }

    mutating func putBack() {
        tokens += 1
    }

    /// Until the next token comes.
    func waitNanoseconds(_ now: Int64) -> Int64 {
        max(1_000_000, refilledAt + 1_000_000_000 / perSecond - now)
    }

    func isFull(_ now: Int64) -> Bool {
        var copy = self
        copy.refill(now)
        return copy.tokens >= perSecond * 10
    }

    private mutating func refill(_ now: Int64) {
        let elapsed = min(max(now - refilledAt, 0), 10_000_000_000)
        let earned = elapsed * perSecond / 1_000_000_000
        guard earned > 0 else { return }
        tokens = min(tokens + earned, perSecond * 10)
        refilledAt = now
    }
}
