import MartletFormat
import MartletSystem
import Synchronization

/// What a record may take of the producer's buffer.
enum MemoryClaim {
    /// What is free, when nobody waits for it.
    case new
    /// What is free: its turn has come.
    case waited
    /// Whatever it needs: it was counted before.
    case counted
}

/// A call that waits for memory.
enum SpaceWaiter: Sendable {
    /// A record that somebody awaits: it goes into its batch when its turn comes.
    case record(PendingRecord)
    /// Whoever wants to try again once so many bytes are free.
    case turn(Int, Promise<Void>)
    /// A flush, which waits for the records before it.
    case flush(Promise<Void>)

    func fail(_ error: MartletError) {
        switch self {
        case .record(let record): record.promise?.fail(error)
        case .turn(_, let promise), .flush(let promise): promise.fail(error)
        }
    }
}

/// What has to be done, once the lock is released, about those who waited for memory.
struct Admitted: Sendable {
    var turns: [Promise<Void>] = []
    var refused: [(record: PendingRecord, outcome: AppendResult.Outcome)] = []
    var unresolved: [TopicLane] = []
    var wakes = false
    var armsLinger = false

    mutating func add(_ result: AppendResult, _ record: PendingRecord) {
        wakes = wakes || result.wakes
        armsLinger = armsLinger || result.armsLinger
        if let topic = result.unresolved { unresolved.append(topic) }
        switch result.outcome {
        case .done, .full: break
        case .closed, .gone, .noPartition, .tooLarge: refused.append((record, result.outcome))
        }
    }
}

extension ProducerState {
    /// Takes a record of a new call. One that somebody awaits gets in line when there is no memory.
    mutating func give(_ record: PendingRecord) -> AppendResult {
        var result = AppendResult(outcome: .full)
        if spaceWaiters.isEmpty {
            result = take(record)
        } else if end != nil {
            result.outcome = .closed
        }
        guard case .full = result.outcome else { return result }
        if record.promise == nil {
            result.outcome = refuse(record.byteCount + PartitionLane.recordOverheadMax).outcome
        } else {
            spaceWaiters.append(.record(record))
            result.outcome = .done
        }
        return result
    }

    private mutating func take(_ pending: PendingRecord) -> AppendResult {
        guard end == nil else { return AppendResult(outcome: .closed) }
        let record = pending.record
        let (topic, isNew) = lane(record.topic)
        var result = AppendResult(outcome: .full)
        if case .resolving = topic.state {
            if fits(pending.byteCount) {
                usedBytes += pending.byteCount
                topic.pending.append(pending)
                result.outcome = .done
            }
        } else {
            result = record.withSpans { key, value in
                append(
                    topic, partition: record.partition, key: key, value: value,
                    headers: record.headers.map { ($0.key, $0.value) },
                    timestamp: pending.timestamp, promise: pending.promise, claim: .waited,
                    since: pending.openedAt)
            }
        }
        if isNew { result.unresolved = topic }
        return result
    }

    /// Lets those in whose turn it is, after memory was given back.
    mutating func admit() -> Admitted {
        var admitted = Admitted()
        while let first = spaceWaiters.first {
            switch first {
            case .turn(let bytes, let promise):
                guard fits(bytes) || !promise.isOpen else { return admitted }
                admitted.turns.append(promise)
            case .flush(let promise): admitted.turns.append(promise)
            case .record(let pending):
                // A cancelled call is over; its record is not sent.
                guard pending.promise?.isOpen == true else { break }
                let result = take(pending)
                admitted.add(result, pending)
                if case .full = result.outcome { return admitted }
            }
            _ = spaceWaiters.popFirst()
        }
        return admitted
    }

    /// A promise of space; nil when there is some. A quarter has to be free, since waking earlier
    /// would only make many small turns, and what was refused last has to fit.
    mutating func waitForSpace() -> Promise<Void>? {
        let bytes = max(refusedBytes, bufferBytes / 4)
        guard end == nil, !spaceWaiters.isEmpty || !fits(bytes) else { return nil }
        let promise = Promise<Void>()
        spaceWaiters.append(.turn(bytes, promise))
        return promise
    }

    /// A promise that those who wait for memory now have had their turn; nil when nobody does. What they
    /// wait for is sent: `wakes` says that the queue has to be woken for it.
    mutating func waitForLine() -> (promise: Promise<Void>, wakes: Bool)? {
        guard end == nil, !spaceWaiters.isEmpty else { return nil }
        let promise = Promise<Void>()
        spaceWaiters.append(.flush(promise))
        return (promise, sealAll())
    }

    /// Takes records out of the line that have waited since then or longer.
    mutating func takeLateWaiters(before limit: Int64) -> [PendingRecord] {
        switch spaceWaiters.first {
        case nil: return []
        case .record(let first)? where first.openedAt > limit: return []
        case .record?, .turn?, .flush?: break
        }
        let late = spaceWaiters.removeAll { waiter in
            switch waiter {
            case .record(let record): record.openedAt > limit
            case .turn, .flush: true
            }
        }
        return late.compactMap { waiter in
            switch waiter {
            case .record(let record): record
            case .turn, .flush: nil
            }
        }
    }

    /// Whoever waits for space, when the producer ends.
    mutating func takeSpaceWaiters() -> [SpaceWaiter] {
        spaceWaiters.removeAll()
    }
}

extension ProducerCore {
    /// Fails what has waited for memory for too long.
    func expireWaiting(before limit: Int64) {
        let late = state.withLock { $0.takeLateWaiters(before: limit) }
        for record in late {
            let facts = ["topic": record.record.topic]
            record.promise?.fail(timeout(nil).adding(facts, outcome: .notWritten))
        }
        // Smaller ones behind them may fit.
        if !late.isEmpty { admit() }
    }

    /// Memory was given back: lets those in whose turn it is.
    func admit() {
        let admitted = state.withLock { $0.admit() }
        for turn in admitted.turns { turn.succeed(()) }
        for (pending, outcome) in admitted.refused {
            let record = pending.record
            pending.promise?.fail(
                refusal(outcome, topic: record.topic, partition: record.partition))
        }
        // Later: this may be in the middle of taking a topic apart.
        for topic in admitted.unresolved { context.loop.execute { [self] in resolve(topic) } }
        if admitted.wakes { wake() }
        if admitted.armsLinger { armLinger(after: configuration.linger.nanosecondsClamped) }
    }
}
