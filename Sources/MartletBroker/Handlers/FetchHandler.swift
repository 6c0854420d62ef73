import MartletFormat
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire

/// Answers fetches: from the page cache on the loop, from the disk on a reader queue, and parks
/// those that have nothing to read yet.
final class FetchHandler: Sendable {
    /// What one reader job reads at most, so that no job holds a queue for long.
    private static let diskBytesMax = 1_024 * 1_024

    private let services: BrokerServices

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
                let log = try partition(entry, fetch.request.session)
                let limit = min(Int(entry.maxBytes), answer.bytesLeft)
                let outcome = log.plan(from: entry.offset, maxBytes: limit)
                switch outcome {
                case .needsDisk, .needsVerification:
                    return false
                case .data(let plan):
                    guard let part = residentPart(plan) else { return false }
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

    private func partition(
        _ entry: FetchEntry, _ session: Authenticated
    ) throws(TopicCatalog.Refusal) -> PartitionLog {
        try services.catalog.partition(entry.partition, of: entry.topic, for: .fetch, session).log
    }

    /// The bytes of a plan, if sending them would not wait for the disk.
    private func residentPart(_ plan: ReadPlan) -> OutboundPart? {
        if let slab = plan.slab { return .slab(slab) }
        guard let file = plan.file else { return nil }
        if plan.length <= Residency.smallBytes,
            let slab = services.residency.readIfCached(file, plan, services.pool)
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

    private func send(_ answer: FetchAnswer, _ fetch: ParkedFetch) {
        services.metrics.batchBytesOut.add(answer.bytes)
        let (reply, parts) = answer.finished()
        fetch.finish(reply, parts)
    }

    // MARK: - On a reader queue

    private func readFromDisk(_ fetch: ParkedFetch, mayWait: Bool) {
        fetch.waitForDisk()
        services.metrics.diskFetches.add()
        services.readers.next().execute {
            var answer = FetchAnswer(fetch.request.message, self.services.limits)
            answer.limitBytes(Self.diskBytesMax)
            self.read(into: &answer, fetch.request)
            let finished = answer
            fetch.connection.loop.post(
                .run {
                    fetch.diskAnswered()
                    if mayWait, finished.mustWait, fetch.connection.mayPark {
                        finished.giveBack(to: self.services.pool)
                        self.parkAfterDisk(fetch, finished)
                    } else {
                        self.send(finished, fetch)
                    }
                })
        }
    }

    /// What the disk had was not enough: waits like any other fetch.
    private func parkAfterDisk(_ fetch: ParkedFetch, _ answer: FetchAnswer) {
        guard !fetch.isDone else { return }
        guard !fetch.wait(for: answer.waiting) else { return }
        evaluate(fetch, mayWait: true)
    }

    private func read(into answer: inout FetchAnswer, _ request: Request<FetchRequest>) {
        for (index, entry) in request.message.partitions.enumerated() {
            guard answer.bytesLeft > 0 else { return }
            let limit = min(Int(entry.maxBytes), answer.bytesLeft)
            do throws(TopicCatalog.Refusal) {
                let log = try partition(entry, request.session)
                try read(entry, limit, verify: request.message.verify, log, index, &answer)
            } catch {
                answer.add(index, error)
            }
        }
    }

    private func read(
        _ entry: FetchEntry, _ limit: Int, verify: Bool, _ log: PartitionLog, _ index: Int,
        _ answer: inout FetchAnswer
    ) throws(TopicCatalog.Refusal) {
        do throws(StorageError) {
            var outcome = ReadOutcome.needsVerification
            if !verify { outcome = try log.planFromDisk(from: entry.offset, maxBytes: limit) }
            if case .needsVerification = outcome {
                outcome = try log.verifiedRead(from: entry.offset, maxBytes: limit)
            }
            guard case .data(let plan) = outcome else {
                return answer.add(index, outcome, log, at: entry.offset)
            }
            if let slab = plan.slab {
                answer.add(index, plan, .slab(slab), log)
            } else if let file = plan.file {
                let part = FilePart(
                    file: file, position: plan.position, count: plan.length, isResident: false)
                switch services.residency.read(part, plan.length, services.pool) {
                case .success(let slab): answer.add(index, plan, .slab(slab), log)
                case .failure(let error):
                    throw StorageError(error, "reading offset \(entry.offset)")
                }
            }
        } catch {
            let code = StorageErrors.code(error)
            if code == .storageError { services.readFailed(error.message) }
            throw TopicCatalog.Refusal(code, error.message)
        }
    }
}
