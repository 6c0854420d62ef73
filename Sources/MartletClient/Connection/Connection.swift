import MartletFormat
import MartletSystem
import MartletWire

/// What became of a request.
enum ReplyOutcome {
    /// The broker answered; what is in the frame may still be an error.
    case frame(ReplyFrame)
    /// No answer will come. The request may or may not have been carried out.
    case lost(MartletError)
}

/// What hello agreed on.
struct Agreement {
    /// Bytes of the largest frame the broker reads.
    var frameBytesMax = 0
    /// Bytes of the largest batch that any topic takes.
    var batchBytesMax = 0
    var requestsInFlightMax = 1
    var brokerVersion = ""
    /// Names the broker's data: another one is another broker.
    var clusterID = TopicID.zero
    /// Silence after which the broker closes the connection; 0: never.
    var idleNanoseconds: Int64 = 0
    var versions = AgreedVersions()
}

/// One TCP connection, from connect to close: hello, then requests that are answered by number.
///
/// Sendable: confined to `queue`; every entry point checks it. It never reconnects: that is `Link`.
final class Connection: @unchecked Sendable {
    private enum State {
        case idle
        case connecting
        case greeting
        case ready
        case closed
    }

    /// Larger frames are refused: it would be a broker that sends nonsense.
    static let frameBytesMax = 256 * 1024 * 1024
    /// Before hello was answered, nothing large has a reason to come.
    private static let greetingBytesMax = 64 * 1024
    /// What one readiness event may receive before the queue's other work has its turn.
    private static let receiveBudgetBytes = 8 * 1024 * 1024

    let loop: EventLoop
    private let context: ConnectionContext
    private let comesFirst: Bool
    private var state = State.idle
    private var source: LoopSource?
    private var reader: FrameReader
    private var outbound: Outbound
    private var pipeline: RequestPipeline
    private var isWaitingToWrite = false
    private(set) var agreement = Agreement()
    /// When something was sent last, to tell the broker in time that we are still here.
    private var lastSentAt: Int64 = 0

    /// Called once, when requests may be sent.
    var whenReady: () -> Void = {}
    /// Called once, after every open request was told.
    var whenClosed: (MartletError) -> Void = { _ in }
    /// An answer that nobody asked for, or with an error to a request without reply.
    var whenUnsolicited: (MartletError) -> Void = { _ in }

    /// - Parameter comesFirst: whether its answers are read before those of other connections.
    init(_ context: ConnectionContext, comesFirst: Bool = false) {
        self.context = context
        self.comesFirst = comesFirst
        loop = context.loop
        reader = FrameReader(pool: context.pool, frameBytesMax: Self.greetingBytesMax)
        outbound = Outbound(pool: context.pool)
        pipeline = RequestPipeline(clock: context.clock)
    }

    deinit {
        // For a user that went away without closing.
        guard let source else { return }
        loop.execute { source.cancel() }
    }

    var isReady: Bool {
        if case .ready = state { return true }
        return false
    }

    /// Whether the peer has taken the connection and not yet answered the hello.
    var isGreeting: Bool {
        if case .greeting = state { return true }
        return false
    }

    /// Requests that wait for their answer.
    var openRequests: Int { pipeline.count }

    // MARK: - Connecting

    /// Starts to connect. Ends in `whenReady` or `whenClosed`.
    func start(to address: SocketAddress) {
        loop.assertCurrent()
        state = .connecting
        do {
            let socket = try Socket.connect(to: address)
            let source = LoopSource(
                socket: socket, loop: loop, comesFirst: comesFirst,
                onReadable: { [weak self] in self?.readable() },
                onWritable: { [weak self] in self?.writable() })
            self.source = source
            source.armWriting()
        } catch {
            close(context.failure(error))
            return
        }
        let timeout = context.configuration.connectTimeout.nanosecondsClamped
        loop.execute(after: timeout) { [weak self] in
            guard let self, !self.isReady else { return }
            let late = self.context.failure("did not answer within the connect timeout")
            self.close(self.isGreeting ? self.context.silent() : late)
        }
    }

