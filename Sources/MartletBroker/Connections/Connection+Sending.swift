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
        if outbound.pendingBytes <= outputBytesMax / 2 { resume(.output) }
        closeIfFinished()
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
        let bytes = min(part.count, OutboundQueue.fileBytesPerCall)
        services.readers.next().execute {
            let loaded = self.services.residency.read(part, bytes, self.services.pool)
            self.loop.post(.run { self.loadFinished(loaded) })
        }
    }

    private func loadFinished(_ loaded: Result<ByteSlab, SystemError>) {
        isLoading = false
        switch loaded {
        case .success(let slab):
            guard !phase.isClosed else { return services.pool.give(slab) }
            outbound.replaceFirst(with: slab)
            markDirty()
        case .failure(let error):
            services.readFailed(error.description)
            // The header that announced these bytes has left: only closing is honest now.
            close(.diskRead, detail: error.description)
        }
    }
}
