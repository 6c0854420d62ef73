/// Everything about a broker that can be set. The values here are the defaults; the table in
/// `BrokerConfiguration.sections` gives each its name, unit, range and meaning.
package struct BrokerConfiguration: Equatable, Sendable {
    package var listener = Listener()
    package var admin = Admin()
    package var storage = Storage()
    package var topic = Topic()
    package var log = Log()

    package init() {}

    package struct Listener: Equatable, Sendable {
        package var listen = HostPort(host: "127.0.0.1", port: 7700)
        package var allowAnonymous = false
        package var connectionsMax = 4_096
        package var connectionsPerAddressMax = 256
        /// Per second.
        package var connectionRateMax = 200
        /// Per second.
        package var connectionRatePerAddressMax = 20
        package var helloTimeoutMilliseconds: Int64 = 10_000
        package var idleTimeoutMilliseconds: Int64 = 600_000
        package var writeTimeoutMilliseconds: Int64 = 30_000
        /// 0: never.
        package var keepAliveMilliseconds: Int64 = 60_000
        package var frameBytesMax = 16 << 20
        package var helloFrameBytesMax = 64 << 10
        package var requestsInFlightMax = 64
        package var outputBytesMax = 32 << 20
        /// 0: a quarter of the machine's memory.
        package var memoryBytesMax = 0
    }

    package struct Admin: Equatable, Sendable {
        package var listen = HostPort(host: "127.0.0.1", port: 7701)
        package var allowAnonymous = false
        package var connectionsMax = 64
        package var requestTimeoutMilliseconds: Int64 = 10_000
    }

    package struct Storage: Equatable, Sendable {
        package var data = "/var/lib/martlet"
        /// 0: one per two cores.
        package var ioQueues = 0
        package var flushConcurrency = 4
        package var diskReaders = 4
        /// 0: from the process's limit.
        package var openFilesMax = 0
        package var unsyncedDurableBytesMax: Int64 = 64 << 20
        package var unsyncedDurablePartitionBytesMax: Int64 = 16 << 20
        package var unsyncedWrittenBytesMax: Int64 = 1 << 30
        package var unsyncedWrittenPartitionBytesMax: Int64 = 256 << 20
        package var writtenSyncIntervalMilliseconds: Int64 = 1_000
        package var writtenSyncBytes: Int64 = 32 << 20
        package var diskFreeLowBytes: Int64 = 256 << 20
        package var diskFreeHighBytes: Int64 = 512 << 20
        package var diskReserveBytes: Int64 = 4 << 20
        package var scrubIntervalMilliseconds: Int64 = 7 * 86_400_000
        package var scrubBytesPerSecondMax: Int64 = 8 << 20
        package var producerExpiryMilliseconds: Int64 = 7 * 86_400_000
        package var groupExpiryMilliseconds: Int64 = -1
        package var groupEvents = true
        package var groupEventsRetentionMilliseconds: Int64 = 7 * 86_400_000
        package var groupEventsRetentionBytes: Int64 = 256 << 20
        package var retentionMillisecondsMax: Int64 = -1
        package var topicsMax = 10_000
        package var partitionsMax = 50_000
        package var producersMax = 100_000
        package var rescueBytesMax: Int64 = 1 << 30
        package var messageIDBytesMax: Int64 = 256 << 20
    }

    /// What a topic has that sets nothing else. -1: for ever, without limit.
    package struct Topic: Equatable, Sendable {
        package var partitions: Int32 = 1
        package var durability = "durable"
        package var retentionMilliseconds: Int64 = 7 * 86_400_000
        package var retentionBytes: Int64 = -1
        package var cleanup = "delete"
        package var segmentBytes: Int64 = 256 << 20
        package var segmentMilliseconds: Int64 = 7 * 86_400_000
        package var batchBytesMax: Int64 = 1 << 20
        package var eventTimeFutureMaxMilliseconds: Int64 = 3_600_000
        package var tombstoneRetentionMilliseconds: Int64 = 86_400_000
        package var compactionLagMilliseconds: Int64 = 0
        package var deduplicationWindowMilliseconds: Int64 = 0
    }

    package struct Log: Equatable, Sendable {
        package var level = "info"
        package var format = "text"
    }
}
