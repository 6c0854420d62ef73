import MartletFormat
import MartletSystem
import MartletWire

/// Commits in their order: one is on its way, the others wait for it, so that an older one never
/// comes after a newer one.
struct CommitLine {
    /// Partitions to be committed; how far is looked up when they are sent.
    ///
    /// Sendable: confined to the member's queue.
    final class Job: @unchecked Sendable {
        var keys: [OwnedKey]
        /// What the application says with it; nil: nothing.
        let metadata: String?
        /// Also of partitions of which the broker has all: something goes with it.
        let tellsAll: Bool
        /// Of partitions that are not in `keys` any more.
        var error: MartletError?
        private var then: ((MartletError?) -> Void)?

        init(
            _ keys: [OwnedKey], _ metadata: String?, tellsAll: Bool,
            _ then: @escaping (MartletError?) -> Void
        ) {
            self.keys = keys
            self.metadata = metadata
            self.tellsAll = tellsAll
            self.then = then
        }

        var isOpen: Bool { then != nil }

        func end(_ error: MartletError?) {
            let then = then
            self.then = nil
            then?(error)
        }
    }

    typealias Entry = (key: OwnedKey, position: GroupLedger.Position)

    var jobs = Fifo<Job>()
    var isSending = false
    /// How many were sent.
    var sent = 0
}

// How a member says how far it is.
extension GroupCore {
    /// At each interval, when the policy asks for it.
    func scheduleCommit() {
        guard case .afterProcessing(let interval) = configuration.commitPolicy else { return }
        context.loop.execute(after: interval.nanosecondsClamped) { [weak self] in
            guard let self, self.phase != .closed else { return }
            // While one waits, there is a newer state to be told later.
            if self.commits.jobs.isEmpty {
                self.commit(self.ledger.uncommitted, deadline: .max)
            }
            self.scheduleCommit()
        }
    }

    /// Commits how far these partitions are by the time that it is sent, over broken connections
    /// too, until the deadline. `then` is called once.
    func commit(
        _ keys: [OwnedKey], deadline: Int64, metadata: String? = nil, tellsAll: Bool = false,
        then: @escaping (MartletError?) -> Void = { _ in }
    ) {
        guard !keys.isEmpty else { return then(nil) }
        guard phase != .closed else { return then(.closed("consumer")) }
        let job = CommitLine.Job(keys, metadata, tellsAll: tellsAll || metadata != nil, then)
        commits.jobs.append(job)
        if deadline < .max {
            context.loop.execute(after: max(deadline - now, 1)) { [weak self] in
                guard let self else { return }
                job.end(self.context.unreachable(nil))
                self.sendCommits()
            }
        }
        sendCommits()
    }

    /// Sends the next commit, when none is on its way.
    func sendCommits() {
        while !commits.isSending, let job = commits.jobs.first {
            guard job.isOpen else {
                _ = commits.jobs.popFirst()
                continue
            }
            let owned = job.keys.filter { held[$0] != nil }
            if owned.count < job.keys.count {
                job.error = job.error ?? MartletError(.staleMemberEpoch, "", context: facts)
                job.keys = owned
            }
            guard !owned.isEmpty else {
                job.end(job.error)
                continue
            }
            guard isMember, let connection = link.connection else { return }
            let part = Array(owned.prefix(WireLimits.partitionsPerRequestMax))
            let entries: [CommitLine.Entry] = ledger.takeUncommitted(
                part, all: job.tellsAll)
            let open = Set(entries.map(\.key))
            job.keys = part.filter { open.contains($0) } + owned.dropFirst(part.count)
            if !entries.isEmpty || !resets.isEmpty { send(entries, of: job, connection) }
        }
    }

    /// What goes with a commit beside offsets.
    private struct Untold {
        let resets: [PolicyResetItem]
        let handled: HandlerTimesByType
    }

    private func takeUntold() -> Untold {
        defer { resets = [] }
        return Untold(resets: resets, handled: times.take())
    }

