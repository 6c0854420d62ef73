import MartletFormat
import MartletSystem
import MartletWire
import Synchronization

/// The producer's engine: sends sealed batches, keeps them in order, repeats them, and gives up on
/// them in time.
///
/// Sendable: `state` is a mutex; everything else that changes is confined to the queue.
final class ProducerCore: @unchecked Sendable {
    let configuration: ProducerConfiguration
    let context: ConnectionContext
    let state: Mutex<ProducerState>
    let pool: SlabPool
    let promises = PromisePool<DeliveryReceipt>()
    let failures: FailureLog
    let link: Link

    /// Lanes that may have something to send, in turn.
    private var active: [PartitionLane] = []
    /// Topics whose partitions have to be asked for.
    var unresolved: [TopicLane] = []
    var isResolving = false
    var lastMetadataAt: Int64 = 0
    var identity: ProducerIdentity?
    var isAskingIdentity = false
    /// The broker could not give an id: it is asked again after a pause.
    var isPausingIdentity = false
    var identityFailures = 0
    /// Why there is no id yet; nil: none was refused since there was one.
    var lastIdentityError: MartletError?
    /// The broker that `identity` and the topics' ids are from; nil: none was reached yet.
    private var clusterID: TopicID?
    /// Why the link is down; nil when it is up or was not tried.
    var lastLinkError: MartletError?
    private var isTicking = false
    private var isPumpScheduled = false
    private var wakeAt: Int64 = .max
    var random = SystemRandomNumberGenerator()
    private(set) var isClosed = false

    /// Bytes of batches that go into one request; a larger batch goes alone.
    private static let requestBytesMax = 1 << 20
    /// Room in a frame for what is neither a batch nor its entry, and a little more.
    private static let requestFieldBytes = 4_096
    private static let requestsInFlightMax = 64
    /// How often delivery timeouts are looked for.
    private static let tickNanoseconds: Int64 = 200_000_000

    init(_ configuration: ProducerConfiguration, _ context: ConnectionContext) {
        self.configuration = configuration
        self.context = context
        pool = SlabPool(retainedBytesMax: configuration.bufferBytes)
        state = Mutex(ProducerState(configuration, pool: pool, clock: context.clock))
        failures = FailureLog(payloadBytesMax: configuration.bufferBytes)
        link = Link(context)
        link.setUser(self)
    }

    var now: Int64 { context.clock.monotonicNanoseconds() }
    var sendsIdentity: Bool { configuration.idempotent && configuration.acks != .none }

    // MARK: - Sending

    /// Something was sealed.
    func drain() {
        let lanes = state.withLock { $0.takeReady() }
        for lane in lanes { activate(lane) }
        pump()
    }

    func activate(_ lane: PartitionLane) {
        if lane.flight.isActive { return }
        lane.flight.isActive = true
        active.append(lane)
    }

    /// Sends what may be sent now.
    func pump() {
        if isClosed || active.isEmpty { return }
        startTicking()
        guard let connection = link.connection else {
            link.want()
            return
        }
        if sendsIdentity && identity == nil {
            askIdentity()
            return
        }
        // The answer to an earlier question may have been lost with its connection.
        if let identity, active.contains(where: { $0.flight.refusedIdentity == identity }) {
            askIdentity()
        }
        let limit = min(connection.agreement.requestsInFlightMax, Self.requestsInFlightMax)
        let now = now
        var progress = true
        while progress && connection.openRequests < limit {
            progress = sendRound(connection, now: now, limit: limit)
        }
        connection.flush()
        active.removeAll { lane in
            let isDone = lane.flight.retries.isEmpty && state.withLock { _ in lane.sealed.isEmpty }
            if isDone { lane.flight.isActive = false }
            return isDone
        }
    }

