package import MartletFormat

package struct ListParkedRequest: WireRequest {
    package typealias Reply = ListParkedReply
    package static let operation = Operation.listParked
    package static let purpose = "Lists the parked records of a group, a page at a time."

    package var group = ""
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var offset: Int64 = -1
    package var max: UInt32 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.identifier("topic", &topic, "of the last line of the page before")
        try c.int32("partition", &partition, "the same")
        try c.int64("offset", &offset, "the same; -1: from the first")
        try c.uint32("max", &max, "lines at most; 0: as many as the broker gives")
    }
}

package struct ParkedRecordLine: WireItem {
    package static let bytesMin = 43
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var offset: Int64 = 0
    package var parkedAt: Int64 = 0
    package var isKey = false
    package var attempts: UInt16 = 0
    package var failure = ""
    package var text = ""

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.int64("offset", &offset, "of the record")
        try c.int64("parkedAt", &parkedAt, "milliseconds since 1970 UTC")
        try c.bool("isKey", &isKey, "all later records of its key wait behind it")
        try c.uint16("attempts", &attempts, "handlers that began with it")
        try c.string(
            "failure", &failure, max: WireLimits.failureKindBytesMax,
            "which kind of failure, of the last handler; empty: not known")
        try c.string("text", &text, max: WireLimits.failureTextBytesMax, "its words")
    }
}

package struct ListParkedReply: WireReply {
    package static let operation = Operation.listParked
    package static let purpose = "What is parked."

    package var error = ErrorCode.none
    package var message = ""
    package var records: [ParkedRecordLine] = []
    package var hasMore = false

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array(
            "records", &records, max: WireLimits.lettersMax, "in order of topic id and place")
        try c.bool("hasMore", &hasMore, "ask again with the place of the last one")
    }
}

/// A parked record by its place.
package struct ParkedPlace: WireItem {
    package static let bytesMin = 28
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var offset: Int64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.int64("offset", &offset, "of the record")
    }
}

package struct ReleaseParkedRequest: WireRequest {
    package typealias Reply = ReleaseParkedReply
    package static let operation = Operation.releaseParked
    package static let purpose =
        "Hands parked records out again, in their turn and as if nobody had tried them."

    package var group = ""
    package var releasesAll = false
    package var places: [ParkedPlace] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.bool("releasesAll", &releasesAll, "all of the group; then no places are named")
        try c.array("places", &places, max: WireLimits.lettersMax, "which")
    }
}

package struct ReleaseParkedReply: WireReply {
    package static let operation = Operation.releaseParked
    package static let purpose = "What became of each; it holds durably."

    package var error = ErrorCode.none
    package var message = ""
    package var released: UInt32 = 0
    package var results: [CommitResult] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint32("released", &released, "records that are parked no more by it")
        try c.array("results", &results, max: WireLimits.lettersMax, "one per place")
    }
}