    private func putBack(_ untold: Untold) {
        note(untold.resets)
        times.putBack(untold.handled)
    }

    /// What the reset policy chose goes with the next commit, as far as it fits.
    func note(_ chosen: [PolicyResetItem]) {
        resets += chosen.prefix(max(0, WireLimits.partitionsPerRequestMax - resets.count))
    }

    private func send(
        _ entries: [CommitLine.Entry], of job: CommitLine.Job, _ connection: Connection
    ) {
        var request = CommitOffsetsRequest()
        request.group = configuration.group
        request.member = member
        request.entries = entries.map { key, position in
            var entry = CommitEntry()
            entry.owned = OwnedPartition(
                topic: key.topic, partition: key.name.partition, epoch: key.epoch)
            entry.isFull = held[key].map { $0.isFull && $0.phase == .reading } ?? false
            entry.position.offset = position.offset
            entry.position.metadata = job.metadata ?? ""
            entry.position.finished = position.finished.map {
                OffsetRange($0.lowerBound, $0.upperBound)
            }
            return entry
        }
        let untold = takeUntold()
        request.resets = untold.resets
        request.handled = untold.handled.items
        commits.isSending = true
        commits.sent += 1
        let (incarnation, number) = (incarnation, commits.sent)
        traceSent(entries, number)
        connection.send(request, timeout: context.configuration.requestTimeout) {
            [weak self] outcome in
            guard let self else { return job.end(.closed("consumer")) }
            self.commits.isSending = false
            self.traceAnswered(entries, number, outcome)
            if case .lost = outcome { self.putBack(untold) }
            if incarnation == self.incarnation {
                self.commitAnswered(job, entries, untold, outcome)
            } else {
                // Of a member that is not in the group any more: nothing of it is held.
                self.sendCommits()
            }
        }
        connection.flush()
    }

    private func commitAnswered(
        _ job: CommitLine.Job, _ entries: [CommitLine.Entry], _ untold: Untold,
        _ outcome: ReplyOutcome
    ) {
        switch outcome {
        case .lost(let error):
            // Said again when the connection is back.
            if error.isRetriable { return }
            job.end(error)
        case .frame(let frame):
            do {
                let reply = try frame.decode(CommitOffsetsReply.self).message
                if reply.error != .none {
                    putBack(untold)
                    let error = MartletError(reply.error, reply.message, context: facts)
                    if error.isRetriable { return retry(error) { $0.sendCommits() } }
                    refused(entries.map(\.key), error)
                    job.end(error)
                } else if reply.results.count == entries.count {
                    if let error = take(reply.results, entries, job) {
                        return retry(error) { $0.sendCommits() }
                    }
                } else {
                    link.interrupt(context.brokenProtocol("a commit's results are missing"))
                    return
                }
            } catch {
                link.interrupt(context.brokenProtocol(error))
                return
            }
        }
        sendCommits()
    }

    /// Returns why the same is to be said again; nil: it is not.
    private func take(
        _ results: [CommitResult], _ entries: [CommitLine.Entry], _ job: CommitLine.Job
    ) -> MartletError? {
        var again: MartletError?
        var ended: Set<OwnedKey> = []
        for (entry, result) in zip(entries, results) {
            guard result.error != .none else {
                ledger.committed(entry.key, entry.position)
                ended.insert(entry.key)
                continue
            }
            let error = MartletError(
                result.error, result.message, context: entry.key.name.context)
            if error.isRetriable {
                again = error
                continue
            }
            ended.insert(entry.key)
            job.error = job.error ?? error
            refused([entry.key], error)
        }
        job.keys.removeAll { ended.contains($0) }
        return again
    }

    private func refused(_ keys: [OwnedKey], _ error: MartletError) {
        events.post(.commitFailed(keys.map(\.name), error))
        switch error.code {
        case .fencedMember, .unknownGroup: isFenced(error)
        case .staleMemberEpoch: lose(keys, error)
        default: break
        }
    }

    func failCommits(_ error: MartletError) {
        for job in commits.jobs.removeAll() { job.end(error) }
    }
}