    private func writable() {
        switch state {
        case .connecting:
            guard let source else { return }
            do {
                try source.socket.finishConnect()
                try source.socket.setKeepAlive(
                    idleSeconds: 30, intervalSeconds: 10, probes: 3,
                    userTimeoutMilliseconds: 60_000)
            } catch {
                close(context.failure(error))
                return
            }
            state = .greeting
            source.resumeReading()
            greet()
        case .greeting, .ready:
            isWaitingToWrite = false
            flush()
        case .idle, .closed:
            break
        }
    }

    private func greet() {
        var hello = HelloRequest()
        hello.clientName = context.configuration.clientName
        hello.clientVersion = ClientVersion.text
        send(hello, timeout: context.configuration.connectTimeout) { [weak self] outcome in
            self?.greeted(outcome)
        }
        flush()
    }

    private func greeted(_ outcome: ReplyOutcome) {
        guard case .frame(let frame) = outcome else { return }
        do {
            let reply = try frame.decode(HelloReply.self).message
            guard reply.error == .none else {
                close(MartletError(reply.error, reply.message, context: context.facts))
                return
            }
            let hello = HelloRequest()
            guard hello.versionMin...hello.versionMax ~= reply.version else {
                close(
                    MartletError(
                        .unsupportedVersion,
                        "The broker at \(context.configuration.server) answers in protocol version "
                            + "\(reply.version), which was not offered: use another client.",
                        context: context.facts))
                return
            }
            agreement = Agreement(
                frameBytesMax: Int(reply.frameBytesMax), batchBytesMax: Int(reply.batchBytesMax),
                requestsInFlightMax: max(1, Int(reply.requestsInFlightMax)),
                brokerVersion: reply.brokerVersion, clusterID: reply.clusterID,
                idleNanoseconds: Int64(reply.idleTimeoutMilliseconds) * 1_000_000,
                versions: AgreedVersions(reply))
        } catch {
            close(context.brokenProtocol(error))
            return
        }
        reader.frameBytesMax = Self.frameBytesMax
        state = .ready
        schedulePing()
        whenReady()
    }

    /// Sends a ping when a third of the broker's patience passed in silence.
    private func schedulePing() {
        let pause = agreement.idleNanoseconds / 3
        guard pause > 0 else { return }
        loop.execute(after: pause) { [weak self] in
            guard let self, self.isReady else { return }
            if self.context.clock.monotonicNanoseconds() - self.lastSentAt >= pause {
                let timeout = self.context.configuration.requestTimeout
                self.send(PingRequest(), timeout: timeout) { _ in }
                self.flush()
            }
            self.schedulePing()
        }
    }

    // MARK: - Requests

    /// Queues a request; `flush` sends it. Without `handler` no reply is expected.
    ///
    /// - Parameters:
    ///   - attachment: the batches that follow the fields.
    ///   - closesOnTimeout: whether a late answer spoils the connection, so that order is kept.
    func send<Request: WireRequest>(
        _ request: Request, attachment: [Outbound.Piece] = [], timeout: Duration,
        closesOnTimeout: Bool = true, handler: ((ReplyOutcome) -> Void)?
    ) {
        loop.assertCurrent()
        if case .closed = state {
            handler?(.lost(context.failure("closed the connection")))
            return
        }
        guard let version = agreement.versions.version(of: Request.operation) else {
            let refusal = refusal(of: Request.operation)
            handler?(.lost(refusal ?? context.failure("does not offer what is asked")))
            return
        }
        do {
            let fieldBytes = try request.fieldBytes(version: version)
            let correlation = pipeline.nextCorrelation()
            let slab = context.pool.take(atLeast: FrameHeader.byteCount + fieldBytes)
            try request.encodeFrame(
                into: slab, fieldBytes: fieldBytes, operation: Request.operation.rawValue,
                version: version, correlation: correlation)
            outbound.append(
                Outbound.Piece(slab: slab, range: 0..<slab.count, lease: nil, whenSent: nil))
            for piece in attachment { outbound.append(piece) }
            if let handler {
                pipeline.add(
                    correlation, Request.operation, timeout: timeout.nanosecondsClamped,
                    closesOnTimeout: closesOnTimeout, handler: handler)
                scheduleSweep()
            }
        } catch {
            // Our own arguments break a limit of the protocol.
            handler?(
                .lost(
                    MartletError(
                        .invalidArgument, "The request cannot be encoded: \(error).",
                        outcome: .notWritten)))
        }
    }

