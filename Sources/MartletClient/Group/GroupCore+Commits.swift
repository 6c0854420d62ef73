import MartletFormat
import MartletSystem
import MartletWire

/// Commits in their order: one is on its way, the others wait for it, so that an older one never
/// comes after a newer one.
struct CommitLine {
    // Sendable: confined to the member's queue.
    final class Job: @unchecked Sendable {
        let entries: [(key: OwnedKey, position: GroupLedger.Position)]
        private var then: ((MartletError?) -> Void)?

        init(
            _ entries: [(OwnedKey, GroupLedger.Position)],
            _ then: @escaping (MartletError?) -> Void
        ) {
            self.entries = entries
            self.then = then
        }

        var isOpen: Bool { then != nil }

        func end(_ error: MartletError?) {
            let then = then
            self.then = nil
            then?(error)
        }
    }

    var jobs = Fifo<Job>()
    var isSending = false
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
                self.commit(self.ledger.uncommitted(), deadline: .max)
            }
            self.scheduleCommit()
        }
    }

    /// Commits, over broken connections too, until the deadline. `then` is called once.
    func commit(
        _ entries: [(OwnedKey, GroupLedger.Position)], deadline: Int64,
        then: @escaping (MartletError?) -> Void = { _ in }
    ) {
        guard !entries.isEmpty else { return then(nil) }
        guard phase != .closed else { return then(.closed("consumer")) }
        let parts = stride(from: 0, to: entries.count, by: WireLimits.partitionsPerRequestMax)
        var open = parts.underestimatedCount
        var first: MartletError?
        for start in parts {
            let part = entries[start...].prefix(WireLimits.partitionsPerRequestMax)
            let job = CommitLine.Job(Array(part)) { error in
                first = first ?? error
                open -= 1
                if open == 0 { then(first) }
            }
            commits.jobs.append(job)
            guard deadline < .max else { continue }
            context.loop.execute(after: max(deadline - now, 1)) { [weak self] in
                guard let self else { return }
                job.end(self.context.unreachable(nil))
                if !self.commits.isSending { self.sendCommits() }
            }
        }
        sendCommits()
    }

    /// Sends the next commit, when none is on its way.
    func sendCommits() {
        guard !commits.isSending else { return }
        while let job = commits.jobs.first, !job.isOpen { _ = commits.jobs.popFirst() }
        guard let job = commits.jobs.first else { return }
        let entries = job.entries.filter { held[$0.key] != nil }
        guard !entries.isEmpty else {
            job.end(MartletError(.staleMemberEpoch, "", context: facts))
            return sendCommits()
        }
        guard phase == .joined || phase == .leaving, let connection = link.connection else {
            return
        }
        var request = CommitOffsetsRequest()
        request.group = configuration.group
        request.member = member
        request.entries = entries.map { key, position in
            var entry = CommitEntry()
            entry.owned = OwnedPartition(
                topic: key.topic, partition: key.name.partition, epoch: key.epoch)
            entry.position.offset = position.offset
            entry.position.finished = position.finished.map {
                OffsetRange($0.lowerBound, $0.upperBound)
            }
            return entry
        }
        commits.isSending = true
        connection.send(request, timeout: context.configuration.requestTimeout) {
            [weak self] outcome in
            guard let self else { return job.end(.closed("consumer")) }
            self.commits.isSending = false
            self.commitAnswered(job, entries, outcome)
        }
        connection.flush()
    }

    private func commitAnswered(
        _ job: CommitLine.Job, _ entries: [(key: OwnedKey, position: GroupLedger.Position)],
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
        _ results: [CommitResult],
        _ entries: [(key: OwnedKey, position: GroupLedger.Position)], _ job: CommitLine.Job
    ) -> MartletError? {
        var first: MartletError?
        for (entry, result) in zip(entries, results) {
            guard result.error != .none else {
                ledger.committed(entry.key, entry.position)
                continue
            }
            let error = MartletError(
                result.error, result.message, context: entry.key.name.context)
            if error.isRetriable { return error }
            first = first ?? error
            refused([entry.key], error)
        }
        job.end(first)
        return nil
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
