package import MartletConfiguration
import MartletFormat
package import MartletGroups
package import MartletStorage
package import MartletSystem
package import MartletTelemetry

/// Everything a broker is made from.
package struct BrokerSetup: Sendable {
    package var configuration: BrokerConfiguration
    /// Of the product, as clients see it.
    package var version = Product.version
    package var fileSystem: any FileSystem = PosixFileSystem()
    package var clock: any Clock = SystemClock()
    package var logger = Logger.disabled
    package var registry = MetricsRegistry()
    /// Without it there is no admin listener, for brokers inside a test.
    package var servesAdmin = true
    package var plantedBugs: PlantedBugs = []
    /// What the process may still take.
    package var memoryRoom: @Sendable () -> MemoryRoom = { .current() }
    /// Changes limits that are not configuration, for tests that meet them on purpose.
    package var adjustLimits: @Sendable (inout BrokerLimits) -> Void = { _ in }
    package var groupLimits = GroupLimits()
    /// How many events of groups may wait for their topic, and how long it rests between two turns.
    package var pendingEvents = PendingEvents.Limits()
    package var eventsPauseNanoseconds: Int64 = 1_000_000_000
    /// The disk failed for good: whoever waited was told, and the process must end (74). Called
    /// once, on any thread.
    package var onFatal: @Sendable (StorageError) -> Void = { _ in }

    package init(_ configuration: BrokerConfiguration) {
        self.configuration = configuration
        groupLimits.rescueBytesMax = configuration.storage.rescueBytesMax
        groupLimits.groupExpiryMilliseconds = configuration.storage.groupExpiryMilliseconds
        #if DEBUG
            groupLimits.plantedBug = CurrentProcess.environment["MARTLET_PLANT"]
                .flatMap { PlantedGroupBug(rawValue: $0) }
        #endif
    }

    /// A clock whose jumps are time that passes, not a process that stood still.
    package mutating func takeJumpingClock(_ clock: any Clock) {
        self.clock = clock
        groupLimits.standstillMilliseconds = .max / 1_000_000
    }
}

extension GroupEventTopic.Options {
    /// nil: switched off.
    init?(_ setup: BrokerSetup) {
        let storage = setup.configuration.storage
        guard storage.groupEvents else { return nil }
        self.init(
            retentionMilliseconds: storage.groupEventsRetentionMilliseconds,
            retentionBytes: storage.groupEventsRetentionBytes, pending: setup.pendingEvents,
            pauseNanoseconds: setup.eventsPauseNanoseconds)
    }
}

/// Why a broker could not start.
package enum BrokerError: Error, CustomStringConvertible {
    case storage(StorageError)
    case listen(address: String, SystemError)

    package var description: String {
        switch self {
        case .storage(let error): error.message
        case .listen(let address, let error): "cannot listen on \(address): \(error)"
        }
    }
}

extension BrokerLimits {
    /// The configured values; what is not configuration keeps its default.
    init(_ configuration: BrokerConfiguration) {
        let listener = configuration.listener
        takeReloadable(from: configuration)
        adminConnectionsMax = configuration.admin.connectionsMax
        adminTimeoutMilliseconds = Int(configuration.admin.requestTimeoutMilliseconds)
        keepAliveSeconds = Int(listener.keepAliveMilliseconds / 1_000)
        frameBytesMax = listener.frameBytesMax
        helloFrameBytesMax = listener.helloFrameBytesMax
        requestsInFlightMax = listener.requestsInFlightMax
        outputBytesMax = listener.outputBytesMax
        producersMax = configuration.storage.producersMax
        batchBytesMax = min(batchBytesMax, max(frameBytesMax - 64 * 1_024, 64 * 1_024))
        let isSet = listener.memoryBytesMax > 0
        memoryBytesMax = isSet ? max(listener.memoryBytesMax, memoryBytesLeast) : 0
    }

    /// A reply gets half of what is left: any batch must fit while less than half is held.
    private var memoryBytesLeast: Int { 4 * batchBytesMax }

    /// Takes at most half of what the process may still have, and a quarter when nothing is set.
    /// The rest is for all that is not counted: want of memory for requests makes peers wait, want
    /// of it for anything else ends the process.
    mutating func fit(_ room: MemoryRoom, _ logger: Logger) {
        let quarter = Int(clamping: room.bytes / 4)
        memoryBytesWanted = memoryBytesMax > 0 ? memoryBytesMax : max(quarter, memoryBytesLeast)
        memoryBytesMax = min(memoryBytesWanted, 2 * quarter)
        poolBytesMax = min(poolBytesMax, quarter / 2)
        guard memoryBytesMax < memoryBytesWanted else { return }
        logger.warning(
            "MEMORY_LIMITED", "the process may have too little memory for memory.bytes.max",
            [
                ("bytes", LogValue(memoryBytesMax)), ("configured", LogValue(memoryBytesWanted)),
                ("room", LogValue(room.bytes)), ("limit", .string(room.limit)),
            ])
    }

