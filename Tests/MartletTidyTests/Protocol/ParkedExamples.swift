import MartletFormat
import MartletWire

/// The examples of the operations on records of queues and on parked ones: those of the group
/// `notify`.
enum ParkedExamples {
    private static let group = "notify"

    static func frames(of operation: Operation) -> (request: ExampleFrame, reply: ExampleFrame)? {
        switch operation {
        case .listParked: (ExampleFrame(list), ExampleFrame(listReply))
        case .releaseParked: (ExampleFrame(release), ExampleFrame(releaseReply))
        case .listQueueRecords: (ExampleFrame(records), ExampleFrame(recordsReply))
        case .hello, .ping, .status, .metadata, .createTopic, .deleteTopic, .listTopics,
            .describeTopic, .alterTopic, .addPartitions, .produce, .fetch, .listOffsets,
            .deleteRecords, .initProducer, .skipDamage, .doctor, .createGroup, .deleteGroup,
            .listGroups, .describeGroup, .joinGroup, .heartbeat, .leaveGroup, .commitOffsets,
            .pauseGroup, .resetGroup, .receive, .settle, .setFailurePolicy, .listDeadLetters,
            .replayDeadLetters, .resolveDeadLetters, .editDeadLetter, .failRecord,
            .replayRecords, .cancelReplay, .setBreaker, .startRecord, .assignDeadLetters,
            .commentDeadLetters:
            nil
        }
    }

    private static var list: ListParkedRequest {
        var message = ListParkedRequest()
        message.group = group
        return message
    }

    private static var listReply: ListParkedReply {
        var line = ParkedRecordLine()
        line.topic = ExampleMessages.flights
        line.partition = 2
        line.offset = 1_042
        line.parkedAt = 1_784_000_000_000
        line.isKey = true
        line.attempts = 3
        line.failure = "Timeout"
        line.text = "no answer after 3 s"
        var reply = ListParkedReply()
        reply.records = [line]
        return reply
    }

    private static var records: ListQueueRecordsRequest {
        var message = ListQueueRecordsRequest()
        message.group = group
        message.states = 2
        return message
    }

    private static var recordsReply: ListQueueRecordsReply {
        var line = QueueRecordLine()
        line.topic = ExampleMessages.flights
        line.partition = 2
        (line.from, line.to) = (1_040, 1_060)
        line.state = 1
        line.attempts = 1
        line.member = TopicID(high: 0x3D2A_0F6B_7C81_4E95, low: 0x9B04_D8E2_5A17_C3F6)
        line.at = 1_784_000_030_000
        var reply = ListQueueRecordsReply()
        reply.records = [line]
        return reply
    }

    private static var release: ReleaseParkedRequest {
        var place = ParkedPlace()
        place.topic = ExampleMessages.flights
        place.partition = 2
        place.offset = 1_042
        var message = ReleaseParkedRequest()
        message.group = group
        message.places = [place]
        return message
    }

    private static var releaseReply: ReleaseParkedReply {
        var reply = ReleaseParkedReply()
        reply.released = 1
        reply.results = [CommitResult()]
        return reply
    }
}
