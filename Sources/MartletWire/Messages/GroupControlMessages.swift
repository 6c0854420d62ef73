package import MartletFormat

/// A part of a group: a topic, or a partition of one.
package struct GroupPlace: WireItem {
    package static let bytesMin = 20
    package var topic = TopicID.zero
    package var partition: Int32 = -1

    package init() {}

    package init(topic: TopicID, partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id; zeros: the whole group")
        try c.int32("partition", &partition, "number, from 0; -1: all")
    }
}

/// What stands still, and since when.
package struct GroupPauseLine: WireItem {
    package static let bytesMin = GroupPlace.bytesMin + 8
    package var place = GroupPlace()
    package var since: Int64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.item("place", &place)
        try c.int64("since", &since, "milliseconds since 1970 UTC")
    }
}

package struct PauseGroupRequest: WireRequest {
    package typealias Reply = PauseGroupReply
    package static let operation = Operation.pauseGroup
    package static let purpose =
        "Lets a group, or a part of it, stand still or go on; doing it twice is doing it once."

    package var group = ""
    package var isPaused = false
    package var places: [GroupPlace] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.bool("isPaused", &isPaused, "false: it goes on")
        try c.array("places", &places, max: WireLimits.pausesMax, "none: the whole group")
    }
}

package struct PauseGroupReply: WireReply {
    package static let operation = Operation.pauseGroup
    package static let purpose =
        "It holds, durably. Members give up what stands still as in any hand-over."

    package var error = ErrorCode.none
    package var message = ""

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {}
}

package struct ResetEntry: WireItem {
    package static let bytesMin = 36
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var expected: Int64 = -2
    package var offset: Int64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.int64(
            "expected", &expected,
            "committed, or a queue's floor, when it was planned; -1: nothing; -2: any")
        try c.int64("offset", &offset, "next record to handle")
    }
}

package struct ResetGroupRequest: WireRequest {
    package typealias Reply = ResetGroupReply
    package static let operation = Operation.resetGroup
    package static let purpose = "Sets how far a group is, in all of the partitions or in none."

    package var group = ""
    package var isForced = false
    package var entries: [ResetEntry] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.bool("isForced", &isForced, "also where members are at work, whatever was expected")
        try c.array("entries", &entries, max: WireLimits.partitionsPerRequestMax, "partitions")
    }
}

package struct ResetResult: WireItem {
    package static let bytesMin = 9
    package var offset: Int64 = 0
    package var isClamped = false

    package init() {}

    package init(offset: Int64, isClamped: Bool) {
        self.offset = offset
        self.isClamped = isClamped
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int64("offset", &offset, "where the group goes on")
        try c.bool("isClamped", &isClamped, "the log does not reach to the one asked for")
    }
}

package struct ResetGroupReply: WireReply {
    package static let operation = Operation.resetGroup
    package static let purpose = "The offsets hold, durably; one result per entry, in order."

    package var error = ErrorCode.none
    package var message = ""
    package var results: [ResetResult] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("results", &results, max: WireLimits.partitionsPerRequestMax, "one per entry")
    }
}
