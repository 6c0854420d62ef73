import MartletFormat
import MartletSystem
import Synchronization

/// A client of one broker: makes producers and consumers and administers.
///
/// Each producer and each consumer has a connection of its own, so that none waits behind another;
/// connections are made when they are needed and made again when they break. Use
/// `Martlet.withClient`, or call `close` when done.
public final class MartletClient: Sendable {
    private struct Members {
        var producers: [ObjectIdentifier: Producer] = [:]
        var consumers: [ObjectIdentifier: Consumer] = [:]
        var nextQueue = 0
        var isClosed = false
    }

    /// The settings that the client was made with.
    public let configuration: ClientConfiguration
    private let contexts: [ConnectionContext]
    private let port: RequestPort
    private let members = Mutex(Members())

    /// Bytes of unused reply memory that are kept for the next reply.
    private static let poolBytesMax = 32 << 20

    /// Makes a client; no connection is made yet.
    ///
    /// - Parameter configuration: how to reach the broker.
    /// - Throws: `INVALID_ARGUMENT` with the field's name.
    public init(_ configuration: ClientConfiguration = ClientConfiguration()) throws {
        try configuration.validate()
        self.configuration = configuration
        // Few shared threads: one for each connection costs much more in wake-ups than it gains.
        let count = max(1, min(4, CurrentProcess.processorCount / 2))
        let resolver = SerialQueue(label: "martlet.client.resolver")
        let pool = SlabPool(retainedBytesMax: Self.poolBytesMax)
        contexts = (0..<count).map { index in
            let loop = EventLoop(label: "martlet.client.\(index)")
            return ConnectionContext(
                configuration: configuration, loop: loop, lease: LoopLease(loop),
                resolver: resolver, pool: pool, clock: SystemClock())
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
        let producer = Producer(configuration, context)
        try members.withLock { members in
            if members.isClosed { throw MartletError.closed("client") }
            members.producers[ObjectIdentifier(producer)] = producer
        }
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
            await close(producer)
            return result
        } catch {
            await close(producer)
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
        let consumer = try await Consumer.make(configuration, context, admin)
        let isClosed = members.withLock { members in
            if !members.isClosed { members.consumers[ObjectIdentifier(consumer)] = consumer }
            return members.isClosed
        }
        if isClosed {
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
            await close(consumer)
            return result
        } catch {
            await close(consumer)
            throw error
        }
    }

    /// Closes every producer and consumer and all connections. Idempotent.
    public func close() async {
        let (producers, consumers) = members.withLock { members in
            members.isClosed = true
            defer {
                members.producers = [:]
                members.consumers = [:]
            }
            return (Array(members.producers.values), Array(members.consumers.values))
        }
        for consumer in consumers { await consumer.close() }
        for producer in producers { await producer.close() }
        await port.close()
        for context in contexts {
            let done = Promise<Void>()
            context.loop.stop { done.succeed(()) }
            await done.settled()
        }
    }

    private func close(_ producer: Producer) async {
        _ = members.withLock { $0.producers.removeValue(forKey: ObjectIdentifier(producer)) }
        await producer.close()
    }

    private func close(_ consumer: Consumer) async {
        _ = members.withLock { $0.consumers.removeValue(forKey: ObjectIdentifier(consumer)) }
        await consumer.close()
    }

    private func takeContext() throws -> ConnectionContext {
        let index = try members.withLock { members in
            if members.isClosed { throw MartletError.closed("client") }
            members.nextQueue += 1
            return members.nextQueue
        }
        return contexts[index % contexts.count]
    }
}
