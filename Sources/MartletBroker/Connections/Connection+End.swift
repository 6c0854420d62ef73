import MartletFormat
import MartletSystem
import MartletTelemetry
import MartletWire

extension Connection {
    /// The hello was accepted: from now on the full limits hold.
    func becomeAuthenticated(_ state: Authenticated) {
        guard case .unauthenticated = phase else { return }
        phase = .authenticated(state)
        decoder.frameBytesMax = loop.limits.frameBytesMax
    }

    /// The broker stops: what is open is answered, new requests are refused.
    func drain() {
        switch phase {
        case .unauthenticated:
            close(.stopping)
        case .authenticated:
            // A held produce was not written; its frame is refused like every later one.
            if let held = heldProduce {
                heldProduce = nil
                held.refuseRest(.shuttingDown)
                skipFrame()
            }
            phase = .finishing(refusal: .shuttingDown)
            resume(.storage)
            markDirty()
        case .finishing, .lingering, .closed:
            break
        }
    }

    /// Takes the whole frame at the front of the input away.
    private func skipFrame() {
        guard let slab = input.slab else { return }
        do throws(WireError) {
            if case .frame(_, let payload) = try decoder.step(in: slab.bytes, at: input.consumed) {
                input.consume(upTo: payload.upperBound)
            }
        } catch {
            refuseFraming(error, slab)
        }
    }

    /// Carries out nothing more, and closes once all that is open is answered and sent.
    func finish(refusal: ErrorCode?, _ reason: CloseReason, detail: String = "") {
        switch phase {
        case .unauthenticated, .authenticated:
            log(reason, detail)
            finishReason = reason
            phase = .finishing(refusal: refusal)
            markDirty()
        case .finishing, .lingering, .closed:
            break
        }
    }

    /// Closes now, whatever is open.
    func close(_ reason: CloseReason, detail: String = "") {
        guard !phase.isClosed else { return }
        log(reason, detail)
        services.metrics.count(finishReason ?? reason)
        phase = .closed
        markGone()
        loop.remove(self)
        for request in parked.values { request.abandon() }
        parked = [:]
        heldProduce = nil
        input.close()
        outbound.close()
        let accepted = accepted
        source?.cancel { accepted.release() }
        source = nil
    }

    /// Looks at every time limit; a few times a second.
    func checkDeadlines(_ now: Int64) {
        let limits = loop.limits
        for pending in outbound.expired(at: now) { pending.expire() }
        switch phase {
        case .unauthenticated(let state) where now > state.deadline:
            return close(.helloTimeout)
        case .lingering(let deadline) where now > deadline:
            return close(.finished)
        case .finishing:
            closeIfFinished()
        case .unauthenticated, .authenticated, .lingering, .closed:
            break
        }
        if isBlocked, now - blockedSince > limits.writeTimeoutNanoseconds {
            return close(.writeTimeout)
        }
        if isFrameLate(now) { return close(.frameTimeout) }
        if leavesReplies(now) { return close(.writeTimeout, detail: "memory is short") }
        resume(.memory)
        resumeOutput()
        let isQuiet = inFlight == 0 && outbound.isEmpty
        if isQuiet, now - lastActivity > limits.idleTimeoutNanoseconds { return close(.idle) }
        if now - lastActivity > 1_000_000_000 { input.release() }
    }

    /// Whether the frame that has begun takes too long, or nothing more of it comes. Memory that
    /// others want is not left for long to a frame that does not go on.
    private func isFrameLate(_ now: Int64) -> Bool {
        guard let frameStarted, pauses.isDisjoint(with: [.storage, .inFlight, .output]) else {
            return false
        }
        let limits = loop.limits
        if now - frameStarted > limits.frameTimeout(bytes: input.pendingBytes) { return true }
        let isInTheWay =
            pauses.isEmpty && input.holdsSharedMemory && services.memory.isShort
        let silence = isInTheWay ? limits.frameSilenceNanoseconds : limits.frameTimeout(bytes: 0)
        return now - lastReceived > silence
    }

    /// Whether the peer takes next to nothing of replies whose memory others want.
    private func leavesReplies(_ now: Int64) -> Bool {
        guard services.memory.isShort, isBlocked, memory.sharedBytes > 0 else {
            memoryWatch = nil
            return false
        }
        guard let watch = memoryWatch else {
            memoryWatch = (now, sentBytes)
            return false
        }
        let limits = loop.limits
        guard now - watch.since > limits.frameSilenceNanoseconds else { return false }
        memoryWatch = (now, sentBytes)
        let due = limits.frameBytesPerSecond / 1_000 * limits.frameSilenceMilliseconds
        return sentBytes - watch.sentBytes < due
    }

    /// Where the next frame begins is not known any more: says why, and closes.
    func refuseFraming(_ error: WireError, _ slab: ByteSlab) {
        let start = input.consumed
        // With the whole header there, the refusal can say which request it means.
        var header = FrameHeader(operation: 0, version: 1, correlation: 0, payloadBytes: 0)
        if slab.count - start >= FrameHeader.byteCount {
            header = FrameHeader.peek(slab.bytes, at: start) ?? header
        }
        inFlight += 1
        reply(error: error.code, error.description, to: header)
        finish(refusal: nil, .framing, detail: error.description)
        input.discard()
    }

    /// The peer will send nothing more.
    func peerFinished() {
        pause(.ended)
        guard inFlight > 0 || !outbound.isEmpty else { return close(.peer) }
        // Whoever has stopped sending mostly does not read either; what is parked is answered now.
        for request in parked.values { request.expire() }
        finish(refusal: nil, .peer)
        markDirty()
    }

    func closeIfFinished() {
        guard case .finishing = phase, inFlight == 0, outbound.isEmpty, !isLoading else { return }
        if pauses.contains(.ended) { return close(.finished) }
        // The next tick asks again.
        guard !loop.expectsRequests(lastActivity: lastActivity) else { return }
        do throws(SystemError) {
            try accepted.socket.shutdownSending()
        } catch {
            return close(.socketError, detail: error.description)
        }
        let now = loop.clock.monotonicNanoseconds()
        phase = .lingering(deadline: now + loop.limits.lingerNanoseconds)
        input.discard()
        if !pauses.isEmpty {
            pauses = []
            source?.resumeReading()
        }
    }

    func discardInput() {
        while let (result, _) = receive() {
            switch result {
            case .count(let count):
                input.discard()
                discardedBytes += count
                guard discardedBytes < loop.limits.frameBytesMax else {
                    return close(.finished)
                }
            case .wouldBlock:
                return
            case .endOfStream:
                return close(.finished)
            }
        }
    }

    private func log(_ reason: CloseReason, _ detail: String) {
        let fields: LogFields = [
            ("peer", .string(peer)), ("connection", .unsigned(id)),
            ("reason", .string(reason.rawValue)), ("detail", .string(detail)),
        ]
        if reason.isPeersMistake {
            services.peerLogger.warning("CONNECTION_CLOSED", "the peer broke a rule", fields)
        } else {
            services.logger.debug("CONNECTION_CLOSED", "closed", fields)
        }
    }
}
