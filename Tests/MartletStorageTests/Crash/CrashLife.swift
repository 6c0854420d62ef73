import MartletFormat
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import Synchronization

@testable import MartletStorage

/// What a scenario does and how the broker is set up for it.
struct Scenario: Sendable {
    enum Step: CaseIterable, Sendable {
        case send, pump, settle, read, tick, resend, deleteRecords, create, delete, alter,
            addPartitions
        case restart, kill
    }

    var name: String
    /// How likely each step is.
    var weights: [Step: Int]
    var steps: Int
    /// Partitions and settings of the topics that are there from the start.
    var topics: [(partitions: Int32, settings: [String: String])]
    var producersPerLog = 1
    var valueBytes = 200
    /// Records have message ids, and messages of other batches and producers are sent again.
    var repeats = false
    var change: @Sendable (inout StorageOptions) -> Void = { _ in }
}

/// One run of the engine on a simulated disk, from a start to a crash.
final class CrashLife {
    static let directory = "/data"

    let disk: CrashDisk
    let world: World
    let scenario: Scenario
    private(set) var clock: ManualClock
    private(set) var executors: [ManualExecutor] = []
    var random: SeededRandom
    var engine: StorageEngine?
    var bugs: PlantedBugs
    /// The newest start threw.
    private(set) var failedToOpen = false

    init(
        _ disk: DiskState, _ model: Model, _ scenario: Scenario, seed: UInt64, bugs: PlantedBugs
    ) {
        self.disk = CrashDisk(disk)
        world = World(model)
        self.scenario = scenario
        self.bugs = bugs
        random = SeededRandom(seed: seed)
        clock = ManualClock(wallMilliseconds: model.wall)
    }

    deinit { forgetJobs() }

    /// Jobs and timers of a run that is over are never done. The engine would stay with them:
    /// timers hold executors, and those hold the clock.
    private func forgetJobs() {
        clock.forgetTimers()
        for executor in executors { executor.forgetJobs() }
    }

    /// Starts the engine on what the disk holds.
    func open() throws {
        forgetJobs()
        clock = ManualClock(wallMilliseconds: clock.wallMilliseconds())
        let flush = (0..<2).map { ManualExecutor(clock: clock, label: "flush \($0)") }
        let readers = [ManualExecutor(clock: clock, label: "reader")]
        let housekeeping = ManualExecutor(clock: clock, label: "housekeeping")
        let marks = ManualExecutor(clock: clock, label: "marks")
        executors = flush + readers + [housekeeping, marks]
        var options = StorageOptions(dataDirectory: Self.directory)
        options.defaults.segmentBytes = 2048
        options.diskFreeLow = 1
        options.diskFreeHigh = 1
        options.diskReserve = 0
        options.marksAheadBytes = 1024
        options.indexIntervalBytes = 500
        options.aheadBytes = 1024
        options.aheadSliceBytes = 512
        options.aheadAfterFlushes = 2
        options.syncFileSystemThreshold = 0
        options.plantedBugs.formUnion(bugs)
        scenario.change(&options)
        failedToOpen = true
        disk.forgetFailures()
        world.forgetFailures()
        engine = nil
        engine = try StorageEngine.open(
            options, fileSystem: disk, clock: clock,
            executors: StorageExecutors(
                flush: flush, readers: readers, housekeeping: housekeeping, marks: marks,
                failure: marks),
            onFatal: { [world] _ in world.becomeFatal() })
        for (index, _) in world.model.producers.enumerated() {
            world.change { model in
                for batch in model.producers[index].unacked.indices {
                    model.producers[index].unacked[batch].isSubmitted = false
                }
            }
        }
        failedToOpen = false
        resolveTopics()
    }

    /// What was under way when the last life ended is now done, or never was.
    private func resolveTopics() {
        guard let engine else { return }
        for (id, topic) in world.model.topics.sorted(by: { $0.key.low < $1.key.low }) {
            guard let found = engine.topic(id: id) else {
                if topic.phase != .gone { world.change { $0.topics[id]?.phase = .gone } }
                continue
            }
            guard topic.phase != .gone else { continue }
            world.change { model in
                model.topics[id]?.phase = .there
                model.topics[id]?.partitions = found.partitionCount...found.partitionCount
                let retention = found.settings.retentionBytes
                model.topics[id]?.retentionBytes = retention...retention
            }
        }
    }

