package import MartletFormat

/// Where a list of a group's records goes on: `next` of a page is `from` of the one after.
package struct QueuePlace: WireItem {
    package static let bytesMin = 29
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var lane: UInt8 = 0
    package var offset: Int64 = -1

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.lane(&lane)
        try c.int64("offset", &offset, "of the record; -1: no place")
    }
}

package struct ListQueueRecordsRequest: WireRequest {
    package typealias Reply = ListQueueRecordsReply
    package static let operation = Operation.listQueueRecords
    package static let purpose =
        "Lists the records that a queue group owes, or that any group was sent again, a page at a time."

    package var group = ""
    package var topic = TopicID.zero
    package var states: UInt8 = 0
    package var from = QueuePlace()
    package var max: UInt32 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.identifier("topic", &topic, "of this topic alone; zeros: of all")
        try c.uint8(
            "states", &states, "1: ready, 2: in flight, 4: delayed, 8: parked, or a sum; 0: all")
        try c.item("from", &from)
        try c.uint32("max", &max, "lines at most; 0: as many as the broker gives")
    }
}

/// Records that follow each other and are alike.
package struct QueueRecordLine: WireItem {
    package static let bytesMin = 67
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var lane: UInt8 = 0
    package var from: Int64 = 0
    package var to: Int64 = 0
    package var state: UInt8 = 0
    package var attempts: UInt16 = 0
    package var member = TopicID.zero
    package var at: Int64 = -1
    package var failure = ""
    package var text = ""

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.lane(&lane)
        try c.int64("from", &from, "the first")
        try c.int64("to", &to, "behind the last")
        try c.uint8("state", &state, "0: ready, 1: in flight, 2: delayed, 3: parked")
        try c.uint16("attempts", &attempts, "handlers that began with each")
        try c.identifier("member", &member, "who has them in flight; zeros: nobody, or the broker")
        try c.int64(
            "at", &at,
            "when the lease or the delay is over, or since when it is parked, in milliseconds since 1970 UTC; -1: ready"
        )
        try c.string(
            "failure", &failure, max: WireLimits.failureKindBytesMax,
            "which kind of failure, of the last handler; empty: none, or not known")
        try c.string("text", &text, max: WireLimits.failureTextBytesMax, "its words")
    }
}

package struct ListQueueRecordsReply: WireReply {
    package static let operation = Operation.listQueueRecords
    package static let purpose = "Where records are; nothing is settled by the look."

    package var error = ErrorCode.none
    package var message = ""
    package var records: [QueueRecordLine] = []
    package var next = QueuePlace()

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array(
            "records", &records, max: WireLimits.lettersMax, "in order of topic id and place")
        try c.item("next", &next)
    }
}
