import MartletFormat
import MartletSystem
import MartletWire
import Synchronization

// What becomes of a batch once the broker answered, or will not.
extension ProducerCore {
    func answered(_ batches: [ProducerBatch], _ outcome: ReplyOutcome) {
        switch outcome {
        case .lost(let error):
            for batch in batches { lost(batch, error) }
        case .frame(let frame):
            do {
                let reply = try frame.decode(ProduceReply.self).message
                guard reply.error == .none else {
                    let result = ProduceResult(error: reply.error, message: reply.message)
                    for batch in batches { settle(batch, result) }
                    break
                }
                guard reply.results.count == batches.count else {
                    unreadable(batches, context.brokenProtocol("a produce reply's count"))
                    return
                }
                for (batch, result) in zip(batches, reply.results) { settle(batch, result) }
            } catch {
                unreadable(batches, context.brokenProtocol(error))
                return
            }
        }
        var seen: Set<ObjectIdentifier> = []
        for batch in batches where seen.insert(ObjectIdentifier(batch.lane)).inserted {
            laneSettled(batch.lane)
        }
        pump()
    }

    private func unreadable(_ batches: [ProducerBatch], _ error: MartletError) {
        for batch in batches { lost(batch, error) }
        for batch in batches { laneSettled(batch.lane) }
        link.interrupt(error)
    }

    /// No answer will come: the batch may be written.
    private func lost(_ batch: ProducerBatch, _ error: MartletError) {
        let flight = batch.lane.flight
        guard flight.remove(batch) else { return }
        if error.outcome == .notWritten {
            // It never left.
            refused(batch, error)
            return
        }
        batch.mayBeWritten = true
        batch.lastError = error
        if isClosed { fail(batch, error) } else { flight.retry(batch) }
    }

    private func settle(_ batch: ProducerBatch, _ result: ProduceResult) {
        let flight = batch.lane.flight
        let isHead = flight.isHead(batch)
        // Failed in the meantime, with its topic.
        guard flight.remove(batch) else { return }
        if result.error.outcome == .unknown { batch.mayBeWritten = true }
        let error = error(batch, result)
        switch result.error {
        case .none:
            flight.lastLeaderEpoch = max(flight.lastLeaderEpoch, result.leaderEpoch)
            complete(batch, result)
        case .duplicateSequence:
            // Behind the window of duplicates: the broker can no longer say whether it is these
            // records that it has, or where. That is no acknowledgement.
            refused(batch, error)
        case .corruptMessage:
            // Changed on its way; here it is as it was.
            retryLater(batch, error)
        case .unknownPartition:
            // Look the topic up again with the next tick.
            lastMetadataAt = 0
            refused(batch, error)
        case .messageTooLarge, .invalidTimestamp, .invalidRecord:
            // The topic may take less than it did.
            if result.error == .messageTooLarge { lastMetadataAt = 0 }
            if batch.recordCount > 1, !batch.mayBeWritten {
                divide(batch)
            } else {
                refused(batch, error)
            }
        case .outOfOrderSequence, .unknownProducer, .staleProducerEpoch:
            sequenceRefused(batch, result, isHead: isHead)
        case .unknownTopicID, .unknownTopic:
            // Forgotten before anyone hears of it: a send that follows at once finds the new topic.
            forget(batch.lane.topic, error)
            fail(batch, error)
        default:
            if result.error.isRetriable {
                retryLater(batch, error)
            } else {
                refused(batch, error)
            }
        }
    }

    private func error(_ batch: ProducerBatch, _ result: ProduceResult) -> MartletError {
        MartletError(result.error, result.message, context: batch.lane.context)
    }

    /// The broker cannot take it now.
    private func retryLater(_ batch: ProducerBatch, _ error: MartletError) {
        let flight = batch.lane.flight
        batch.lastError = error
        let pause = context.configuration.retry.delay(attempt: batch.failures, using: &random)
        batch.failures += 1
        flight.blockedUntil = max(flight.blockedUntil, now + pause)
        flight.retry(batch)
    }

    /// The broker will never take it. Its sequence numbers are free again, but what was sent behind
    /// it counted on them.
    private func refused(_ batch: ProducerBatch, _ error: MartletError) {
        freeSequence(batch)
        fail(batch, error)
    }

    private func freeSequence(_ batch: ProducerBatch) {
        let flight = batch.lane.flight
        guard let sequence = batch.sequence else { return }
        if !batch.mayBeWritten && flight.canAdopt {
            flight.nextSequence = sequence
        } else {
            flight.needsReset = true
        }
    }

    /// The broker refused a batch as a whole, for its size or for one of its records: its halves go
    /// again, and halves of them, until only what it does not take is left.
    private func divide(_ batch: ProducerBatch) {
        freeSequence(batch)
        let parts = batch.halves(pool)
        state.withLock { $0.divided(batch, into: parts) }
        batch.letGo()
        for part in parts { batch.lane.flight.retry(part) }
    }

    /// The broker's idea of the producer's sequence differs from ours.
    private func sequenceRefused(_ batch: ProducerBatch, _ result: ProduceResult, isHead: Bool) {
        let flight = batch.lane.flight
        let error = error(batch, result)
        batch.lastError = error
        if result.error == .staleProducerEpoch, flight.identity == identity, !flight.needsReset {
            // Not our own newer epoch: somebody else's. This producer is finished.
            fenced(error)
            fail(batch, error)
            return
        }
        if flight.needsReset || (result.error == .outOfOrderSequence && !isHead) {
            // A batch before it was refused; it follows when that one is settled.
            flight.retry(batch)
            return
        }
        flight.needsReset = true
        if result.error == .outOfOrderSequence, result.leaderEpoch >= 0,
            result.leaderEpoch <= flight.lastLeaderEpoch
        {
            // No restart explains the gap, so this is not ours to mend in silence.
            fail(batch, error)
            return
        }
        let pause = context.configuration.retry.delay(attempt: batch.failures, using: &random)
        batch.failures += 1
        if batch.failures > 1 { flight.blockedUntil = max(flight.blockedUntil, now + pause) }
        flight.retry(batch)
    }

