import Dispatch
package import MartletConfiguration
import MartletFormat
import MartletGroups
package import MartletStorage
package import MartletSystem
import MartletTelemetry
import Synchronization

/// A whole broker in this process: started in order, stopped in reverse.
///
///     start   admin listener, storage (recovers), producer registry, I/O loops, client listener
///     stop    client listener, requests under way, connections, storage, admin listener
package final class Broker: Sendable {
    package let address: SocketAddress
    /// nil without an admin listener.
    package let adminAddress: SocketAddress?
    package var startReport: StartReport { services.engine.startReport }
    package var engine: StorageEngine { services.engine }

    let services: BrokerServices
    private let loops: [IOLoop]
    private let listener: Listener
    private let admin: AdminEndpoint?
    private let state: BrokerState
    private let descriptors: DescriptorBudget
    private let logger: Logger
    private let isStopped = Atomic<Bool>(false)

    /// Starts a broker. Blocks while the storage recovers; the admin listener answers meanwhile.
    package static func start(_ setup: BrokerSetup) throws(BrokerError) -> Broker {
        Signals.ignoreBrokenPipe()
        let state = BrokerState()
        var limits = BrokerLimits(setup.configuration)
        setup.adjustLimits(&limits)
        let descriptors = DescriptorBudget(setup.configuration)
        limits.fit(descriptors, setup.logger)
        let metrics = BrokerMetrics(setup.registry)
        let admin = try startAdmin(setup, limits, metrics, state)
        do throws(BrokerError) {
            return try Broker(setup, limits, descriptors, metrics, admin, state)
        } catch {
            admin?.stop {}
            throw error
        }
    }

    private init(
        _ setup: BrokerSetup, _ limits: BrokerLimits, _ descriptors: DescriptorBudget,
        _ metrics: BrokerMetrics, _ admin: AdminEndpoint?, _ state: BrokerState
    ) throws(BrokerError) {
        self.descriptors = descriptors
        logger = setup.logger
        let queues = BrokerQueues(setup.configuration.storage)
        do throws(StorageError) {
            services = try Self.openServices(
                setup, limits, descriptors, metrics, queues, state)
        } catch {
            throw .storage(error)
        }
        let services = services
        let limits = services.limits
        let census = ConnectionCensus(
            totalMax: limits.connectionsMax, totalWanted: limits.connectionsWanted,
            perAddressMax: limits.connectionsPerAddressMax)
        let facts = BrokerFacts(
            connections: { census.total }, connectionsMax: { census.totalMax })
        let router = RequestRouter(services, facts: facts)
        let numbers = Serial()
        let makeConnection: @Sendable (AcceptedSocket, IOLoop) -> Connection? = {
            Connection(
                id: numbers.next(), accepted: $0, loop: $1, services: services, router: router)
        }
        let loops = (0..<queues.ioCount).map {
            IOLoop(index: $0, limits: limits, clock: setup.clock, makeConnection: makeConnection)
        }
        self.loops = loops
        self.admin = admin
        self.state = state
        let address = setup.configuration.listener.listen.description
        do throws(SystemError) {
            for loop in loops { try loop.queue.keepThread() }
            listener = try Self.listen(address, census, setup, limits, metrics, loops)
        } catch {
            for loop in loops { loop.queue.releaseThread() }
            // Nothing was accepted, so closing cannot lose anything; its error is not the reason.
            do { try services.engine.close() } catch {
                services.logger.error("STORAGE_NOT_CLOSED", "\(error)")
            }
            throw .listen(address: address, error)
        }
        self.address = listener.localAddress
        adminAddress = admin?.localAddress
        Self.register(services, census, setup.registry)
        state.attach(loops: loops)
        listener.start()
        services.headroom.start()
        state.move(to: .ready)
    }

    /// Takes what can be changed while it runs: limits of connections, time-outs, how much of
    /// the disk must be free, and scrubbing.
    package func reload(_ configuration: BrokerConfiguration) {
        var limits = services.limits
        limits.takeReloadable(from: configuration)
        limits.fit(descriptors, logger)
        let changed = limits
        for loop in loops { loop.post(.run { loop.limits = changed }) }
        listener.reload(changed)
        services.engine.space.setMarks(
            low: configuration.storage.diskFreeLowBytes,
            high: configuration.storage.diskFreeHighBytes)
        services.engine.scrubber.set(
            intervalMilliseconds: configuration.storage.scrubIntervalMilliseconds,
            bytesPerSecondMax: configuration.storage.scrubBytesPerSecondMax)
    }

    // MARK: - Stopping

    /// Stops in order: no new connections, answers what is open, closes all, and closes the storage
    /// with its clean mark. Blocks, at most `drainMilliseconds` longer than the disk takes.
    package func stop() throws(StorageError) {
        guard !isStopped.exchange(true, ordering: .acquiringAndReleasing) else { return }
        state.move(to: .stopping)
        wait { listener.stop($0) }
        for loop in loops { loop.post(.run { loop.drain() }) }
        let limit = DispatchTimeInterval.milliseconds(services.limits.drainMilliseconds)
        if !waitUntilEmpty(limit) {
            services.logger.warning(
                "DRAIN_CUT_SHORT", "connections are closed with requests open",
                [("connections", LogValue(listener.census.total))])
            for loop in loops { loop.post(.run { loop.closeAll() }) }
            _ = waitUntilEmpty(.seconds(1))
        }
        services.headroom.stop()
        wait { services.groups.stop($0) }
        defer {
            state.detach()
            for loop in loops { loop.queue.releaseThread() }
            if let admin { wait { admin.stop($0) } }
        }
        try services.engine.close()
    }

    /// Waits for something that tells when it is done.
    private func wait(_ begin: (@escaping @Sendable () -> Void) -> Void) {
        let done = DispatchSemaphore(value: 0)
        begin { done.signal() }
        done.wait()
    }

    private func waitUntilEmpty(_ limit: DispatchTimeInterval) -> Bool {
        let done = DispatchSemaphore(value: 0)
        listener.census.whenEmpty { done.signal() }
        return done.wait(timeout: .now() + limit) == .success
    }
}

