import MartletFormat
import MartletStorage
import MartletSystem
import MartletWire

/// A partition of one of the broker's own topics, which is read whole when the broker starts.
struct InternalLog {
    private static let readBytes = 1_024 * 1_024

    let log: PartitionLog
    let name: String
    let pool: SlabPool
    /// Told of damage, with its first offset. What lies in it is passed over.
    let onDamage: (Int64) -> Void

    /// One of the broker's topics; made on the first start. Blocks.
    static func topic(
        _ name: String, partitions: Int32, _ engine: StorageEngine
    ) throws(StorageError) -> Topic {
        if let found = engine.topic(named: name) { return found }
        let settings = [
            "retention.ms": "-1", "retention.bytes": "-1", "segment.bytes": "16777216",
            "durability": "durable", "cleanup.policy": "delete",
        ]
        let made = try engine.createTopic(
            name: name, partitions: partitions, settings: settings, id: .random(),
            isInternal: true)
        guard let made else { throw StorageError(.offline, "\(name) was not made") }
        return made
    }

    static func partition(_ number: Int32, of topic: Topic) throws(StorageError) -> PartitionLog {
        if let log = topic.partition(number) { return log }
        throw StorageError(
            .offline,
            "\(topic.name) has no partition \(number): \(topic.offlineReason?.text ?? "it is offline")"
        )
    }

    /// A record as it lies in a slab.
    struct Place {
        let slab: ByteSlab
        /// Its batch; the fields' places count from there.
        let batch: Range<Int>
        let header: RecordBatchHeader
        let fields: RecordFields

        var offset: Int64 { header.baseOffset + Int64(fields.offsetDelta) }
        var timestamp: Int64 { header.baseTimestamp &+ fields.timestampDelta }
    }

    /// Hands every value to `take`, in order: the place where it lies, and its offset. Blocks.
    ///
    /// - Parameter start: where to begin; lower values than that are left out. nil: at the start.
    func readAll(
        from start: Int64? = nil, _ take: (ByteSlab, Range<Int>, Int64) throws(WireError) -> Void
    ) throws(StorageError) {
        try readRecords(from: start ?? 0) { place throws(WireError) in
            guard let value = place.fields.value else { return true }
            let start = place.batch.lowerBound
            try take(
                place.slab, (start + value.lowerBound)..<(start + value.upperBound), place.offset)
            return true
        }
    }

    /// Hands every record from `start` on to `take`, in order, until it says false. Reads so many
    /// bytes at once, but a batch at least. Blocks.
    func readRecords(
        from start: Int64, bytes: Int = Self.readBytes, _ take: (Place) throws(WireError) -> Bool
    ) throws(StorageError) {
        let start = max(start, log.view.logStart)
        var offset = start
        // Whether a plain read at `offset` was in vain.
        var isChecking = false
        while true {
            let outcome =
                isChecking
                ? try log.verifiedRead(from: offset, maxBytes: bytes)
                : try log.planFromDisk(from: offset, maxBytes: bytes)
            switch outcome {
            case .data(let plan):
                do throws(StorageError) {
                    let isOver = try read(plan) { place throws(WireError) in
                        place.offset < start ? true : try take(place)
                    }
                    if isOver { return }
                } catch {
                    // Rot: a read with every check quarantines it and gives what is whole.
                    guard error.code == .corrupt, !isChecking else { throw error }
                    isChecking = true
                    continue
                }
                offset = plan.nextOffset
            case .needsDisk, .needsVerification:
                guard !isChecking else {
                    throw StorageError(.corrupt, "\(name) at offset \(offset)")
                }
                isChecking = true
                continue
            case .gap(let gap, _), .lost(let gap, _):
                offset = gap.upperBound
            case .corrupt(let ranges, _):
                onDamage(offset)
                offset = max(ranges.map(\.upperBound).max() ?? offset, offset + 1)
            case .outOfRange(let view):
                guard offset < view.logStart else { return }
                offset = view.logStart
            case .atEnd: return
            case .offline(let reason):
                throw StorageError(.offline, "\(name): \(reason.text)")
            }
            isChecking = false
        }
    }

