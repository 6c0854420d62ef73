import MartletFormat
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire
import Synchronization

/// Which principal each producer id belongs to, and its epoch. The truth is the internal topic
/// `$producers`; this is its newest state in memory.
///
/// An id is the offset of the record that registers it, so it is never given twice, and it is told
/// only when that record is durable.
final class ProducerRegistry: Sendable {
    static let topicName = "$producers"

    private struct Entry {
        var principal: Int32
        var epoch: Int16
        /// Turns with every use; the entries with the lowest go first when there are too many.
        var lastUse: Int64
    }

    private struct State {
        var entries: [Int64: Entry] = [:]
        var principals: [String] = []
        /// Of a replay: the offset of its last record.
        var uses: Int64 = -1
    }

    let log: PartitionLog
    private let countMax: Int
    private let state = Mutex(State())

    init(log: PartitionLog, countMax: Int) {
        self.log = log
        self.countMax = max(countMax, 1)
    }

    var count: Int { state.withLock { $0.entries.count } }

    /// Refuses a batch whose producer id is not the principal's, or not of the newest epoch.
    func check(
        _ id: Int64, epoch: Int16, principal: String
    ) throws(TopicCatalog.Refusal) {
        let found = state.withLock { state -> (owner: String, epoch: Int16)? in
            guard var entry = state.entries[id] else { return nil }
            state.uses += 1
            entry.lastUse = state.uses
            state.entries[id] = entry
            return (state.principals[Int(entry.principal)], entry.epoch)
        }
        guard let found else { throw .init(.unknownProducer) }
        guard found.owner == principal else {
            throw .init(.notAuthorized, "the producer id belongs to another principal")
        }
        guard epoch <= found.epoch else {
            throw .init(.unknownProducer, "the producer never got epoch \(epoch)")
        }
        guard epoch == found.epoch else {
            throw .init(.staleProducerEpoch, "the producer's epoch is \(found.epoch) now")
        }
    }

    /// Takes the next epoch of an id. It holds at once, so that no other request can take the same;
    /// `takeBack` undoes it when it could not be made durable.
    func takeNextEpoch(
        of id: Int64, after epoch: Int16, principal: String
    ) throws(TopicCatalog.Refusal) -> Int16 {
        try check(id, epoch: epoch, principal: principal)
        guard epoch < Int16.max else {
            throw .init(.staleProducerEpoch, "the epochs of this id are used up: take a new id")
        }
        return state.withLock { state in
            state.entries[id]?.epoch = epoch + 1
            return epoch + 1
        }
    }

    func takeBack(_ epoch: Int16, of id: Int64) {
        state.withLock { state in
            guard state.entries[id]?.epoch == epoch else { return }
            state.entries[id]?.epoch = epoch - 1
        }
    }

    /// A record of the topic is durable: what it says holds.
    func apply(_ record: ProducerRecord, at offset: Int64) {
        state.withLock { state in
            let id =
                record.kind == ProducerRecord.Kind.registered.rawValue
                ? offset : record.producerID
            let principal =
                state.principals.firstIndex(of: record.principal) ?? state.principals.count
            if principal == state.principals.count { state.principals.append(record.principal) }
            state.uses = max(state.uses + 1, offset)
            state.entries[id] = Entry(
                principal: Int32(clamping: principal), epoch: record.epoch, lastUse: state.uses)
            if state.entries.count > countMax { forgetOldest(&state) }
        }
    }

    /// Forgets a hundredth at once, so that a search through all of them is rare.
    private func forgetOldest(_ state: inout State) {
        let surplus = state.entries.count - countMax + countMax / 100
        let oldest = state.entries.sorted { $0.value.lastUse < $1.value.lastUse }.prefix(surplus)
        for (id, _) in oldest { state.entries[id] = nil }
    }
}

extension ProducerRegistry {
    private static let readBytes = 1_024 * 1_024

    /// Opens the registry: makes the topic on the first start, else reads all of it. Blocks.
    static func open(
        _ engine: StorageEngine, countMax: Int, pool: SlabPool, logger: Logger
    ) throws(StorageError) -> ProducerRegistry {
        let topic: Topic
        if let found = engine.topic(named: topicName) {
            topic = found
        } else {
            let settings = [
                "retention.ms": "-1", "retention.bytes": "-1", "segment.bytes": "16777216",
                "durability": "durable", "cleanup.policy": "delete",
            ]
            let made = try engine.createTopic(
                name: topicName, partitions: 1, settings: settings, id: .random(),
                isInternal: true)
            guard let made else { throw StorageError(.offline, "\(topicName) was not made") }
            topic = made
        }
        guard let log = topic.partition(0) else {
            throw StorageError(
                .offline,
                "\(topicName) has no partition: \(topic.offlineReason?.text ?? "it is offline")")
        }
        let registry = ProducerRegistry(log: log, countMax: countMax)
        try registry.replay(pool, logger)
        try registry.letGo(logger)
        return registry
    }