    /// Leaves room for the files of the storage: running out of descriptors for connections is a
    /// refusal, running out of them for files would stop partitions.
    mutating func fit(_ descriptors: DescriptorBudget, _ logger: Logger) {
        let room = descriptors.connectionsMax
        guard room < connectionsMax else { return }
        logger.warning(
            "CONNECTIONS_LIMITED", "fewer connections than connections.max have descriptors",
            [
                ("connections", LogValue(room)), ("configured", LogValue(connectionsMax)),
                ("descriptors", LogValue(descriptors.total)),
            ])
        connectionsMax = room
    }

    /// What may change while the broker runs (SIGHUP).
    mutating func takeReloadable(from configuration: BrokerConfiguration) {
        let listener = configuration.listener
        connectionsMax = listener.connectionsMax
        connectionsWanted = listener.connectionsMax
        connectionsPerAddressMax = listener.connectionsPerAddressMax
        acceptsPerSecond = listener.connectionRateMax
        acceptsPerSecondPerAddress = listener.connectionRatePerAddressMax
        helloTimeoutMilliseconds = Int(listener.helloTimeoutMilliseconds)
        idleTimeoutMilliseconds = Int(listener.idleTimeoutMilliseconds)
        writeTimeoutMilliseconds = Int(listener.writeTimeoutMilliseconds)
    }
}

extension StorageOptions {
    /// No part of the kernel's limit is taken for less than this.
    private static let dirtyPartMin: Int64 = 8 << 20

    /// The configured values of `[storage]` and `[topic]`.
    /// - Parameter dirtyBytesMax: what the kernel lets be dirty before writers wait for the disk.
    init(
        _ configuration: BrokerConfiguration, descriptors: DescriptorBudget,
        dirtyBytesMax: Int64? = DirtyLimit.bytes
    ) throws(StorageError) {
        let storage = configuration.storage
        self.init(dataDirectory: storage.data)
        defaults = try TopicSettings(configuration.topic)
        openFilesMax = descriptors.files
        unsyncedDurableBytesMax = storage.unsyncedDurableBytesMax
        unsyncedDurablePartitionBytesMax = storage.unsyncedDurablePartitionBytesMax
        let dirtyPart = dirtyBytesMax.map { max($0 / 4, Self.dirtyPartMin) } ?? .max
        unsyncedWrittenBytesMax = min(storage.unsyncedWrittenBytesMax, dirtyPart)
        unsyncedWrittenPartitionBytesMax = min(
            storage.unsyncedWrittenPartitionBytesMax, dirtyPart)
        writtenSyncMilliseconds = storage.writtenSyncIntervalMilliseconds
        // Well below the bound, so that a sync begins before a producer waits for it.
        writtenSyncBytes = min(storage.writtenSyncBytes, dirtyPart / 2)
        diskFreeLow = storage.diskFreeLowBytes
        diskFreeHigh = storage.diskFreeHighBytes
        diskReserve = storage.diskReserveBytes
        producerExpiryMilliseconds = storage.producerExpiryMilliseconds
        scrubMilliseconds = storage.scrubIntervalMilliseconds
        scrubBytesPerSecondMax = storage.scrubBytesPerSecondMax
        retentionMillisecondsMax = storage.retentionMillisecondsMax
        messageIDBytesMax = Int(clamping: storage.messageIDBytesMax)
        topicsMax = storage.topicsMax
        partitionsMax = storage.partitionsMax
    }
}

extension TopicSettings {
    init(_ topic: BrokerConfiguration.Topic) throws(StorageError) {
        self.init()
        try set("durability", to: topic.durability)
        try set("cleanup.policy", to: topic.cleanup)
        retentionMilliseconds = topic.retentionMilliseconds
        retentionBytes = topic.retentionBytes
        segmentBytes = topic.segmentBytes
        segmentMilliseconds = topic.segmentMilliseconds
        batchBytesMax = topic.batchBytesMax
        eventTimeFutureMaxMilliseconds = topic.eventTimeFutureMaxMilliseconds
        tombstoneRetentionMilliseconds = topic.tombstoneRetentionMilliseconds
        compactionLagMilliseconds = topic.compactionLagMilliseconds
        deduplicationWindowMilliseconds = topic.deduplicationWindowMilliseconds
    }
}
