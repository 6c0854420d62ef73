import MartletFormat
import MartletWire

/// One frame of Protocol.md: a message and what is attached to it.
struct ExampleFrame {
    let message: any WireMessage
    var attachment: [[UInt8]] = []

    init(_ message: any WireMessage, _ attachment: [[UInt8]] = []) {
        self.message = message
        self.attachment = attachment
    }
}

/// A request and its reply for each operation.
enum ExampleMessages {
    static let flights = TopicID(high: 0x5F0C_8A3E_91D2_4B67, low: 0xA1B0_3C5D_7E8F_9012)
    private static let cluster = TopicID(high: 0x0B7E_1C44_52A9_4D10, low: 0x8F33_6E2D_C0A1_B5F4)

    /// Exhaustive, so that no operation can lack its example.
    static func frames(of operation: Operation) -> (request: ExampleFrame, reply: ExampleFrame) {
        switch operation {
        case .hello: (ExampleFrame(hello), ExampleFrame(helloReply))
        case .ping: (ExampleFrame(PingRequest()), ExampleFrame(pingReply))
        case .status: (ExampleFrame(StatusRequest()), ExampleFrame(statusReply))
        case .doctor: (ExampleFrame(DoctorRequest()), ExampleFrame(doctorReply))
        case .metadata: (ExampleFrame(metadata), ExampleFrame(metadataReply))
        case .createTopic: (ExampleFrame(createTopic), ExampleFrame(createTopicReply))
        case .deleteTopic: (ExampleFrame(deleteTopic), ExampleFrame(DeleteTopicReply()))
        case .listTopics: (ExampleFrame(ListTopicsRequest()), ExampleFrame(listTopicsReply))
        case .describeTopic: (ExampleFrame(describeTopic), ExampleFrame(describeTopicReply))
        case .alterTopic: (ExampleFrame(alterTopic), ExampleFrame(alterTopicReply))
        case .addPartitions: (ExampleFrame(addPartitions), ExampleFrame(addPartitionsReply))
        case .produce:
            (ExampleFrame(produce, [ExampleBatches.first]), ExampleFrame(produceReply))
        case .fetch:
            (
                ExampleFrame(fetch),
                ExampleFrame(
                    fetchReply, [ExampleBatches.storedFirst, ExampleBatches.storedSecond])
            )
        case .listOffsets: (ExampleFrame(listOffsets), ExampleFrame(listOffsetsReply))
        case .deleteRecords: (ExampleFrame(deleteRecords), ExampleFrame(deleteRecordsReply))
        case .initProducer:
            (ExampleFrame(InitProducerRequest()), ExampleFrame(initProducerReply))
        case .skipDamage: (ExampleFrame(skipDamage), ExampleFrame(skipDamageReply))
        case .createGroup, .deleteGroup, .listGroups, .describeGroup, .joinGroup, .heartbeat,
            .leaveGroup, .commitOffsets, .pauseGroup, .resetGroup, .receive, .settle,
            .setFailurePolicy, .listDeadLetters, .replayDeadLetters, .resolveDeadLetters,
            .editDeadLetter, .failRecord, .replayRecords, .cancelReplay, .listParked,
            .releaseParked, .setBreaker, .startRecord,
            .listQueueRecords, .assignDeadLetters, .commentDeadLetters:
            GroupExamples.frames(of: operation)
        }
    }

    /// An error reply; it has the same form for every operation.
    static let refusal = ExampleFrame(
        FetchReply(error: .unsupportedVersion, message: "fetch is spoken in versions 1 to 1"))

    // MARK: - Connection

    private static var hello: HelloRequest {
        var message = HelloRequest()
        message.clientName = "example"
        message.clientVersion = "1.0"
        return message
    }

    private static var helloReply: HelloReply {
        var message = HelloReply()
        message.version = 1
        message.brokerVersion = "0.1.0"
        message.clusterID = cluster
        message.connectionID = 7
        message.principal = "anonymous"
        message.frameBytesMax = 16 << 20
        message.batchBytesMax = 8 << 20
        message.requestsInFlightMax = 64
        message.idleTimeoutMilliseconds = 600_000
        message.operations = [.init(.hello), .init(.produce), .init(.fetch)]
        return message
    }

