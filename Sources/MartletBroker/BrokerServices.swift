import MartletConfiguration
import MartletFormat
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire

/// What every handler of one broker works with. Made once at the start, never changed.
final class BrokerServices: Sendable {
    let identity: BrokerIdentity
    let limits: BrokerLimits
    /// As it was at the start; what SIGHUP changed since is in the loops' limits.
    let configuration: BrokerConfiguration
    /// What a topic gets that does not say otherwise.
    let topicDefaults: TopicSettings
    let clock: any Clock
    let engine: StorageEngine
    let catalog: TopicCatalog
    let producers: ProducerRegistry
    let groups: GroupService
    let lag: GroupLag
    let headroom: HeadroomWatch
    let authorizer: any Authorizer
    let pool: SlabPool
    /// What all connections together may hold.
    let memory: MemoryBudget
    let readers: ReaderPool
    let changes: any Executor
    let residency: Residency
    let metrics: BrokerMetrics
    let logger: Logger
    /// For mistakes of peers, which they can repeat as often as they like.
    let peerLogger: Logger

    init(
        identity: BrokerIdentity, limits: BrokerLimits, configuration: BrokerConfiguration,
        topicDefaults: TopicSettings, clock: any Clock, engine: StorageEngine,
        producers: ProducerRegistry, groups: GroupService,
        authorizer: any Authorizer, pool: SlabPool, readers: ReaderPool,
        changes: any Executor, metrics: BrokerMetrics, logger: Logger
    ) {
        self.identity = identity
        self.limits = limits
        self.configuration = configuration
        self.topicDefaults = topicDefaults
        self.pool = pool
        self.clock = clock
        self.engine = engine
        self.producers = producers
        self.groups = groups
        lag = GroupLag(engine, clock)
        headroom = HeadroomWatch(groups, lag)
        self.authorizer = authorizer
        self.readers = readers
        self.changes = changes
        self.metrics = metrics
        self.logger = logger
        catalog = TopicCatalog(engine: engine, authorizer: authorizer)
        memory = MemoryBudget(limit: limits.memoryBytesMax)
        residency = Residency()
        peerLogger = logger.limited()
    }

    /// Why an answer was refused that would have had to wait in memory.
    static let noMemory = "no memory for the answer now (memory.bytes.max)"

    /// The disk did not answer a read of records. Any thread.
    func readFailed(_ message: String) {
        metrics.readFailures.add()
        peerLogger.error("READ_FAILED", message)
    }

    /// Keys of topic settings that the configuration changes.
    var settingsOfBroker: Set<String> {
        let builtIn = TopicSettings()
        let here = topicDefaults
        return Set(
            TopicSettings.keys.map(\.name).filter { here.value(of: $0) != builtIn.value(of: $0) })
    }
}

/// Which broker this is.
struct BrokerIdentity: Sendable {
    let version: String
    let clusterID: TopicID
    /// Milliseconds since 1970 UTC.
    let startedAt: Int64
    /// Monotonic nanoseconds.
    let startedMonotonic: Int64
    let processID: Int32
}

/// Decides who may do what. Asked in one place for the operation (`RequestRouter`) and in one place
/// for the topic (`TopicCatalog`); an operation's row is in `Operation.access`.
protocol Authorizer: Sendable {
    /// `topic` is nil while only the operation is known.
    func allows(_ principal: String, _ access: OperationAccess, topic: String?) -> Bool
}

/// Everyone may do everything: there is no authentication yet, and only a loopback listener or an
/// explicit `allow-anonymous` lets anyone in.
struct AllowEveryone: Authorizer {
    func allows(_ principal: String, _ access: OperationAccess, topic: String?) -> Bool { true }
}