    /// At most one batch of each partition, in as few requests as they fit. True: call again.
    private func sendRound(_ connection: Connection, now: Int64, limit: Int) -> Bool {
        let frameBytesMax = connection.agreement.frameBytesMax - Self.requestFieldBytes
        let bytesMax = min(Self.requestBytesMax, frameBytesMax)
        var batches: [ProducerBatch] = []
        var bytes = 0
        var progress = false
        for lane in active {
            guard connection.openRequests < limit else { break }
            guard let batch = nextBatch(lane, connection, now: now) else { continue }
            progress = true
            let size = batch.byteCount + ProduceEntry.bytesMin
            let isFull =
                bytes + size > bytesMax
                || batches.count == WireLimits.partitionsPerRequestMax
            if !batches.isEmpty, isFull {
                send(batches, over: connection)
                batches = []
                bytes = 0
            }
            batches.append(batch)
            bytes += size
        }
        if !batches.isEmpty { send(batches, over: connection) }
        return progress
    }

    /// The lane's next batch, finished and counted as in flight; nil when it has to wait.
    private func nextBatch(
        _ lane: PartitionLane, _ connection: Connection, now: Int64
    ) -> ProducerBatch? {
        let flight = lane.flight
        let inFlightMax = flight.goesAlone ? 1 : configuration.inFlightPerPartition
        guard flight.inFlight.count < inFlightMax, !flight.needsReset else { return nil }
        if flight.blockedUntil > now {
            scheduleWake(at: flight.blockedUntil)
            return nil
        }
        if let refused = flight.refusedIdentity, refused == identity { return nil }
        while true {
            let batch: ProducerBatch
            if !flight.retries.isEmpty {
                batch = flight.retries.removeFirst()
            } else if let fresh = state.withLock({ _ in lane.sealed.popFirst() }) {
                batch = fresh
            } else {
                return nil
            }
            if batch.byteCount + Self.requestFieldBytes > connection.agreement.frameBytesMax {
                fail(batch, tooLarge(batch, connection))
                laneSettled(lane)
                continue
            }
            prepare(batch, flight)
            flight.inFlight.append(batch)
            return batch
        }
    }

    private func tooLarge(_ batch: ProducerBatch, _ connection: Connection) -> MartletError {
        MartletError(
            .messageTooLarge,
            "A batch of \(batch.byteCount) bytes does not fit a frame of the broker, "
                + "\(connection.agreement.frameBytesMax) bytes.",
            outcome: .notWritten)
    }

    /// Gives the batch its order, identity and sequence, once; a repeated batch keeps them.
    private func prepare(_ batch: ProducerBatch, _ flight: PartitionFlight) {
        if batch.order == 0 {
            batch.order = flight.recordsSent + 1
            flight.recordsSent += UInt64(batch.recordCount)
        }
        guard sendsIdentity else {
            if !batch.isFinished { batch.finish(nil, sequence: nil) }
            return
        }
        if batch.sequence != nil { return }
        if flight.identity != identity, flight.canAdopt {
            flight.identity = identity
            flight.nextSequence = 0
            flight.lastLeaderEpoch = -1
        }
        batch.finish(flight.identity, sequence: flight.takeSequence(batch.recordCount))
    }

    private func send(_ batches: [ProducerBatch], over connection: Connection) {
        var request = ProduceRequest()
        request.acks = configuration.acks.rawValue
        request.timeoutMilliseconds = context.configuration.requestTimeout.millisecondsClamped
        request.batches = batches.map {
            ProduceEntry(
                topic: $0.lane.topicID, partition: $0.lane.partition,
                recordsLength: UInt32($0.slab.count))
        }
        let isSilent = configuration.acks == .none
        let pieces = batches.map { batch in
            Outbound.Piece(
                slab: batch.slab, range: 0..<batch.slab.count, lease: batch.lease,
                whenSent: isSilent ? { [weak self] in self?.sent(batch) } : nil)
        }
        // A little longer than the broker may take, so that its own answer comes first.
        let timeout = context.configuration.requestTimeout + .seconds(1)
        connection.send(
            request, attachment: pieces, timeout: timeout,
            handler: isSilent ? nil : { [weak self] in self?.answered(batches, $0) })
    }

    /// With `acks` none, all that happens to a batch is that it leaves.
    private func sent(_ batch: ProducerBatch) {
        guard batch.lane.flight.remove(batch) else { return }
        var result = ProduceResult()
        result.durability = AckLevel.none.rawValue
        complete(batch, result)
        laneSettled(batch.lane)
        if isPumpScheduled { return }
        isPumpScheduled = true
        context.loop.execute { [self] in
            isPumpScheduled = false
            pump()
        }
    }