    private static var pingReply: PingReply {
        var message = PingReply()
        message.wallMilliseconds = 1_767_225_600_000
        return message
    }

    private static var statusReply: StatusReply {
        var message = StatusReply()
        message.version = "0.1.0"
        message.startedAt = 1_767_225_600_000
        message.uptimeMilliseconds = 90_000
        message.pid = 4_711
        message.cleanStart = true
        message.writable = true
        message.leaderEpoch = 1
        message.topics = 1
        message.partitions = 4
        message.connections = 2
        message.recordsIn = 53_472
        message.bytesIn = 9_876_543
        message.bytesOut = 9_876_543
        message.diskTotal = 100_000_000_000
        message.diskAvailable = 60_000_000_000
        message.dataBytes = 9_876_543
        return message
    }

    private static var doctorReply: DoctorReply {
        var message = DoctorReply()
        var event = RecoveryEvent()
        event.topic = "flights"
        event.partition = 2
        event.kind = "torn-tail"
        event.from = 6_612
        event.to = -1
        event.bytes = 713
        event.detail = "the bytes are kept in a .torn file"
        message.recovery = [event]
        message.findings = [
            DoctorFinding(
                severity: 1, code: "disk-space", text: "less than a tenth of the disk is free",
                advice: "lower the retention of large topics, or add disk")
        ]
        message.figures = [DoctorFigure("disk.available", 9_000_000_000, unit: "bytes")]
        return message
    }

    // MARK: - Topics

    private static var metadata: MetadataRequest {
        var message = MetadataRequest()
        message.names = [TopicNameItem("flights"), TopicNameItem("nowhere")]
        return message
    }

    private static var metadataReply: MetadataReply {
        var message = MetadataReply()
        var found = TopicMetadata()
        found.id = flights
        found.name = "flights"
        found.partitions = 4
        found.durability = Durability.durable.rawValue
        found.batchBytesMax = 1 << 20
        var missing = TopicMetadata()
        missing.error = .unknownTopic
        missing.message = ErrorCode.unknownTopic.text
        missing.name = "nowhere"
        message.topics = [found, missing]
        return message
    }

    private static var createTopic: CreateTopicRequest {
        var message = CreateTopicRequest()
        message.name = "flights"
        message.partitions = 4
        message.settings = [TopicSettingChange("retention.ms", "-1")]
        return message
    }

    private static var createTopicReply: CreateTopicReply {
        var message = CreateTopicReply()
        message.id = flights
        message.partitions = 4
        return message
    }

    private static var deleteTopic: DeleteTopicRequest {
        var message = DeleteTopicRequest()
        message.id = flights
        return message
    }

    private static var listTopicsReply: ListTopicsReply {
        var message = ListTopicsReply()
        var topic = TopicSummary()
        topic.id = flights
        topic.name = "flights"
        topic.partitions = 4
        topic.durability = Durability.durable.rawValue
        topic.online = true
        topic.bytes = 9_876_543
        message.topics = [topic]
        return message
    }

    private static var describeTopic: DescribeTopicRequest {
        var message = DescribeTopicRequest()
        message.id = flights
        return message
    }

    private static var describeTopicReply: DescribeTopicReply {
        var message = DescribeTopicReply()
        message.id = flights
        message.name = "flights"
        message.settings = [
            TopicSetting("durability", "durable", source: 0),
            TopicSetting("retention.ms", "-1", source: 2),
        ]
        var partition = PartitionDescription()
        partition.highWatermark = 13_368
        partition.durableEnd = 13_368
        partition.logEnd = 13_368
        partition.leaderEpoch = 1
        partition.segments = 1
        partition.bytes = 2_468_101
        partition.firstAppendTime = -1
        partition.lastAppendTime = 1_767_225_660_000
        partition.damaged = [OffsetRange(120, 125)]
        message.partitions = [partition]
        return message
    }

