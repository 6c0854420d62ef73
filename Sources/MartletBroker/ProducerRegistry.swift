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
    static let topicName = producersTopicName

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
    /// Opens the registry: makes the topic on the first start, else reads all of it. Blocks.
    static func open(
        _ engine: StorageEngine, countMax: Int, pool: SlabPool, logger: Logger
    ) throws(StorageError) -> ProducerRegistry {
        let topic = try InternalLog.topic(topicName, partitions: 1, engine)
        let log = try InternalLog.partition(0, of: topic)
        let registry = ProducerRegistry(log: log, countMax: countMax)
        // Those in a damaged range get UNKNOWN_PRODUCER, and their clients take new ids.
        let reader = InternalLog(log: log, name: topicName, pool: pool) { offset in
            logger.error(
                "PRODUCERS_DAMAGED", "registrations of producers are damaged",
                [("from", LogValue(offset))])
        }
        try reader.readAll { slab, place, offset throws(WireError) in
            registry.apply(try ProducerRecord(reading: slab, place), at: offset)
        }
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
}
