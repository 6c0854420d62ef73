import MartletFormat
import MartletSystem
import MartletWire
import Synchronization

// What has to be asked before records can be sent: the topic's partitions and the producer's id.
extension ProducerCore {
    /// How old the number of partitions may become while records are sent.
    private static let metadataAgeMax: Int64 = 30_000_000_000

    // MARK: - Topics

    /// Adds a topic to those whose partitions are asked for.
    func resolve(_ topic: TopicLane) {
        if isClosed {
            fail(topic, .closed("producer"))
            return
        }
        unresolved.append(topic)
        startTicking()
        resolveTopics()
    }

    func resolveTopics() {
        if unresolved.isEmpty || isResolving || isClosed { return }
        guard let connection = link.connection else {
            link.want()
            return
        }
        isResolving = true
        let asked = Array(unresolved.prefix(WireLimits.namesMax))
        var request = MetadataRequest()
        request.names = asked.map { TopicNameItem($0.name) }
        connection.send(request, timeout: context.configuration.requestTimeout) {
            [weak self] outcome in
            self?.resolved(asked, outcome)
        }
        connection.flush()
    }

    private func resolved(_ asked: [TopicLane], _ outcome: ReplyOutcome) {
        isResolving = false
        let frame: ReplyFrame
        switch outcome {
        case .frame(let answer):
            frame = answer
        case .lost(let error):
            // One that was never sent would not be sent the next time either.
            if error.outcome == .notWritten { for topic in asked { forget(topic, error) } }
            return
        }
        do {
            let reply = try frame.decode(MetadataReply.self).message
            guard reply.error == .none, reply.topics.count == asked.count else {
                askAgainLater()
                return
            }
            lastMetadataAt = now
            for (topic, found) in zip(asked, reply.topics) { resolved(topic, found) }
        } catch {
            link.interrupt(context.brokenProtocol(error))
            return
        }
        // Also when others are still asked for: what was put into batches waits for nobody else.
        drain()
        if !unresolved.isEmpty { askAgainLater() }
    }

    private func resolved(_ topic: TopicLane, _ found: TopicMetadata) {
        if found.error.isRetriable { return }
        unresolved.removeAll { $0 === topic }
        guard found.error == .none, found.partitions > 0 else {
            let code: ErrorCode = found.error == .none ? .unknownTopic : found.error
            forget(topic, MartletError(code, found.message, context: ["topic": topic.name]))
            return
        }
        let (resolvers, moved) = state.withLock { state in
            topic.id = found.id
            topic.batchBytesMax = min(configuration.batchBytes, Int(found.batchBytesMax))
            topic.partitions = (0..<found.partitions).map { PartitionLane(topic, $0) }
            topic.chooseSticky()
            topic.state = .ready
            let resolvers = topic.resolvers
            topic.resolvers = []
            return (resolvers, movePending(topic, &state))
        }
        admit()
        for resolver in resolvers { resolver.succeed(()) }
        for (pending, error) in moved.refused { tell([pending], error) }
        if moved.armsLinger { armLinger(after: configuration.linger.nanosecondsClamped) }
    }

    private struct Moved: Sendable {
        var refused: [(PendingRecord, MartletError)] = []
        var armsLinger = false
    }

    /// Puts the records that waited for the topic into batches, in their order.
    private func movePending(_ topic: TopicLane, _ state: inout ProducerState) -> Moved {
        var moved = Moved()
        while let pending = topic.pending.popFirst() {
            let record = pending.record
            state.release(pending.byteCount)
            let result = record.withSpans { key, value in
                state.append(
                    topic, partition: record.partition, key: key, value: value,
                    headers: record.headers.map { ($0.key, $0.value) },
                    timestamp: pending.timestamp, promise: pending.promise, claim: .counted,
                    since: pending.openedAt)
            }
            moved.armsLinger = moved.armsLinger || result.armsLinger
            guard result.outcome != .done else { continue }
            let error = refusal(
                result.outcome, topic: record.topic, partition: record.partition, end: state.end)
            state.failed([pending], error)
            moved.refused.append((pending, error))
        }
        return moved
    }

    func armLinger(after nanoseconds: Int64) {
        context.loop.execute(after: nanoseconds) { [weak self] in
            guard let self else { return }
            let (wakes, again) = self.state.withLock { $0.lingerEnded() }
            if let again { self.armLinger(after: again) }
            if wakes { self.drain() }
        }
    }

    private func askAgainLater() {
        let pause = context.configuration.retry.delay(attempt: 2, using: &random)
        context.loop.execute(after: pause) { [weak self] in self?.resolveTopics() }
    }

    /// The topic is not there (any more): its records fail, its name may be used anew.
    func forget(_ topic: TopicLane, _ error: MartletError) {
        state.withLock { state in
            topic.state = .gone(error)
            if state.topics[topic.name] === topic { state.topics[topic.name] = nil }
        }
        unresolved.removeAll { $0 === topic }
        fail(topic, error)
    }

    func failPending(_ topic: TopicLane, _ error: MartletError) {
        let refusal = error.adding(["topic": topic.name], outcome: .notWritten)
        let (pending, resolvers) = state.withLock { state in
            let resolvers = topic.resolvers
            topic.resolvers = []
            let pending = topic.pending.removeAll()
            state.drop(pending, refusal)
            return (pending, resolvers)
        }
        admit()
        tell(pending, refusal)
        for resolver in resolvers { resolver.fail(error) }
    }

