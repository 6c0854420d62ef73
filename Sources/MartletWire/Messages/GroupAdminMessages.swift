package import MartletFormat

package struct CreateGroupRequest: WireRequest {
    package typealias Reply = CreateGroupReply
    package static let operation = Operation.createGroup
    package static let purpose = "Makes a group without members; from then on its lag counts."

    package var group = ""
    package var kind: UInt8 = 0
    package var topics: [TopicNameItem] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.groupKind(&kind)
        try c.array(
            "topics", &topics, max: WireLimits.namesMax,
            "names and patterns of what its members will want; may be empty")
    }
}

package struct CreateGroupReply: WireReply {
    package static let operation = Operation.createGroup
    package static let purpose = "The group exists, durably."

    package var error = ErrorCode.none
    package var message = ""

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {}
}

package struct DeleteGroupRequest: WireRequest {
    package typealias Reply = DeleteGroupReply
    package static let operation = Operation.deleteGroup
    package static let purpose = "Deletes a group without members, and its offsets."

    package var group = ""

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
    }
}

package struct DeleteGroupReply: WireReply {
    package static let operation = Operation.deleteGroup
    package static let purpose = "The group is gone, durably."

    package var error = ErrorCode.none
    package var message = ""

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {}
}

package struct ListGroupsRequest: WireRequest {
    package typealias Reply = ListGroupsReply
    package static let operation = Operation.listGroups
    package static let purpose = "Lists groups, a page at a time."

    package var after = ""
    package var max: UInt32 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.string(
            "after", &after, max: WireLimits.groupNameBytesMax,
            "the last name of the page before; empty: from the first")
        try c.uint32("max", &max, "lines at most; 0: as many as the broker gives")
    }
}

package struct GroupSummary: WireItem {
    package static let bytesMin = 41
    package var group = ""
    package var members: UInt32 = 0
    package var partitions: UInt32 = 0
    package var lag: Int64 = 0
    package var kind: UInt8 = 0
    package var isPaused = false
    package var pausedParts: UInt32 = 0
    package var breaker: UInt8 = 0
    package var parked: Int64 = 0
    package var dead: Int64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
        try c.uint32("members", &members, "now in the group")
        try c.uint32("partitions", &partitions, "that it has, or is to have")
        try c.int64("lag", &lag, "records that are visible and not handled")
        try c.groupKind(&kind)
        try c.bool("isPaused", &isPaused, "the whole of it stands still")
        try c.uint32("pausedParts", &pausedParts, "topics and partitions that do by themselves")
        try c.uint8("breaker", &breaker, "0: closed; 1: half-open; 2: open")
        try c.int64("parked", &parked, "records that are set aside until somebody releases them")
        try c.int64("dead", &dead, "dead letters that are not with the group again")
    }
}

package struct ListGroupsReply: WireReply {
    package static let operation = Operation.listGroups
    package static let purpose = "Groups, by name."

    package var error = ErrorCode.none
    package var message = ""
    package var groups: [GroupSummary] = []
    package var hasMore = false

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array("groups", &groups, max: WireLimits.groupsMax, "in order of their names")
        try c.bool("hasMore", &hasMore, "ask again with the last name as `after`")
    }
}

package struct DescribeGroupRequest: WireRequest {
    package typealias Reply = DescribeGroupReply
    package static let operation = Operation.describeGroup
    package static let purpose = "Tells who is in a group, who owns what, and how far it is."

    package var group = ""

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.group(&group)
    }
}

package struct GroupMemberLine: WireItem {
    package static let bytesMin = 36
    package var member = TopicID.zero
    package var instance: String?
    package var client = ""
    package var owned: UInt32 = 0
    package var sessionMilliseconds: Int32 = 0
    package var progressMilliseconds: Int32 = 0
    package var topics: [TopicNameItem] = []

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.member(&member)
        try c.optionalString(
            "instance", &instance, max: WireLimits.groupNameBytesMax, "null: none")
        try c.string(
            "client", &client, max: WireLimits.textBytesMax, "the client's name, and its address")
        try c.uint32("owned", &owned, "partitions")
        try c.int32("sessionMilliseconds", &sessionMilliseconds, "as it joined")
        try c.int32("progressMilliseconds", &progressMilliseconds, "as it joined")
        try c.array("topics", &topics, max: WireLimits.namesMax, "names and patterns it wants")
    }
}

