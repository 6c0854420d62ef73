package import MartletFormat

extension FieldCoder where Self: ~Copyable {
    mutating func groupKind(_ value: inout UInt8) throws(WireError) {
        try uint8(
            "kind", &value,
            "0: stream; 1: queue from the earliest; 2: from the latest; 3, 4: in order by key")
    }
}

extension FieldCoder where Self: ~Copyable {
    mutating func lane(_ value: inout UInt8) throws(WireError) {
        try uint8("lane", &value, "0: the flow; 1: what was sent again, with accounts of its own")
    }
}

/// Records that a member was handed.
package struct DeliveredRange: WireItem {
    package static let bytesMin = 50
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var lane: UInt8 = 0
    package var range = OffsetRange()
    package var delivery: UInt64 = 0
    package var attempts: UInt32 = 0
    package var isSuspect = false

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.lane(&lane)
        try c.item("range", &range)
        try c.uint64("delivery", &delivery, "what settles them")
        try c.uint32("attempts", &attempts, "how often handlers began with each before")
        try c.bool(
            "isSuspect", &isSuspect,
            "the last member went, or took too long, and nobody knows whether a handler began")
    }
}

package struct ReceiveRequest: WireRequest {
    package typealias Reply = ReceiveReply
    package static let operation = Operation.receive
    package static let purpose =
        "Takes records of a queue for a time; waits until there are some. Fetch reads them."

    package var group = ""
    package var member = TopicID.zero
    package var maxRecords: UInt32 = 0
    package var leaseMilliseconds: Int32 = 0
    package var maxWaitMilliseconds: UInt32 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.member(&member)
        try c.uint32("maxRecords", &maxRecords, "at most so many in all, from 1 on")
        try c.int32("leaseMilliseconds", &leaseMilliseconds, "for so long they are its alone")
        try c.uint32("maxWaitMilliseconds", &maxWaitMilliseconds, "answer by then; 0: at once")
    }
}

package struct ReceiveReply: WireReply {
    package static let operation = Operation.receive
    package static let purpose = "What the member has now. Empty: its time ran out."

    package var error = ErrorCode.none
    package var message = ""
    package var delivered: [DeliveredRange] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array(
            "delivered", &delivered, max: WireLimits.deliveriesMax,
            "a partition may come more than once")
    }
}

/// What becomes of records that were delivered.
package struct SettleEntry: WireItem {
    package static let bytesMin = 58
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var lane: UInt8 = 0
    package var range = OffsetRange()
    package var delivery: UInt64 = 0
    package var verb: UInt8 = 0
    package var milliseconds: Int64 = 0
    package var failure = ""
    package var text = ""

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.lane(&lane)
        try c.item("range", &range)
        try c.uint64("delivery", &delivery, "as it was received")
        try c.uint8(
            "verb", &verb,
            "1: done; 2: again after a while; 3: lease anew; 4: a handler begins; 5: it failed, and "
                + "may succeed another time; 6: it failed for ever; 7: set it aside")
        try c.int64("milliseconds", &milliseconds, "verb 2: the while; verb 3: the lease; else 0")
        try c.string(
            "failure", &failure, max: WireLimits.failureKindBytesMax,
            "verb 5 to 7: the kind of failure; else empty")
        try c.string(
            "text", &text, max: WireLimits.failureTextBytesMax, "verb 5 to 7: its words")
    }
}

package struct SettleRequest: WireRequest {
    package typealias Reply = SettleReply
    package static let operation = Operation.settle
    package static let purpose =
        "Says what became of records of a queue; durable before it is answered."

    package var group = ""
    package var entries: [SettleEntry] = []
    package var handled: [TypeTimesItem] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.array(
            "entries", &entries, max: WireLimits.deliveriesMax,
            "of one record at most one, but for verb 4; with verb 5 to 7 of one record each")
        try c.handled(&handled)
    }
}

package struct SettleReply: WireReply {
    package static let operation = Operation.settle
    package static let purpose = "One result per entry, in the request's order."

    package var error = ErrorCode.none
    package var message = ""
    package var results: [CommitResult] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("results", &results, max: WireLimits.deliveriesMax, "one per entry")
    }
}

/// A queue group's account of a partition.
package struct QueuePartitionLine: WireItem {
    package static let bytesMin = 108
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var start: Int64 = 0
    package var floor: Int64 = 0
    package var highWatermark: Int64 = -1
    package var acked: Int64 = 0
    package var inFlight: Int64 = 0
    package var ready: Int64 = 0
    package var delayed: Int64 = 0
    package var parked: Int64 = 0
    package var expired: Int64 = 0
    package var dead: Int64 = 0
    package var lag: Int64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.int64("start", &start, "where the group began, or was reset to")
        try c.int64("floor", &floor, "all below are acked, expired or dead")
        try c.int64("highWatermark", &highWatermark, "readers see what lies below; -1: unknown")
        try c.int64("acked", &acked, "handled")
        try c.int64("inFlight", &inFlight, "with members, and dead letters sent again")
        try c.int64(
            "ready", &ready,
            "to be handed out; in order by key, also those that wait for others of their key")
        try c.int64("delayed", &delayed, "to be handed out later")
        try c.int64("parked", &parked, "set aside until they are released")
        try c.int64("expired", &expired, "taken by retention or deletion before they were handled")
        try c.int64("dead", &dead, "dead letters, neither handled nor resolved")
        try c.int64("lag", &lag, "visible, and neither acked nor expired nor dead")
    }
}
