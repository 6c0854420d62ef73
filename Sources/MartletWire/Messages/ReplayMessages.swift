package import MartletFormat

/// Records of a partition that are to be sent to a group again.
package struct ReplayPartition: WireItem {
    package static let bytesMin = 24
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var ranges: [OffsetRange] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.array(
            "ranges", &ranges, max: WireLimits.rangesMax, "offsets, in order, apart from each other"
        )
    }
}

package struct ReplayRecordsRequest: WireRequest {
    package typealias Reply = ReplayRecordsReply
    package static let operation = Operation.replayRecords
    package static let purpose =
        "Sends records to a group again, beside its flow; all that are named, or none."

    package var group = ""
    package var partitions: [ReplayPartition] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.array(
            "partitions", &partitions, max: WireLimits.replayPartitionsMax,
            "each once, with 10,000 ranges in all at most")
    }
}

package struct ReplayRecordsReply: WireReply {
    package static let operation = Operation.replayRecords
    package static let purpose = "They are with the group, durably."

    package var error = ErrorCode.none
    package var message = ""
    package var records: Int64 = 0

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int64("records", &records, "offsets that were not with it before")
    }
}

package struct CancelReplayRequest: WireRequest {
    package typealias Reply = CancelReplayReply
    package static let operation = Operation.cancelReplay
    package static let purpose =
        "Takes back what was sent to a group again and is not handled; dead letters stay."

    package var group = ""
    package var partitions: [GroupPlace] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.array(
            "partitions", &partitions, max: WireLimits.partitionsPerRequestMax, "none: all")
    }
}

package struct CancelReplayReply: WireReply {
    package static let operation = Operation.cancelReplay
    package static let purpose = "It is taken back, durably."

    package var error = ErrorCode.none
    package var message = ""
    package var records: Int64 = 0

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int64("records", &records, "offsets that were with the group and are not any more")
    }
}

/// The account of what was sent to a group again, of a partition.
package struct ReplayLine: WireItem {
    package static let bytesMin = 76
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var sent: Int64 = 0
    package var acked: Int64 = 0
    package var inFlight: Int64 = 0
    package var ready: Int64 = 0
    package var delayed: Int64 = 0
    package var expired: Int64 = 0
    package var dead: Int64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.int64("sent", &sent, "records sent again and not taken back, in all")
        try c.int64("acked", &acked, "handled")
        try c.int64("inFlight", &inFlight, "with members, and dead letters of it sent again")
        try c.int64("ready", &ready, "to be handed out")
        try c.int64("delayed", &delayed, "to be handed out later")
        try c.int64("expired", &expired, "taken by retention or deletion before they were handled")
        try c.int64("dead", &dead, "dead letters, neither handled nor resolved")
    }
}
