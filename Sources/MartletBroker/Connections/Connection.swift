import MartletFormat
import MartletSystem
import MartletTelemetry
import MartletWire
import Synchronization

/// One client's socket: reads and cuts frames, hands each to the router, and sends the replies.
///
/// Frames are handed on in order. Reading stops while a limit is reached (`ReadPause`) and goes on
/// by itself. Whatever a stranger sends, at worst this connection closes.
/// What leads to its end is in `Connection+End.swift`.
// Sendable: confined to its loop's queue; others reach it through `loop.post` only,
// but for `isGone` (Atomic).
final class Connection: @unchecked Sendable {
    let id: UInt64
    let loop: IOLoop
    let accepted: AcceptedSocket
    let services: BrokerServices
    let router: RequestRouter
    var source: ReadinessSource?

    var phase: ConnectionPhase
    var pauses: ReadPause = []
    var input: InputBuffer
    var decoder: FrameDecoder
    /// What its replies hold of the memory of all.
    let memory: ReplyMemory
    var outbound: OutboundQueue
    /// Requests that were taken and not answered yet.
    var inFlight = 0
    var parked: [ObjectIdentifier: any ParkedRequest] = [:]
    /// The produce whose next batch the storage did not take yet; its frame stays in the input.
    var heldProduce: PendingProduce?
    var isDirty = false
    var isBlocked = false
    /// A reader queue fetches the first part of the output from the disk.
    var isLoading = false
    /// Closed: nobody waits for what reader queues still have to do for it.
    private let gone = Atomic<Bool>(false)

    // Times on the monotonic clock, in nanoseconds.
    var lastActivity: Int64
    /// When the last bytes came, or when the broker was ready for more again.
    var lastReceived: Int64
    var frameStarted: Int64?
    var blockedSince: Int64 = 0
    var sentBytes = 0
    /// Since when it is watched whether the peer takes what is in the way of others, and what it
    /// had taken then.
    var memoryWatch: (since: Int64, sentBytes: Int)?
    var discardedBytes = 0
    var finishReason: CloseReason?

    init(
        id: UInt64, accepted: AcceptedSocket, loop: IOLoop, services: BrokerServices,
        router: RequestRouter
    ) {
        let now = loop.clock.monotonicNanoseconds()
        self.id = id
        self.accepted = accepted
        self.loop = loop
        self.services = services
        self.router = router
        let limits = loop.limits
        phase = .unauthenticated(Unauthenticated(deadline: now + limits.helloTimeoutNanoseconds))
        input = InputBuffer(pool: services.pool, budget: services.memory)
        memory = ReplyMemory(pool: services.pool, budget: services.memory)
        outbound = OutboundQueue(memory: memory)
        decoder = FrameDecoder(frameBytesMax: limits.helloFrameBytesMax)
        lastActivity = now
        lastReceived = now
    }

    var peer: String { accepted.address.description }

    /// On any thread; once true, true for ever.
    var isGone: Bool { gone.load(ordering: .relaxed) }

    func markGone() { gone.store(true, ordering: .relaxed) }

    /// Begins to read.
    func start() {
        configureSocket()
        let source = ReadinessSource(
            socket: accepted.socket, queue: loop.queue,
            onReadable: { [weak self] in self?.readable() },
            onWritable: { [weak self] in self?.writable() })
        self.source = source
        source.resumeReading()
    }

    /// A peer that vanished without a word is noticed by the kernel.
    private func configureSocket() {
        let limits = loop.limits
        do throws(SystemError) {
            if limits.keepAliveSeconds > 0 {
                try accepted.socket.setKeepAlive(
                    idleSeconds: limits.keepAliveSeconds, intervalSeconds: 10, probes: 6,
                    userTimeoutMilliseconds: limits.userTimeoutMilliseconds)
            }
            try accepted.socket.setBufferSizes(send: limits.socketSendBytes, receive: nil)
        } catch {
            services.logger.debug("SOCKET_OPTIONS", "\(error)")
        }
    }

    // MARK: - Reading