// MARK: - Building

extension Broker {
    private static func startAdmin(
        _ setup: BrokerSetup, _ limits: BrokerLimits, _ metrics: BrokerMetrics,
        _ state: BrokerState
    ) throws(BrokerError) -> AdminEndpoint? {
        guard setup.servesAdmin else { return nil }
        let address = setup.configuration.admin.listen.description
        do throws(SystemError) {
            let admin = try AdminEndpoint(
                address: try SocketAddress(parsing: address), limits: limits, clock: setup.clock,
                logger: setup.logger.labelled("admin"),
                metrics: metrics.adminListener, registry: setup.registry,
                readiness: { state.readiness })
            admin.start()
            return admin
        } catch {
            throw .listen(address: address, error)
        }
    }

    private static func openServices(
        _ setup: BrokerSetup, _ limits: BrokerLimits, _ descriptors: DescriptorBudget,
        _ metrics: BrokerMetrics, _ queues: BrokerQueues, _ state: BrokerState
    ) throws(StorageError) -> BrokerServices {
        let startedAt = setup.clock.wallMilliseconds()
        let startedMonotonic = setup.clock.monotonicNanoseconds()
        var options = try StorageOptions(
            setup.configuration, descriptors: descriptors)
        options.plantedBugs.formUnion(setup.plantedBugs)
        options.asksGroups = true
        let onFatal = setup.onFatal
        let logger = setup.logger.labelled("broker")
        let engine = try StorageEngine.open(
            options, fileSystem: setup.fileSystem, clock: setup.clock,
            executors: queues.storage, logger: setup.logger.labelled("storage"),
            metrics: setup.registry, parallel: BrokerQueues.parallel,
            onFatal: { error in
                logger.error("STORAGE_FAILED", error.message)
                state.fail(error) { onFatal(error) }
            })
        // What the threads and the logs took is gone from it by now.
        var limits = limits
        limits.fit(setup.memoryRoom(), logger)
        let pool = SlabPool(retainedBytesMax: limits.poolBytesMax)
        let readers = ReaderPool(queues.readers)
        let (producers, groups) = try openInternal(
            engine, limits, setup, queues, readers, pool, logger)
        let identity = BrokerIdentity(
            version: setup.version, clusterID: producers.log.topicID, startedAt: startedAt,
            startedMonotonic: startedMonotonic, processID: CurrentProcess.id)
        state.attach(engine: engine)
        return BrokerServices(
            identity: identity, limits: limits, configuration: setup.configuration,
            topicDefaults: options.defaults, clock: setup.clock, engine: engine,
            producers: producers, groups: groups,
            authorizer: AllowEveryone(), pool: pool, readers: readers,
            changes: queues.changes, metrics: metrics, logger: logger)
    }

