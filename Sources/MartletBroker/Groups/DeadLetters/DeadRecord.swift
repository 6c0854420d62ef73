import MartletFormat
import MartletWire

/// A record by itself, with all that it has: what a dead letter keeps.
struct DeadRecord: Equatable {
    var key: [UInt8]?
    var value: [UInt8]?
    /// A key as its bytes say it; one that is no UTF-8 is mended as text.
    var headers: [(key: String, value: [UInt8]?)] = []
    /// Its event time, in milliseconds since 1970 UTC.
    var timestamp: Int64 = 0

    /// The record that lies there.
    init(_ place: InternalLog.Place) throws(FormatError) {
        let slab = place.slab
        let batch = slab.span(place.batch)
        func bytes(_ range: Range<Int>) -> [UInt8] {
            let start = place.batch.lowerBound
            let place = (start + range.lowerBound)..<(start + range.upperBound)
            return unsafe slab.withUnsafeBytes(place) { unsafe [UInt8]($0) }
        }
        key = place.fields.key.map(bytes)
        value = place.fields.value.map(bytes)
        timestamp = place.timestamp
        var cursor = HeaderCursor(place.fields)
        while let header = try cursor.next(in: batch) {
            let name = String(decoding: bytes(header.key), as: UTF8.self)
            headers.append((name, header.value.map(bytes)))
        }
    }

    /// Nothing but a time.
    init(at time: Int64) {
        timestamp = time
    }

    /// The record that lies there, for who reads messages.
    init(reading place: InternalLog.Place) throws(WireError) {
        do throws(FormatError) {
            try self.init(place)
        } catch {
            throw WireError(error)
        }
    }

    /// The only record of a batch.
    init(body: [UInt8]) throws(FormatError) {
        let slab = ByteSlab(capacity: body.count)
        unsafe slab.append(body.span.bytes)
        let header = try RecordBatch.validateForAppend(slab.span(0..<slab.count))
        var cursor = RecordCursor(header)
        guard let fields = try cursor.next(in: slab.span(0..<slab.count)),
            header.recordCount == 1
        else {
            throw .invalid(
                field: "record count", at: RecordBatchLayout.recordCount,
                reason: "is \(header.recordCount), must be 1")
        }
        try self.init(
            InternalLog.Place(slab: slab, batch: 0..<slab.count, header: header, fields: fields))
    }

    /// The bytes of that batch.
    var body: [UInt8]? {
        guard let slab = batch()?.slab else { return nil }
        return unsafe slab.withUnsafeBytes(0..<slab.count) { unsafe [UInt8]($0) }
    }

    /// A batch with this record alone.
    func batch() -> (slab: ByteSlab, header: RecordBatchHeader)? {
        let size = RecordBatchBuilder.estimatedBytes(
            keyBytes: key?.count ?? 0, valueBytes: value?.count ?? 0, headers: headers)
        let slab = ByteSlab(capacity: RecordBatch.headerBytes + size)
        let builder = RecordBatchBuilder(slab: slab)
        let isIn = unsafe builder.append(
            key: key?.span.bytes, value: value?.span.bytes, headers: headers,
            timestamp: timestamp)
        return isIn ? (slab, builder.finish()) : nil
    }

    static func == (left: DeadRecord, right: DeadRecord) -> Bool {
        left.key == right.key && left.value == right.value && left.timestamp == right.timestamp
            && left.headers.elementsEqual(right.headers) {
                $0.key == $1.key && $0.value == $1.value
            }
    }
}
