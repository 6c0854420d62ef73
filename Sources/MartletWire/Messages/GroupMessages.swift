package import MartletFormat

extension FieldCoder where Self: ~Copyable {
    mutating func group(_ value: inout String) throws(WireError) {
        try string("group", &value, max: WireLimits.groupNameBytesMax, "name of the group")
    }

    mutating func member(_ value: inout TopicID) throws(WireError) {
        try identifier("member", &value, "the member's own random id")
    }
}

/// A partition with the epoch under which a member owns it.
package struct OwnedPartition: WireItem {
    package static let bytesMin = 24
    package var topic = TopicID.zero
    package var partition: Int32 = 0
    package var epoch: Int32 = 0

    package init() {}

    package init(topic: TopicID, partition: Int32, epoch: Int32) {
        self.topic = topic
        self.partition = partition
        self.epoch = epoch
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.int32("partition", &partition, "number, from 0")
        try c.int32("epoch", &epoch, "under which the member owns it")
    }
}

/// A topic's id and name.
package struct TopicNaming: WireItem {
    package static let bytesMin = 18
    package var topic = TopicID.zero
    package var name = ""

    package init() {}

    package init(topic: TopicID, name: String) {
        self.topic = topic
        self.name = name
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.identifier("topic", &topic, "topic id")
        try c.string("name", &name, max: WireLimits.topicNameBytesMax, "topic name")
    }
}

/// How far a group is in a partition.
package struct CommittedPosition: WireItem {
    package static let bytesMin = 18
    package var offset: Int64 = -1
    package var leaderEpoch: Int32 = -1
    package var metadata = ""
    package var finished: [OffsetRange] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int64("offset", &offset, "next record to handle; -1: never committed")
        try c.int32("leaderEpoch", &leaderEpoch, "of the last record handled; -1: not known")
        try c.string(
            "metadata", &metadata, max: WireLimits.commitMetadataBytesMax, "the application's own")
        try c.array(
            "finished", &finished, max: WireLimits.finishedMax,
            "handled above offset; in order, apart from each other")
    }
}

package struct AssignedPartition: WireItem {
    package static let bytesMin = OwnedPartition.bytesMin + CommittedPosition.bytesMin + 12
    package var owned = OwnedPartition()
    package var committed = CommittedPosition()
    package var suspectBelow: Int64 = 0
    package var parked: [ParkedOffset] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.item("owned", &owned)
        try c.item("committed", &committed)
        try c.int64(
            "suspectBelow", &suspectBelow,
            "handlers begin below it with start-record: the last owner was lost there; 0: nowhere")
        try c.array(
            "parked", &parked, max: WireLimits.parkedMax,
            "set aside, in order: not to be handled, and not done")
    }
}

/// A record of a stream group that is set aside until somebody releases it.
package struct ParkedOffset: WireItem {
    package static let bytesMin = 9
    package var offset: Int64 = 0
    package var isKey = false

    package init() {}

    package init(_ offset: Int64, isKey: Bool) {
        self.offset = offset
        self.isKey = isKey
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int64("offset", &offset, "of the record")
        try c.bool("isKey", &isKey, "later records of its key are not to be handled either")
    }
}

package struct JoinGroupRequest: WireRequest {
    package typealias Reply = JoinGroupReply
    package static let operation = Operation.joinGroup
    package static let purpose =
        "Joins a group, or changes what a member wants; joining twice is joining once."

    package var group = ""
    package var member = TopicID.zero
    package var instance: String?
    package var sessionMilliseconds: Int32 = 0
    package var progressMilliseconds: Int32 = 0
    package var drainMilliseconds: Int32 = 0
    package var topics: [TopicNameItem] = []
    package var kind: UInt8 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.member(&member)
        try c.optionalString(
            "instance", &instance, max: WireLimits.groupNameBytesMax,
            "a name that outlives the process; null: none")
        try c.int32(
            "sessionMilliseconds", &sessionMilliseconds, "without a heartbeat for so long: dead")
        try c.int32(
            "progressMilliseconds", &progressMilliseconds,
            "without progress for so long: stuck; 0: never")
        try c.int32(
            "drainMilliseconds", &drainMilliseconds, "time to finish what is to be given up")
        try c.array(
            "topics", &topics, max: WireLimits.namesMax, "names, and patterns with `*`")
        try c.groupKind(&kind)
    }
}

package struct JoinGroupReply: WireReply {
    package static let operation = Operation.joinGroup
    package static let purpose = "The member is in the group. Heartbeats tell what it owns."

    package var error = ErrorCode.none
    package var message = ""

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {}
}