    /// What lives in the broker's own topics.
    private static func openInternal(
        _ engine: StorageEngine, _ limits: BrokerLimits, _ setup: BrokerSetup,
        _ queues: BrokerQueues, _ readers: ReaderPool, _ pool: SlabPool, _ logger: Logger
    ) throws(StorageError) -> (ProducerRegistry, GroupService) {
        do throws(StorageError) {
            let producers = try ProducerRegistry.open(
                engine, countMax: limits.producersMax, pool: pool, logger: logger)
            let groups = GroupService(
                GroupService.Setup(
                    engine: engine, limits: setup.groupLimits, clock: setup.clock,
                    executor: queues.groups, disk: queues.changes, readers: readers, pool: pool,
                    counters: GroupCounters(setup.registry), logger: logger,
                    events: GroupEventTopic.Options(setup)))
            try groups.open()
            engine.setConsumedMarks(groups)
            return (producers, groups)
        } catch {
            let reason = error
            // A start that is refused lets go of the data directory.
            do { try engine.close() } catch {
                logger.error("STORAGE_NOT_CLOSED", "\(error)")
            }
            throw reason
        }
    }

    private static func listen(
        _ address: String, _ census: ConnectionCensus, _ setup: BrokerSetup,
        _ limits: BrokerLimits, _ metrics: BrokerMetrics, _ loops: [IOLoop]
    ) throws(SystemError) -> Listener {
        let rates = AcceptRates(
            perSecond: limits.acceptsPerSecond,
            perSecondPerAddress: limits.acceptsPerSecondPerAddress)
        let turn = Serial()
        return try Listener(
            address: try SocketAddress(parsing: address), census: census, rates: rates,
            queue: SerialQueue(label: "martlet.accept"), clock: setup.clock,
            logger: setup.logger.labelled("listener"),
            metrics: metrics.listener,
            onAccept: { accepted in
                loops[Int(turn.next() % UInt64(loops.count))].post(.adopt(accepted))
            })
    }

    private static func register(
        _ services: BrokerServices, _ census: ConnectionCensus, _ registry: MetricsRegistry
    ) {
        registry.gauge("martlet_broker_connections", "Connections open now.") {
            Double(census.total)
        }
        registry.gauge(
            "martlet_broker_memory_bytes",
            "Memory held for requests that are arriving and for replies that wait."
        ) { Double(services.memory.heldBytes) }
        registry.gauge(
            "martlet_broker_memory_max_bytes", "As much of that memory there is for all together."
        ) { Double(services.memory.limit) }
        registry.gauge("martlet_broker_writable", "1 when producers are served.") {
            services.engine.isWritable ? 1 : 0
        }
        registry.gauge(
            "martlet_storage_message_id_bytes",
            "Memory that the message ids of topics with a deduplication.window take."
        ) { Double(services.engine.messageIDBytes) }
        let space = services.engine.space
        registry.gauges(
            "martlet_storage_disk_bytes", "Bytes of the file system that holds the data."
        ) { space.space.map { [([], Double($0.total))] } ?? [] }
        registry.gauges(
            "martlet_storage_disk_available_bytes", "Bytes of it that the broker may still take."
        ) { space.space.map { [([], Double($0.available))] } ?? [] }
        GroupMetrics.register(services.groups, services.lag, registry)
    }
}