    /// Returns whether `take` has enough.
    private func read(
        _ plan: ReadPlan, _ take: (Place) throws(WireError) -> Bool
    ) throws(StorageError) -> Bool {
        if let slab = plan.slab { return try read(slab, take) }
        guard let file = plan.file else { return false }
        let part = FilePart(
            file: file, position: plan.position, count: plan.length, isResident: false)
        let slab = pool.take(atLeast: plan.length)
        defer { pool.give(slab) }
        do throws(SystemError) {
            try Residency().read(part, plan.length, into: slab)
        } catch {
            throw StorageError(error, "reading \(name)")
        }
        return try read(slab, take)
    }

    private func read(
        _ slab: ByteSlab, _ take: (Place) throws(WireError) -> Bool
    ) throws(StorageError) -> Bool {
        do {
            var position = 0
            while position < slab.count {
                let header = try RecordBatchHeader(reading: slab.bytes, at: position)
                guard header.byteCount <= slab.count - position else {
                    throw FormatError.truncated(
                        field: "record batch", at: position, need: header.byteCount,
                        have: slab.count - position)
                }
                let range = position..<(position + header.byteCount)
                if try read(slab, range, header, take) { return true }
                position = range.upperBound
            }
            return false
        } catch {
            throw StorageError(.corrupt, "\(name): \(error)")
        }
    }

    private func read(
        _ slab: ByteSlab, _ range: Range<Int>, _ header: RecordBatchHeader,
        _ take: (Place) throws(WireError) -> Bool
    ) throws -> Bool {
        let batch = slab.span(range)
        try RecordBatch.checkChecksum(batch, header)
        var cursor = RecordCursor(header)
        while let fields = try cursor.next(in: batch) {
            let place = Place(slab: slab, batch: range, header: header, fields: fields)
            guard try take(place) else { return true }
        }
        return false
    }
}

/// Records of the broker's own topics, as they are appended.
enum InternalBatch {
    static func encode(
        _ records: [some WireItem], time: Int64
    ) throws(WireError) -> (slab: ByteSlab, header: RecordBatchHeader) {
        var values: [ByteSlab] = []
        var bytes = 0
        for record in records {
            let value = try record.encoded()
            values.append(value)
            bytes += RecordBatchBuilder.estimatedBytes(keyBytes: 0, valueBytes: value.count)
        }
        let slab = ByteSlab(capacity: RecordBatch.headerBytes + bytes)
        let builder = RecordBatchBuilder(slab: slab)
        for value in values {
            guard builder.append(key: nil, value: value.bytes, headers: [], timestamp: time)
            else {
                throw .overLimit(
                    field: "record", at: 0, value: value.count, max: slab.freeCapacity)
            }
        }
        return (slab, builder.finish(producerID: -1, producerEpoch: -1, baseSequence: -1))
    }
}

extension WireItem {
    /// What the fields take.
    var byteCount: Int {
        get throws(WireError) {
            var copy = self
            var meter = FieldMeter(version: 1)
            try copy.fields(&meter)
            return meter.byteCount
        }
    }

    /// The fields alone: the value of a record.
    fileprivate func encoded() throws(WireError) -> ByteSlab {
        var copy = self
        let slab = ByteSlab(capacity: try byteCount)
        var encoder = FieldEncoder(into: slab, version: 1)
        try copy.fields(&encoder)
        return slab
    }
}

/// Waits for the disk, and then is one closure.
final class WhenDurable: DurabilityWaiter {
    private let then: @Sendable (StorageError?) -> Void

    init(_ then: @escaping @Sendable (StorageError?) -> Void) {
        self.then = then
    }

    func durabilityReached(_ log: PartitionLog, _ failure: StorageError?) { then(failure) }
}
