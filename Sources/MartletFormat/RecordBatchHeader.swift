/// The 61 bytes before a batch's records.
package struct RecordBatchHeader: Equatable, Sendable {
    /// The offset of the first record; 0 until a broker assigns it.
    package var baseOffset: Int64
    /// The bytes after this field.
    package var batchLength: Int32
    /// The leader epoch of the partition when the batch was appended.
    package var leaderEpoch: Int32
    package var magic: Int8
    /// CRC-32C of everything from `attributes` to the end.
    package var checksum: UInt32
    package var attributes: Int16
    /// The last record's offset minus `baseOffset`.
    package var lastOffsetDelta: Int32
    /// The event time that the records' deltas count from, in milliseconds since 1970.
    package var baseTimestamp: Int64
    /// The largest event time in the batch.
    package var maxTimestamp: Int64
    /// -1 without a producer id.
    package var producerID: Int64
    package var producerEpoch: Int16
    /// The producer's running number of the first record.
    package var baseSequence: Int32
    package var recordCount: Int32

    /// Reads the header at `position`, needing its 61 bytes only.
    ///
    /// Checked: the magic, a length that covers the header, counts and offsets that are not negative
    /// and do not overflow. Not checked: the checksum, and whether the records are there.
    package init(reading bytes: RawSpan, at position: Int = 0) throws(FormatError) {
        guard position >= 0, bytes.byteCount - position >= RecordBatchLayout.records else {
            throw bytes.truncation(
                "record batch header",
                at: position,
                need: RecordBatchLayout.records,
                end: bytes.byteCount
            )
        }
        var cursor = position
        baseOffset = try bytes.readInt64("base offset", at: &cursor)
        batchLength = try bytes.readInt32("batch length", at: &cursor)
        leaderEpoch = try bytes.readInt32("leader epoch", at: &cursor)
        magic = try bytes.readInt8("magic", at: &cursor)
        checksum = try bytes.readUInt32("checksum", at: &cursor)
        attributes = try bytes.readInt16("attributes", at: &cursor)
        lastOffsetDelta = try bytes.readInt32("last offset delta", at: &cursor)
        baseTimestamp = try bytes.readInt64("base timestamp", at: &cursor)
        maxTimestamp = try bytes.readInt64("max timestamp", at: &cursor)
        producerID = try bytes.readInt64("producer id", at: &cursor)
        producerEpoch = try bytes.readInt16("producer epoch", at: &cursor)
        baseSequence = try bytes.readInt32("base sequence", at: &cursor)
        recordCount = try bytes.readInt32("record count", at: &cursor)
        try check(at: position)
    }

    /// A header as a producer writes it: unassigned, without a producer id, the checksum still 0.
    package init(
        batchLength: Int32,
        recordCount: Int32,
        baseTimestamp: Int64,
        maxTimestamp: Int64
    ) {
        baseOffset = 0
        self.batchLength = batchLength
        leaderEpoch = -1
        magic = RecordBatchLayout.magic
        checksum = 0
        attributes = 0
        lastOffsetDelta = recordCount - 1
        self.baseTimestamp = baseTimestamp
        self.maxTimestamp = maxTimestamp
        producerID = RecordBatchLayout.noProducerID
        producerEpoch = RecordBatchLayout.noProducerEpoch
        baseSequence = RecordBatchLayout.noSequence
        self.recordCount = recordCount
    }

    /// Writes the 61 bytes over filled bytes of a slab.
    package func write(into slab: ByteSlab, at start: Int) {
        typealias Layout = RecordBatchLayout
        slab.patch(baseOffset, at: start + Layout.baseOffset)
        slab.patch(batchLength, at: start + Layout.batchLength)
        slab.patch(leaderEpoch, at: start + Layout.leaderEpoch)
        slab.patch(magic, at: start + Layout.magicByte)
        slab.patch(checksum, at: start + Layout.checksum)
        slab.patch(attributes, at: start + Layout.attributes)
        slab.patch(lastOffsetDelta, at: start + Layout.lastOffsetDelta)
        slab.patch(baseTimestamp, at: start + Layout.baseTimestamp)
        slab.patch(maxTimestamp, at: start + Layout.maxTimestamp)
        slab.patch(producerID, at: start + Layout.producerID)
        slab.patch(producerEpoch, at: start + Layout.producerEpoch)
        slab.patch(baseSequence, at: start + Layout.baseSequence)
        slab.patch(recordCount, at: start + Layout.recordCount)
    }

    /// The size of the whole batch.
    package var byteCount: Int { RecordBatchLayout.lengthOrigin + Int(batchLength) }

    /// The offset of the last record. Never overflows for a header that was read.
    package var lastOffset: Int64 { baseOffset &+ Int64(lastOffsetDelta) }

    /// The offset after the last record. Never overflows for a header that was read.
    package var nextOffset: Int64 { lastOffset &+ 1 }

    /// How the records are compressed; 0: not at all.
    package var codec: Int { Int(attributes & RecordBatchLayout.codecMask) }

    package var isTransactional: Bool { attributes & RecordBatchLayout.transactionalBit != 0 }
    package var isControl: Bool { attributes & RecordBatchLayout.controlBit != 0 }
    /// True when `maxTimestamp` is the broker's append time and stands for every record's time.
    package var isLogAppendTime: Bool { attributes & RecordBatchLayout.logAppendTimeBit != 0 }
    package var hasProducerID: Bool { producerID >= 0 }
    /// True when the broker left duplicates out: some of its offsets have no record.
    package var isThinned: Bool { attributes & RecordBatchLayout.thinnedBit != 0 }

    private func check(at start: Int) throws(FormatError) {
        func refuse(_ field: String, _ offset: Int, _ reason: String) -> FormatError {
            .invalid(field: field, at: start + offset, reason: reason)
        }
        typealias Layout = RecordBatchLayout
        guard magic == Layout.magic else {
            throw refuse("magic", Layout.magicByte, "is \(magic), must be \(Layout.magic)")
        }
        guard byteCount >= Layout.records else {
            throw refuse(
                "batch length", Layout.batchLength, "is \(batchLength), less than a header")
        }
        guard recordCount >= 0 else {
            throw refuse("record count", Layout.recordCount, "is negative: \(recordCount)")
        }
        guard lastOffsetDelta >= 0 else {
            throw refuse(
                "last offset delta", Layout.lastOffsetDelta, "is negative: \(lastOffsetDelta)")
        }
        // Room for `nextOffset`.
        guard baseOffset >= 0, baseOffset < Int64.max - Int64(lastOffsetDelta) else {
            throw refuse("base offset", Layout.baseOffset, "is no offset: \(baseOffset)")
        }
    }
}
