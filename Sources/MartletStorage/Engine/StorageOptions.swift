import MartletFormat
package import MartletSystem
import MartletTelemetry

/// Where storage work runs. None of these may be the queue of a connection.
package struct StorageExecutors: Sendable {
    /// One `fdatasync` at a time each; their number is `flush.concurrency`.
    package var flush: [any Executor]
    /// Blocking reads: cold index look-ups, verification, warm-up of partitions.
    package var readers: [any Executor]
    /// Short work that appends wait for: next segments, reservations, free space.
    package var housekeeping: any Executor
    /// Work that may take long, one at a time: topics, retention, compaction, scrubbing, removal.
    package var upkeep: any Executor
    /// Syncs the marks file, and asks for the syncs of `written` topics in time.
    package var marks: any Executor
    /// Tells the owner of the first final failure, and does nothing else: whatever waits for a disk
    /// that hangs, the end of the process must not.
    package var failure: any Executor

    package init(
        flush: [any Executor], readers: [any Executor], housekeeping: any Executor,
        upkeep: (any Executor)? = nil, marks: any Executor, failure: any Executor
    ) {
        self.flush = flush
        self.readers = readers
        self.housekeeping = housekeeping
        self.upkeep = upkeep ?? housekeeping
        self.marks = marks
        self.failure = failure
    }
}

/// Faults that tests plant to see that a proof would find them. Only debug builds read them.
package struct PlantedBugs: OptionSet, Sendable {
    package let rawValue: Int
    package init(rawValue: Int) { self.rawValue = rawValue }

    /// Producers are answered before `fdatasync`.
    package static let ackBeforeSync = PlantedBugs(rawValue: 1)
    /// A retry is appended again.
    package static let noDeduplication = PlantedBugs(rawValue: 2)
    /// Readers of a durable topic see what is not on disk.
    package static let readersAboveDurable = PlantedBugs(rawValue: 4)
    /// Directory entries are not synced.
    package static let dropDirectorySync = PlantedBugs(rawValue: 8)
    /// Recovery truncates at the first bad batch, also below a mark.
    package static let truncateBelowMark = PlantedBugs(rawValue: 16)
    /// A gap in a producer's sequence is taken.
    package static let acceptSequenceGaps = PlantedBugs(rawValue: 32)
    /// A producer's older instance may go on.
    package static let noFencing = PlantedBugs(rawValue: 64)
    /// A `written` topic gives offsets again that a power cut may have taken.
    package static let reuseOffsets = PlantedBugs(rawValue: 128)
    /// Compaction believes the bytes that no batch's checksum covers.
    package static let compactUnchecked = PlantedBugs(rawValue: 256)
    /// An operator's skip is only kept in memory.
    package static let forgetSkips = PlantedBugs(rawValue: 512)
    /// A message is stored again that is in its topic's window of ids.
    package static let noIDWindow = PlantedBugs(rawValue: 1024)
    /// A backup takes each topic as it is when its turn comes.
    package static let backupByTopic = PlantedBugs(rawValue: 2048)

    private static let names: [String: PlantedBugs] = [
        "ackBeforeSync": .ackBeforeSync, "noDeduplication": .noDeduplication,
        "readersAboveDurable": .readersAboveDurable, "dropDirectorySync": .dropDirectorySync,
        "truncateBelowMark": .truncateBelowMark, "acceptSequenceGaps": .acceptSequenceGaps,
        "noFencing": .noFencing, "reuseOffsets": .reuseOffsets,
        "compactUnchecked": .compactUnchecked, "forgetSkips": .forgetSkips,
        "noIDWindow": .noIDWindow, "backupByTopic": .backupByTopic,
    ]

    /// What is planted in what has no options of its own.
    static func has(_ bug: PlantedBugs) -> Bool {
        #if DEBUG
            asked.contains(bug)
        #else
            false
        #endif
    }

    /// What `scripts/guarantees` asks for by the environment.
    fileprivate static let asked =
        CurrentProcess.environment["MARTLET_PLANT"].flatMap { names[$0] } ?? []
}

/// How storage is set up. Bytes and milliseconds unless the name says otherwise.
package struct StorageOptions: Sendable {
    package var dataDirectory: String
    package var defaults = TopicSettings()
    package var openFilesMax = 1024
    package var indexBytesMax = 64 << 20
    package var unsyncedDurableBytesMax: Int64 = 64 << 20
    package var unsyncedDurablePartitionBytesMax: Int64 = 16 << 20
    package var unsyncedWrittenBytesMax: Int64 = 1 << 30
    package var unsyncedWrittenPartitionBytesMax: Int64 = 256 << 20
    package var writtenSyncMilliseconds: Int64 = 1000
    package var writtenSyncBytes: Int64 = 32 << 20
    package var diskFreeLow: Int64 = 256 << 20
    package var diskFreeHigh: Int64 = 512 << 20
    package var diskReserve: Int64 = 4 << 20
    package var producerExpiryMilliseconds: Int64 = 7 * 86_400_000
    /// Producers that a partition remembers; the ones that were silent for longest are forgotten.
    package var partitionProducersMax = LogLimits.producersMax
    /// Memory for the message ids of all topics that remove duplicates.
    package var messageIDBytesMax = 256 << 20
    /// Every stored batch is read and checked within this time; -1 never.
    package var scrubMilliseconds: Int64 = -1
    package var scrubBytesPerSecondMax: Int64 = 8 << 20
    /// Retention takes nothing before somebody answers for the groups (`setConsumedMarks`): at a start
    /// they are read after the logs.
    package var asksGroups = false
    /// No topic is made or changed to keep records for longer; -1: as long as it likes.
    package var retentionMillisecondsMax: Int64 = -1
    package var topicsMax = 10_000
    package var partitionsMax = 50_000
    /// From this many dirty partitions on, one `syncfs` serves them all; 0 never.
    package var syncFileSystemThreshold = 32
    /// Size that the marks file may grow by before it is rewritten.
    package var marksRewriteBytes: Int64 = 8 << 20
    /// Zeros that are written ahead of the marks at a time.
    package var marksAheadBytes = 1 << 20
    /// Bytes of log per index entry.
    package var indexIntervalBytes: Int64 = 64 << 10
    /// Zeros that are kept ahead of a log with many small flushes, and the slices they come in.
    package var aheadBytes: Int64 = 1 << 20
    package var aheadSliceBytes = 64 << 10
    /// Small flushes in a row before zeros are written ahead.
    package var aheadAfterFlushes = 16
    /// Memory for the newest offset of each key in one run of compaction.
    package var compactionKeyBytes = 64 << 20
    package var plantedBugs: PlantedBugs = []

    package init(dataDirectory: String) {
        self.dataDirectory = dataDirectory
        #if DEBUG
            plantedBugs = .asked
        #endif
    }

    func has(_ bug: PlantedBugs) -> Bool {
        #if DEBUG
            plantedBugs.contains(bug)
        #else
            false
        #endif
    }
}