    // MARK: - Timers

    func scheduleWake(at time: Int64) {
        guard time < wakeAt else { return }
        wakeAt = time
        context.loop.execute(after: max(time - now, 1)) { [weak self] in
            guard let self else { return }
            self.wakeAt = .max
            self.pump()
        }
    }

    func startTicking() {
        if isTicking || isClosed { return }
        isTicking = true
        context.loop.execute(after: Self.tickNanoseconds) { [weak self] in
            guard let self else { return }
            self.isTicking = false
            self.tick()
        }
    }

    private func tick() {
        if isClosed { return }
        expire()
        refreshTopics()
        if wantsLink { startTicking() }
        pump()
    }

    // MARK: - The end

    /// Fails everything that is left. Called on the queue.
    func stop(_ error: MartletError) {
        if isClosed { return }
        isClosed = true
        let space = state.withLock { state in
            state.end = error
            return state.takeSpaceWaiters()
        }
        link.close(error)
        if configuration.acks == .none { takeBackUnsent() }
        failAll(error)
        active = []
        for waiter in space { waiter.fail(error) }
        failures.finish()
    }

    /// Fails every record that is not acknowledged.
    func failAll(_ error: MartletError) {
        let topics = state.withLock { Array($0.topics.values) }
        for topic in topics { fail(topic, error) }
        for topic in unresolved { fail(topic, error) }
    }

    /// Fails every record of a topic that is not acknowledged.
    func fail(_ topic: TopicLane, _ error: MartletError) {
        for lane in topic.partitions {
            let unsent = state.withLock { $0.takeUnsent(lane) }
            let retries = lane.flight.retries
            lane.flight.retries = []
            for batch in lane.flight.inFlight + retries + unsent { fail(batch, error) }
            laneSettled(lane)
        }
        failPending(topic, error)
    }
}

extension ProducerCore: LinkUser {
    /// Whether anything is left to be sent or asked.
    var wantsLink: Bool {
        !isClosed && (!unresolved.isEmpty || state.withLock { $0.outstanding > 0 })
    }

    var operations: [Operation] {
        sendsIdentity ? [.metadata, .produce, .initProducer] : [.metadata, .produce]
    }

    func linkIsUp(_ connection: Connection) {
        lastLinkError = nil
        let found = connection.agreement.clusterID
        if let clusterID, clusterID != found { brokerChanged() }
        clusterID = found
        resolveTopics()
        pump()
    }

    /// Another broker answers at the address. What is known of topics and of this producer is the
    /// first one's: with its id and sequences, new records would pass here for repeated ones.
    private func brokerChanged() {
        identity = nil
        identityFailures = 0
        lastIdentityError = nil
        let topics = state.withLock { state in
            state.topics.values.filter { if case .ready = $0.state { true } else { false } }
        }
        let error = MartletError(
            .unknownTopicID,
            "Another broker answers at \(context.configuration.server) now: its topics are others.",
            context: context.facts)
        for topic in topics { forget(topic, error) }
    }

    func linkIsDown(_ error: MartletError, downFor: Int64) {
        lastLinkError = error
        isResolving = false
        isAskingIdentity = false
        if configuration.acks == .none { takeBackUnsent() }
        if !error.isRetriable {
            // The broker refuses us: no other attempt would end better.
            failAll(error)
        }
    }

    /// With `acks` none a refused batch comes back as an error that belongs to no request.
    func linkGotError(_ error: MartletError) {
        failures.post(
            DeliveryFailure(topic: "", partition: -1, recordCount: 0, error: error, batch: nil))
    }

    /// Batches without acknowledgement that did not leave as a whole cannot have been read by the
    /// broker, so they may go again.
    private func takeBackUnsent() {
        let topics = state.withLock { Array($0.topics.values) }
        for lane in topics.flatMap(\.partitions) {
            let flight = lane.flight
            for batch in flight.inFlight { flight.retry(batch) }
            flight.inFlight = []
            if !flight.retries.isEmpty { activate(lane) }
        }
    }
}