    func log(_ name: LogName) -> PartitionLog? {
        engine?.topic(id: name.topic)?.partition(name.partition)
    }

    // MARK: jobs

    /// Runs up to `count` waiting jobs in an order that the seed chooses.
    func pump(_ count: Int) {
        for _ in 0..<count {
            let ready = executors.filter { $0.pendingCount > 0 }
            if ready.isEmpty { return }
            ready[random.below(ready.count)].runOne()
        }
    }

    func pumpAll() { _ = ManualExecutor.runAll(executors, random: &random, limit: 100_000) }

    /// The log must take appends after a recovery: everything in flight gets through.
    func drain() {
        for index in world.model.producers.indices { submit(index) }
        for _ in 0..<60 {
            pumpAll()
            if world.model.producers.allSatisfy({ $0.unacked.isEmpty }) { break }
            for index in world.model.producers.indices { submit(index) }
        }
        pumpAll()
        let model = world.model
        for producer in model.producers
        where model.topics[producer.log.topic]?.phase == .there && !producer.unacked.isEmpty {
            guard log(producer.log) != nil else { continue }
            world.change { model in
                model.violate(
                    "liveness",
                    "\(producer.log) producer \(producer.id): \(producer.unacked.count) batches are never acknowledged, the first \(producer.unacked[0].isSubmitted ? "taken" : "not taken")"
                )
            }
        }
    }

    // MARK: producers

    func addProducers(_ name: LogName) {
        for _ in 0..<scenario.producersPerLog {
            world.change { model in
                let id = Int64(model.producers.count + 1)
                model.producers.append(ModelProducer(id: id, log: name))
            }
        }
    }

    /// A producer makes a batch when it has fewer than five in flight, and offers what it has.
    func send(_ index: Int) {
        let producer = world.model.producers[index]
        if producer.unacked.count < 5 {
            let count = 1 + random.below(3)
            let filler = random.below(scenario.valueBytes)
            world.change { model in
                let sequence = model.producers[index].nextSequence
                var values = (0..<count).map { item in
                    Self.value(producer.id, producer.epoch, sequence + Int32(item), filler)
                }
                let known = model.logs[producer.log]?.messages ?? []
                if scenario.repeats, let old = known.randomElement(using: &random) {
                    values[random.below(count)] = old
                }
                model.producers[index].nextSequence += Int32(count)
                model.producers[index].unacked.append(
                    SentBatch(epoch: producer.epoch, sequence: sequence, values: values))
                model.logs[producer.log, default: ModelLog()].sent.formUnion(values)
                model.logs[producer.log, default: ModelLog()].messages += values
            }
        }
        submit(index)
    }

    static func value(_ producer: Int64, _ epoch: Int16, _ sequence: Int32, _ filler: Int) -> String
    {
        let letter = String(UnicodeScalar(UInt8(97 + Int(sequence) % 26)))
        return "\(producer).\(epoch).\(sequence)." + String(repeating: letter, count: filler)
    }

    /// Offers every batch that the log has not taken in this life, in order.
    func submit(_ index: Int) {
        let producer = world.model.producers[index]
        guard let log = log(producer.log) else { return }
        for batch in producer.unacked where !batch.isSubmitted {
            guard offer(batch, index, log) else { return }
        }
    }

    private func offer(_ sent: SentBatch, _ index: Int, _ log: PartitionLog) -> Bool {
        let producer = world.model.producers[index]
        let slab = slab(of: sent, producer.id)
        let outcome: AppendOutcome
        do {
            let header = try RecordBatch.validateForAppend(slab.bytes)
            outcome = log.append(slab, 0..<slab.count, header, retry: NoRetry())
        } catch {
            world.change { $0.violate("harness", "batch not valid: \(error)") }
            return false
        }
        switch outcome {
        case .appended(let receipt), .duplicate(let receipt):
            var isNew = false
            if case .appended = outcome {
                isNew = true
                if world.isFatal {
                    world.change { $0.violate("append-after-failure", "\(receipt)") }
                }
            }
            accepted(sent, index, receipt, isNew: isNew)
            log.whenDurable(
                receipt.endOffset, AckWaiter(world, index, sent.epoch, sent.sequence))
            return true
        case .later: return false
        case .refused(let refusal):
            refused(refusal, sent, index)
            return false
        }
    }

