package import MartletFormat

/// Every message there is, for the tables of Protocol.md, for tests and for fuzzing.
package enum MessageCatalog {
    /// Types of request and reply of an operation. Exhaustive, so no operation can lack its entry.
    package static func messages(
        of operation: Operation
    ) -> (request: any WireRequest.Type, reply: any WireReply.Type) {
        switch operation {
        case .hello: (HelloRequest.self, HelloReply.self)
        case .ping: (PingRequest.self, PingReply.self)
        case .status: (StatusRequest.self, StatusReply.self)
        case .metadata: (MetadataRequest.self, MetadataReply.self)
        case .createTopic: (CreateTopicRequest.self, CreateTopicReply.self)
        case .deleteTopic: (DeleteTopicRequest.self, DeleteTopicReply.self)
        case .listTopics: (ListTopicsRequest.self, ListTopicsReply.self)
        case .describeTopic: (DescribeTopicRequest.self, DescribeTopicReply.self)
        case .alterTopic: (AlterTopicRequest.self, AlterTopicReply.self)
        case .addPartitions: (AddPartitionsRequest.self, AddPartitionsReply.self)
        case .produce: (ProduceRequest.self, ProduceReply.self)
        case .fetch: (FetchRequest.self, FetchReply.self)
        case .listOffsets: (ListOffsetsRequest.self, ListOffsetsReply.self)
        case .deleteRecords: (DeleteRecordsRequest.self, DeleteRecordsReply.self)
        case .initProducer: (InitProducerRequest.self, InitProducerReply.self)
        case .skipDamage: (SkipDamageRequest.self, SkipDamageReply.self)
        case .doctor: (DoctorRequest.self, DoctorReply.self)
        case .createGroup: (CreateGroupRequest.self, CreateGroupReply.self)
        case .deleteGroup: (DeleteGroupRequest.self, DeleteGroupReply.self)
        case .listGroups: (ListGroupsRequest.self, ListGroupsReply.self)
        case .describeGroup: (DescribeGroupRequest.self, DescribeGroupReply.self)
        case .joinGroup: (JoinGroupRequest.self, JoinGroupReply.self)
        case .heartbeat: (HeartbeatRequest.self, HeartbeatReply.self)
        case .leaveGroup: (LeaveGroupRequest.self, LeaveGroupReply.self)
        case .commitOffsets: (CommitOffsetsRequest.self, CommitOffsetsReply.self)
        case .pauseGroup: (PauseGroupRequest.self, PauseGroupReply.self)
        case .resetGroup: (ResetGroupRequest.self, ResetGroupReply.self)
        case .receive: (ReceiveRequest.self, ReceiveReply.self)
        case .settle: (SettleRequest.self, SettleReply.self)
        case .setFailurePolicy:
            (SetFailurePolicyRequest.self, SetFailurePolicyReply.self)
        case .listDeadLetters:
            (ListDeadLettersRequest.self, ListDeadLettersReply.self)
        case .replayDeadLetters:
            (ReplayDeadLettersRequest.self, ReplayDeadLettersReply.self)
        case .resolveDeadLetters:
            (ResolveDeadLettersRequest.self, ResolveDeadLettersReply.self)
        case .assignDeadLetters:
            (AssignDeadLettersRequest.self, AssignDeadLettersReply.self)
        case .commentDeadLetters:
            (CommentDeadLettersRequest.self, CommentDeadLettersReply.self)
        case .editDeadLetter:
            (EditDeadLetterRequest.self, EditDeadLetterReply.self)
        case .failRecord: (FailRecordRequest.self, FailRecordReply.self)
        case .replayRecords: (ReplayRecordsRequest.self, ReplayRecordsReply.self)
        case .cancelReplay: (CancelReplayRequest.self, CancelReplayReply.self)
        case .listParked: (ListParkedRequest.self, ListParkedReply.self)
        case .releaseParked: (ReleaseParkedRequest.self, ReleaseParkedReply.self)
        case .setBreaker: (SetBreakerRequest.self, SetBreakerReply.self)
        case .startRecord: (StartRecordRequest.self, StartRecordReply.self)
        case .listQueueRecords:
            (ListQueueRecordsRequest.self, ListQueueRecordsReply.self)
        }
    }

    /// Reads a frame's payload as what its header says it is, and writes it again. For fuzzing: it
    /// must never trap, and what was accepted must come out as the same bytes.
    package static func transcode(
        _ header: FrameHeader, _ slab: ByteSlab, _ payload: Range<Int>
    ) throws(WireError) -> [UInt8]? {
        guard let operation = header.known, operation.versions.contains(header.version) else {
            return nil
        }
        let types = messages(of: operation)
        return header.isReply
            ? try again(types.reply, header, slab, payload)
            : try again(types.request, header, slab, payload)
    }

    private static func again<Message: WireMessage>(
        _ type: Message.Type, _ header: FrameHeader, _ slab: ByteSlab, _ payload: Range<Int>
    ) throws(WireError) -> [UInt8] {
        let (message, _) = try type.decode(slab, payload, version: header.version)
        return try message.frame(
            operation: header.operation, version: header.version, correlation: header.correlation)
    }
}
