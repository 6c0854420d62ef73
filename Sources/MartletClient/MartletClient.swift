import MartletFormat
import MartletSystem
import Synchronization

/// A client of one broker: makes producers and consumers and administers.
///
/// Each producer and each consumer has a connection of its own, so that none waits behind another;
/// connections are made when they are needed and made again when they break. Use
/// `Martlet.withClient`, or call `close` when done.
public final class MartletClient: Sendable {
    /// The settings that the client was made with.
    public let configuration: ClientConfiguration
    private let contexts: [ConnectionContext]
    private let port: RequestPort
    let handlerTimeBook = HandlerTimeBook()
    let members = ClientMembers()

    /// Bytes of unused reply memory that are kept for the next reply.
    private static let poolBytesMax = 32 << 20

    /// Makes a client; no connection is made yet.
    ///
    /// - Parameter configuration: how to reach the broker.
    /// - Throws: `INVALID_ARGUMENT` with the field's name; `CONNECTION_FAILED` when the process has
    ///   no descriptor left.
    public convenience init(
        _ configuration: ClientConfiguration = ClientConfiguration()
    ) throws {
        try self.init(configuration, clock: SystemClock())
    }

    init(_ configuration: ClientConfiguration, clock: any Clock) throws {
        try configuration.validate()
        self.configuration = configuration
        // Few shared threads: one for each connection costs much more in wake-ups than it gains.
        let count = max(1, min(4, CurrentProcess.processorCount / 2))
        let resolver = SerialQueue(label: "martlet.client.resolver")
        let pool = SlabPool(retainedBytesMax: Self.poolBytesMax)
        let times = handlerTimeBook
        do throws(SystemError) {
            contexts = try (0..<count).map { index throws(SystemError) in
                let loop = try EventLoop(label: "martlet.client.\(index)")
                return ConnectionContext(
                    configuration: configuration, loop: loop, lease: LoopLease(loop),
                    resolver: resolver, pool: pool, clock: clock, handlerTimes: times)
            }
        } catch {
            throw MartletError(
                .connectionFailed, "No connection can be made: \(error).", outcome: .notWritten)
        }
        port = RequestPort(contexts[0])
    }

    /// Administration of the broker.
    public var admin: AdminClient { AdminClient(port: port) }

    /// Makes a producer. It connects with its first record.
    ///
    /// - Parameter configuration: how it batches, waits and repeats.
    /// - Returns: the producer; close it when done, or leave that to the client's end.
    /// - Throws: `INVALID_ARGUMENT` with the field's name, `CLOSED`.
    public func producer(
        _ configuration: ProducerConfiguration = ProducerConfiguration()
    ) async throws -> Producer {
        try configuration.validate()
        let context = try takeContext()
        let producer = Producer(configuration, context, members)
        guard members.add(producer) else { throw MartletError.closed("client") }
        return producer
    }

    /// Runs `body` with a producer, then sends what is left and closes it.
    ///
    /// - Parameters:
    ///   - configuration: how it batches, waits and repeats.
    ///   - body: what to do with it.
    /// - Returns: what `body` returns.
    /// - Throws: what `body` throws; else the first failure among the records that were left.
    public func withProducer<R>(
        _ configuration: ProducerConfiguration = ProducerConfiguration(),
        _ body: (Producer) async throws -> R
    ) async throws -> R {
        let producer = try await producer(configuration)
        do {
            let result = try await body(producer)
            try await producer.flush()
            await producer.close()
            return result
        } catch {
            await producer.close()
            throw error
        }
    }

    /// Makes a consumer: connects, looks its topics up and finds where to start, so that with
    /// `latest` every later record is seen.
    ///
    /// - Parameter configuration: what to read, and from where.
    /// - Returns: the consumer; close it when done, or leave that to the client's end.
    /// - Throws: `INVALID_ARGUMENT`, `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `CONNECTION_FAILED`.
    public func consumer(_ configuration: ConsumerConfiguration) async throws -> Consumer {
        try configuration.validate()
        let context = try takeContext()
        let consumer = try await Consumer.make(configuration, context, admin, members)
        guard members.add(consumer) else {
            await consumer.close()
            throw MartletError.closed("client")
        }
        return consumer
    }

