import MartletFormat

/// One record, as it lies in the memory that came from the broker.
///
/// It keeps that memory alive, up to a whole fetch: copy what you want to keep for long.
public struct ConsumedRecord: Sendable {
    let run: FetchedRun
    /// The record's number in its partition.
    public let offset: Int64
    /// The event time in milliseconds since 1970.
    public let timestamp: Int64
    private let fields: RecordFields

    init(run: FetchedRun, offset: Int64, timestamp: Int64, fields: RecordFields) {
        self.run = run
        self.offset = offset
        self.timestamp = timestamp
        self.fields = fields
    }

    /// The topic's name.
    public var topic: String { run.partition.topic }

    /// The partition's number.
    public var partition: Int32 { run.partition.partition }

    /// The key's bytes in place; nil when the record has none.
    public var key: RawSpan? {
        @_lifetime(borrow self)
        get {
            guard let range = fields.key else { return nil }
            let slab = run.slab
            let span = slab.span(range)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// The value's bytes in place; nil for a tombstone.
    public var value: RawSpan? {
        @_lifetime(borrow self)
        get {
            guard let range = fields.value else { return nil }
            let slab = run.slab
            let span = slab.span(range)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// A copy of the key; nil when the record has none.
    public var keyBytes: [UInt8]? { fields.key.map { run.array($0) } }

    /// A copy of the value; nil for a tombstone.
    public var valueBytes: [UInt8]? { fields.value.map { run.array($0) } }

    /// The key as text; nil when there is none or it is not UTF-8.
    public var keyString: String? { fields.key.flatMap { run.string($0) } }

    /// The value as text; nil for a tombstone or when it is not UTF-8.
    public var valueString: String? { fields.value.flatMap { run.string($0) } }

    /// The number of headers.
    public var headerCount: Int { fields.headerCount }

    /// Copies of the headers, in their order.
    public var headers: [RecordHeader] {
        var headers: [RecordHeader] = []
        if fields.headerCount == 0 { return headers }
        var cursor = HeaderCursor(fields)
        do {
            let slab = run.slab
            while let header = try cursor.next(in: slab.bytes) {
                headers.append(
                    RecordHeader(
                        run.string(header.key) ?? "", header.value.map { run.array($0) }))
            }
        } catch {
            run.reportMalformed(error)
        }
        return headers
    }

    /// What its header `type` says; nil: it has none, or none that can be read.
    var eventType: String? {
        guard fields.headerCount > 0 else { return nil }
        var cursor = HeaderCursor(fields)
        let slab = run.slab
        do {
            while let header = try cursor.next(in: slab.bytes) {
                guard header.key.count == HandlerTimesByType.header.utf8.count,
                    run.string(header.key) == HandlerTimesByType.header
                else { continue }
                return header.value.flatMap { run.string($0) }
            }
        } catch {
            return nil  // Who reads the headers is told.
        }
        return nil
    }

    /// A copy of the last header, and where its bytes begin; nil: there is none that can be read.
    var lastHeader: (header: RecordHeader, start: Int)? {
        guard fields.headerCount > 0 else { return nil }
        var cursor = HeaderCursor(fields)
        let slab = run.slab
        do {
            var last: (HeaderFields, start: Int)?
            for _ in 0..<fields.headerCount {
                let start = cursor.position
                guard let header = try cursor.next(in: slab.bytes) else { return nil }
                last = (header, start)
            }
            return last.flatMap { header, start in
                run.string(header.key).map { name in
                    (RecordHeader(name, header.value.map { run.array($0) }), start)
                }
            }
        } catch {
            return nil
        }
    }

    /// The same record at another place, with one header less, which begins at `end`.
    func moved(
        to partition: TopicPartition, _ offset: Int64, headersBefore end: Int
    ) -> ConsumedRecord {
        var fields = fields
        fields.headers = fields.headers.lowerBound..<end
        fields.headerCount -= 1
        return ConsumedRecord(
            run: FetchedRun(run, shownAs: partition), offset: offset, timestamp: timestamp,
            fields: fields)
    }
}

/// Batches of one partition that came with one fetch.
final class FetchedRun: Sendable {
    let partition: TopicPartition
    let slab: ByteSlab
    private let lease: SlabLease
    /// Where the batches lie in the slab.
    let range: Range<Int>
    /// Records below were not asked for.
    let from: Int64
    let nextOffset: Int64
    let highWatermark: Int64
    private let shelf: BatchShelf?
    /// Of the partition's cursor when it was asked for: another one since a seek.
    let generation: Int
    /// How far the application is with it; nil without a group.
    let delivery: Delivery?
    /// Not to be handed out: a group has handled them. In order, apart from each other.
    let skipped: [Range<Int64>]

    init(
        partition: TopicPartition, lease: SlabLease, range: Range<Int>, from: Int64,
        nextOffset: Int64, highWatermark: Int64, shelf: BatchShelf?, generation: Int = 0,
        delivery: Delivery? = nil, skipped: [Range<Int64>] = []
    ) {
        self.partition = partition
        self.lease = lease
        slab = lease.slab
        self.range = range
        self.from = from
        self.nextOffset = nextOffset
        self.highWatermark = highWatermark
        self.shelf = shelf
        self.generation = generation
        self.delivery = delivery
        self.skipped = skipped
    }

    /// The same from a later record on, as another delivery of a group's member.
    init(_ other: FetchedRun, from: Int64, rest: Delivery? = nil) {
        partition = other.partition
        slab = other.slab
        lease = other.lease
        range = other.range
        self.from = from
        generation = other.generation
        nextOffset = other.nextOffset
        highWatermark = other.highWatermark
        shelf = other.shelf
        delivery = rest
        skipped = other.skipped
    }

    /// The same memory as that of another partition, for single records of it.
    init(_ other: FetchedRun, shownAs partition: TopicPartition) {
        self.partition = partition
        slab = other.slab
        lease = other.lease
        range = other.range
        from = other.from
        generation = other.generation
        nextOffset = other.nextOffset
        highWatermark = other.highWatermark
        shelf = other.shelf
        delivery = nil
        skipped = []
    }

    /// A copy of some bytes.
    func array(_ range: Range<Int>) -> [UInt8] {
        let slab = slab
        return slab.bytes.array(range)
    }

    /// Some bytes as text; nil when they are not UTF-8.
    func string(_ range: Range<Int>) -> String? {
        let slab = slab
        return slab.bytes.string(range)
    }

    /// A batch with a good checksum does not parse: the sequence throws with its next step.
    func reportMalformed(_ error: FormatError) {
        delivery?.markDamaged()
        shelf?.fail(.corrupt(partition, from..<nextOffset, "\(error)"))
    }
}

extension MartletError {
    /// Data that must not be handed out.
    static func corrupt(
        _ partition: TopicPartition, _ range: Range<Int64>, _ reason: String
    ) -> MartletError {
        let place = ["from": String(range.lowerBound), "to": String(range.upperBound)]
        return MartletError(
            .corruptMessage,
            "Offsets \(range.lowerBound) up to \(range.upperBound) of \(partition) are damaged: "
                + (reason.hasSuffix(".") ? reason : "\(reason)."),
            context: partition.context.merging(place) { _, new in new })
    }
}
