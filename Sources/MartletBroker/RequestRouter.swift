import MartletFormat
import MartletWire

/// From a frame to its handler: one exhaustive switch, and before it, in one place, every check
/// that holds for all operations.
final class RequestRouter: Sendable {
    private let services: BrokerServices
    private let hello: HelloHandler
    private let produce: ProduceHandler
    private let fetch: FetchHandler
    private let topics: TopicHandler
    private let offsets: OffsetHandler
    private let producers: ProducerHandler
    private let status: StatusHandler
    private let groups: GroupHandler
    private let queueGroups: QueueHandler
    private let streamRecords: StreamRecordHandler
    private let letters: DeadLetterHandler
    private let parked: ParkedHandler

    init(_ services: BrokerServices, facts: BrokerFacts) {
        self.services = services
        hello = HelloHandler(services)
        produce = ProduceHandler(services)
        fetch = FetchHandler(services)
        topics = TopicHandler(services)
        offsets = OffsetHandler(services)
        producers = ProducerHandler(services)
        status = StatusHandler(services, facts: facts)
        groups = GroupHandler(services)
        queueGroups = QueueHandler(services)
        streamRecords = StreamRecordHandler(services)
        letters = DeadLetterHandler(services)
        parked = ParkedHandler(services)
    }

    /// A frame of a connection that has not said hello: a hello, or the end.
    func handle(
        _ header: FrameHeader, _ slab: ByteSlab, _ payload: Range<Int>,
        from connection: Connection, _ state: Unauthenticated
    ) {
        guard let operation = header.known, operation.allowedBeforeHello, !header.isReply else {
            connection.reply(error: .helloRequired, ErrorCode.helloRequired.text, to: header)
            connection.finish(refusal: nil, .helloRequired)
            return
        }
        services.metrics.count(operation)
        guard checkVersion(operation, header, connection) else { return }
        hello.handle(Frame(header: header, slab: slab, payload: payload), connection)
    }

    /// A frame of a connection that said who it is.
    func handle(
        _ frame: Frame, from connection: Connection, _ session: Authenticated
    ) -> Disposition {
        let header = frame.header
        guard let operation = header.known, !header.isReply else {
            connection.reply(
                error: .unknownOperation,
                "\(ErrorCode.unknownOperation.text) It is \(header.operation).", to: header)
            return .taken
        }
        services.metrics.count(operation)
        guard checkVersion(operation, header, connection) else { return .taken }
        guard services.authorizer.allows(session.principal, operation.access, topic: nil) else {
            connection.reply(
                error: .notAuthorized, "\(session.principal) may not \(operation.name)",
                to: header)
            return .taken
        }
        do throws(WireError) {
            return try dispatch(operation, frame, connection, session)
        } catch {
            // The frame's end is known, so only this request is refused.
            connection.reply(error: error.code, error.description, to: header)
            return .taken
        }
    }

    /// Goes on with a produce that the storage had put off; its frame lies in `slab` again.
    func resume(_ pending: PendingProduce, _ slab: ByteSlab, _ payload: Range<Int>) -> Disposition {
        produce.resume(pending, slab, payload)
    }

    private func dispatch(
        _ operation: Operation, _ frame: Frame, _ connection: Connection, _ session: Authenticated
    ) throws(WireError) -> Disposition {
        func request<Message: WireRequest>(
            _ type: Message.Type
        ) throws(WireError) -> Request<Message> {
            let message = try frame.decode(type).message
            return Request(
                message: message, header: frame.header, connection: connection, session: session)
        }
        switch operation {
        case .produce: return try produce.handle(frame, connection, session)
        case .fetch: fetch.handle(try request(FetchRequest.self))
        case .hello: try request(HelloRequest.self).reply(.invalidRequest, "hello came twice")
        case .ping: status.ping(try request(PingRequest.self))
        case .status: status.status(try request(StatusRequest.self))
        case .doctor: status.doctor(try request(DoctorRequest.self))
        case .metadata: topics.metadata(try request(MetadataRequest.self))
        case .createTopic: topics.create(try request(CreateTopicRequest.self))
        case .deleteTopic: topics.delete(try request(DeleteTopicRequest.self))
        case .listTopics: topics.list(try request(ListTopicsRequest.self))
        case .describeTopic: topics.describe(try request(DescribeTopicRequest.self))
        case .alterTopic: topics.alter(try request(AlterTopicRequest.self))
        case .addPartitions: topics.addPartitions(try request(AddPartitionsRequest.self))
        case .listOffsets: offsets.list(try request(ListOffsetsRequest.self))
        case .deleteRecords: offsets.deleteRecords(try request(DeleteRecordsRequest.self))
        case .skipDamage: offsets.skipDamage(try request(SkipDamageRequest.self))
        case .initProducer: producers.initProducer(try request(InitProducerRequest.self))
        case .createGroup: groups.create(try request(CreateGroupRequest.self))
        case .deleteGroup: groups.delete(try request(DeleteGroupRequest.self))
        case .listGroups: groups.list(try request(ListGroupsRequest.self))
        case .describeGroup: groups.describe(try request(DescribeGroupRequest.self))
        case .joinGroup: groups.join(try request(JoinGroupRequest.self))
        case .heartbeat: groups.heartbeat(try request(HeartbeatRequest.self))
        case .leaveGroup: groups.leave(try request(LeaveGroupRequest.self))
        case .commitOffsets: groups.commit(try request(CommitOffsetsRequest.self))
        case .pauseGroup: groups.pause(try request(PauseGroupRequest.self))
        case .resetGroup: groups.reset(try request(ResetGroupRequest.self))
        case .receive: queueGroups.receive(try request(ReceiveRequest.self))
        case .settle: queueGroups.settle(try request(SettleRequest.self))
        case .setFailurePolicy: letters.setPolicy(try request(SetFailurePolicyRequest.self))
        case .listDeadLetters: letters.list(try request(ListDeadLettersRequest.self))
        case .replayDeadLetters: letters.replay(try request(ReplayDeadLettersRequest.self))
        case .resolveDeadLetters: letters.resolve(try request(ResolveDeadLettersRequest.self))
        case .assignDeadLetters: letters.assign(try request(AssignDeadLettersRequest.self))
        case .commentDeadLetters: letters.comment(try request(CommentDeadLettersRequest.self))
        case .editDeadLetter: letters.edit(try request(EditDeadLetterRequest.self))
        case .failRecord: streamRecords.fail(try request(FailRecordRequest.self))
        case .startRecord: streamRecords.start(try request(StartRecordRequest.self))
        case .replayRecords: queueGroups.replay(try request(ReplayRecordsRequest.self))
        case .cancelReplay: queueGroups.cancel(try request(CancelReplayRequest.self))
        case .listParked: parked.list(try request(ListParkedRequest.self))
        case .releaseParked: parked.release(try request(ReleaseParkedRequest.self))
        case .setBreaker: groups.setBreaker(try request(SetBreakerRequest.self))
        case .listQueueRecords:
            queueGroups.list(try request(ListQueueRecordsRequest.self))
        }
        return .taken
    }

    private func checkVersion(
        _ operation: Operation, _ header: FrameHeader, _ connection: Connection
    ) -> Bool {
        let versions = operation.versions
        if versions.contains(header.version) { return true }
        connection.reply(
            error: .unsupportedVersion,
            "\(operation.name) is spoken in versions \(versions.lowerBound) to "
                + "\(versions.upperBound), not \(header.version)", to: header)
        return false
    }
}
