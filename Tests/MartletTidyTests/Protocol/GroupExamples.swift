import MartletFormat
import MartletWire

/// The examples of the operations on groups: the group `board` with one member.
enum GroupExamples {
    private static let member = TopicID(high: 0x3D2A_0F6B_7C81_4E95, low: 0x9B04_D8E2_5A17_C3F6)
    private static let group = "board"

    static func frames(of operation: Operation) -> (request: ExampleFrame, reply: ExampleFrame) {
        switch operation {
        case .createGroup:
            (ExampleFrame(create), ExampleFrame(CreateGroupReply()))
        case .deleteGroup:
            (ExampleFrame(named(DeleteGroupRequest())), ExampleFrame(DeleteGroupReply()))
        case .listGroups: (ExampleFrame(ListGroupsRequest()), ExampleFrame(listReply))
        case .describeGroup:
            (ExampleFrame(named(DescribeGroupRequest())), ExampleFrame(describeReply))
        case .joinGroup: (ExampleFrame(join), ExampleFrame(JoinGroupReply()))
        case .heartbeat: (ExampleFrame(heartbeat), ExampleFrame(heartbeatReply))
        case .leaveGroup: (ExampleFrame(leave), ExampleFrame(LeaveGroupReply()))
        case .commitOffsets: (ExampleFrame(commit), ExampleFrame(commitReply))
        case .pauseGroup: (ExampleFrame(pause), ExampleFrame(PauseGroupReply()))
        case .resetGroup: (ExampleFrame(reset), ExampleFrame(resetReply))
        case .receive: (ExampleFrame(receive), ExampleFrame(receiveReply))
        case .settle: (ExampleFrame(settle), ExampleFrame(settleReply))
        case .hello, .ping, .status, .metadata, .createTopic, .deleteTopic, .listTopics,
            .describeTopic, .alterTopic, .addPartitions, .produce, .fetch, .listOffsets,
            .deleteRecords, .initProducer, .skipDamage, .doctor, .setFailurePolicy,
            .listDeadLetters, .replayDeadLetters, .resolveDeadLetters, .editDeadLetter,
            .failRecord, .replayRecords, .cancelReplay, .listParked, .releaseParked,
            .setBreaker, .startRecord,
            .listQueueRecords, .assignDeadLetters, .commentDeadLetters:
            other(operation)
        }
    }

    private static func other(
        _ operation: Operation
    ) -> (request: ExampleFrame, reply: ExampleFrame) {
        let found = DeadLetterExamples.frames(of: operation) ?? ParkedExamples.frames(of: operation)
        guard let frames = found else {
            preconditionFailure("\(operation) is no operation on groups")
        }
        return frames
    }

    private static func named(_ message: CreateGroupRequest) -> CreateGroupRequest {
        var message = message
        message.group = group
        return message
    }

    private static func named(_ message: DeleteGroupRequest) -> DeleteGroupRequest {
        var message = message
        message.group = group
        return message
    }

    private static func named(_ message: DescribeGroupRequest) -> DescribeGroupRequest {
        var message = message
        message.group = group
        return message
    }

    private static var create: CreateGroupRequest {
        var request = named(CreateGroupRequest())
        request.topics = [TopicNameItem("flights.*")]
        return request
    }

    private static var join: JoinGroupRequest {
        var message = JoinGroupRequest()
        message.group = group
        message.member = member
        message.sessionMilliseconds = 10_000
        message.progressMilliseconds = 300_000
        message.drainMilliseconds = 30_000
        message.topics = [TopicNameItem("flights"), TopicNameItem("weather.*")]
        return message
    }

    private static var heartbeat: HeartbeatRequest {
        var message = HeartbeatRequest()
        message.group = group
        message.member = member
        message.revision = 4_711
        message.progress = 26
        message.maxWaitMilliseconds = 3_000
        message.released = [OwnedPartition(topic: ExampleMessages.flights, partition: 3, epoch: 1)]
        message.news = 4_700
        return message
    }

    private static var heartbeatReply: HeartbeatReply {
        var message = HeartbeatReply()
        message.revision = 4_712
        message.topics = [TopicNaming(topic: ExampleMessages.flights, name: "flights")]
        var entry = AssignedPartition()
        entry.owned = OwnedPartition(topic: ExampleMessages.flights, partition: 2, epoch: 5)
        entry.committed = position
        entry.suspectBelow = 6_640
        entry.parked = [ParkedOffset(6_612, isKey: true)]
        message.partitions = [entry]
        (message.news, message.expired) = (4_709, 12)
        message.pauses = [GroupPlace(topic: ExampleMessages.flights, partition: 3)]
        return message
    }

    private static var position: CommittedPosition {
        var position = CommittedPosition()
        position.offset = 6_612
        position.leaderEpoch = 1
        position.finished = [OffsetRange(6_613, 6_620)]
        return position
    }

