import MartletFormat
import MartletSystem
import MartletTelemetry
import MartletWire

extension Connection {
    /// The socket takes bytes again.
    func writable() {
        loop.turn {
            isBlocked = false
            markDirty()
        }
    }

    /// Sends what is ready. The loop calls it once at the end of a turn.
    func flush() {
        isDirty = false
        guard !phase.isClosed else { return }
        sendReady()
        guard !phase.isClosed else { return }
        if inFlight < loop.limits.requestsInFlightMax { resume(.inFlight) }
        resumeOutput()
        closeIfFinished()
    }

    /// Takes requests again once enough of the replies is gone.
    func resumeOutput() {
        if outbound.pendingBytes <= outputBytesMax / 2, !memory.isOver { resume(.output) }
    }

    private func sendReady() {
        guard !isBlocked, !isLoading, !outbound.isEmpty else { return }
        let before = outbound.pendingBytes
        do throws(SystemError) {
            let step = try outbound.send(
                to: accepted.socket, budget: loop.limits.sendBytesPerTurnMax)
            let sent = before - outbound.pendingBytes
            services.metrics.bytesSent.add(sent)
            let now = loop.clock.monotonicNanoseconds()
            sentBytes += sent
            if sent > 0 {
                lastActivity = now
                blockedSince = now
            }
            switch step {
            case .drained:
                break
            case .blocked:
                if before == outbound.pendingBytes, blockedSince == 0 { blockedSince = now }
                isBlocked = true
                source?.armWriting()
            case .yielded:
                loop.post(.run { self.markDirty() })
            case .needsDisk(let part):
                load(part)
            }
        } catch {
            close(.socketError, detail: error.description)
        }
    }

    /// Has a reader queue bring the next bytes of a file, since the disk may be slow.
    private func load(_ part: FilePart) {
        guard !services.residency.isResident(part) else {
            outbound.markFirstResident()
            markDirty()
            return
        }
        isLoading = true
        services.metrics.diskLoads.add()
        var bytes = min(part.count, OutboundQueue.fileBytesPerCall)
        var granted = memory.slab(atLeast: bytes)
        if granted == nil {
            // In small steps, which every connection has memory for.
            bytes = min(bytes, ReplyMemory.ownBytes / 2)
            granted = memory.slabDue(atLeast: bytes)
        }
        guard let reply = granted else { return }
        services.readers.read { [bytes] in
            guard !self.isGone else { return }
            let loaded = Result { () throws(SystemError) in
                try self.services.residency.read(part, bytes, into: reply.slab)
                return reply
            }
            self.loop.post(.run { self.loadFinished(loaded) })
        }
    }

    private func loadFinished(_ loaded: Result<ReplySlab, SystemError>) {
        isLoading = false
        switch loaded {
        case .success(let reply):
            guard !phase.isClosed else { return reply.end() }
            outbound.replaceFirst(with: reply)
            markDirty()
        case .failure(let error):
            services.readFailed(error.description)
            // The header that announced these bytes has left: only closing is honest now.
            close(.diskRead, detail: error.description)
        }
    }
}