    private static var alterTopic: AlterTopicRequest {
        var message = AlterTopicRequest()
        message.id = flights
        message.changes = [TopicSettingChange("retention.ms", nil)]
        return message
    }

    private static var alterTopicReply: AlterTopicReply {
        var message = AlterTopicReply()
        var change = SettingDifference()
        change.key = "retention.ms"
        change.before = "-1"
        change.after = "604800000"
        change.source = 0
        message.settings = [change]
        return message
    }

    private static var addPartitions: AddPartitionsRequest {
        var message = AddPartitionsRequest()
        message.id = flights
        message.total = 8
        return message
    }

    private static var addPartitionsReply: AddPartitionsReply {
        var message = AddPartitionsReply()
        message.partitions = 8
        return message
    }

    // MARK: - Records

    private static var produce: ProduceRequest {
        var message = ProduceRequest()
        message.timeoutMilliseconds = 30_000
        message.batches = [
            ProduceEntry(
                topic: flights, partition: 0, recordsLength: UInt32(ExampleBatches.first.count))
        ]
        return message
    }

    private static var produceReply: ProduceReply {
        var message = ProduceReply()
        var result = ProduceResult()
        result.baseOffset = 0
        result.leaderEpoch = ExampleBatches.leaderEpoch
        result.durability = Acks.durable.rawValue
        message.results = [result]
        return message
    }

    private static var fetch: FetchRequest {
        var message = FetchRequest()
        message.maxWaitMilliseconds = 500
        message.maxBytes = 2 << 20
        message.partitions = [
            FetchEntry(topic: flights, partition: 0, offset: 1, maxBytes: 1 << 20)
        ]
        return message
    }

    private static var fetchReply: FetchReply {
        var message = FetchReply()
        let batches = [ExampleBatches.storedFirst, ExampleBatches.storedSecond]
        var result = FetchResult()
        result.highWatermark = 3
        result.logStart = 0
        result.endChecksum = ExampleBatches.chain(batches)
        result.recordsLength = UInt32(batches.reduce(0) { $0 + $1.count })
        message.partitions = [result]
        return message
    }

    private static var listOffsets: ListOffsetsRequest {
        var message = ListOffsetsRequest()
        var latest = ListOffsetsEntry()
        latest.topic = flights
        latest.kind = OffsetKind.latest.rawValue
        var time = ListOffsetsEntry()
        time.topic = flights
        time.kind = OffsetKind.time.rawValue
        time.time = ExampleBatches.departure + 1
        message.entries = [latest, time]
        return message
    }

    private static var listOffsetsReply: ListOffsetsReply {
        var message = ListOffsetsReply()
        var latest = ListOffsetsResult()
        latest.offset = 3
        latest.leaderEpoch = ExampleBatches.leaderEpoch
        var time = ListOffsetsResult()
        time.offset = 1
        time.time = ExampleBatches.departure + 60_000
        time.leaderEpoch = ExampleBatches.leaderEpoch
        message.results = [latest, time]
        return message
    }

    private static var deleteRecords: DeleteRecordsRequest {
        var message = DeleteRecordsRequest()
        var entry = DeleteRecordsEntry()
        entry.topic = flights
        entry.before = 2
        message.entries = [entry]
        return message
    }

    private static var deleteRecordsReply: DeleteRecordsReply {
        var message = DeleteRecordsReply()
        var result = DeleteRecordsResult()
        result.logStart = 2
        message.results = [result]
        return message
    }

    private static var initProducerReply: InitProducerReply {
        var message = InitProducerReply()
        message.producerID = ExampleBatches.producerID
        message.producerEpoch = 0
        return message
    }

    private static var skipDamage: SkipDamageRequest {
        var message = SkipDamageRequest()
        message.topic = flights
        message.from = 120
        message.to = 125
        message.execute = true
        return message
    }

    private static var skipDamageReply: SkipDamageReply {
        var message = SkipDamageReply()
        message.skipped = [OffsetRange(120, 125)]
        return message
    }
}
