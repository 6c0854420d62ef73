import MartletFormat
import MartletSystem
import MartletWire
import Synchronization

/// A topic that a producer has looked up: the way to name it without looking it up per record.
public struct TopicHandle: Sendable {
    let lane: TopicLane
    /// The topic's name.
    public let name: String
    /// The number of partitions when the handle was made.
    public let partitions: Int
}

/// Sends records to topics: batched, in order per partition, each of them once.
///
/// `send` waits for the acknowledgement. `enqueue` only copies the record into a batch and returns;
/// what becomes of it is told by `flush`, and by `failures` if it went wrong. Both may be called
/// from any number of tasks and threads at once; the order of records of one partition is the order
/// in which the calls were made.
///
/// With `idempotent` (the default) a record is stored once even when answers are lost and batches
/// are sent again. Only when the broker has lost what it knew of this producer can the outcome of a
/// record stay unknown: it is then reported as such and not sent again.
public final class Producer: Sendable {
    let core: ProducerCore
    private let members: ClientMembers

    init(
        _ configuration: ProducerConfiguration, _ context: ConnectionContext,
        _ members: ClientMembers
    ) {
        core = ProducerCore(configuration, context)
        self.members = members
    }

    /// Looks a topic up.
    ///
    /// - Parameter name: the topic's name.
    /// - Returns: a handle for `enqueue(to:)`.
    /// - Throws: `UNKNOWN_TOPIC`, `INVALID_TOPIC_NAME`, `CONNECTION_FAILED` after the delivery
    ///   timeout, `CLOSED`.
    public func topic(_ name: String) async throws -> TopicHandle {
        try Self.checkName(name)
        let promise = Promise<Void>()
        let (lane, isNew, isReady) = try core.state.withLock { state -> (TopicLane, Bool, Bool) in
            if let end = state.end { throw end }
            let (lane, isNew) = state.lane(name)
            if case .ready = lane.state { return (lane, isNew, true) }
            lane.resolvers.append(promise)
            return (lane, isNew, false)
        }
        if isNew { core.context.loop.execute { [core] in core.resolve(lane) } }
        if !isReady {
            let timeout = core.configuration.deliveryTimeout.nanosecondsClamped
            core.context.loop.execute(after: timeout) { [core] in
                promise.fail(core.timeout(nil).adding(["topic": name]))
            }
            try await promise.value()
        }
        let partitions = core.state.withLock { _ in lane.partitions.count }
        return TopicHandle(lane: lane, name: name, partitions: partitions)
    }

    /// Acknowledged records that were not stored again, because their messages were there already
    /// (`RecordHeader.messageID`), since the producer was made.
    public var duplicates: Int { core.state.withLock { $0.duplicates } }

    // MARK: - Send

    /// Sends a record and waits until it is acknowledged.
    ///
    /// Concurrent calls share batches; a single one leaves at once. With a full buffer the call waits
    /// for space. When the task is cancelled while it waits, the record may still be written.
    ///
    /// - Parameter record: what to send.
    /// - Returns: where it is.
    /// - Throws: `MartletError`; its `outcome` says whether the record may be in the log. Among the
    ///   codes: `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `MESSAGE_TOO_LARGE`, `INVALID_TIMESTAMP`,
    ///   `DISK_FULL`, `CONNECTION_FAILED`, `CLOSED`.
    @discardableResult
    public func send(_ record: ProducerRecord) async throws -> DeliveryReceipt {
        let promise = core.promises.take()
        try give(record, promise)
        let receipt = try await promise.value()
        core.promises.give(promise)
        return receipt
    }

    /// Sends a record and waits until it is acknowledged; see `send(_:)`.
    ///
    /// - Parameters:
    ///   - topic: the topic's name.
    ///   - key: decides the partition.
    ///   - value: the content.
    ///   - headers: data beside the value; at most 64 and 32 KiB.
    ///   - partition: nil lets the key decide.
    ///   - timestamp: the event time in milliseconds since 1970; nil: now.
    /// - Returns: where it is.
    @discardableResult
    public func send(
        topic: String, key: [UInt8]? = nil, value: [UInt8]?, headers: [RecordHeader] = [],
        partition: Int32? = nil, timestamp: Int64? = nil
    ) async throws -> DeliveryReceipt {
        try await send(
            ProducerRecord(
                topic: topic, key: key, value: value, headers: headers, partition: partition,
                timestamp: timestamp))
    }

    /// Sends a record of text and waits until it is acknowledged; see `send(_:)`.
    ///
    /// - Parameters:
    ///   - topic: the topic's name.
    ///   - key: decides the partition; stored as UTF-8.
    ///   - value: the content; stored as UTF-8.
    ///   - headers: data beside the value; at most 64 and 32 KiB.
    ///   - partition: nil lets the key decide.
    ///   - timestamp: the event time in milliseconds since 1970; nil: now.
    /// - Returns: where it is.
    @discardableResult
    public func send(
        topic: String, key: String? = nil, value: String?, headers: [RecordHeader] = [],
        partition: Int32? = nil, timestamp: Int64? = nil
    ) async throws -> DeliveryReceipt {
        try await send(
            ProducerRecord(
                topic: topic, key: key, value: value, headers: headers, partition: partition,
                timestamp: timestamp))
    }