    private func slab(of sent: SentBatch, _ producer: Int64) -> ByteSlab {
        scenario.repeats
            ? identified(
                sent.values, ids: sent.values.map(Self.message), key: "k", producer: producer,
                epoch: sent.epoch, sequence: sent.sequence)
            : batch(
                sent.values, key: "k", producer: producer, epoch: sent.epoch,
                sequence: sent.sequence)
    }

    /// What of a value says which message it is.
    private static func message(_ value: String) -> String {
        value.split(separator: ".").prefix(3).joined(separator: ".")
    }

    private func accepted(_ sent: SentBatch, _ index: Int, _ receipt: AppendReceipt, isNew: Bool) {
        world.change { model in
            guard
                let place = model.producers[index].unacked.firstIndex(where: {
                    $0.epoch == sent.epoch && $0.sequence == sent.sequence
                })
            else { return }
            if receipt.endOffset - receipt.baseOffset != Int64(sent.values.count) {
                model.violate("ack-offset", "receipt \(receipt) for \(sent.values.count) records")
            }
            let places = receipt.places(of: sent.values.count)
            model.producers[index].unacked[place].offset = receipt.baseOffset
            model.producers[index].unacked[place].places = places
            model.producers[index].unacked[place].isSubmitted = true
            model.producers[index].unacked[place].isWritten = true
            let name = model.producers[index].log
            for (offset, value) in zip(places, sent.values) {
                guard offset >= 0 else {
                    model.violate("ack-offset", "\(name): where \(short(value)) is is not known")
                    continue
                }
                if let known = model.logs[name]?.fixed[offset] ?? model.logs[name]?.read[offset],
                    known != value, isNew
                {
                    model.violate(
                        "offset-conflict",
                        "\(name) gave \(offset) again, for \(short(value)); was \(short(known))")
                }
                model.logs[name, default: ModelLog()].written[offset] = value
            }
        }
    }

    private func refused(_ refusal: AppendRefusal, _ sent: SentBatch, _ index: Int) {
        switch refusal {
        case .diskFull, .noDescriptors, .failed, .offline: return
        case .outOfOrderSequence, .unknownProducer:
            let log = world.model.producers[index].log
            guard world.model.topics[log.topic]?.isWritten == true else { break }
            // Records that were only `written` may be gone: the producer goes on in a new epoch, and
            // never sends again what it does not know of.
            world.change { model in
                model.producers[index].epoch += 1
                model.producers[index].nextSequence = 0
                model.producers[index].unacked = []
                model.producers[index].acked = []
            }
            return
        case .duplicateSequence, .staleEpoch, .invalidTimestamp, .tooLarge, .nullKey,
            .messageIDTooLong, .tooManyMessageIDs:
            break
        }
        world.change { model in
            let producer = model.producers[index]
            model.violate(
                "sequence",
                "producer \(producer.id) epoch \(sent.epoch) sequence \(sent.sequence): \(refusal)")
        }
    }

    /// Sends an acknowledged batch again: it must be known, at the same offset.
    func resend(_ index: Int) {
        let producer = world.model.producers[index]
        // A batch whose receipt a crash took with it may be in the log all the same.
        let inWindow = 5 - producer.unacked.count
        guard let log = log(producer.log), inWindow > 0,
            let sent = producer.acked.suffix(inWindow).randomElement(using: &random),
            sent.epoch == producer.epoch, let offset = sent.offset
        else { return }
        let slab = slab(of: sent, producer.id)
        let outcome: AppendOutcome
        do {
            let header = try RecordBatch.validateForAppend(slab.bytes)
            outcome = log.append(slab, 0..<slab.count, header, retry: NoRetry())
        } catch { return }
        switch outcome {
        case .later: return
        case .duplicate(let receipt) where receipt.baseOffset == offset: return
        case .appended, .duplicate, .refused(.outOfOrderSequence), .refused(.unknownProducer),
            .refused(.duplicateSequence), .refused(.staleEpoch), .refused(.invalidTimestamp),
            .refused(.tooLarge), .refused(.nullKey), .refused(.messageIDTooLong),
            .refused(.tooManyMessageIDs):
            world.change { model in
                model.violate(
                    "duplicate",
                    "\(producer.log) batch \(short(sent.values[0])) sent again: \(outcome), is at \(offset)"
                )
            }
        case .refused(.diskFull), .refused(.noDescriptors), .refused(.offline), .refused(.failed):
            return
        }
    }
}