    private static var leave: LeaveGroupRequest {
        var message = LeaveGroupRequest()
        message.group = group
        message.member = member
        return message
    }

    private static var commit: CommitOffsetsRequest {
        var message = CommitOffsetsRequest()
        message.group = group
        message.member = member
        message.number = 17
        var entry = CommitEntry()
        entry.owned = OwnedPartition(topic: ExampleMessages.flights, partition: 2, epoch: 5)
        entry.position = position
        message.entries = [entry]
        var reset = PolicyResetItem()
        reset.owned = entry.owned
        reset.reason = 2
        (reset.from, reset.to) = (4_000, 5_120)
        message.resets = [reset]
        message.handled = handled([1_400_000, 1_900_000, 38_000_000])
        return message
    }

    private static func handled(_ nanoseconds: [Int64]) -> [TypeTimesItem] {
        var times = HandlerTimesByType()
        for time in nanoseconds { times.add(nanoseconds: time, type: "flight.departed.v1") }
        return times.items
    }

    private static var commitReply: CommitOffsetsReply {
        var message = CommitOffsetsReply()
        message.results = [CommitResult()]
        return message
    }

    private static var pause: PauseGroupRequest {
        var message = PauseGroupRequest()
        message.group = group
        message.isPaused = true
        message.places = [GroupPlace(topic: ExampleMessages.flights, partition: 2)]
        return message
    }

    private static var reset: ResetGroupRequest {
        var message = ResetGroupRequest()
        message.group = group
        var entry = ResetEntry()
        entry.topic = ExampleMessages.flights
        entry.partition = 2
        entry.expected = 6_612
        entry.offset = 6_000
        message.entries = [entry]
        return message
    }

    private static var resetReply: ResetGroupReply {
        var message = ResetGroupReply()
        message.results = [ResetResult(offset: 6_000, isClamped: false)]
        return message
    }

    private static var receive: ReceiveRequest {
        var message = ReceiveRequest()
        message.group = "notify"
        message.member = member
        message.maxRecords = 100
        message.leaseMilliseconds = 30_000
        message.maxWaitMilliseconds = 3_000
        return message
    }

    private static var receiveReply: ReceiveReply {
        var message = ReceiveReply()
        var item = DeliveredRange()
        item.topic = ExampleMessages.flights
        item.partition = 2
        item.range = OffsetRange(6_612, 6_620)
        item.delivery = 20_230_107_000_001
        item.attempts = 1
        item.isSuspect = true
        message.delivered = [item]
        return message
    }

    private static var settle: SettleRequest {
        var message = SettleRequest()
        message.group = "notify"
        var entry = SettleEntry()
        entry.topic = ExampleMessages.flights
        entry.partition = 2
        entry.range = OffsetRange(6_612, 6_619)
        entry.delivery = 20_230_107_000_001
        entry.verb = 1
        message.entries = [entry]
        entry.range = OffsetRange(6_619, 6_620)
        entry.verb = 2
        entry.milliseconds = 5_000
        message.entries.append(entry)
        return message
    }

    private static var settleReply: SettleReply {
        var message = SettleReply()
        message.results = [CommitResult(), CommitResult()]
        return message
    }

    private static var listReply: ListGroupsReply {
        var message = ListGroupsReply()
        var summary = GroupSummary()
        summary.group = group
        summary.members = 1
        summary.partitions = 4
        summary.lag = 1_290
        summary.pausedParts = 1
        summary.parked = 2
        summary.dead = 17
        message.groups = [summary]
        return message
    }

    private static var describeReply: DescribeGroupReply {
        var message = DescribeGroupReply()
        message.createdAt = 1_767_225_600_000
        message.lag = 1_290
        message.lagMilliseconds = 42_000
        message.headroomMilliseconds = 604_758_000
        message.topics = [TopicNaming(topic: ExampleMessages.flights, name: "flights")]
        var line = GroupMemberLine()
        line.member = member
        line.client = "example"
        line.owned = 1
        line.sessionMilliseconds = 10_000
        line.progressMilliseconds = 300_000
        line.topics = [TopicNameItem("flights")]
        message.members = [line]
        var partition = GroupPartitionLine()
        partition.owned = OwnedPartition(topic: ExampleMessages.flights, partition: 2, epoch: 5)
        partition.hasOwner = true
        partition.owner = member
        partition.committed = position
        partition.committedAt = 1_767_225_690_000
        partition.logStart = 0
        partition.highWatermark = 7_909
        partition.lag = 1_290
        partition.lagMilliseconds = 42_000
        partition.headroomMilliseconds = 604_758_000
        (partition.failing, partition.parked) = (1, 1)
        message.partitions = [partition]
        message.handled = handled([1_400_000, 1_900_000, 38_000_000])
        return message
    }
}
