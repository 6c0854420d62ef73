import MartletFormat
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire

/// Answers fetches: from the page cache on the loop, from the disk on a reader queue, and parks
/// those that have nothing to read yet.
final class FetchHandler: Sendable {
    let services: BrokerServices

    init(_ services: BrokerServices) {
        self.services = services
    }

    func handle(_ request: Request<FetchRequest>) {
        let now = services.clock.monotonicNanoseconds()
        let wait = min(
            Int(request.message.maxWaitMilliseconds), services.limits.fetchWaitMillisecondsMax)
        let fetch = ParkedFetch(
            request, self, receivedAt: now, deadline: now + BrokerLimits.nanoseconds(wait))
        evaluate(fetch, mayWait: wait > 0)
    }

    /// Looks at every partition and answers, parks, or asks the disk.
    func evaluate(_ fetch: ParkedFetch, mayWait: Bool) {
        if fetch.request.message.verify { return readFromDisk(fetch, mayWait: mayWait) }
        // A partition that advances between the look and the registration makes it look again.
        while true {
            var answer = FetchAnswer(fetch.request.message, services.limits)
            guard collect(into: &answer, fetch) else {
                return readFromDisk(fetch, mayWait: mayWait)
            }
            guard mayWait, answer.mustWait, fetch.connection.mayPark else {
                return send(answer, fetch)
            }
            if fetch.wait(for: answer.waiting) { return }
        }
    }

    /// False when the disk has to be asked.
    private func collect(into answer: inout FetchAnswer, _ fetch: ParkedFetch) -> Bool {
        for (index, entry) in fetch.request.message.partitions.enumerated() {
            guard answer.bytesLeft > 0 else { return true }
            do throws(TopicCatalog.Refusal) {
                let log = try partition(entry, fetch.request)
                let limit = min(Int(entry.maxBytes), answer.bytesLeft)
                let outcome = log.plan(from: entry.offset, maxBytes: limit)
                switch outcome {
                case .needsDisk, .needsVerification:
                    return false
                case .data(let plan):
                    guard let part = residentPart(plan, fetch.connection.memory) else {
                        return false
                    }
                    answer.add(index, plan, part, log)
                case .atEnd, .gap, .outOfRange, .lost, .corrupt, .offline:
                    answer.add(index, outcome, log, at: entry.offset)
                }
            } catch {
                answer.add(index, error)
            }
        }
        return true
    }

    /// A partition that may be read. A group's member reads only what it owns, at every look: what
    /// waited while the partition passed to another is refused.
    func partition(
        _ entry: FetchEntry, _ request: Request<FetchRequest>
    ) throws(TopicCatalog.Refusal) -> PartitionLog {
        let message = request.message
        if !message.group.isEmpty {
            try services.groups.checkOwner(entry, message.group, message.member)
        }
        return try services.catalog.partition(
            entry.partition, of: entry.topic, for: .fetch, request.session
        ).log
    }

    /// The bytes of a plan, if sending them would not wait for the disk.
    private func residentPart(_ plan: ReadPlan, _ memory: ReplyMemory) -> OutboundPart? {
        guard let file = plan.file else { return nil }
        if plan.length <= Residency.smallBytes,
            let slab = services.residency.readIfCached(file, plan, memory)
        {
            // One call asked and read, and the reply leaves in one piece.
            return .slab(slab)
        }
        var part = FilePart(
            file: file, position: plan.position, count: plan.length, isResident: false)
        guard services.residency.isResident(part) else { return nil }
        part.isResident = true
        return .file(part)
    }

    func send(_ answer: FetchAnswer, _ fetch: ParkedFetch) {
        services.metrics.batchBytesOut.add(answer.bytes)
        services.groups.served(fetch.request.message, answer.ends)
        let (reply, parts) = answer.finished()
        fetch.finish(reply, parts)
    }
}