    private func readable() {
        loop.turn {
            switch phase {
            case .lingering: discardInput()
            case .unauthenticated, .authenticated, .finishing: readAndHandle()
            case .closed: break
            }
        }
    }

    private func readAndHandle() {
        var budget = loop.limits.readBytesPerTurnMax
        while pauses.isEmpty, budget > 0 {
            guard let (result, asked) = receive() else { return }
            switch result {
            case .count(let count):
                budget -= count
                services.metrics.bytesReceived.add(count)
                lastReceived = loop.clock.monotonicNanoseconds()
                lastActivity = lastReceived
                handleFrames()
                // Less than asked for: the socket was emptied.
                if count < asked { return }
            case .wouldBlock:
                return
            case .endOfStream:
                peerFinished()
                return
            }
        }
    }

    /// One receive into the input; nil when there is no memory or the socket failed.
    func receive() -> (result: IOResult, asked: Int)? {
        guard input.makeRoom(initialBytes: initialInputBytes) else {
            services.metrics.memoryPauses.add()
            pause(.memory)
            return nil
        }
        do throws(SystemError) {
            return try input.receive(from: accepted.socket)
        } catch {
            close(.socketError, detail: error.description)
            return nil
        }
    }

    private var initialInputBytes: Int {
        switch phase {
        case .authenticated: InputBuffer.slabBytes
        case .unauthenticated, .finishing, .lingering, .closed: InputBuffer.ownSlabBytes
        }
    }

    private func handleFrames() {
        while pauses.isEmpty, !phase.isClosed, let slab = input.slab {
            if case .finishing(refusal: nil) = phase { return input.discard() }
            do throws(WireError) {
                switch try decoder.step(in: slab.bytes, at: input.consumed) {
                case .needBytes(let count):
                    input.wait(for: count)
                    noteFrameStart()
                    return
                case .frame(let header, let payload):
                    frameStarted = nil
                    // One that is held was taken already.
                    guard heldProduce != nil || mayTakeRequest() else { return }
                    guard handle(header, slab, payload) else { return }
                    input.consume(upTo: payload.upperBound)
                }
            } catch {
                refuseFraming(error, slab)
                return
            }
        }
    }

    /// Starts or stops the clock of a frame that has begun and is not whole.
    private func noteFrameStart() {
        if input.pendingBytes == 0 {
            frameStarted = nil
        } else if frameStarted == nil {
            frameStarted = lastReceived
        }
    }

    private func mayTakeRequest() -> Bool {
        if inFlight >= loop.limits.requestsInFlightMax {
            pause(.inFlight)
            return false
        }
        if outbound.pendingBytes >= outputBytesMax || memory.isOver {
            pause(.output)
            return false
        }
        return true
    }

    var outputBytesMax: Int {
        switch phase {
        case .unauthenticated: loop.limits.helloOutputBytesMax
        case .authenticated, .finishing, .lingering, .closed: loop.limits.outputBytesMax
        }
    }

    /// Carries out one frame. False: it stays in the input and is looked at again later.
    private func handle(_ header: FrameHeader, _ slab: ByteSlab, _ payload: Range<Int>) -> Bool {
        switch phase {
        case .unauthenticated(let state):
            inFlight += 1
            router.handle(header, slab, payload, from: self, state)
            return true
        case .authenticated(let state):
            return handle(Frame(header: header, slab: slab, payload: payload), state)
        case .finishing(let refusal):
            guard let refusal else { return true }
            inFlight += 1
            reply(error: refusal, refusal.text, to: header)
            return true
        case .lingering, .closed:
            return true
        }
    }

    private func handle(_ frame: Frame, _ state: Authenticated) -> Bool {
        let disposition: Disposition
        if let held = heldProduce {
            heldProduce = nil
            disposition = router.resume(held, frame.slab, frame.payload)
        } else {
            inFlight += 1
            disposition = router.handle(frame, from: self, state)
        }
        switch disposition {
        case .taken:
            return true
        case .held(let pending):
            // The storage tells `pending` when to try again, and that resumes this connection.
            heldProduce = pending
            services.metrics.storagePauses.add()
            pause(.storage)
            return false
        }
    }

