package import MartletFormat

/// What a list-offsets entry asks for.
package enum OffsetKind: UInt8, Sendable, CaseIterable {
    case earliest = 0
    case latest = 1
    case time = 2
}

package struct ListOffsetsEntry: WireItem {
    package static let bytesMin = 29
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var kind: UInt8 = 0
    package var time: Int64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.uint8("kind", &kind, "0 earliest, 1 latest, 2 by event time")
        try c.int64("time", &time, "kind 2: milliseconds since 1970 UTC")
    }
}

package struct ListOffsetsRequest: WireRequest {
    package typealias Reply = ListOffsetsReply
    package static let operation = Operation.listOffsets
    package static let purpose = "Asks for the ends of partitions, or for the offset at a time."

    package var entries: [ListOffsetsEntry] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("entries", &entries, max: WireLimits.partitionsPerRequestMax, "partitions")
    }
}

package struct ListOffsetsResult: WireItem {
    package static let bytesMin = 24
    package var error = ErrorCode.none
    package var message = ""
    package var offset: Int64 = -1
    package var time: Int64 = -1
    package var leaderEpoch: Int32 = -1

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.errorCode(&error)
        try c.errorMessage(&message)
        try c.int64("offset", &offset, "kind 2: first record at or after the time, or the end")
        try c.int64("time", &time, "kind 2: that record's event time, or -1")
        try c.int32("leaderEpoch", &leaderEpoch, "of the partition")
    }
}

package struct ListOffsetsReply: WireReply {
    package static let operation = Operation.listOffsets
    package static let purpose = "One result per entry, in the request's order."

    package var error = ErrorCode.none
    package var message = ""
    package var results: [ListOffsetsResult] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("results", &results, max: WireLimits.partitionsPerRequestMax, "one per entry")
    }
}

package struct DeleteRecordsEntry: WireItem {
    package static let bytesMin = 28
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var before: Int64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.int64("before", &before, "records below go; -1: up to the high watermark")
    }
}

package struct DeleteRecordsRequest: WireRequest {
    package typealias Reply = DeleteRecordsReply
    package static let operation = Operation.deleteRecords
    package static let purpose = "Raises the log start, so that older records are gone."

    package var entries: [DeleteRecordsEntry] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("entries", &entries, max: WireLimits.partitionsPerRequestMax, "partitions")
    }
}

package struct DeleteRecordsResult: WireItem {
    package static let bytesMin = 12
    package var error = ErrorCode.none
    package var message = ""
    package var logStart: Int64 = -1

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.errorCode(&error)
        try c.errorMessage(&message)
        try c.int64("logStart", &logStart, "first offset that can be read now")
    }
}

package struct DeleteRecordsReply: WireReply {
    package static let operation = Operation.deleteRecords
    package static let purpose = "One result per entry, in the request's order."

    package var error = ErrorCode.none
    package var message = ""
    package var results: [DeleteRecordsResult] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("results", &results, max: WireLimits.partitionsPerRequestMax, "one per entry")
    }
}

package struct SkipDamageRequest: WireRequest {
    package typealias Reply = SkipDamageReply
    package static let operation = Operation.skipDamage
    package static let purpose = "Lets readers pass damaged offsets, by a person's decision."

    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var from: Int64 = 0
    package var to: Int64 = 0
    package var execute = false

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.int64("from", &from, "first offset")
        try c.int64("to", &to, "the offset behind the last")
        try c.bool("execute", &execute, "false: only say what would be skipped")
    }
}

package struct SkipDamageReply: WireReply {
    package static let operation = Operation.skipDamage
    package static let purpose = "What was, or would be, skipped."

    package var error = ErrorCode.none
    package var message = ""
    package var skipped: [OffsetRange] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("skipped", &skipped, max: WireLimits.rangesMax, "damaged ranges inside")
    }
}
