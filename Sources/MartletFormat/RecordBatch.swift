/// What can be done to a whole batch.
package enum RecordBatch {
    package static let headerBytes = RecordBatchLayout.records
    /// The bytes before the checksum, which it does not cover.
    package static let prefixBytes = RecordBatchLayout.prefixBytes
    /// The checksum covers everything from here.
    package static let crcStart = RecordBatchLayout.checksumOrigin

    /// Holds the batch's bytes against the checksum in its header.
    ///
    /// - Parameter batch: begins with the batch; more may follow.
    package static func checkChecksum(
        _ batch: RawSpan,
        _ header: RecordBatchHeader
    ) throws(FormatError) {
        let size = header.byteCount
        guard size >= headerBytes, size <= batch.byteCount else {
            throw .truncated(field: "record batch", at: 0, need: size, have: batch.byteCount)
        }
        let computed = CRC32C.checksum(batch.extracting(crcStart..<size))
        guard computed == header.checksum else {
            throw .checksum(
                at: RecordBatchLayout.checksum,
                stored: header.checksum,
                computed: computed
            )
        }
    }

    /// Checks everything that a stranger could get wrong in a batch that is to be appended, and
    /// returns its header. `batch` must be exactly one batch.
    ///
    /// The base offset and leader epoch are the broker's to assign, so their values do not matter. A
    /// codec is refused here too; a caller with a better answer to it reads the header first.
    package static func validateForAppend(
        _ batch: RawSpan
    ) throws(FormatError) -> RecordBatchHeader {
        let header = try RecordBatchHeader(reading: batch)
        guard header.byteCount == batch.byteCount else {
            throw .invalid(
                field: "batch length",
                at: RecordBatchLayout.batchLength,
                reason: "makes a batch of \(header.byteCount) bytes, \(batch.byteCount) are here"
            )
        }
        try checkChecksum(batch, header)
        try checkFields(header)
        let largest = try checkRecords(batch, header)
        guard largest == header.maxTimestamp else {
            throw .invalid(
                field: "max timestamp",
                at: RecordBatchLayout.maxTimestamp,
                reason: "is \(header.maxTimestamp), the records' largest is \(largest)"
            )
        }
        return header
    }

    /// The running CRC-32C over the prefixes of consecutive batches: the bytes that no batch's own
    /// checksum covers, because a broker writes them.
    package static func prefixChecksum(_ batch: RawSpan, continuing crc: UInt32) -> UInt32 {
        CRC32C.checksum(batch.extracting(0..<prefixBytes), continuing: crc)
    }

    /// Writes what a broker assigns into the batch at `position`. The batch's checksum stays right.
    package static func assign(
        baseOffset: Int64,
        leaderEpoch: Int32,
        in slab: ByteSlab,
        at position: Int
    ) {
        slab.patch(baseOffset, at: position + RecordBatchLayout.baseOffset)
        slab.patch(leaderEpoch, at: position + RecordBatchLayout.leaderEpoch)
    }

    /// Makes a batch whole again whose records were thinned out: length, record count, checksum. The
    /// offsets, times and sequences in the header stay, as compaction must keep them.
    package static func reseal(_ slab: ByteSlab, recordCount: Int32) {
        let length = Int32(slab.count - RecordBatchLayout.lengthOrigin)
        slab.patch(length, at: RecordBatchLayout.batchLength)
        slab.patch(recordCount, at: RecordBatchLayout.recordCount)
        let checksum = CRC32C.checksum(slab.span(crcStart..<slab.count))
        slab.patch(checksum, at: RecordBatchLayout.checksum)
    }

    /// Says that the broker left records out. Before `reseal`, whose checksum covers it.
    static func markThinned(_ slab: ByteSlab) {
        let attributes = unsafe Int16(
            bigEndian: slab.bytes.unsafeLoadUnaligned(
                fromByteOffset: RecordBatchLayout.attributes, as: Int16.self))
        slab.patch(
            attributes | RecordBatchLayout.thinnedBit, at: RecordBatchLayout.attributes)
    }

    /// The header's rules for a batch from a producer.
    private static func checkFields(_ header: RecordBatchHeader) throws(FormatError) {
        typealias Layout = RecordBatchLayout
        guard header.attributes == 0 else {
            let problem =
                if header.codec != 0 {
                    "name codec \(header.codec)"
                } else if header.isControl {
                    "make it a control batch"
                } else if header.isTransactional {
                    "make it transactional"
                } else if header.isLogAppendTime {
                    "claim the broker's append time"
                } else {
                    "use reserved bits: \(header.attributes)"
                }
            throw .invalid(field: "attributes", at: Layout.attributes, reason: problem)
        }
        let count = header.recordCount
        let room = (header.byteCount - headerBytes) / Layout.recordBytesMin
        guard count >= 1, Int(count) <= room else {
            let limit = count < 1 ? "must be at least 1" : "the bytes have room for \(room)"
            throw .invalid(
                field: "record count", at: Layout.recordCount, reason: "is \(count), \(limit)")
        }
        guard header.lastOffsetDelta == count - 1 else {
            throw .invalid(
                field: "last offset delta",
                at: Layout.lastOffsetDelta,
                reason: "is \(header.lastOffsetDelta) with \(count) records"
            )
        }
        guard header.producerID >= Layout.noProducerID else {
            throw .invalid(
                field: "producer id",
                at: Layout.producerID,
                reason: "is negative: \(header.producerID)"
            )
        }
        // Without a producer id the other two mean nothing, and clients fill them differently.
        guard !header.hasProducerID || (header.producerEpoch >= 0 && header.baseSequence >= 0)
        else {
            throw .invalid(
                field: "producer epoch and base sequence",
                at: Layout.producerEpoch,
                reason: "are \(header.producerEpoch) and \(header.baseSequence) with a producer id"
            )
        }
    }

    /// Parses every record; returns the largest event time.
    private static func checkRecords(
        _ batch: RawSpan,
        _ header: RecordBatchHeader
    ) throws(FormatError) -> Int64 {
        var position = headerBytes
        let end = batch.byteCount
        var largestDelta = Int64.min
        var smallestDelta = Int64.max
        for index in 0..<header.recordCount {
            let start = position
            let (record, attributes) = try RecordCursor.record(
                in: batch,
                at: &position,
                below: end
            )
            guard record.offsetDelta == index, attributes == 0 else {
                throw badRecord(record, index: index, attributes: attributes, at: start)
            }
            largestDelta = max(largestDelta, record.timestampDelta)
            smallestDelta = min(smallestDelta, record.timestampDelta)
            if record.headerCount > 0 { try checkHeaders(batch, record) }
        }
        guard position == end else {
            throw .invalid(
                field: "records",
                at: position,
                reason: "end \(end - position) bytes before their batch"
            )
        }
        let (largest, above) = header.baseTimestamp.addingReportingOverflow(largestDelta)
        let (_, below) = header.baseTimestamp.addingReportingOverflow(smallestDelta)
        guard !above, !below else {
            throw .invalid(
                field: "timestamp delta",
                at: headerBytes,
                reason: "leads out of the range of times"
            )
        }
        return largest
    }

    /// The limits of a record's headers, and that their keys are text.
    @inline(never)
    private static func checkHeaders(
        _ batch: RawSpan,
        _ record: RecordFields
    ) throws(FormatError) {
        typealias Layout = RecordBatchLayout
        guard record.headerCount <= Layout.headersPerRecordMax,
            record.headers.count <= Layout.headerBytesPerRecordMax
        else {
            throw .invalid(
                field: "headers",
                at: record.headers.lowerBound,
                reason:
                    "of \(record.headerCount) pieces and \(record.headers.count) bytes exceed "
                    + "\(Layout.headersPerRecordMax) pieces or \(Layout.headerBytesPerRecordMax) bytes"
            )
        }
        var cursor = HeaderCursor(record)
        while let header = try cursor.next(in: batch) {
            guard batch.isUTF8(header.key) else {
                throw .invalid(
                    field: "header key",
                    at: header.key.lowerBound,
                    reason: "is not UTF-8"
                )
            }
        }
    }

    @inline(never)
    private static func badRecord(
        _ record: RecordFields,
        index: Int32,
        attributes: UInt8,
        at position: Int
    ) -> FormatError {
        guard record.offsetDelta != index else {
            return .invalid(
                field: "record attributes",
                at: position,
                reason: "are reserved, must be 0: \(attributes)"
            )
        }
        return .invalid(
            field: "offset delta",
            at: position,
            reason: "is \(record.offsetDelta) in record \(index)"
        )
    }
}