package struct HeartbeatRequest: WireRequest {
    package typealias Reply = HeartbeatReply
    package static let operation = Operation.heartbeat
    package static let purpose =
        "A sign of life; waits until what the member owns has changed, or there is news of the group."

    package var group = ""
    package var member = TopicID.zero
    package var revision: UInt64 = 0
    package var progress: UInt64 = 0
    package var maxWaitMilliseconds: UInt32 = 0
    package var released: [OwnedPartition] = []
    package var news: UInt64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.member(&member)
        try c.uint64("revision", &revision, "of the last assignment told; 0: none yet")
        try c.uint64("progress", &progress, "any change: the application took records")
        try c.uint32("maxWaitMilliseconds", &maxWaitMilliseconds, "answer by then; 0: at once")
        try c.array(
            "released", &released, max: WireLimits.partitionsPerRequestMax,
            "given up, after the last commit; may be said again")
        try c.uint64("news", &news, "number of the last news told; 1: none yet; 0: none wanted")
    }
}

package struct HeartbeatReply: WireReply {
    package static let operation = Operation.heartbeat
    package static let purpose = "What the member owns and of its group, when it did not know it."

    package var error = ErrorCode.none
    package var message = ""
    package var revision: UInt64 = 0
    package var topics: [TopicNaming] = []
    package var partitions: [AssignedPartition] = []
    package var news: UInt64 = 0
    package var expired: Int64 = 0
    package var breaker: UInt8 = 0
    package var pauses: [GroupPlace] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint64("revision", &revision, "as in the request: nothing changed, lists are empty")
        try c.array("topics", &topics, max: WireLimits.topicsMax, "names of the topics below")
        try c.array(
            "partitions", &partitions, max: WireLimits.assignmentMax,
            "all that the member owns; what it holds beside these it is to give up")
        try c.uint64("news", &news, "as in the request: nothing new, and nothing below")
        try c.int64(
            "expired", &expired, "records that were gone before they were handled, in all")
        try c.uint8("breaker", &breaker, "0: closed; 1: half-open; 2: open")
        try c.array("pauses", &pauses, max: WireLimits.pausesMax, "what stands still")
    }
}

package struct LeaveGroupRequest: WireRequest {
    package typealias Reply = LeaveGroupReply
    package static let operation = Operation.leaveGroup
    package static let purpose = "Leaves a group: what the member owned is free at once."

    package var group = ""
    package var member = TopicID.zero
    package var stays = false

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.member(&member)
        try c.bool(
            "stays", &stays,
            "it only ends, and has nothing in hand: what it owns waits for its instance")
    }
}

package struct LeaveGroupReply: WireReply {
    package static let operation = Operation.leaveGroup
    package static let purpose = "The member is not in the group."

    package var error = ErrorCode.none
    package var message = ""

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {}
}

package struct CommitEntry: WireItem {
    package static let bytesMin = OwnedPartition.bytesMin + CommittedPosition.bytesMin + 1
    package var owned = OwnedPartition()
    package var position = CommittedPosition()
    package var isFull = false

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.item("owned", &owned)
        try c.item("position", &position)
        try c.bool(
            "isFull", &isFull,
            "too much waits behind parked records: the group is to stand still there")
    }
}

/// A member found nothing where it was to read, and its reset policy chose another place.
package struct PolicyResetItem: WireItem {
    package static let bytesMin = OwnedPartition.bytesMin + 17
    package var owned = OwnedPartition()
    package var reason: UInt8 = 0
    package var from: Int64 = -1
    package var to: Int64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.item("owned", &owned)
        try c.uint8(
            "reason", &reason, "1: nothing was committed; 2: not in the log; 3: it was lost")
        try c.int64("from", &from, "where it was to read; -1: nowhere")
        try c.int64("to", &to, "where it goes on")
    }
}

package struct CommitOffsetsRequest: WireRequest {
    package typealias Reply = CommitOffsetsReply
    package static let operation = Operation.commitOffsets
    package static let purpose = "Says how far a group is; durable before it is answered."

    package var group = ""
    package var member = TopicID.zero
    package var number: UInt64 = 0
    package var entries: [CommitEntry] = []
    package var resets: [PolicyResetItem] = []
    package var handled: [TypeTimesItem] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.identifier(
            "member", &member, "who owns the partitions; zeros: the group has no members")
        try c.uint64(
            "number", &number,
            "rises with each commit of the member, a lower one that comes late is refused; 0: none")
        try c.array("entries", &entries, max: WireLimits.partitionsPerRequestMax, "partitions")
        try c.array(
            "resets", &resets, max: WireLimits.partitionsPerRequestMax,
            "what the member's reset policy chose since it said so before")
        try c.handled(&handled)
    }
}

package struct CommitResult: WireItem {
    package static let bytesMin = 4
    package var error = ErrorCode.none
    package var message = ""

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.errorCode(&error)
        try c.errorMessage(&message)
    }
}

package struct CommitOffsetsReply: WireReply {
    package static let operation = Operation.commitOffsets
    package static let purpose = "One result per entry, in the request's order."

    package var error = ErrorCode.none
    package var message = ""
    package var results: [CommitResult] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("results", &results, max: WireLimits.partitionsPerRequestMax, "one per entry")
    }
}
