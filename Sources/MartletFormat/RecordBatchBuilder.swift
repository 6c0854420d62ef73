/// Writes one record batch behind what a slab already holds: room for the header, then the records,
/// and the header itself at `finish`.
///
/// The builder owns the slab's end until then: nobody else may append to it or shorten it.
package final class RecordBatchBuilder {
    private let slab: ByteSlab
    private let start: Int
    private var baseTimestamp: Int64 = 0
    private var maxTimestamp: Int64 = 0
    // Private for the same reason as the slab's: no exclusivity checks per record.
    private var records: Int32 = 0

    /// Precondition: the slab has room for the header.
    package init(slab: ByteSlab) {
        self.slab = slab
        start = slab.count
        slab.appendZeros(RecordBatch.headerBytes)
    }

    /// The records appended so far.
    package var recordCount: Int32 { records }

    /// The size of the batch so far, header included.
    package var byteCount: Int { slab.count - start }

    /// The most bytes that a record with these parts adds to any batch.
    package static func estimatedBytes(
        keyBytes: Int,
        valueBytes: Int,
        headers: [(key: String, value: [UInt8]?)] = []
    ) -> Int {
        // Record length, attributes, timestamp delta, offset delta, key, value, header count.
        var size = 5 + 1 + 10 + 5 + (5 + keyBytes) + (5 + valueBytes) + 5
        for header in headers {
            size += (5 + header.key.utf8.count) + (5 + (header.value?.count ?? 0))
        }
        return size
    }

    /// Appends a record. Returns false, and writes nothing, when it does not fit: the slab is full, or
    /// the batch would outgrow what its fields can say. An empty batch in a slab of
    /// `headerBytes + estimatedBytes` takes any record below 2 GiB.
    ///
    /// The limits on headers (`RecordBatchLayout`) are the caller's to keep.
    package func append(
        key: RawSpan?,
        value: RawSpan?,
        headers: [(key: String, value: [UInt8]?)] = [],
        timestamp: Int64
    ) -> Bool {
        let base = records == 0 ? timestamp : baseTimestamp
        let (delta, overflow) = timestamp.subtractingReportingOverflow(base)
        guard !overflow, records < Int32.max else { return false }

        let keyBytes = key?.byteCount ?? -1
        let valueBytes = value?.byteCount ?? -1
        // Attributes, then the parts.
        let body =
            1 &+ Varint.byteCount(delta)
            &+ Varint.byteCount(Int64(records))
            &+ Varint.byteCount(Int64(keyBytes)) &+ max(keyBytes, 0)
            &+ Varint.byteCount(Int64(valueBytes)) &+ max(valueBytes, 0)
            &+ Varint.byteCount(Int64(headers.count))
            &+ (headers.isEmpty ? 0 : Self.headerBytes(headers))
        let size = Varint.byteCount(Int64(body)) &+ body
        guard size <= slab.freeCapacity, size <= Int(Int32.max) &- byteCount else { return false }

        var writer = unsafe RecordWriter(slab.reserve(size), capacity: size)
        writer.varint(Int64(body))
        writer.byte(0)
        writer.varint(delta)
        writer.varint(Int64(records))
        writer.varint(Int64(keyBytes))
        if let key { writer.bytes(key) }
        writer.varint(Int64(valueBytes))
        if let value { writer.bytes(value) }
        writer.varint(Int64(headers.count))
        if !headers.isEmpty { Self.write(headers, with: &writer) }
        writer.finish()
        maxTimestamp = records == 0 ? timestamp : max(maxTimestamp, timestamp)
        baseTimestamp = base
        records &+= 1
        return true
    }

    /// Writes the header and its checksum, and returns the header. The base offset stays 0 and the
    /// leader epoch -1: both are the broker's. Precondition: at least one record.
    package func finish(
        producerID: Int64 = RecordBatchLayout.noProducerID,
        producerEpoch: Int16 = RecordBatchLayout.noProducerEpoch,
        baseSequence: Int32 = RecordBatchLayout.noSequence
    ) -> RecordBatchHeader {
        precondition(records > 0, "an empty batch")
        var header = RecordBatchHeader(
            batchLength: Int32(byteCount - RecordBatchLayout.lengthOrigin),
            recordCount: records,
            baseTimestamp: baseTimestamp,
            maxTimestamp: maxTimestamp
        )
        header.producerID = producerID
        header.producerEpoch = producerEpoch
        header.baseSequence = baseSequence
        header.write(into: slab, at: start)
        // A span borrows from a name, and a property is none.
        let slab = slab
        let covered = slab.span(start + RecordBatch.crcStart..<slab.count)
        header.checksum = CRC32C.checksum(covered)
        slab.patch(header.checksum, at: start + RecordBatchLayout.checksum)
        return header
    }

    private static func headerBytes(_ headers: [(key: String, value: [UInt8]?)]) -> Int {
        var size = 0
        for header in headers {
            let keyBytes = header.key.utf8.count
            let valueBytes = header.value?.count ?? -1
            size += Varint.byteCount(Int64(keyBytes)) + keyBytes
            size += Varint.byteCount(Int64(valueBytes)) + max(valueBytes, 0)
        }
        return size
    }

    private static func write(
        _ headers: [(key: String, value: [UInt8]?)],
        with writer: inout RecordWriter
    ) {
        for header in headers {
            writer.varint(Int64(header.key.utf8.count))
            writer.bytes(unsafe header.key.utf8.span.bytes)
            guard let value = header.value else {
                writer.varint(-1)
                continue
            }
            writer.varint(Int64(value.count))
            writer.bytes(unsafe value.span.bytes)
        }
    }
}

/// A cursor over memory whose size was computed before: every write is still checked against the end, so
/// a wrong sum stops the process instead of writing past the slab.
@safe private struct RecordWriter {
    private let base: UnsafeMutableRawPointer
    private let capacity: Int
    private var position = 0

    init(_ base: UnsafeMutableRawPointer, capacity: Int) {
        unsafe self.base = base
        self.capacity = capacity
    }

    @inline(__always)
    mutating func byte(_ value: UInt8) {
        precondition(position < capacity, "record sizes disagree")
        unsafe base.storeBytes(of: value, toByteOffset: position, as: UInt8.self)
        position &+= 1
    }

    @inline(__always)
    mutating func varint(_ value: Int64) {
        let coded = Varint.zigZag(value)
        if coded < 0x80 {
            byte(UInt8(truncatingIfNeeded: coded))
        } else {
            longVarint(coded)
        }
    }

    @inline(__always)
    private mutating func longVarint(_ coded: UInt64) {
        var rest = coded
        repeat {
            byte(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest &>>= 7
        } while rest >= 0x80
        byte(UInt8(truncatingIfNeeded: rest))
    }

    @inline(__always)
    mutating func bytes(_ source: RawSpan) {
        let size = source.byteCount
        precondition(size <= capacity &- position, "record sizes disagree")
        let target = unsafe base + position
        unsafe source.withUnsafeBytes { source in
            guard let start = source.baseAddress else { return }
            unsafe target.copyMemory(from: start, byteCount: size)
        }
        position &+= size
    }

    func finish() {
        precondition(position == capacity, "record sizes disagree")
    }
}
