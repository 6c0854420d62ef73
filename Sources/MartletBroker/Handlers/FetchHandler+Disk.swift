import MartletFormat
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire

/// Fetches that ask the disk. What they bring into memory is taken from the memory of all first;
/// without any left a plain read is left to the sending, which has memory for small steps, and a
/// verified one is put off.
extension FetchHandler {
    /// What one reader job reads at most, so that no job holds a queue for long.
    private static let diskBytesMax = 1_024 * 1_024
    /// How often a fetch that was put off looks for memory again.
    private static let memoryPauseNanoseconds: Int64 = 50_000_000

    func readFromDisk(_ fetch: ParkedFetch, mayWait: Bool) {
        fetch.waitForDisk()
        guard fetch.bytesNeeded <= fetch.connection.memory.allowance else {
            return putOff(fetch, (0, fetch.bytesNeeded), mayWait: mayWait)
        }
        services.metrics.diskFetches.add()
        services.readers.read {
            guard !fetch.connection.isGone else { return }
            var answer = FetchAnswer(fetch.request.message, self.services.limits)
            answer.limitBytes(Self.diskBytesMax)
            self.read(into: &answer, fetch)
            let finished = answer
            fetch.connection.loop.post(
                .run {
                    if let lack = finished.lack {
                        return self.putOff(fetch, lack, mayWait: mayWait)
                    }
                    fetch.diskAnswered()
                    if mayWait, finished.mustWait, fetch.connection.mayPark {
                        self.parkAfterDisk(fetch, finished)
                    } else {
                        self.send(finished, fetch)
                    }
                })
        }
    }

    /// There is no memory for the answer: looks again soon, and says so when that takes too long.
    private func putOff(_ fetch: ParkedFetch, _ lack: (index: Int, bytes: Int), mayWait: Bool) {
        let connection = fetch.connection
        let now = services.clock.monotonicNanoseconds()
        services.metrics.memoryPauses.add()
        fetch.bytesNeeded = lack.bytes
        guard connection.mayPark,
            now - fetch.receivedAt < services.limits.memoryWaitNanoseconds
        else {
            fetch.diskAnswered()
            var answer = FetchAnswer(fetch.request.message, services.limits)
            answer.add(
                lack.index, TopicCatalog.Refusal(.tooManyRequests, BrokerServices.noMemory))
            return send(answer, fetch)
        }
        connection.loop.queue.execute(after: Self.memoryPauseNanoseconds) {
            connection.loop.turn {
                fetch.diskAnswered()
                guard !connection.phase.isClosed else { return }
                self.evaluate(fetch, mayWait: mayWait)
            }
        }
    }

    /// What the disk had was not enough: waits like any other fetch.
    private func parkAfterDisk(_ fetch: ParkedFetch, _ answer: FetchAnswer) {
        guard !fetch.isDone else { return }
        guard !fetch.wait(for: answer.waiting) else { return }
        evaluate(fetch, mayWait: true)
    }

    // MARK: - On a reader queue

    private func read(into answer: inout FetchAnswer, _ fetch: ParkedFetch) {
        for (index, entry) in fetch.request.message.partitions.enumerated() {
            guard answer.bytesLeft > 0, !fetch.connection.isGone else { return }
            do throws(TopicCatalog.Refusal) {
                let log = try partition(entry, fetch.request)
                try read(entry, index, log, fetch, &answer)
            } catch {
                answer.add(index, error)
            }
        }
    }

    private func read(
        _ entry: FetchEntry, _ index: Int, _ log: PartitionLog,
        _ fetch: ParkedFetch, _ answer: inout FetchAnswer
    ) throws(TopicCatalog.Refusal) {
        let memory = fetch.connection.memory
        let limit = min(Int(entry.maxBytes), answer.bytesLeft)
        do throws(StorageError) {
            var outcome = ReadOutcome.needsVerification
            if !fetch.request.message.verify {
                outcome = try log.planFromDisk(from: entry.offset, maxBytes: limit)
            }
            if case .needsVerification = outcome {
                let needed = answer.bytes == 0 ? fetch.bytesNeeded : 0
                return try readVerified(entry, index, log, limit, needed, memory, &answer)
            }
            guard case .data(let plan) = outcome, let file = plan.file else {
                return answer.add(index, outcome, log, at: entry.offset)
            }
            let part = FilePart(
                file: file, position: plan.position, count: plan.length, isResident: false)
            guard let reply = memory.slab(atLeast: plan.length) else {
                return answer.add(index, plan, .file(part), log)
            }
            do throws(SystemError) {
                try services.residency.read(part, plan.length, into: reply.slab)
            } catch {
                throw StorageError(error, "reading offset \(entry.offset)")
            }
            answer.add(index, plan, .slab(reply), log)
        } catch {
            let code = StorageErrors.code(error)
            if code == .storageError { services.readFailed(error.message) }
            throw TopicCatalog.Refusal(code, error.message)
        }
    }

    private func readVerified(
        _ entry: FetchEntry, _ index: Int, _ log: PartitionLog, _ limit: Int,
        _ needed: Int, _ memory: ReplyMemory, _ answer: inout FetchAnswer
    ) throws(StorageError) {
        // What is known to be needed is taken before it is read: others may be as far as this one.
        let wanted = max(min(limit, memory.allowance), needed, 1)
        guard let loan = memory.lend(wanted) else {
            return answer.add(index, lacking: max(needed, 1))
        }
        let outcome = try log.verifiedRead(from: entry.offset, maxBytes: loan.bytes)
        guard case .data(let plan) = outcome, let slab = plan.slab else {
            return answer.add(index, outcome, log, at: entry.offset)
        }
        guard let reply = memory.slab(slab, loan) else {
            return answer.add(index, lacking: slab.capacity)
        }
        answer.add(index, plan, .slab(reply), log)
    }
}
