package import MartletFormat

/// One batch of a produce and where it belongs.
package struct ProduceEntry: WireItem {
    package static let bytesMin = 24
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var recordsLength: UInt32 = 0

    package init() {}

    package init(topic: TopicID, partition: Int32, recordsLength: UInt32) {
        self.topic = topic
        self.partition = partition
        self.recordsLength = recordsLength
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.uint32("recordsLength", &recordsLength, "bytes of its batch in the attachment")
    }
}

package struct ProduceRequest: WireRequest {
    package typealias Reply = ProduceReply
    package static let operation = Operation.produce
    package static let purpose = "Appends record batches to partitions."

    package var acks: UInt8 = Acks.durable.rawValue
    package var timeoutMilliseconds: UInt32 = 0
    package var batches: [ProduceEntry] = []

    package init() {}

    /// Cannot overflow: the count is limited and each length is 32 bits.
    package var attachmentBytes: Int? {
        batches.reduce(0) { $0 + Int($1.recordsLength) }
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint8("acks", &acks, "0 none (no reply), 1 written, 2 durable")
        try c.uint32("timeoutMilliseconds", &timeoutMilliseconds, "answer by then; 0: no limit")
        try c.array(
            "batches", &batches, max: WireLimits.partitionsPerRequestMax, "one batch per entry")
    }
}

/// A record of a batch whose message was in the log already.
package struct DuplicateItem: WireItem {
    package static let bytesMin = 12
    package var index: Int32 = 0
    package var offset: Int64 = -1

    package init() {}

    package init(index: Int32, offset: Int64) {
        self.index = index
        self.offset = offset
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int32("index", &index, "the record's place in its batch, from 0")
        try c.int64("offset", &offset, "of the first record with its message id, or -1")
    }
}

package struct ProduceResult: WireItem {
    package static let bytesMin = 22
    package var error = ErrorCode.none
    package var message = ""
    package var baseOffset: Int64 = -1
    package var leaderEpoch: Int32 = -1
    package var durability: UInt8 = 0
    package var duplicate = false
    package var duplicates: [DuplicateItem] = []

    package init() {}

    package init(error: ErrorCode, message: String) {
        self.error = error
        self.message = WireLimits.clip(message)
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.errorCode(&error)
        try c.errorMessage(&message)
        try c.int64("baseOffset", &baseOffset, "offset of the batch's first record, or -1")
        try c.int32(
            "leaderEpoch", &leaderEpoch,
            "of the batch; of the partition when refused for its sequence; or -1")
        try c.uint8("durability", &durability, "reached: 0 none, 1 written, 2 durable")
        try c.bool("duplicate", &duplicate, "it was there already; this is where")
        try c.array(
            "duplicates", &duplicates, max: WireLimits.recordsPerBatchMax,
            "records that were not stored again")
    }
}

package struct ProduceReply: WireReply {
    package static let operation = Operation.produce
    package static let purpose = "What became of each batch, in the request's order."

    package var error = ErrorCode.none
    package var message = ""
    package var results: [ProduceResult] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array(
            "results", &results, max: WireLimits.partitionsPerRequestMax, "one per entry")
    }
}

package struct InitProducerRequest: WireRequest {
    package typealias Reply = InitProducerReply
    package static let operation = Operation.initProducer
    package static let purpose = "Asks for a producer id, or for the next epoch of one."

    package var producerID: Int64 = -1
    package var producerEpoch: Int16 = -1

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int64("producerID", &producerID, "-1: a new id")
        try c.int16("producerEpoch", &producerEpoch, "the epoch held so far, or -1")
    }
}

package struct InitProducerReply: WireReply {
    package static let operation = Operation.initProducer
    package static let purpose = "The id and the epoch, bound to the connection's principal."

    package var error = ErrorCode.none
    package var message = ""
    package var producerID: Int64 = -1
    package var producerEpoch: Int16 = -1

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int64("producerID", &producerID, "never given twice")
        try c.int16("producerEpoch", &producerEpoch, "sequences of an epoch begin at 0")
    }
}