    /// Why an operation cannot be asked of this broker; nil: it can.
    func refusal(of operation: Operation) -> MartletError? {
        agreement.versions.refusal(of: operation, context)
    }

    /// Sends what is queued, as far as the socket takes it.
    func flush() {
        loop.assertCurrent()
        guard let source, !isWaitingToWrite, !outbound.isEmpty else { return }
        switch state {
        case .greeting, .ready: break
        case .idle, .connecting, .closed: return
        }
        lastSentAt = context.clock.monotonicNanoseconds()
        do {
            if try !outbound.send(to: source.socket) {
                isWaitingToWrite = true
                source.armWriting()
            }
            for whenSent in outbound.takeSent() { whenSent() }
        } catch {
            close(lost(error))
        }
    }

    private func scheduleSweep() {
        guard pipeline.startsSweep() else { return }
        loop.execute(after: RequestPipeline.sweepNanoseconds) { [weak self] in self?.sweep() }
    }

    private func sweep() {
        if case .closed = state { return }
        pipeline.endSweep()
        if let spoiling = pipeline.firstLateThatCloses {
            // Tells all that are open, the late ones among them: none may be left behind.
            close(tooLate(spoiling))
            return
        }
        for late in pipeline.removeLate() { late.handler(.lost(tooLate(late.operation))) }
        if pipeline.count > 0 { scheduleSweep() }
    }

    private func tooLate(_ operation: Operation) -> MartletError {
        MartletError(
            .deadlineExceeded, "The broker did not answer \(operation.name) in time.",
            outcome: .unknown, context: context.facts)
    }

    // MARK: - Replies

    private func readable() {
        guard let source else { return }
        var budget = Self.receiveBudgetBytes
        do {
            while budget > 0 {
                switch try reader.receive(from: source.socket) {
                case .count(let count):
                    budget -= count
                    let isDrained = reader.lastReceiveWasShort
                    try deliver()
                    // A handler may have closed the connection. After a short receive there is
                    // nothing left to read; what comes later is told.
                    if case .closed = state { return }
                    if isDrained { return }
                case .wouldBlock:
                    return
                case .endOfStream:
                    close(lost())
                    return
                }
            }
        } catch let error as SystemError {
            close(lost(error))
        } catch let error as WireError {
            close(context.brokenProtocol(error))
        } catch {
            close(context.failure("\(error)"))
        }
    }

    /// The peer is gone. One that goes before the hello may refuse connections.
    private func lost(_ error: SystemError? = nil) -> MartletError {
        if isGreeting, error?.isDisconnect ?? true {
            let what = "closed the connection before it answered the hello"
            return context.failure(what).adding(["cause": "closed"])
        }
        return error.map { context.failure($0) } ?? context.failure("closed the connection")
    }

    private func deliver() throws {
        while let frame = try reader.next() {
            if frame.header.known == .produce,
                context.configuration.faults?.takeDroppedAck() == true
            {
                close(context.failure("lost an answer, as a test asked for"))
                return
            }
            if let handler = pipeline.take(frame.header) {
                handler(.frame(frame))
            } else if !pipeline.wasAbandoned(frame.header.correlation) {
                try unsolicited(frame)
            }
            if case .closed = state { return }
        }
    }

    /// A frame that answers nothing we wait for: an error to a request without reply, or the
    /// broker's word why it closes.
    private func unsolicited(_ frame: ReplyFrame) throws {
        guard frame.header.isReply else {
            close(context.brokenProtocol("a frame that is no reply"))
            return
        }
        // Error and message are the first two fields of every reply.
        let reply = try frame.decode(DeleteTopicReply.self).message
        guard reply.error != .none else { return }
        let error = MartletError(reply.error, reply.message, context: context.facts)
        whenUnsolicited(error)
        if reply.error.closesConnection { close(error) }
    }

    // MARK: - The end

    /// Closes the connection and tells every open request: it may have been carried out.
    func close(_ error: MartletError) {
        loop.assertCurrent()
        if case .closed = state { return }
        state = .closed
        source?.cancel()
        source = nil
        outbound.removeAll()
        let lost = error.adding([:], outcome: .unknown)
        for handler in pipeline.removeAll() { handler(.lost(lost)) }
        let whenClosed = whenClosed
        self.whenReady = {}
        self.whenClosed = { _ in }
        self.whenUnsolicited = { _ in }
        whenClosed(error)
    }
}
