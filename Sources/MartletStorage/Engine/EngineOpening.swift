import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

/// The start of an engine: topics from their directories, logs from their files.
struct EngineOpening {
    let engine: StorageEngine
    let table: MarkTable
    let isClean: Bool
    let parallel: StorageEngine.Parallel
    var events: [RecoveryEvent] = []
    /// Whether everything that is there could be opened.
    private(set) var isWhole = true

    private var context: StorageContext { engine.context }

    init(
        engine: StorageEngine, table: MarkTable, isClean: Bool,
        parallel: @escaping StorageEngine.Parallel
    ) {
        self.engine = engine
        self.table = table
        self.isClean = isClean
        self.parallel = parallel
    }

    private struct Job: Sendable {
        let metadata: TopicMetadata
        let settings: TopicSettings
        let partition: Int32
    }

    /// What recovery has to say of a partition.
    private struct Marks {
        var entries: [MarkEntry]
        let endBelowGap: MarkEntry

        mutating func leaveGap() { entries = [endBelowGap] }
    }

    private enum Outcome {
        case opened(LogRecovery.Result)
        case failed(StorageError)
    }

    mutating func run() throws(StorageError) -> StartReport {
        let jobs = jobs(try readTopics())
        let outcomes = recover(jobs)
        var logs: [TopicID: [PartitionLog]] = [:]
        var gaps: [TopicID: TopicMetadata] = [:]
        var marks: [PartitionKey: Marks] = [:]
        var epoch = table.epoch
        for (job, outcome) in zip(jobs, outcomes) {
            let log = try adopt(job, outcome, &gaps, &marks, &epoch)
            logs[job.metadata.id, default: []].append(log)
        }
        try saveGaps(&gaps, logs, &marks)
        try raiseEpoch(
            epoch,
            jobs.flatMap {
                let key = PartitionKey(topic: $0.metadata.id, partition: $0.partition)
                return marks[key]?.entries ?? []
            }
        )
        register(jobs, logs, gaps)
        removeDeletedLater()
        for event in events { log(event) }
        return StartReport(isClean: isClean, leaderEpoch: context.leaderEpoch, events: events)
    }

    private mutating func readTopics() throws(StorageError) -> [TopicMetadata] {
        var topics: [TopicMetadata] = []
        for stored in try engine.store.load() {
            switch stored {
            case .topic(let metadata): topics.append(metadata)
            case .unreadable(let id, let reason): takeOffline(id, named: nil, reason)
            case .stranger(let path):
                events.append(
                    RecoveryEvent(.stranger, detail: "\(path) is not ours and was left alone"))
            }
        }
        // Which of two topics of one name is meant, nobody can tell.
        var names: [String: Int] = [:]
        for topic in topics { names[topic.name, default: 0] += 1 }
        for topic in topics where names[topic.name] != 1 {
            takeOffline(
                topic.id, named: topic.name, "another topic has the name \"\(topic.name)\" too")
        }
        return topics.filter { names[$0.name] == 1 }
    }

    /// Nothing of a topic that cannot be served is touched. Without a name it is known by its id
    /// alone, and no topic is made meanwhile: it could get the same name.
    private mutating func takeOffline(_ id: TopicID, named name: String?, _ reason: String) {
        isWhole = false
        let metadata = TopicMetadata(id: id, name: name ?? id.description, partitions: 0)
        let topic = Topic(
            metadata, settings: TopicSettings(), partitions: [], offline: .broken(reason),
            hasName: name != nil)
        engine.catalog.withLock { catalog in
            catalog.byID[id] = topic
            if let name { catalog.byName[name] = topic }
        }
        events.append(RecoveryEvent(.offline, topic: topic.name, detail: reason))
    }

    private mutating func jobs(_ topics: [TopicMetadata]) -> [Job] {
        var jobs: [Job] = []
        for metadata in topics {
            do {
                let settings = try metadata.settings(over: context.options.defaults)
                for partition in 0..<metadata.partitions {
                    jobs.append(Job(metadata: metadata, settings: settings, partition: partition))
                }
            } catch {
                takeOffline(
                    metadata.id, named: metadata.name,
                    "topic \(metadata.name): \(error.message)")
            }
        }
        return jobs
    }

    private func recover(_ jobs: [Job]) -> [Outcome] {
        let results = Mutex<[Int: Outcome]>([:])
        let (context, table, isClean) = (context, table, isClean)
        parallel(jobs.count) { index in
            let job = jobs[index]
            let key = PartitionKey(topic: job.metadata.id, partition: job.partition)
            let recovery = LogRecovery(
                key: key, topicName: job.metadata.name,
                directory: context.directory.partition(key), settings: job.settings,
                marks: table.partitions[key] ?? PartitionMarks(),
                gaps: job.metadata.gaps[job.partition] ?? [],
                skipped: job.metadata.skipped[job.partition] ?? [], isClean: isClean,
                context: context)
            do throws(StorageError) {
                let result = try recovery.run()
                results.withLock { $0[index] = .opened(result) }
            } catch {
                results.withLock { $0[index] = .failed(error) }
            }
        }
        let missing = StorageError(.ioFailed, "recovery did not run")
        let found = results.withLock { $0 }
        return jobs.indices.map { found[$0] ?? .failed(missing) }
    }

