import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

/// Whether the broker serves, for probes.
enum Readiness: Sendable, Equatable {
    case starting
    case ready
    /// It serves, but something needs a person; the text says what.
    case degraded(String)
    case stopping
    case failed(String)
}

/// `/metrics`, `/healthz` and `/readyz` over HTTP/1.1, on a listener and a queue of its own, so that
/// it answers also when clients flood the broker. One request a connection.
// Sendable: `connections` is confined to `queue`; `listener` is set once before anyone connects.
final class AdminEndpoint: @unchecked Sendable {
    private static let tickNanoseconds: Int64 = 500_000_000

    let localAddress: SocketAddress
    private let queue: SerialQueue
    private let clock: any Clock
    private let registry: MetricsRegistry
    private let readiness: @Sendable () -> Readiness
    private let listener: Listener
    private let timeoutNanoseconds: Int64
    private let inbox: Mailbox<AcceptedSocket>
    private var connections: [ObjectIdentifier: AdminConnection] = [:]
    private var tickArmed = false

    init(
        address: SocketAddress, limits: BrokerLimits, clock: any Clock,
        logger: Logger, metrics: ListenerMetrics,
        registry: MetricsRegistry, readiness: @escaping @Sendable () -> Readiness
    ) throws(SystemError) {
        let queue = SerialQueue(label: "martlet.admin")
        let inbox = Mailbox<AcceptedSocket>(executor: queue)
        self.queue = queue
        self.inbox = inbox
        self.clock = clock
        self.registry = registry
        self.readiness = readiness
        timeoutNanoseconds = BrokerLimits.nanoseconds(limits.adminTimeoutMilliseconds)
        let census = ConnectionCensus(
            totalMax: limits.adminConnectionsMax, totalWanted: limits.adminConnectionsMax,
            perAddressMax: limits.adminConnectionsMax)
        listener = try Listener(
            address: address, census: census,
            rates: AcceptRates(perSecond: 100, perSecondPerAddress: 100),
            queue: queue, clock: clock, logger: logger, metrics: metrics,
            onAccept: { inbox.post($0) })
        localAddress = listener.localAddress
    }

    func start() {
        inbox.connect { [weak self] accepted in
            for socket in accepted {
                guard let self else {
                    socket.release()
                    continue
                }
                self.adopt(socket)
            }
        }
        listener.start()
    }

    /// The port is free when `completion` runs.
    func stop(_ completion: @escaping @Sendable () -> Void) {
        listener.stop {
            self.queue.execute {
                for connection in self.connections.values { connection.close() }
                completion()
            }
        }
    }

    private func adopt(_ accepted: AcceptedSocket) {
        let connection = AdminConnection(
            accepted, queue: queue,
            deadline: clock.monotonicNanoseconds() + timeoutNanoseconds,
            respond: { [weak self] in self?.response(to: $0) ?? HTTPResponse(503, "stopping\n") },
            onClose: { [weak self] in self?.connections[ObjectIdentifier($0)] = nil })
        connections[ObjectIdentifier(connection)] = connection
        connection.start()
        armTick()
    }

    private func response(to request: HTTPRequest) -> HTTPResponse {
        switch request.path {
        case "/metrics":
            return HTTPResponse(
                200, PrometheusText.render(registry), contentType: PrometheusText.contentType)
        case "/healthz":
            if case .failed(let reason) = readiness() { return HTTPResponse(503, reason + "\n") }
            return HTTPResponse(200, "ok\n")
        case "/readyz":
            switch readiness() {
            case .ready: return HTTPResponse(200, "ready\n")
            case .degraded(let reason): return HTTPResponse(200, "degraded: \(reason)\n")
            case .starting: return HTTPResponse(503, "starting\n")
            case .stopping: return HTTPResponse(503, "stopping\n")
            case .failed(let reason): return HTTPResponse(503, "failed: \(reason)\n")
            }
        default:
            return HTTPResponse(404, "there is /metrics, /healthz and /readyz\n")
        }
    }