    // MARK: - Enqueue

    /// Copies a record into its batch and returns.
    ///
    /// - Parameter record: what to send.
    /// - Throws: `BUFFER_FULL` when the broker is slower than the callers (see `waitForSpace`),
    ///   `UNKNOWN_PARTITION`, `MESSAGE_TOO_LARGE`, `CLOSED`. What goes wrong later is told by
    ///   `failures` and `flush`.
    public func enqueue(_ record: ProducerRecord) throws {
        try give(record, nil)
    }

    /// Copies a record into its batch and returns; see `enqueue(_:)`.
    ///
    /// - Parameters:
    ///   - topic: the topic's name.
    ///   - key: decides the partition.
    ///   - value: the content.
    ///   - headers: data beside the value; at most 64 and 32 KiB.
    ///   - partition: nil lets the key decide.
    ///   - timestamp: the event time in milliseconds since 1970; nil: now.
    public func enqueue(
        topic: String, key: [UInt8]? = nil, value: [UInt8]?, headers: [RecordHeader] = [],
        partition: Int32? = nil, timestamp: Int64? = nil
    ) throws {
        try enqueue(
            ProducerRecord(
                topic: topic, key: key, value: value, headers: headers, partition: partition,
                timestamp: timestamp))
    }

    /// Copies a record of text into its batch and returns; see `enqueue(_:)`.
    ///
    /// - Parameters:
    ///   - topic: the topic's name.
    ///   - key: decides the partition; stored as UTF-8.
    ///   - value: the content; stored as UTF-8.
    ///   - headers: data beside the value; at most 64 and 32 KiB.
    ///   - partition: nil lets the key decide.
    ///   - timestamp: the event time in milliseconds since 1970; nil: now.
    public func enqueue(
        topic: String, key: String? = nil, value: String?, headers: [RecordHeader] = [],
        partition: Int32? = nil, timestamp: Int64? = nil
    ) throws {
        try enqueue(
            ProducerRecord(
                topic: topic, key: key, value: value, headers: headers, partition: partition,
                timestamp: timestamp))
    }

    /// Copies a record into its batch and returns: the fast way, without any allocation.
    ///
    /// - Parameters:
    ///   - topic: from `topic(_:)`.
    ///   - key: decides the partition.
    ///   - value: the content.
    ///   - partition: nil lets the key decide.
    ///   - timestamp: the event time in milliseconds since 1970; nil: now.
    /// - Throws: `BUFFER_FULL`, `UNKNOWN_PARTITION`, `MESSAGE_TOO_LARGE`, `CLOSED`, and
    ///   `UNKNOWN_TOPIC_ID` when the topic was deleted since the handle was made.
    public func enqueue(
        to topic: TopicHandle, key: RawSpan? = nil, value: RawSpan?, partition: Int32? = nil,
        timestamp: Int64? = nil
    ) throws {
        let time = timestamp ?? core.context.clock.wallMilliseconds()
        let result = core.state.withLock { state in
            state.append(
                topic.lane, partition: partition, key: key, value: value, headers: [],
                timestamp: time, promise: nil)
        }
        core.follow(result)
        if result.outcome != .done {
            throw core.refusal(result.outcome, topic: topic.name, partition: partition)
        }
    }

    // MARK: - Waiting

    /// Copies a record into its batch and returns; with a full buffer, first waits for space.
    ///
    /// A record whose wait was cancelled is not sent.
    ///
    /// - Parameter record: what to send.
    /// - Throws: what `enqueue(_:)` throws besides `BUFFER_FULL`; `CancellationError`.
    public func enqueueWaiting(_ record: ProducerRecord) async throws {
        while true {
            do {
                return try enqueue(record)
            } catch let error as MartletError where error.code == .bufferFull {
                try await waitForSpace()
            }
        }
    }

    /// Runs tasks on the thread that receives this producer's acknowledgements, which saves the
    /// change of threads between an answer and the task whose `send` waits for it; see
    /// `Consumer.executor`, also for the one rule: nothing there may block or compute for long.
    public var executor: any TaskExecutor { core.context.loop }

    /// Returns when `enqueue` is worth another try after `BUFFER_FULL`: at once, or when a quarter
    /// of the buffer is free and the record that was refused last fits. Calls of `send` and of this
    /// that wait already come first.
    ///
    /// - Throws: `CLOSED`, `CancellationError`.
    public func waitForSpace() async throws {
        try Task.checkCancellation()
        let (promise, end) = core.state.withLock { ($0.waitForSpace(), $0.end) }
        if let end { throw end }
        try await promise?.value()
    }

