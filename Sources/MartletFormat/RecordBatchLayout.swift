/// The numbers of the record batch (version 2): the only place that has them. All integers of the header
/// are big-endian; everything after it is varints and raw bytes.
package enum RecordBatchLayout {
    package static let magic: Int8 = 2

    // Positions in the header.
    package static let baseOffset = 0
    package static let batchLength = 8
    package static let leaderEpoch = 12
    package static let magicByte = 16
    package static let checksum = 17
    package static let attributes = 21
    package static let lastOffsetDelta = 23
    package static let baseTimestamp = 27
    package static let maxTimestamp = 35
    package static let producerID = 43
    package static let producerEpoch = 51
    package static let baseSequence = 53
    package static let recordCount = 57
    /// The header's size: the first record begins here.
    package static let records = 61

    /// `batchLength` counts from here: it leaves out `baseOffset` and itself.
    package static let lengthOrigin = 12
    /// The checksum covers everything from here to the batch's end.
    package static let checksumOrigin = attributes
    /// The bytes before the checksum, which it does not cover.
    package static let prefixBytes = checksum

    // Attribute bits.
    package static let codecMask: Int16 = 0x07
    package static let logAppendTimeBit: Int16 = 0x08
    package static let transactionalBit: Int16 = 0x10
    package static let controlBit: Int16 = 0x20
    /// Martlet's own: the broker left records out that it had already, by their message ids. Far from
    /// the bits that Kafka may come to use.
    package static let thinnedBit: Int16 = 0x4000

    /// Length, attributes, timestamp delta, offset delta, key length, value length, header count: one
    /// byte each at least.
    package static let recordBytesMin = 7
    /// Key length and value length: one byte each at least.
    package static let headerFieldBytesMin = 2

    /// Headers of one record that a broker accepts.
    package static let headersPerRecordMax = 64
    /// Bytes of all headers of one record, after their count, that a broker accepts.
    package static let headerBytesPerRecordMax = 32 * 1024

    /// What the three producer fields hold in a batch without a producer id.
    package static let noProducerID: Int64 = -1
    package static let noProducerEpoch: Int16 = -1
    package static let noSequence: Int32 = -1
}