    private func armTick() {
        guard !tickArmed, !connections.isEmpty else { return }
        tickArmed = true
        queue.execute(after: Self.tickNanoseconds) { [weak self] in
            guard let self else { return }
            tickArmed = false
            let now = clock.monotonicNanoseconds()
            for connection in connections.values { connection.checkDeadline(now) }
            armTick()
        }
    }
}

/// One connection of the admin endpoint: reads one head, sends one answer, closes.
// Confined to the endpoint's queue.
private final class AdminConnection {
    private static let headBytesMax = 8 * 1_024

    private let accepted: AcceptedSocket
    private let queue: SerialQueue
    /// Monotonic nanoseconds.
    private let deadline: Int64
    private let respond: (HTTPRequest) -> HTTPResponse
    private let onClose: (AdminConnection) -> Void
    private var source: ReadinessSource?
    private var head: [UInt8] = []
    private let received = ByteSlab(capacity: 4_096)
    private var output = ByteSlab(capacity: 0)
    private var sent = 0
    private var isAnswered = false

    init(
        _ accepted: AcceptedSocket, queue: SerialQueue, deadline: Int64,
        respond: @escaping (HTTPRequest) -> HTTPResponse,
        onClose: @escaping (AdminConnection) -> Void
    ) {
        self.accepted = accepted
        self.queue = queue
        self.deadline = deadline
        self.respond = respond
        self.onClose = onClose
    }

    func start() {
        let source = ReadinessSource(
            socket: accepted.socket, queue: queue,
            onReadable: { [weak self] in self?.readable() },
            onWritable: { [weak self] in self?.send() })
        self.source = source
        source.resumeReading()
    }

    func close() {
        guard let source else { return }
        self.source = nil
        let accepted = accepted
        source.cancel { accepted.release() }
        onClose(self)
    }

    func checkDeadline(_ now: Int64) {
        guard now > deadline else { return }
        if isAnswered { close() } else { answer(HTTPResponse(408, "too slow\n"), withBody: true) }
    }

    private func readable() {
        while source != nil {
            var result = IOResult.wouldBlock
            received.clear()
            do throws(SystemError) {
                try unsafe received.fill { (free) throws(SystemError) -> Int in
                    result = try unsafe accepted.socket.receive(into: free)
                    guard case .count(let count) = result else { return 0 }
                    return count
                }
            } catch {
                return close()
            }
            switch result {
            case .wouldBlock: return
            case .endOfStream: return close()
            case .count:
                // Behind its request a peer has nothing to say; it is read so that closing does
                // not reset the connection under the answer.
                guard !isAnswered else { continue }
                head += unsafe received.withUnsafeBytes(0..<received.count) { unsafe [UInt8]($0) }
                takeHead()
            }
        }
    }

    private func takeHead() {
        guard let end = HTTPRequest.headEnd(in: head) else {
            if head.count > Self.headBytesMax {
                answer(HTTPResponse(431, "the head is too long\n"), withBody: true)
            }
            return
        }
        do throws(HTTPRequest.Problem) {
            guard end <= Self.headBytesMax else { throw .malformed }
            let request = try HTTPRequest(head: head[..<end])
            answer(respond(request), withBody: request.method == .get)
        } catch {
            answer(HTTPResponse(error.status, "\(error)\n"), withBody: true)
        }
    }

    private func answer(_ response: HTTPResponse, withBody: Bool) {
        isAnswered = true
        head = []
        let bytes = response.bytes(withBody: withBody)
        output = ByteSlab(capacity: bytes.count)
        unsafe output.append(bytes.span.bytes)
        send()
    }

    private func send() {
        do throws(SystemError) {
            while sent < output.count {
                let rest = sent..<output.count
                let result = try unsafe output.withUnsafeBytes(rest) {
                    (bytes) throws(SystemError) -> IOResult in
                    try unsafe accepted.socket.send(bytes)
                }
                switch result {
                case .count(let count): sent += count
                case .wouldBlock:
                    source?.armWriting()
                    return
                case .endOfStream: return close()
                }
            }
            // The peer closes when it has read the answer; the deadline closes otherwise.
            try accepted.socket.shutdownSending()
        } catch {
            close()
        }
    }
}