    private mutating func adopt(
        _ job: Job, _ outcome: Outcome, _ gaps: inout [TopicID: TopicMetadata],
        _ marks: inout [PartitionKey: Marks], _ epoch: inout Int32
    ) throws(StorageError) -> PartitionLog {
        let key = PartitionKey(topic: job.metadata.id, partition: job.partition)
        let directory = context.directory.partition(key)
        switch outcome {
        case .opened(let result):
            events += result.events
            epoch = max(epoch, result.appender.leaderEpoch)
            marks[key] = Marks(entries: result.marks, endBelowGap: result.endBelowGap)
            if result.hasNewGap {
                var metadata = gaps[key.topic] ?? job.metadata
                metadata.gaps[job.partition] = result.state.gaps
                gaps[key.topic] = metadata
            }
            return PartitionLog(
                key: key, directory: directory, context: context, appender: result.appender,
                state: result.state)
        case .failed(let error):
            // Without descriptors a start later does better.
            guard !error.isFatal, error.code != .noDescriptors else { throw error }
            isWhole = false
            events.append(
                RecoveryEvent(
                    .offline, topic: job.metadata.name, partition: job.partition,
                    detail: error.message))
            return .offline(key, directory, context, job.settings, error.message)
        }
    }

    /// A new gap is on disk before anything is appended behind it. Without room for that its topic is
    /// served to readers until there is some, and another start finds what this one found.
    private mutating func saveGaps(
        _ gaps: inout [TopicID: TopicMetadata], _ logs: [TopicID: [PartitionLog]],
        _ marks: inout [PartitionKey: Marks]
    ) throws(StorageError) {
        for (id, metadata) in gaps.sorted(by: { $0.value.name < $1.value.name }) {
            do throws(StorageError) {
                try context.withReserve { () throws(StorageError) in
                    try engine.store.update(metadata)
                }
            } catch {
                guard error.code == .diskFull else { throw error }
                gaps[id] = nil
                for log in logs[id] ?? [] {
                    marks[log.key]?.leaveGap()
                    let reason = "no space for topic.meta (\(error.message))"
                    log.appender.withLock { $0.readOnly = reason }
                    events.append(
                        RecoveryEvent(
                            .readOnly, topic: metadata.name, partition: log.partition,
                            from: log.view.logEnd,
                            detail:
                                "\(reason): readers are served, nothing is appended until there is some"
                        ))
                }
            }
        }
    }

    /// The new epoch and the recovered ends are on disk before the first append.
    private func raiseEpoch(_ found: Int32, _ marks: [MarkEntry]) throws(StorageError) {
        var entries = marks
        context.leaderEpoch = found
        if !isClean || found == 0 {
            context.leaderEpoch = found + 1
            var entry = MarkEntry(.epoch)
            entry.leaderEpoch = context.leaderEpoch
            entries.append(entry)
        }
        guard !entries.isEmpty else { return }
        try context.withReserve { () throws(StorageError) in
            try context.marks.recordAndSync(entries)
        }
    }

    private func register(
        _ jobs: [Job], _ logs: [TopicID: [PartitionLog]], _ gaps: [TopicID: TopicMetadata]
    ) {
        for job in jobs where job.partition == 0 {
            let id = job.metadata.id
            let topic = Topic(
                gaps[id] ?? job.metadata, settings: job.settings, partitions: logs[id] ?? [])
            engine.catalog.withLock { catalog in
                catalog.byID[id] = topic
                catalog.byName[topic.name] = topic
            }
        }
    }

    private func removeDeletedLater() {
        let engine = engine
        context.executors.upkeep.execute { engine.removeDeleted() }
    }

    private func log(_ event: RecoveryEvent) {
        context.logger.warning(
            "RECOVERY", "\(event.kind.rawValue): \(event.detail)",
            [
                ("topic", .string(event.topic)), ("partition", .integer(Int64(event.partition))),
                ("from", .integer(event.from)), ("to", .integer(event.to)),
                ("bytes", .integer(event.bytes)),
            ])
    }
}

extension PartitionLog {
    /// A partition whose files cannot be opened: refused with the reason, untouched.
    static func offline(
        _ key: PartitionKey, _ directory: String, _ context: StorageContext,
        _ settings: TopicSettings, _ reason: String
    ) -> PartitionLog {
        let path = "\(directory)/\(LogFileNames.log(0, generation: 0))"
        let segment = Segment(
            key: key, base: 0, generation: 0,
            log: CachedFile(path, context.fileSystem, context.files),
            index: SparseIndex(
                IndexHeader(topic: key.topic, partition: key.partition, base: 0, generation: 0),
                CachedFile(path, context.fileSystem, context.files), context.indexes),
            size: 0, isNamed: true)
        let end = LogEnd.start(of: segment)
        var state = LogState(
            segments: [segment], logStart: 0, appended: end, durable: end, visible: end,
            durability: settings.durability, leaderEpoch: 0)
        state.offline = .broken(reason)
        return PartitionLog(
            key: key, directory: directory, context: context,
            appender: Appender(
                settings: settings, segment: segment, tail: .first(of: 0), leaderEpoch: 0),
            state: state)
    }
}