    /// Tells who awaits the records, or who reads the failures. `flush` knows of them already: it
    /// was told under the lock that took them out, so that none can come in between.
    private func tell(_ pending: [PendingRecord], _ error: MartletError) {
        var unheard: [ProducerRecord] = []
        for record in pending {
            if let promise = record.promise {
                promise.fail(error)
            } else {
                unheard.append(record.record)
            }
        }
        guard let first = unheard.first else { return }
        failures.post(
            DeliveryFailure(
                topic: first.topic, partition: -1, recordCount: unheard.count, error: error,
                pending: unheard))
    }

    func expirePending(_ topic: TopicLane, before limit: Int64) {
        let error = timeout(nil).adding(["topic": topic.name])
        let (late, resolvers) = state.withLock { state in
            var late: [PendingRecord] = []
            while let first = topic.pending.first, first.openedAt <= limit {
                if let record = topic.pending.popFirst() { late.append(record) }
            }
            state.drop(late, error)
            guard !late.isEmpty, topic.pending.isEmpty else {
                return (late, [Promise<Void>]())
            }
            let resolvers = topic.resolvers
            topic.resolvers = []
            return (late, resolvers)
        }
        if !late.isEmpty { admit() }
        tell(late, error)
        for resolver in resolvers { resolver.fail(error) }
    }

    /// Partitions may have been added.
    func refreshTopics() {
        guard let connection = link.connection, !isClosed,
            now - lastMetadataAt > Self.metadataAgeMax
        else { return }
        lastMetadataAt = now
        let topics = state.withLock { Array($0.topics.values) }.prefix(WireLimits.namesMax)
        var request = MetadataRequest()
        request.ids = topics.map { TopicIDItem($0.id) }
        connection.send(request, timeout: context.configuration.requestTimeout) {
            [weak self] outcome in
            guard let self, case .frame(let frame) = outcome,
                let reply = try? frame.decode(MetadataReply.self).message, reply.error == .none,
                reply.topics.count == topics.count
            else { return }
            for (topic, found) in zip(topics, reply.topics) where found.error == .none {
                self.state.withLock { _ in
                    topic.batchBytesMax = min(
                        self.configuration.batchBytes, Int(found.batchBytesMax))
                    let count = Int32(topic.partitions.count)
                    guard count < found.partitions else { return }
                    topic.partitions += (count..<found.partitions).map { PartitionLane(topic, $0) }
                }
            }
        }
        connection.flush()
    }

    // MARK: - Identity

    /// Asks for a producer id, or for the next epoch of the one that is held.
    func askIdentity() {
        guard !isAskingIdentity, !isPausingIdentity, !isClosed,
            let connection = link.connection
        else { return }
        isAskingIdentity = true
        var request = InitProducerRequest()
        if let identity {
            request.producerID = identity.id
            request.producerEpoch = identity.epoch
        }
        connection.send(request, timeout: context.configuration.requestTimeout) {
            [weak self] outcome in
            self?.identified(outcome)
        }
        connection.flush()
    }

    private func identified(_ outcome: ReplyOutcome) {
        isAskingIdentity = false
        guard case .frame(let frame) = outcome else { return }
        do {
            let reply = try frame.decode(InitProducerReply.self).message
            if reply.error == .none {
                identity = ProducerIdentity(id: reply.producerID, epoch: reply.producerEpoch)
                identityFailures = 0
                lastIdentityError = nil
                pump()
            } else {
                identityRefused(MartletError(reply.error, reply.message), reply.error)
            }
        } catch {
            link.interrupt(context.brokenProtocol(error))
        }
    }

    private func identityRefused(_ error: MartletError, _ code: ErrorCode) {
        switch code {
        case .staleProducerEpoch, .unknownProducer:
            // The answer to an earlier question was lost, or the id expired: take a new id.
            guard identity != nil else { break }
            identity = nil
            askIdentity()
            return
        default:
            break
        }
        lastIdentityError = error
        guard code.isRetriable else {
            failAll(error)
            return
        }
        let pause = context.configuration.retry.delay(attempt: identityFailures, using: &random)
        identityFailures += 1
        // Whatever is given meanwhile does not ask either.
        isPausingIdentity = true
        context.loop.execute(after: pause) { [weak self] in
            self?.isPausingIdentity = false
            self?.askIdentity()
        }
    }

    // MARK: - Errors

    /// The error for a record that was not taken.
    func refusal(
        _ outcome: AppendResult.Outcome, topic: String, partition: Int32?
    ) -> MartletError {
        let end = state.withLock { $0.end }
        return refusal(outcome, topic: topic, partition: partition, end: end)
    }

    /// The same for those who hold the lock already.
    private func refusal(
        _ outcome: AppendResult.Outcome, topic: String, partition: Int32?, end: MartletError?
    ) -> MartletError {
        var facts = ["topic": topic]
        if let partition { facts["partition"] = String(partition) }
        switch outcome {
        case .done, .closed:
            return end ?? .closed("producer")
        case .full:
            return MartletError(
                .bufferFull,
                "The producer's buffer of \(configuration.bufferBytes) bytes is full.",
                outcome: .notWritten, context: facts)
        case .gone:
            return MartletError(.unknownTopicID, "", context: facts)
        case .noPartition:
            return MartletError(.unknownPartition, "", context: facts)
        case .tooLarge:
            return MartletError(.messageTooLarge, "The record is too large.", context: facts)
        }
    }
}

extension ProducerRecord {
    /// Lends key and value as spans.
    func withSpans<R>(_ body: (RawSpan?, RawSpan?) -> R) -> R {
        let noBytes: [UInt8] = []
        let keyBytes = key ?? noBytes
        let valueBytes = value ?? noBytes
        let keySpan = unsafe keyBytes.span.bytes
        let valueSpan = unsafe valueBytes.span.bytes
        return body(key == nil ? nil : keySpan, value == nil ? nil : valueSpan)
    }
}
