import MartletFormat
import MartletWire

/// The examples of the operations on dead letters and replays: those of the group `notify`.
enum DeadLetterExamples {
    private static let group = "notify"

    static func frames(of operation: Operation) -> (request: ExampleFrame, reply: ExampleFrame)? {
        switch operation {
        case .setFailurePolicy:
            (ExampleFrame(policy), ExampleFrame(SetFailurePolicyReply()))
        case .listDeadLetters: (ExampleFrame(list), ExampleFrame(listReply))
        case .replayDeadLetters: (ExampleFrame(replay), ExampleFrame(replayReply))
        case .resolveDeadLetters: (ExampleFrame(resolve), ExampleFrame(resolveReply))
        case .assignDeadLetters: (ExampleFrame(assign), ExampleFrame(assignReply))
        case .commentDeadLetters: (ExampleFrame(comment), ExampleFrame(commentReply))
        case .editDeadLetter: (ExampleFrame(edit), ExampleFrame(EditDeadLetterReply()))
        case .failRecord: (ExampleFrame(fail), ExampleFrame(failReply))
        case .replayRecords: (ExampleFrame(replayRecords), ExampleFrame(replayRecordsReply))
        case .cancelReplay: (ExampleFrame(cancel), ExampleFrame(cancelReply))
        case .setBreaker: (ExampleFrame(breaker), ExampleFrame(SetBreakerReply()))
        case .startRecord: (ExampleFrame(start), ExampleFrame(StartRecordReply()))
        case .hello, .ping, .status, .metadata, .createTopic, .deleteTopic, .listTopics,
            .describeTopic, .alterTopic, .addPartitions, .produce, .fetch, .listOffsets,
            .deleteRecords, .initProducer, .skipDamage, .doctor, .createGroup, .deleteGroup,
            .listGroups, .describeGroup, .joinGroup, .heartbeat, .leaveGroup, .commitOffsets,
            .pauseGroup, .resetGroup, .receive, .settle, .listParked, .releaseParked,
            .listQueueRecords:
            nil
        }
    }

    private static var policy: SetFailurePolicyRequest {
        var message = SetFailurePolicyRequest()
        message.group = group
        message.policy.attemptsMax = 3
        message.policy.backoffMilliseconds = 2_000
        message.policy.backoffFactorPercent = 200
        message.policy.backoffMaxMilliseconds = 300_000
        message.policy.jitterPercent = 20
        message.policy.breakerPercent = 50
        return message
    }

    private static var breaker: SetBreakerRequest {
        var message = SetBreakerRequest()
        message.group = group
        return message
    }

    private static var fail: FailRecordRequest {
        var message = FailRecordRequest()
        message.group = "board"
        message.member = TopicID(high: 0x3D2A_0F6B_7C81_4E95, low: 0x9B04_D8E2_5A17_C3F6)
        message.owned = OwnedPartition(topic: ExampleMessages.flights, partition: 2, epoch: 7)
        message.offset = 1_042
        message.failure = "Timeout"
        message.text = "no answer after 3 s"
        message.hasKey = true
        return message
    }

    private static var start: StartRecordRequest {
        var message = StartRecordRequest()
        (message.group, message.member, message.owned) = (fail.group, fail.member, fail.owned)
        (message.offset, message.number, message.isAlone) = (1_043, 12, true)
        return message
    }

    private static var failReply: FailRecordReply {
        var reply = FailRecordReply()
        reply.milliseconds = 1_870
        return reply
    }

    private static var replayRecords: ReplayRecordsRequest {
        var partition = ReplayPartition()
        partition.topic = ExampleMessages.flights
        partition.partition = 2
        partition.ranges = [OffsetRange(1_000, 1_040), OffsetRange(1_042, 1_043)]
        var message = ReplayRecordsRequest()
        message.group = group
        message.partitions = [partition]
        return message
    }

    private static var replayRecordsReply: ReplayRecordsReply {
        var reply = ReplayRecordsReply()
        reply.records = 41
        return reply
    }

    private static var cancel: CancelReplayRequest {
        var message = CancelReplayRequest()
        message.group = group
        message.partitions = [GroupPlace(topic: ExampleMessages.flights, partition: 2)]
        return message
    }

    private static var cancelReply: CancelReplayReply {
        var reply = CancelReplayReply()
        reply.records = 7
        return reply
    }

    private static var list: ListDeadLettersRequest {
        var message = ListDeadLettersRequest()
        message.group = group
        return message
    }

    private static var listReply: ListDeadLettersReply {
        var line = DeadLetterLine()
        line.number = 1
        line.topic = ExampleMessages.flights
        line.partition = 2
        line.offset = 1_042
        line.reason = 2
        line.attempts = 3
        line.deaths = 1
        line.diedAt = 1_767_225_600_000
        line.place = 0
        line.lastPlace = 1
        line.remarks = 1
        line.assignee = "bob"
        var reply = ListDeadLettersReply()
        reply.letters = [line]
        return reply
    }

    private static var replay: ReplayDeadLettersRequest {
        var message = ReplayDeadLettersRequest()
        message.group = group
        message.replaysMax = 3
        message.letters = [DeadLetterNumber(1)]
        return message
    }

    private static var replayReply: ReplayDeadLettersReply {
        var reply = ReplayDeadLettersReply()
        reply.results = [CommitResult()]
        return reply
    }

    private static var resolve: ResolveDeadLettersRequest {
        var message = ResolveDeadLettersRequest()
        message.group = group
        message.author = "ann"
        message.note = "refunded by hand"
        message.letters = [DeadLetterNumber(1)]
        return message
    }

    private static var resolveReply: ResolveDeadLettersReply {
        var reply = ResolveDeadLettersReply()
        reply.results = [CommitResult()]
        return reply
    }

    private static var assign: AssignDeadLettersRequest {
        var message = AssignDeadLettersRequest()
        message.group = group
        message.author = "ann"
        message.assignee = "bob"
        message.letters = [DeadLetterNumber(1)]
        return message
    }

    private static var assignReply: AssignDeadLettersReply {
        var reply = AssignDeadLettersReply()
        reply.results = [CommitResult()]
        return reply
    }

    private static var comment: CommentDeadLettersRequest {
        var message = CommentDeadLettersRequest()
        message.group = group
        message.author = "bob"
        message.note = "the airline looks into it"
        message.letters = [DeadLetterNumber(1)]
        return message
    }

    private static var commentReply: CommentDeadLettersReply {
        var reply = CommentDeadLettersReply()
        reply.results = [CommitResult()]
        return reply
    }

    private static var edit: EditDeadLetterRequest {
        var message = EditDeadLetterRequest()
        message.group = group
        message.number = 1
        message.author = "ann"
        message.note = "tail number added"
        message.record = BytesPiece.pieces(ExampleBatches.first)
        return message
    }
}