extension FieldCoder where Self: ~Copyable {
    fileprivate mutating func headroom(
        _ milliseconds: inout Int64, _ bytes: inout Int64
    ) throws(WireError) {
        try int64(
            "headroomMilliseconds", &milliseconds,
            "retention by age takes none of them sooner; -1: never")
        try int64(
            "headroomBytes", &bytes,
            "retention by size takes none of them before so many are appended; -1: never")
    }
}

package struct GroupPartitionLine: WireItem {
    package static let bytesMin = 133
    package var owned = OwnedPartition()
    package var hasOwner = false
    package var owner = TopicID.zero
    package var isLeaving = false
    package var isPaused = false
    package var committed = CommittedPosition()
    package var committedAt: Int64 = -1
    package var logStart: Int64 = -1
    package var highWatermark: Int64 = -1
    package var lag: Int64 = -1
    package var lagMilliseconds: Int64 = -1
    package var headroomMilliseconds: Int64 = -1
    package var headroomBytes: Int64 = -1
    package var failing: Int64 = 0
    package var parked: Int64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.item("owned", &owned)
        try c.bool("hasOwner", &hasOwner, "whether a member owns it")
        try c.identifier("owner", &owner, "that member")
        try c.bool("isLeaving", &isLeaving, "its owner has been asked to give it up")
        try c.bool("isPaused", &isPaused, "nobody is given it until it is resumed")
        try c.item("committed", &committed)
        try c.int64("committedAt", &committedAt, "milliseconds since 1970 UTC; -1: never")
        try c.int64("logStart", &logStart, "first offset that can be read; -1: unknown")
        try c.int64("highWatermark", &highWatermark, "readers see what lies below; -1: unknown")
        try c.int64("lag", &lag, "records visible and not handled; -1: unknown")
        try c.int64(
            "lagMilliseconds", &lagMilliseconds,
            "at least so old is the oldest of them; 0: there is none; -1: unknown")
        try c.headroom(&headroomMilliseconds, &headroomBytes)
        try c.int64(
            "failing", &failing,
            "of a stream: records that a handler failed with, and no commit has passed since")
        try c.int64("parked", &parked, "of a stream: records that are set aside")
    }
}

package struct DescribeGroupReply: WireReply {
    package static let operation = Operation.describeGroup
    package static let purpose = "A group at one moment."

    package var error = ErrorCode.none
    package var message = ""
    package var createdAt: Int64 = 0
    package var lag: Int64 = 0
    package var lagMilliseconds: Int64 = 0
    package var headroomMilliseconds: Int64 = -1
    package var headroomBytes: Int64 = -1
    package var topics: [TopicNaming] = []
    package var members: [GroupMemberLine] = []
    package var partitions: [GroupPartitionLine] = []
    package var pauses: [GroupPauseLine] = []
    package var kind: UInt8 = 0
    package var queues: [QueuePartitionLine] = []
    package var replays: [ReplayLine] = []
    package var policy = FailurePolicyItem()
    package var letters = DeadLetterCounts()
    package var breaker = BreakerItem()
    package var handled: [TypeTimesItem] = []

    package init() {}

    package mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.int64("createdAt", &createdAt, "milliseconds since 1970 UTC")
        try c.int64("lag", &lag, "of all partitions that are known")
        try c.int64("lagMilliseconds", &lagMilliseconds, "the longest of them")
        try c.headroom(&headroomMilliseconds, &headroomBytes)
        try c.array("topics", &topics, max: WireLimits.topicsMax, "names of the topics below")
        try c.array("members", &members, max: WireLimits.membersMax, "in order of their ids")
        try c.array(
            "partitions", &partitions, max: WireLimits.assignmentMax,
            "that it owns or has committed, or is to have; of a queue, its floor and what is settled above"
        )
        try c.array("pauses", &pauses, max: WireLimits.pausesMax, "what stands still")
        try c.groupKind(&kind)
        try c.array(
            "queues", &queues, max: WireLimits.assignmentMax, "of a queue: its accounts")
        try c.array(
            "replays", &replays, max: WireLimits.assignmentMax,
            "what was sent to it again, without dead letters")
        try c.item("policy", &policy)
        try c.item("letters", &letters)
        try c.item("breaker", &breaker)
        try c.handled(&handled)
    }
}