    /// The next replay will not keep what this one forgot, so the records up to the oldest one that
    /// it kept can go, once they are as many as those that stay may be. Ids go on above them. Blocks.
    private func letGo(_ logger: Logger) throws(StorageError) {
        let oldest = state.withLock { $0.entries.values.lazy.map(\.lastUse).min() }
        guard let oldest, oldest - log.view.logStart >= Int64(countMax) else { return }
        do throws(StorageError) {
            _ = try log.deleteRecords(before: oldest)
        } catch {
            guard !error.isFatal else { throw error }
            logger.warning("PRODUCERS_NOT_CUT", "\(Self.topicName) keeps all: \(error.message)")
        }
    }

    private func replay(_ pool: SlabPool, _ logger: Logger) throws(StorageError) {
        var offset = log.view.logStart
        // Whether a plain read at `offset` was in vain.
        var isChecking = false
        while true {
            let outcome =
                isChecking
                ? try log.verifiedRead(from: offset, maxBytes: Self.readBytes)
                : try log.planFromDisk(from: offset, maxBytes: Self.readBytes)
            switch outcome {
            case .data(let plan):
                do throws(StorageError) {
                    try replay(plan, pool)
                } catch {
                    // Rot: a read with every check quarantines it and gives what is whole.
                    guard error.code == .corrupt, !isChecking else { throw error }
                    isChecking = true
                    continue
                }
                offset = plan.nextOffset
            case .needsDisk, .needsVerification:
                guard !isChecking else {
                    throw StorageError(.corrupt, "\(Self.topicName) at offset \(offset)")
                }
                isChecking = true
                continue
            case .gap(let gap, _), .lost(let gap, _):
                offset = gap.upperBound
            case .corrupt(let ranges, _):
                // The ids in there get UNKNOWN_PRODUCER, and their clients take new ones.
                logger.error(
                    "PRODUCERS_DAMAGED", "registrations of producers are damaged",
                    [("from", LogValue(offset))])
                offset = max(ranges.map(\.upperBound).max() ?? offset, offset + 1)
            case .outOfRange(let view):
                guard offset < view.logStart else { return }
                offset = view.logStart
            case .atEnd: return
            case .offline(let reason):
                throw StorageError(.offline, "\(Self.topicName): \(reason.text)")
            }
            isChecking = false
        }
    }

    private func replay(_ plan: ReadPlan, _ pool: SlabPool) throws(StorageError) {
        if let slab = plan.slab { return try replay(slab) }
        guard let file = plan.file else { return }
        let part = FilePart(
            file: file, position: plan.position, count: plan.length, isResident: false)
        let slab = pool.take(atLeast: plan.length)
        defer { pool.give(slab) }
        do throws(SystemError) {
            try Residency().read(part, plan.length, into: slab)
        } catch {
            throw StorageError(error, "reading \(Self.topicName)")
        }
        try replay(slab)
    }

    private func replay(_ slab: ByteSlab) throws(StorageError) {
        do {
            var position = 0
            while position < slab.count {
                let header = try RecordBatchHeader(reading: slab.bytes, at: position)
                guard header.byteCount <= slab.count - position else {
                    throw FormatError.truncated(
                        field: "record batch", at: position, need: header.byteCount,
                        have: slab.count - position)
                }
                try replay(slab, position..<(position + header.byteCount), header)
                position += header.byteCount
            }
        } catch {
            throw StorageError(.corrupt, "\(Self.topicName): \(error)")
        }
    }

    private func replay(
        _ slab: ByteSlab, _ range: Range<Int>, _ header: RecordBatchHeader
    ) throws {
        let batch = slab.span(range)
        try RecordBatch.checkChecksum(batch, header)
        var cursor = RecordCursor(header)
        while let fields = try cursor.next(in: batch) {
            guard let value = fields.value else { continue }
            let place =
                (range.lowerBound + value.lowerBound)..<(range.lowerBound + value.upperBound)
            apply(
                try ProducerRecord(reading: slab, place),
                at: header.baseOffset + Int64(fields.offsetDelta))
        }
    }
}