    func pause(_ reason: ReadPause) {
        if pauses.isEmpty { source?.suspendReading() }
        pauses.insert(reason)
    }

    /// The storage may take the held batch now.
    func retry(_ pending: PendingProduce) {
        guard heldProduce === pending else { return }
        resume(.storage)
    }

    /// Takes one reason away. When it was the last, handles what waits and reads on.
    func resume(_ reason: ReadPause) {
        guard pauses.contains(reason), !phase.isClosed else { return }
        pauses.remove(reason)
        guard pauses.isEmpty else { return }
        // The silence was the broker's. Want of memory is looked at again and again.
        if reason != .memory { lastReceived = loop.clock.monotonicNanoseconds() }
        source?.resumeReading()
        handleFrames()
    }

    // MARK: - Replying (all on the loop, inside a turn)

    /// Answers a request with a reply that stands alone.
    func reply(_ message: some WireReply, to header: FrameHeader, _ parts: [OutboundPart] = []) {
        guard !phase.isClosed else { return }
        if message.error != .none { services.metrics.count(message.error) }
        do throws(WireError) {
            // What only looks can be asked for again.
            let mayRefuse = header.known?.changesNothing ?? false
            guard try outbound.append(message, to: header, parts, mayRefuse: mayRefuse) else {
                services.metrics.memoryPauses.add()
                return reply(error: .tooManyRequests, BrokerServices.noMemory, to: header)
            }
            requestsFinished(1)
        } catch {
            failEncoding(error, header)
        }
    }

    /// Answers any request with an error; its shape is the same for every operation and version.
    func reply(error: ErrorCode, _ text: String, to header: FrameHeader) {
        guard !phase.isClosed else { return }
        if error != .none { services.metrics.count(error) }
        do throws(WireError) {
            try outbound.append(PingReply(error: error, message: text), to: header)
            requestsFinished(1)
        } catch {
            failEncoding(error, header)
        }
    }

    /// Takes the next place in the order of produce replies.
    func reserveSlot(_ pending: PendingProduce, deadline: Int64) -> UInt64 {
        outbound.reserve(pending, deadline: deadline)
    }

    func fillSlot(_ slot: UInt64, _ reply: ProduceReply) {
        guard !phase.isClosed else { return }
        do throws(WireError) {
            requestsFinished(try outbound.fill(slot, reply))
        } catch {
            services.logger.error("REPLY_NOT_ENCODED", "\(error)")
            close(.socketError)
        }
    }

    /// A request that gets no reply is done.
    func finishWithoutReply() {
        requestsFinished(1)
    }

    /// Sends one error frame for a request that expects no reply, and closes.
    func refuseUnacknowledged(_ error: ErrorCode, _ text: String, _ header: FrameHeader) {
        reply(error: error, text, to: header)
        finish(refusal: nil, .refusedUnacknowledged, detail: "\(error.name): \(text)")
    }

    private func failEncoding(_ error: WireError, _ header: FrameHeader) {
        services.logger.error("REPLY_NOT_ENCODED", "\(error)")
        do throws(WireError) {
            try outbound.append(
                PingReply(error: .internalError, message: error.description), to: header)
            requestsFinished(1)
        } catch {
            close(.socketError)
        }
    }

    private func requestsFinished(_ count: Int) {
        inFlight -= count
        markDirty()
    }

    func markDirty() {
        guard !isDirty else { return }
        isDirty = true
        loop.markDirty(self)
    }

    // MARK: - Parked requests

    func park(_ request: any ParkedRequest) {
        parked[ObjectIdentifier(request)] = request
    }

    /// A connection that ends answers what it has parked at once.
    var mayPark: Bool {
        switch phase {
        case .authenticated: !pauses.contains(.ended)
        case .unauthenticated, .finishing, .lingering, .closed: false
        }
    }

    func unpark(_ request: any ParkedRequest) {
        parked[ObjectIdentifier(request)] = nil
    }
}
