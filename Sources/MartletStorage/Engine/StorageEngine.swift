package import MartletFormat
package import MartletSystem
package import MartletTelemetry
import Synchronization

/// All topics of one data directory. The one entrance to storage.
///
/// `topic`, `topics` and what the logs offer may be called anywhere; what changes topics blocks, and
/// belongs on an executor where no long work is in its way.
package final class StorageEngine: Sendable {
    struct Catalog {
        var byID: [TopicID: Topic] = [:]
        var byName: [String: Topic] = [:]
    }

    let context: StorageContext
    let store: any MetadataStore
    let catalog = Mutex(Catalog())
    /// Orders what changes topics.
    let changes = Mutex<Void>(())
    private let lock: any FileLock
    private let report = Mutex(StartReport())
    let isClosed = Atomic<Bool>(false)
    /// False when a topic or partition could not be opened: what the last run left of it is still to
    /// be recovered, so this run must not end as a clean one.
    let isWhole = Atomic<Bool>(true)
    let lastClockSave = Atomic<Int64>(0)
    /// A round of upkeep is under way, or about to be.
    let isRoundAsked = Atomic<Bool>(false)
    package let scrubber: Scrubber

    /// Runs `count` calls of a body, in parallel if it can; returns when all are done.
    package typealias Parallel = @Sendable (_ count: Int, _ body: @Sendable (Int) -> Void) -> Void

    /// Opens the data directory and recovers every log. Blocks.
    ///
    /// - Parameters:
    ///   - parallel: How recovery spreads over threads.
    ///   - onFatal: Told once, on a storage thread, when a sync failed: end the process (74).
    /// - Throws: `notUsable` when the directory is locked, foreign, or of a newer format.
    package static func open(
        _ options: StorageOptions, fileSystem: any FileSystem, clock: any Clock,
        executors: StorageExecutors, logger: Logger = .disabled,
        metrics: MetricsRegistry = MetricsRegistry(),
        parallel: @escaping Parallel = { count, body in for index in 0..<count { body(index) } },
        onFatal: @escaping @Sendable (StorageError) -> Void = { _ in }
    ) throws(StorageError) -> StorageEngine {
        let directory = DataDirectory(options.dataDirectory, fileSystem)
        let lock = try directory.open(logger)
        let started = clock.monotonicNanoseconds()
        var loaded = try MarksLoader(fileSystem: fileSystem, directory: options.dataDirectory)
            .load()
        let store = try DirectoryMetadataStore(directory: directory)
        let ids = try store.identifiers()
        // A directory without a mark and without a topic is a new one: there is nothing to be
        // unclean about.
        let isNew = loaded.generations.isEmpty && ids.isEmpty
        let isClean = loaded.table.isClean || isNew
        if !isClean { try store.settle() }
        loaded.table.keep(topics: Set(ids))
        let relay = FatalRelay(onFatal)
        let marks = try openMarks(options, directory, executors, loaded, relay)
        let context = StorageContext(
            options: options, directory: directory, clock: clock, executors: executors,
            logger: logger, metrics: StorageMetrics(metrics), marks: marks,
            retentionClock: RetentionClock(
                saved: loaded.table.retentionClock, wall: clock.wallMilliseconds(),
                monotonic: clock.monotonicNanoseconds() / 1_000_000),
            onFatal: { error in relay.fatal(error) })
        let engine = StorageEngine(
            context: context, store: store, lock: lock)
        relay.attach(engine)
        context.leaderEpoch = loaded.table.epoch
        var opening = EngineOpening(
            engine: engine, table: loaded.table, isClean: isClean, parallel: parallel)
        if loaded.damagedSlots > 0 {
            opening.events.append(
                RecoveryEvent(
                    .marks,
                    detail:
                        "marks that could not be read and were passed over: \(loaded.damagedSlots)")
            )
        }
        var report = try opening.run()
        engine.isWhole.store(opening.isWhole, ordering: .relaxed)
        report.milliseconds = (clock.monotonicNanoseconds() - started) / 1_000_000
        let final = report
        engine.report.withLock { $0 = final }
        context.space.check()
        context.space.makeReserve()
        engine.scheduleTick()
        engine.scheduleWrittenSync()
        return engine
    }

    /// A broker must be able to start on a full disk, or nothing could be deleted from it: then the
    /// reserve is given back.
    private static func openMarks(
        _ options: StorageOptions, _ directory: DataDirectory, _ executors: StorageExecutors,
        _ loaded: MarksLoader.Result, _ relay: FatalRelay
    ) throws(StorageError) -> MarksWriter {
        func open() throws(StorageError) -> MarksWriter {
            try MarksWriter(
                fileSystem: directory.fileSystem, directory: options.dataDirectory,
                options: MarksOptions(
                    rewriteBytes: options.marksRewriteBytes, aheadBytes: options.marksAheadBytes),
                executor: executors.marks, loaded: loaded,
                onFatal: { error in relay.marksFailed(error) })
        }
        do {
            return try open()
        } catch {
            guard error.code == .diskFull else { throw error }
            try storage("giving back the reserve") { () throws(SystemError) in
                if try directory.fileSystem.status(directory.reserve) != nil {
                    try directory.fileSystem.removeFile(directory.reserve)
                }
            }
            return try open()
        }
    }

    private init(context: StorageContext, store: any MetadataStore, lock: any FileLock) {
        self.context = context
        scrubber = Scrubber(context.options)
        self.store = store
        self.lock = lock
    }

    deinit {
        context.files.clear()
        context.indexes.clear()
    }

    package var startReport: StartReport { report.withLock { $0 } }
    package var isWritable: Bool { context.space.isWritable && context.failed == nil }
    package var space: DiskSpaceGuard { context.space }
    package var leaderEpoch: Int32 { context.leaderEpoch }
    /// Bytes that are written but not on disk.
    package var unsyncedBytes: Int64 {
        context.budgets.durable.bytes + context.budgets.written.bytes
    }

    package func topic(named name: String) -> Topic? { catalog.withLock { $0.byName[name] } }
    package func topic(id: TopicID) -> Topic? { catalog.withLock { $0.byID[id] } }

    /// All topics in order of their names.
    package func topics() -> [Topic] {
        catalog.withLock { Array($0.byID.values) }.sorted { $0.name < $1.name }
    }

    /// Nothing is acknowledged any more: everyone who waits is told. The end does not wait long for
    /// logs that an append holds: on such a disk it may never come back.
    func fail(_ error: StorageError) {
        var left = topics().flatMap(\.partitions).filter { !$0.failIfFree(error) }
        for _ in 0..<Self.failTries where !left.isEmpty {
            let now = SystemClock().monotonicNanoseconds()
            PreciseWait.until(monotonicNanoseconds: now + Self.failPauseNanoseconds)
            left.removeAll { $0.failIfFree(error) }
        }
    }

    private static let failTries = 100
    private static let failPauseNanoseconds: Int64 = 10_000_000

    /// Stops in order: everything appended is synced, producers' states are saved, and the marks
    /// end with `clean`. Blocks. The caller has stopped appending before. The directory is another's
    /// only when nothing here works on its files any more.
    package func close() throws(StorageError) {
        guard !isClosed.exchange(true, ordering: .relaxed) else { return }
        context.isClosing.store(true, ordering: .relaxed)
        let logs = topics().flatMap(\.partitions)
        for log in logs {
            log.dropAhead()
            log.writeSnapshot()
        }
        let areSynced = logs.map { $0.flush() }.allSatisfy { $0 }
        if let failed = context.failed { throw failed }
        guard areSynced else {
            throw StorageError(
                .noDescriptors,
                "not all could be synced: no descriptor was free, or no space for a segment's name")
        }
        var clock = MarkEntry(.clock)
        clock.time = context.retentionClock.withLock { $0.now }
        try context.marks.recordAndSync([clock])
        let isRecovered = logs.allSatisfy { !$0.isReadOnly }
        if isWhole.load(ordering: .relaxed), isRecovered {
            try context.marks.recordAndSync([MarkEntry(.clean)])
        }
        for log in logs { log.upkeepLock.withLock { _ in } }
        lock.release()
    }
}

/// Hands the first fatal error to the engine's logs and then to the owner. Weak, because the engine
/// owns what holds the relay.
private final class FatalRelay: Sendable {
    private struct Target {
        weak var engine: StorageEngine?
    }

    private let target = Mutex(Target())
    private let onFatal: @Sendable (StorageError) -> Void

    init(_ onFatal: @escaping @Sendable (StorageError) -> Void) { self.onFatal = onFatal }

    func attach(_ engine: StorageEngine) { target.withLock { $0.engine = engine } }

    /// The marks are below the context, and the first to fail is the one that stops it.
    func marksFailed(_ error: StorageError) {
        if let engine = target.withLock({ $0.engine }) {
            engine.context.fail(error)
        } else {
            onFatal(error)
        }
    }

    func fatal(_ error: StorageError) {
        target.withLock { $0.engine }?.fail(error)
        onFatal(error)
    }
}