    /// After any change of what is in flight: completes a reset whose batches are all back, and lets
    /// awaited records of an idle partition go.
    func laneSettled(_ lane: PartitionLane) {
        let flight = lane.flight
        if flight.needsReset && flight.inFlight.isEmpty { reset(lane) }
        if flight.isEmpty {
            if state.withLock({ $0.becameIdle(lane) }) { activate(lane) }
        } else if !flight.retries.isEmpty {
            activate(lane)
        } else if state.withLock({ _ in !lane.sealed.isEmpty }) {
            activate(lane)
        }
    }

    /// Takes the partition to the next epoch: what may be written is reported as unknown and never
    /// sent again, what was refused goes again from sequence 0.
    private func reset(_ lane: PartitionLane) {
        let flight = lane.flight
        flight.needsReset = false
        flight.refusedIdentity = flight.identity
        let batches = flight.retries
        flight.retries = []
        for batch in batches {
            if batch.mayBeWritten {
                fail(batch, batch.lastError ?? MartletError(.unknownProducer, ""))
            } else {
                batch.sequence = nil
                flight.retry(batch)
            }
        }
        if flight.identity == identity { askIdentity() }
    }

    private func fenced(_ error: MartletError) {
        let fatal = error.adding([:], isFatal: true)
        state.withLock { $0.end = fatal }
        failAll(fatal)
    }

    // MARK: - Completion

    func complete(_ batch: ProducerBatch, _ result: ProduceResult) {
        let lane = batch.lane
        let durability = AckLevel(rawValue: result.durability) ?? .none
        let places = RecordPlaces(result)
        if places.duplicates > 0 {
            state.withLock { $0.duplicates += places.duplicates }
        }
        batch.tell { index in
            .success(
                DeliveryReceipt(
                    topic: lane.topicName, partition: lane.partition,
                    offset: places.offset(of: index), durability: durability,
                    isDuplicate: result.duplicate || places.isDuplicate(index),
                    leaderEpoch: result.leaderEpoch))
        }
        finished(batch, nil)
        batch.letGo()
    }

    /// The batch's records are not acknowledged and will not be tried again. The only place that
    /// says whether they may be in the log: what is still in flight may, whatever the error says.
    func fail(_ batch: ProducerBatch, _ error: MartletError) {
        let isInFlight = batch.lane.flight.remove(batch)
        let outcome: DeliveryOutcome = isInFlight || batch.mayBeWritten ? .unknown : .notWritten
        let error = error.adding(batch.lane.context, outcome: outcome)
        batch.tell { _ in .failure(error) }
        let unheard = Int(batch.recordCount) - batch.waiters.count
        finished(batch, error)
        guard unheard > 0 else {
            batch.letGo()
            return
        }
        // The slab stays with the failure, which can tell the records.
        if !batch.isFinished { batch.finish(nil, sequence: nil) }
        failures.post(
            DeliveryFailure(
                topic: batch.lane.topicName, partition: batch.lane.partition,
                recordCount: unheard, error: error, batch: batch))
    }

    private func finished(_ batch: ProducerBatch, _ error: (any Error)?) {
        let kept = state.withLock { $0.completed(batch, error) }
        if kept.admits { admit() }
        for (promise, error) in kept.flushes {
            if let error { promise.fail(error) } else { promise.succeed(()) }
        }
    }

    /// Gives up on what was tried for longer than the delivery timeout.
    func expire() {
        let limit = now.addingClamped(-configuration.deliveryTimeout.nanosecondsClamped)
        // Before anything gives memory back: they would be taken for new.
        expireWaiting(before: limit)
        let topics = state.withLock { Array($0.topics.values) }
        for topic in topics {
            for lane in topic.partitions { expire(lane, before: limit) }
            expirePending(topic, before: limit)
        }
    }

    private func expire(_ lane: PartitionLane, before limit: Int64) {
        let flight = lane.flight
        // An answer that comes later finds nobody.
        var late = flight.inFlight.filter { $0.openedAt <= limit }
        while let first = flight.retries.first, first.openedAt <= limit {
            late.append(flight.retries.removeFirst())
        }
        let sealed = state.withLock { _ in
            var sealed: [ProducerBatch] = []
            while let first = lane.sealed.first, first.openedAt <= limit {
                if let batch = lane.sealed.popFirst() { sealed.append(batch) }
            }
            return sealed
        }
        if late.isEmpty && sealed.isEmpty { return }
        // A batch with a sequence leaves a hole behind.
        if late.contains(where: { $0.sequence != nil }) { flight.needsReset = true }
        for batch in late + sealed { fail(batch, timeout(batch.lastError)) }
        laneSettled(lane)
    }

    func timeout(_ last: MartletError?) -> MartletError {
        if let last { return last }
        if let link = lastLinkError { return context.unreachable(link) }
        // Without an id nothing leaves: why there is none is what people have to know.
        if sendsIdentity, identity == nil, let refusal = lastIdentityError { return refusal }
        return MartletError(
            .deadlineExceeded, "The record was not acknowledged within the delivery timeout.",
            outcome: .notWritten)
    }
}