    /// Runs `body` with a consumer, then closes it.
    ///
    /// - Parameters:
    ///   - configuration: what to read, and from where.
    ///   - body: what to do with it.
    /// - Returns: what `body` returns.
    /// - Throws: what `body` throws, and what `consumer(_:)` throws.
    public func withConsumer<R>(
        _ configuration: ConsumerConfiguration, _ body: (Consumer) async throws -> R
    ) async throws -> R {
        let consumer = try await consumer(configuration)
        do {
            let result = try await body(consumer)
            await consumer.close()
            return result
        } catch {
            await consumer.close()
            throw error
        }
    }

    /// Closes every producer and consumer and all connections. Idempotent; returns when all that is
    /// done.
    ///
    /// But at once from within a handler of `consumeGroup` or `consumeQueue` (and from tasks that it
    /// makes), because handlers that have begun may end: what of them is done is committed or said, no
    /// handler begins any more, and then the rest is closed. From then on nothing new can be made of the
    /// client.
    public func close() async {
        guard Self.handling.contains(ObjectIdentifier(self)) else { return await closeAll() }
        _ = members.close()
        Task.detached { await self.closeAll() }
    }

    /// Those whose handlers the task runs.
    @TaskLocal private static var handling: [ObjectIdentifier] = []

    /// Runs what calls handlers of this client.
    func callingHandlers<R: Sendable>(_ body: () async throws -> R) async rethrows -> R {
        let clients = Self.handling + [ObjectIdentifier(self)]
        return try await Self.$handling.withValue(clients) { try await body() }
    }

    private func closeAll() async {
        let (producers, consumers, groups, queues) = members.close()
        for queue in queues { await queue.close() }
        for consumer in groups { await consumer.closeWithClient() }
        for consumer in consumers { await consumer.close() }
        for producer in producers { await producer.close() }
        await port.close()
        for context in contexts {
            let done = Promise<Void>()
            context.loop.stop { done.succeed(()) }
            await done.settled()
        }
    }

    func takeContext() throws -> ConnectionContext {
        guard let turn = members.nextTurn() else { throw MartletError.closed("client") }
        return contexts[turn % contexts.count]
    }
}

/// The producers and consumers of a client that are not closed.
final class ClientMembers: Sendable {
    private struct State {
        var producers: [ObjectIdentifier: Producer] = [:]
        var consumers: [ObjectIdentifier: Consumer] = [:]
        var groups: [ObjectIdentifier: GroupConsumer] = [:]
        var queues: [ObjectIdentifier: QueueMember] = [:]
        var turns = 0
        var isClosed = false
    }

    private let state = Mutex(State())

    /// False: the client is closed.
    func add(_ producer: Producer) -> Bool {
        state.withLock { state in
            if !state.isClosed { state.producers[ObjectIdentifier(producer)] = producer }
            return !state.isClosed
        }
    }

    /// False: the client is closed.
    func add(_ consumer: Consumer) -> Bool {
        state.withLock { state in
            if !state.isClosed { state.consumers[ObjectIdentifier(consumer)] = consumer }
            return !state.isClosed
        }
    }

    /// False: the client is closed.
    func add(_ consumer: GroupConsumer) -> Bool {
        state.withLock { state in
            if !state.isClosed { state.groups[ObjectIdentifier(consumer)] = consumer }
            return !state.isClosed
        }
    }

    /// False: the client is closed.
    func add(_ member: QueueMember) -> Bool {
        state.withLock { state in
            if !state.isClosed { state.queues[ObjectIdentifier(member)] = member }
            return !state.isClosed
        }
    }

    func remove(_ member: QueueMember) {
        _ = state.withLock { $0.queues.removeValue(forKey: ObjectIdentifier(member)) }
    }

    func remove(_ consumer: GroupConsumer) {
        _ = state.withLock { $0.groups.removeValue(forKey: ObjectIdentifier(consumer)) }
    }

    func remove(_ producer: Producer) {
        _ = state.withLock { $0.producers.removeValue(forKey: ObjectIdentifier(producer)) }
    }

    func remove(_ consumer: Consumer) {
        _ = state.withLock { $0.consumers.removeValue(forKey: ObjectIdentifier(consumer)) }
    }

    /// A running number, to spread connections over threads; nil when the client is closed.
    func nextTurn() -> Int? {
        state.withLock { state in
            if state.isClosed { return nil }
            state.turns += 1
            return state.turns
        }
    }

    func close() -> (
        producers: [Producer], consumers: [Consumer], groups: [GroupConsumer],
        queues: [QueueMember]
    ) {
        state.withLock { state in
            state.isClosed = true
            return (
                Array(state.producers.values), Array(state.consumers.values),
                Array(state.groups.values), Array(state.queues.values)
            )
        }
    }
}
