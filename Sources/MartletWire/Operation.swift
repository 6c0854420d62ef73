/// What a frame asks for. One case each; the number is the frame header's `operation`, and a reply
/// carries the same number with `FrameHeader.replyBit` set.
package enum Operation: UInt16, CaseIterable, Sendable {
    case hello = 1
    case ping = 2
    case status = 3
    case metadata = 4

    case createTopic = 10
    case deleteTopic = 11
    case listTopics = 12
    case describeTopic = 13
    case alterTopic = 14
    case addPartitions = 15

    case produce = 20
    case fetch = 21
    case listOffsets = 22
    case deleteRecords = 23
    case initProducer = 24
    case skipDamage = 25
    case doctor = 26

    case createGroup = 30
    case deleteGroup = 31
    case listGroups = 32
    case describeGroup = 33
    case joinGroup = 34
    case heartbeat = 35
    case leaveGroup = 36
    case commitOffsets = 37
    case pauseGroup = 38
    case resetGroup = 39
    case receive = 40
    case settle = 41
    case setFailurePolicy = 42
    case listDeadLetters = 43
    case replayDeadLetters = 44
    case resolveDeadLetters = 45
    case editDeadLetter = 46
    case failRecord = 47
    case replayRecords = 48
    case cancelReplay = 49
    case listParked = 50
    case releaseParked = 51
    case setBreaker = 52
    case startRecord = 53
    case listQueueRecords = 54
    case assignDeadLetters = 60
    case commentDeadLetters = 61

    /// Name in Protocol.md, in logs and in metrics.
    package var name: String {
        switch self {
        case .hello: "hello"
        case .ping: "ping"
        case .status: "status"
        case .metadata: "metadata"
        case .createTopic: "create-topic"
        case .deleteTopic: "delete-topic"
        case .listTopics: "list-topics"
        case .describeTopic: "describe-topic"
        case .alterTopic: "alter-topic"
        case .addPartitions: "add-partitions"
        case .produce: "produce"
        case .fetch: "fetch"
        case .listOffsets: "list-offsets"
        case .deleteRecords: "delete-records"
        case .initProducer: "init-producer"
        case .skipDamage: "skip-damage"
        case .doctor: "doctor"
        case .createGroup: "create-group"
        case .deleteGroup: "delete-group"
        case .listGroups: "list-groups"
        case .describeGroup: "describe-group"
        case .joinGroup: "join-group"
        case .heartbeat: "heartbeat"
        case .leaveGroup: "leave-group"
        case .commitOffsets: "commit-offsets"
        case .pauseGroup: "pause-group"
        case .resetGroup: "reset-group"
        case .receive: "receive"
        case .settle: "settle"
        case .setFailurePolicy: "set-failure-policy"
        case .listDeadLetters: "list-dead-letters"
        case .replayDeadLetters: "replay-dead-letters"
        case .resolveDeadLetters: "resolve-dead-letters"
        case .editDeadLetter: "edit-dead-letter"
        case .failRecord: "fail-record"
        case .replayRecords: "replay-records"
        case .cancelReplay: "cancel-replay"
        case .listParked: "list-parked"
        case .releaseParked: "release-parked"
        case .setBreaker: "set-breaker"
        case .startRecord: "start-record"
        case .listQueueRecords: "list-queue-records"
        case .assignDeadLetters: "assign-dead-letters"
        case .commentDeadLetters: "comment-dead-letters"
        }
    }

    /// The versions of this operation that this build reads and writes.
    package var versions: ClosedRange<UInt16> {
        switch self {
        case .hello, .ping, .status, .metadata, .createTopic, .deleteTopic, .listTopics,
            .describeTopic, .alterTopic, .addPartitions, .produce, .fetch, .listOffsets,
            .deleteRecords, .initProducer, .skipDamage, .doctor, .createGroup, .deleteGroup,
            .listGroups, .describeGroup, .joinGroup, .heartbeat, .leaveGroup, .commitOffsets,
            .pauseGroup, .resetGroup, .receive, .settle, .setFailurePolicy, .listDeadLetters,
            .replayDeadLetters, .resolveDeadLetters, .editDeadLetter, .failRecord,
            .replayRecords, .cancelReplay, .listParked, .releaseParked, .setBreaker, .startRecord,
            .listQueueRecords, .assignDeadLetters, .commentDeadLetters:
            1...1
        }
    }

    /// Whether a connection may send it before its hello was accepted.
    package var allowedBeforeHello: Bool { self == .hello }

    /// Whether it only looks, so that it may be asked for again at will.
    package var changesNothing: Bool {
        switch access.action {
        case .describe, .read: true
        case .connect, .create, .delete, .alter, .write: false
        }
    }

    /// What a principal needs to be allowed. The only table of its kind: a new operation does not
    /// compile before it has its line here, so none can be forgotten by the authorization.
    package var access: OperationAccess {
        switch self {
        case .hello: OperationAccess(.connect, .broker)
        case .ping: OperationAccess(.connect, .broker)
        case .status: OperationAccess(.describe, .broker)
        case .doctor: OperationAccess(.describe, .broker)
        case .metadata: OperationAccess(.describe, .topic)
        case .listTopics: OperationAccess(.describe, .topic)
        case .describeTopic: OperationAccess(.describe, .topic)
        case .createTopic: OperationAccess(.create, .topic)
        case .deleteTopic: OperationAccess(.delete, .topic)
        case .alterTopic: OperationAccess(.alter, .topic)
        case .addPartitions: OperationAccess(.alter, .topic)
        case .produce: OperationAccess(.write, .topic)
        case .initProducer: OperationAccess(.write, .broker)
        case .fetch: OperationAccess(.read, .topic)
        case .listOffsets: OperationAccess(.describe, .topic)
        case .deleteRecords: OperationAccess(.delete, .topic)
        case .skipDamage: OperationAccess(.alter, .topic)
        case .createGroup: OperationAccess(.create, .group)
        case .deleteGroup: OperationAccess(.delete, .group)
        case .listGroups: OperationAccess(.describe, .group)
        case .describeGroup: OperationAccess(.describe, .group)
        case .joinGroup: OperationAccess(.read, .group)
        case .heartbeat: OperationAccess(.read, .group)
        case .leaveGroup: OperationAccess(.read, .group)
        case .commitOffsets: OperationAccess(.read, .group)
        case .pauseGroup: OperationAccess(.alter, .group)
        case .resetGroup: OperationAccess(.alter, .group)
        case .receive: OperationAccess(.read, .group)
        case .settle: OperationAccess(.read, .group)
        case .setFailurePolicy: OperationAccess(.alter, .group)
        case .listDeadLetters: OperationAccess(.describe, .group)
        case .replayDeadLetters: OperationAccess(.alter, .group)
        case .resolveDeadLetters: OperationAccess(.alter, .group)
        case .editDeadLetter: OperationAccess(.alter, .group)
        case .failRecord: OperationAccess(.read, .group)
        case .replayRecords: OperationAccess(.alter, .group)
        case .cancelReplay: OperationAccess(.alter, .group)
        case .listParked: OperationAccess(.describe, .group)
        case .releaseParked: OperationAccess(.alter, .group)
        case .setBreaker: OperationAccess(.alter, .group)
        case .startRecord: OperationAccess(.read, .group)
        case .listQueueRecords: OperationAccess(.describe, .group)
        case .assignDeadLetters: OperationAccess(.alter, .group)
        case .commentDeadLetters: OperationAccess(.alter, .group)
        }
    }
}

/// What an operation does, as an authorization rule names it.
package enum AccessAction: String, Sendable, CaseIterable {
    case connect
    case describe
    case create
    case delete
    case alter
    case read
    case write
}

/// What an operation does it to.
package enum AccessResource: String, Sendable, CaseIterable {
    case broker
    case topic
    case group
}

/// One row of the authorization table.
package struct OperationAccess: Equatable, Sendable {
    package let action: AccessAction
    package let resource: AccessResource

    package init(_ action: AccessAction, _ resource: AccessResource) {
        self.action = action
        self.resource = resource
    }
}