    /// Sends everything that was given so far, and returns when all of it is acknowledged. That is what
    /// calls of `enqueue` took and what calls of `send` were given, also those that still wait for
    /// memory; but not an `enqueueWaiting` that has not returned.
    ///
    /// - Throws: the first failure among these records, once all of them are settled; also one of
    ///   an enqueued record that was settled before and that no flush has told. The failures of
    ///   enqueued records are told by `failures` too. What fails of a `send` while this waits for its
    ///   turn in the line for memory, that call tells alone.
    public func flush() async throws {
        var unresolved = try await settleTopics()
        if let line = core.state.withLock({ $0.waitForLine() }) {
            if line.wakes { core.wake() }
            try await line.promise.value()
            // What had its turn may go to topics that nobody had asked for.
            let later = try await settleTopics()
            unresolved = unresolved ?? later
        }
        let (promise, wakes) = core.state.withLock { $0.startFlush() }
        if wakes { core.wake() }
        try await promise.value()
        if let unresolved { throw unresolved }
    }

    /// Waits for the topics that records wait for. Returns why one of them cannot be had.
    private func settleTopics() async throws -> (any Error)? {
        var unresolved: (any Error)?
        for topic in core.state.withLock({ $0.unresolvedTopics }) {
            let promise = Promise<Void>()
            let mustWait = core.state.withLock { _ in
                guard case .resolving = topic.state, !topic.pending.isEmpty else { return false }
                topic.resolvers.append(promise)
                return true
            }
            guard mustWait else { continue }
            do {
                try await promise.value()
            } catch {
                if Task.isCancelled { throw error }
                unresolved = error
            }
        }
        return unresolved
    }

    /// Failures of enqueued records.
    public var failures: DeliveryFailures { DeliveryFailures(log: core.failures) }

    /// Sends what is left, waits for its acknowledgement up to the delivery timeout, and ends the
    /// connection. What could not be sent is told by `failures`, which end here. When the task is
    /// cancelled, what is left is given up at once.
    public func close() async {
        do {
            try await flush()
        } catch {
            // Told by `failures` and by the calls that wait.
        }
        let done = Promise<Void>()
        core.context.loop.execute { [core] in
            core.stop(.closed("producer"))
            done.succeed(())
        }
        await done.settled()
        members.remove(self)
    }

    // MARK: - Helpers

    private func give(_ record: ProducerRecord, _ promise: Promise<DeliveryReceipt>?) throws {
        try Self.checkName(record.topic)
        try Self.checkHeaders(record)
        let time = record.timestamp ?? core.context.clock.wallMilliseconds()
        let pending = PendingRecord(
            record: record, timestamp: time, openedAt: core.now, promise: promise)
        let result = core.state.withLock { $0.give(pending) }
        if let lane = result.unresolved {
            core.context.loop.execute { [core] in core.resolve(lane) }
        }
        if promise != nil, result.wakes, !result.armsLinger, core.drainInline() {
            // Sent by this thread: one change of threads less to wait for.
        } else {
            core.follow(result)
        }
        guard result.outcome == .done else {
            throw core.refusal(
                result.outcome, topic: record.topic, partition: record.partition)
        }
    }

    /// A name that no request can carry would hold up the look-ups of all the others.
    private static func checkName(_ name: String) throws {
        guard name.utf8.count <= WireLimits.topicNameBytesMax else {
            throw MartletError(
                .invalidTopicName,
                "A topic name has at most \(WireLimits.topicNameBytesMax) bytes.",
                outcome: .notWritten)
        }
    }

    /// The broker's limits, checked here so that one record cannot spoil its whole batch.
    private static func checkHeaders(_ record: ProducerRecord) throws {
        if record.headers.isEmpty { return }
        guard record.headers.count <= RecordBatchLayout.headersPerRecordMax else {
            throw MartletError.invalid("headers", "are more than 64")
        }
        let bytes = record.headers.reduce(0) {
            $0 + 10 + $1.key.utf8.count + ($1.value?.count ?? 0)
        }
        guard bytes <= RecordBatchLayout.headerBytesPerRecordMax else {
            throw MartletError.invalid("headers", "are larger than 32 KiB")
        }
    }
}

extension ProducerCore {
    /// What has to happen after an append, outside the lock.
    @inline(__always)
    func follow(_ result: AppendResult) {
        // Without linger somebody waits for this record: no change of threads on its way.
        if result.wakes, configuration.linger > .zero || !drainInline() { wake() }
        if result.armsLinger { armLinger(after: configuration.linger.nanosecondsClamped) }
    }

    /// Sends what is sealed on the calling thread; false when the loop is busy.
    func drainInline() -> Bool {
        context.loop.runInline { drain() }
    }

    func wake() {
        context.loop.execute { [self] in drain() }
    }
}

extension ProducerState {
    /// The topic's lane, made when there is none; a new one has to be resolved.
    mutating func lane(_ name: String) -> (TopicLane, isNew: Bool) {
        if let lane = topics[name] { return (lane, false) }
        let lane = TopicLane(name: name)
        topics[name] = lane
        return (lane, true)
    }

    var unresolvedTopics: [TopicLane] {
        topics.values.filter { if case .resolving = $0.state { true } else { false } }
    }
}
