package import MartletFormat

/// One partition to read.
package struct FetchEntry: WireItem {
    package static let bytesMin = 36
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var offset: Int64 = 0
    package var maxBytes: UInt32 = 0
    package var epoch: Int32 = 0

    package init() {}

    package init(
        topic: TopicID, partition: Int32, offset: Int64, maxBytes: UInt32, epoch: Int32 = 0
    ) {
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.maxBytes = maxBytes
        self.epoch = epoch
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.int64("offset", &offset, "first offset wanted")
        try c.uint32("maxBytes", &maxBytes, "of this partition; the first batch may be larger")
        try c.int32("epoch", &epoch, "under which the member owns it; 0 without a group")
    }
}

package struct FetchRequest: WireRequest {
    package typealias Reply = FetchReply
    package static let operation = Operation.fetch
    package static let purpose = "Reads batches; waits when there are none yet."

    package var maxWaitMilliseconds: UInt32 = 0
    package var minBytes: UInt32 = 1
    package var maxBytes: UInt32 = 0
    package var verify = false
    package var partitions: [FetchEntry] = []
    package var group = ""
    package var member = TopicID.zero

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint32("maxWaitMilliseconds", &maxWaitMilliseconds, "answer by then, with what is")
        try c.uint32("minBytes", &minBytes, "wait for so many; 0: answer at once")
        try c.uint32("maxBytes", &maxBytes, "of all partitions; the first batch may be larger")
        try c.bool("verify", &verify, "the broker checks every checksum before it sends")
        try c.array(
            "partitions", &partitions, max: WireLimits.partitionsPerRequestMax,
            "in order of preference")
        try c.string(
            "group", &group, max: WireLimits.groupNameBytesMax,
            "whose member reads what it owns; empty: no group")
        try c.identifier("member", &member, "that member; zeros without a group")
    }
}

package struct FetchResult: WireItem {
    package static let bytesMin = 44
    package var index: UInt32 = 0
    package var error = ErrorCode.none
    package var message = ""
    package var highWatermark: Int64 = -1
    package var logStart: Int64 = -1
    package var startChecksum: UInt32 = 0
    package var endChecksum: UInt32 = 0
    package var gaps: [OffsetRange] = []
    package var damaged: [OffsetRange] = []
    package var recordsLength: UInt32 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint32("index", &index, "of the entry in the request, from 0")
        try c.errorCode(&error)
        try c.errorMessage(&message)
        try c.int64("highWatermark", &highWatermark, "readers see what lies below; -1: unknown")
        try c.int64("logStart", &logStart, "first offset that can be read; -1: unknown")
        try c.uint32(
            "startChecksum", &startChecksum, "running CRC-32C of the prefixes before the batches")
        try c.uint32(
            "endChecksum", &endChecksum, "the same, continued over these batches' prefixes")
        try c.array("gaps", &gaps, max: WireLimits.rangesMax, "never given; go on at `to`")
        try c.array("damaged", &damaged, max: WireLimits.rangesMax, "in quarantine")
        try c.uint32("recordsLength", &recordsLength, "bytes of its batches in the attachment")
    }
}

package struct FetchReply: WireReply {
    package static let operation = Operation.fetch
    package static let purpose =
        "Whole batches from each partition that has any, an error, or a gap to cross."

    package var error = ErrorCode.none
    package var message = ""
    package var partitions: [FetchResult] = []

    package init() {}

    /// Cannot overflow: the count is limited and each length is 32 bits.
    package var attachmentBytes: Int? {
        partitions.reduce(0) { $0 + Int($1.recordsLength) }
    }

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array(
            "partitions", &partitions, max: WireLimits.partitionsPerRequestMax,
            "all of the request when none has anything")
    }
}
