import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

/// What all partitions of a data directory share.
final class StorageContext: Sendable {
    let options: StorageOptions
    let directory: DataDirectory
    let fileSystem: any FileSystem
    let clock: any Clock
    let executors: StorageExecutors
    let logger: Logger
    let metrics: StorageMetrics
    let marks: MarksWriter
    let flush: FlushScheduler
    let files: EvictionPool
    let indexes: EvictionPool
    let budgets: (durable: UnsyncedBudget, written: UnsyncedBudget)
    let messageIDs: MessageIDMemory
    let space: DiskSpaceGuard
    let retentionClock: Mutex<RetentionClock>
    let consumed = ConsumedSource()
    /// The engine stops: no work on closed segments begins any more, and what is under way ends soon.
    let isClosing = Atomic<Bool>(false)
    /// The broker's leader epoch: raised at each unclean start, written into every batch.
    private let epoch = Atomic<Int32>(0)
    /// A want of descriptors is over when none was felt for so long.
    private static let shortageNanoseconds: Int64 = 10_000_000_000
    private let fatalHandler: @Sendable (StorageError) -> Void
    private let nextReader = Atomic<Int>(0)
    private let failure = Mutex<StorageError?>(nil)
    /// When a descriptor was wanted in vain for the last time, monotonic ns; nil: all is well.
    private let shortage = Mutex<Int64?>(nil)

    init(
        options: StorageOptions, directory: DataDirectory, clock: any Clock,
        executors: StorageExecutors, logger: Logger, metrics: StorageMetrics, marks: MarksWriter,
        retentionClock: RetentionClock,
        onFatal: @escaping @Sendable (StorageError) -> Void
    ) {
        self.options = options
        self.directory = directory
        fileSystem = directory.fileSystem
        self.clock = clock
        self.executors = executors
        self.logger = logger
        self.metrics = metrics
        self.marks = marks
        self.retentionClock = Mutex(retentionClock)
        fatalHandler = onFatal
        flush = FlushScheduler(
            executors.flush, manyThreshold: options.syncFileSystemThreshold)
        files = EvictionPool(limit: options.openFilesMax)
        indexes = EvictionPool(limit: options.indexBytesMax)
        budgets = (
            UnsyncedBudget(limit: options.unsyncedDurableBytesMax),
            UnsyncedBudget(limit: options.unsyncedWrittenBytesMax)
        )
        messageIDs = MessageIDMemory(limit: options.messageIDBytesMax)
        space = DiskSpaceGuard(options, directory, logger)
    }

    var leaderEpoch: Int32 {
        get { epoch.load(ordering: .relaxed) }
        set { epoch.store(newValue, ordering: .relaxed) }
    }

    /// Writes marks to the page cache. When the disk is full they may be missing in the file until
    /// there is room: what they say is on disk all the same, and a start looks for itself.
    func recordMarks(_ entries: [MarkEntry]) throws(StorageError) {
        for _ in 0..<2 {
            do {
                return try marks.record(entries)
            } catch {
                guard error.code == .diskFull else { throw error }
                logger.warning("MARKS_NOT_WRITTEN", error.message)
                space.didFill(error.message)
            }
        }
    }

    /// Writes marks and returns when they are on disk. Blocks.
    /// - Throws: `diskFull` when there is no room even after the reserve was given back. A failed
    ///   sync is final, whoever asked for it.
    func syncMarks(_ entries: [MarkEntry]) throws(StorageError) {
        try withReserve { () throws(StorageError) in
            do throws(StorageError) {
                try marks.recordAndSync(entries)
            } catch {
                if error.isFatal { fail(error) }
                throw error
            }
        }
    }

    /// Runs what must be written also on a full disk: a second time when the reserve was given back.
    func withReserve(_ body: () throws(StorageError) -> Void) throws(StorageError) {
        do {
            try body()
        } catch {
            guard error.code == .diskFull else { throw error }
            space.didFill(error.message)
            try body()
        }
    }

    /// Reader executors in turn.
    func reader() -> any Executor {
        let index = nextReader.add(1, ordering: .relaxed).newValue
        return executors.readers[Int(UInt(bitPattern: index) % UInt(executors.readers.count))]
    }

    func budget(_ durability: Durability) -> UnsyncedBudget {
        switch durability {
        case .durable: budgets.durable
        case .written: budgets.written
        }
    }

    /// The first final failure of the process, if there was one.
    var failed: StorageError? { failure.withLock { $0 } }

    /// A sync, rename or truncation failed: nothing is acknowledged from here on, and the owner
    /// ends the process. Only the first call is told.
    func fail(_ error: StorageError) {
        let isFirst = failure.withLock { failure in
            if failure != nil { return false }
            failure = error
            return true
        }
        guard isFirst else { return }
        logger.error(
            "STORAGE_FAILED", "storage failed and will not be retried: \(error.message)")
        // Not here: the caller may hold a partition's lock. Nor where something else may hang.
        executors.failure.execute { [fatalHandler] in fatalHandler(error) }
    }

    /// No descriptor was free for a file; told once until it is over.
    func lacksDescriptors(_ error: StorageError) {
        let now = clock.monotonicNanoseconds()
        let isFirst = shortage.withLock { shortage in
            defer { shortage = now }
            return shortage == nil
        }
        guard isFirst else { return }
        logger.error(
            "DESCRIPTORS_SHORT", "no descriptor is free, work is put off: \(error.message)")
    }

    /// Housekeeping.
    func checkDescriptors() {
        let now = clock.monotonicNanoseconds()
        let isOver = shortage.withLock { shortage in
            guard let last = shortage, now - last >= Self.shortageNanoseconds else { return false }
            shortage = nil
            return true
        }
        if isOver { logger.notice("DESCRIPTORS_BACK", "descriptors are free again") }
    }
}
