import MartletFormat
import MartletGroups
import MartletStorage
import MartletSystem
import MartletTelemetry
import MartletWire
import Synchronization

/// Reads the keys of records for queues that hand them out in order by key, in line with all other
/// reads of the disk. Of a key only a hash is kept, and its seed is new with each start.
final class KeyReader: Sendable {
    private let engine: StorageEngine
    private let readers: ReaderPool
    private let timer: any Executor
    private let pool: SlabPool
    private let logger: Logger
    private let isStopped = Atomic<Bool>(false)

    init(_ setup: GroupService.Setup) {
        engine = setup.engine
        readers = setup.readers
        timer = setup.executor
        pool = setup.pool
        logger = setup.logger.limited()
    }

    func stop() { isStopped.store(true, ordering: .releasing) }

    private static let retryNanoseconds: Int64 = 1_000_000_000

    /// Reads in its turn, and tells the shard.
    func read(_ want: Coordinator.KeyWant, for shard: GroupShard) {
        guard !isStopped.load(ordering: .acquiring) else { return }
        readers.read { [self] in
            do throws(StorageError) {
                shard.offer(want, try keys(want))
            } catch {
                logger.warning(
                    "QUEUE_KEYS_UNREADABLE",
                    "a queue in order by key stands still: its log cannot be read now",
                    place(want) + [("reason", LogValue(error.message))])
                timer.execute(after: Self.retryNanoseconds) { [weak self] in
                    guard let self, !isStopped.load(ordering: .acquiring) else { return }
                    shard.offer(want, nil)
                }
            }
        }
    }

    private func place(_ want: Coordinator.KeyWant) -> [(String, LogValue)] {
        let partition = want.queue.partition
        return [
            ("group", LogValue(want.group)),
            ("topic", LogValue(engine.topic(id: partition.topic)?.name ?? "")),
            ("partition", LogValue(Int64(partition.partition))),
            ("offset", LogValue(want.from)),
        ]
    }

    /// Of no more bytes than one turn reads, but of a batch at least.
    private static let bytesMax = 1 << 20

    /// Blocks.
    private func keys(_ want: Coordinator.KeyWant) throws(StorageError) -> KeyChunk {
        let partition = want.queue.partition
        guard let topic = engine.topic(id: partition.topic) else {
            throw StorageError(.offline, "the topic is gone")
        }
        let log = try InternalLog.partition(partition.partition, of: topic)
        let view = log.view
        let (most, overflow) = want.from.addingReportingOverflow(Int64(want.records))
        let end = max(want.from, min(overflow ? .max : most, view.highWatermark))
        var reading = KeyReading(from: want.from, end: end, bytesMax: Self.bytesMax)
        guard end > want.from else { return reading.chunk() }
        let damaged = Carried<Int64?>(nil)
        let reader = InternalLog(log: log, name: topic.name, pool: pool) { offset in
            damaged.value = damaged.value ?? offset
        }
        try reader.readRecords(from: want.from, bytes: Self.bytesMax) { place throws(WireError) in
            if let from = damaged.value {
                reading.miss(from: from, to: place.offset)
                damaged.value = nil
            }
            return reading.take(place)
        }
        if let from = damaged.value { reading.miss(from: from, to: end) }
        let chunk = reading.chunk()
        if let first = chunk.unreadable.first {
            logger.error(
                "QUEUE_KEYS_DAMAGED",
                "damaged records of a queue in order by key are handed to nobody; others go on",
                place(want) + [
                    ("from", LogValue(first.lowerBound)), ("to", LogValue(first.upperBound)),
                ])
        }
        return chunk
    }
}

/// Keys as they are found, until it is enough.
private struct KeyReading {
    private let start: Int64
    private let end: Int64
    private let bytesMax: Int
    private var bytes = 0
    /// The batch that was begun last, and what comes behind the last record.
    private var batch: Int64 = -1
    private var next: Int64
    private var isCut = false
    private var keys: [KeyChunk.Keyed] = []
    private var unreadable: [Range<Int64>] = []

    init(from start: Int64, end: Int64, bytesMax: Int) {
        (self.start, self.end, self.bytesMax, next) = (start, end, bytesMax, start)
    }

    /// False: it is enough.
    mutating func take(_ place: InternalLog.Place) -> Bool {
        guard place.offset < end else { return false }
        // What lies before damage is read a second time, with every check.
        guard place.offset >= next else { return true }
        if place.header.baseOffset != batch {
            guard bytes < bytesMax else {
                // What lies between is not there.
                next = place.offset
                isCut = true
                return false
            }
            batch = place.header.baseOffset
            bytes += place.header.byteCount
        }
        next = place.offset + 1
        if let key = place.fields.key {
            keys.append(KeyChunk.Keyed(place.offset, Self.hash(place, key)))
        }
        return true
    }

    private static func hash(_ place: InternalLog.Place, _ key: Range<Int>) -> UInt64 {
        var hasher = Hasher()
        let start = place.batch.lowerBound
        unsafe place.slab.withUnsafeBytes((start + key.lowerBound)..<(start + key.upperBound)) {
            unsafe hasher.combine(bytes: $0)
        }
        return UInt64(bitPattern: Int64(hasher.finalize()))
    }

    /// Nobody can read these.
    mutating func miss(from: Int64, to: Int64) {
        let range = max(from, start)..<max(from, start, min(to, end))
        if !range.isEmpty { unreadable.append(range) }
    }

    func chunk() -> KeyChunk {
        var chunk = KeyChunk(range: start..<(isCut ? next : end))
        (chunk.keys, chunk.unreadable) = (keys, unreadable)
        return chunk
    }
}
