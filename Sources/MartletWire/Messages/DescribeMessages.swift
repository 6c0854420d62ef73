package import MartletFormat

/// Offsets from `from` up to, and without, `to`.
package struct OffsetRange: WireItem {
    package static let bytesMin = 16
    package var from: Int64 = 0
    package var to: Int64 = 0

    package init() {}

    package init(_ from: Int64, _ to: Int64) {
        self.from = from
        self.to = to
    }

    /// Empty for what is no range of offsets: below 0 even to count it may be too much.
    package var offsets: Range<Int64> { from >= 0 && from < to ? from..<to : 0..<0 }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int64("from", &from, "first offset")
        try c.int64("to", &to, "the offset behind the last")
    }
}

package struct DescribeTopicRequest: WireRequest {
    package typealias Reply = DescribeTopicReply
    package static let operation = Operation.describeTopic
    package static let purpose = "Asks for a topic's settings and the state of its partitions."

    package var id = TopicID.zero

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("id", &id, "topic id")
    }
}

package struct TopicSetting: WireItem {
    package static let bytesMin = 5
    package var key = ""
    package var value = ""
    package var source: UInt8 = 0

    package init() {}

    package init(_ key: String, _ value: String, source: UInt8) {
        self.key = key
        self.value = value
        self.source = source
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.string("key", &key, max: WireLimits.settingKeyBytesMax, "setting")
        try c.string("value", &value, max: WireLimits.settingValueBytesMax, "value in force")
        try c.uint8("source", &source, "0 default, 1 broker, 2 topic")
    }
}

package struct PartitionDescription: WireItem {
    package static let bytesMin = 87
    package var partition: Int32 = 0
    package var state: UInt8 = 0
    package var logStart: Int64 = 0
    package var highWatermark: Int64 = 0
    package var durableEnd: Int64 = 0
    package var logEnd: Int64 = 0
    package var leaderEpoch: Int32 = 0
    package var segments: UInt32 = 0
    package var bytes: Int64 = 0
    package var firstAppendTime: Int64 = 0
    package var lastAppendTime: Int64 = 0
    package var gaps: [OffsetRange] = []
    package var damaged: [OffsetRange] = []
    package var consumed: Int64 = -1
    package var heldBy = ""

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int32("partition", &partition, "number, from 0")
        try c.uint8("state", &state, "0 online, 1 loading, 2 offline")
        try c.int64("logStart", &logStart, "first offset that can be read")
        try c.int64("highWatermark", &highWatermark, "readers see what lies below")
        try c.int64("durableEnd", &durableEnd, "what lies below is on disk")
        try c.int64("logEnd", &logEnd, "the next record's offset, or the high watermark")
        try c.int32("leaderEpoch", &leaderEpoch, "of the next batch")
        try c.uint32("segments", &segments, "count")
        try c.int64("bytes", &bytes, "of the log")
        try c.int64("firstAppendTime", &firstAppendTime, "milliseconds since 1970 UTC, or -1")
        try c.int64("lastAppendTime", &lastAppendTime, "milliseconds since 1970 UTC, or -1")
        try c.array("gaps", &gaps, max: WireLimits.rangesMax, "offsets that were never given")
        try c.array("damaged", &damaged, max: WireLimits.rangesMax, "offsets in quarantine")
        try c.int64(
            "consumed", &consumed, "all groups have handled what lies below; -1: no retention by it"
        )
        try c.string(
            "heldBy", &heldBy, max: WireLimits.groupNameBytesMax,
            "the group that is furthest behind; empty: none, and everything stays")
    }
}

package struct DescribeTopicReply: WireReply {
    package static let operation = Operation.describeTopic
    package static let purpose = "The topic, its settings and its partitions."

    package var error = ErrorCode.none
    package var message = ""
    package var id = TopicID.zero
    package var name = ""
    package var settings: [TopicSetting] = []
    package var partitions: [PartitionDescription] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("id", &id, "topic id")
        try c.string("name", &name, max: WireLimits.topicNameBytesMax, "topic name")
        try c.array("settings", &settings, max: WireLimits.settingsMax, "all, with their source")
        try c.array(
            "partitions", &partitions, max: WireLimits.partitionsPerTopicMax, "by number")
    }
}
