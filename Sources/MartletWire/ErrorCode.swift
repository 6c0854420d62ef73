/// What became of the records of a request that was answered with an error.
package enum ErrorOutcome: String, Sendable, CaseIterable {
    /// Nothing of it is in the log, now or later.
    case notWritten = "not written"
    /// It may or may not be in the log; only an idempotent retry can tell.
    case unknown = "unknown"
    /// The request writes no records.
    case notApplicable = "not applicable"
}

/// Every error that a reply can carry. Numbers below 1000 are the ones that event brokers have long
/// used for the same meaning; Martlet's own begin at 1000. A number is never given a new meaning.
package enum ErrorCode: UInt16, CaseIterable, Sendable {
    case none = 0
    case offsetOutOfRange = 1
    case corruptMessage = 2
    case unknownTopic = 3
    case requestTimedOut = 7
    case messageTooLarge = 10
    case loading = 14
    case invalidTopicName = 17
    case invalidGroupName = 24
    case notAuthorized = 29
    case invalidTimestamp = 32
    case unsupportedVersion = 35
    case topicExists = 36
    case invalidPartitions = 37
    case invalidConfig = 40
    case invalidRequest = 42
    case outOfOrderSequence = 45
    case duplicateSequence = 46
    case staleProducerEpoch = 47
    case storageError = 56
    case unknownProducer = 59
    case groupNotEmpty = 68
    case unknownGroup = 69
    case unsupportedCompressionType = 76
    case invalidRecord = 87
    case unknownTopicID = 100
    case fencedMember = 110
    case staleMemberEpoch = 113

    case unknownPartition = 1000
    case offsetsLost = 1001
    case unknownOperation = 1002
    case diskFull = 1003
    case storageFailed = 1004
    case tooManyRequests = 1005
    case shuttingDown = 1006
    case helloRequired = 1007
    case frameTooLarge = 1008
    case limitReached = 1009
    case internalError = 1010
    case groupExists = 1011
    case resetOutdated = 1020
    case wrongGroupKind = 1021
    case leaseLost = 1022
    case unknownDeadLetter = 1023
    case deadLetterQuarantined = 1024
    case deadLetterBusy = 1025
    case notParked = 1027
    case tooManyMessageIDs = 1030
}

extension ErrorCode {
    /// UPPER_SNAKE name, as in Protocol.md.
    package var name: String {
        switch self {
        case .none: "NONE"
        case .offsetOutOfRange: "OFFSET_OUT_OF_RANGE"
        case .corruptMessage: "CORRUPT_MESSAGE"
        case .unknownTopic: "UNKNOWN_TOPIC"
        case .requestTimedOut: "REQUEST_TIMED_OUT"
        case .messageTooLarge: "MESSAGE_TOO_LARGE"
        case .loading: "LOADING"
        case .invalidTopicName: "INVALID_TOPIC_NAME"
        case .notAuthorized: "NOT_AUTHORIZED"
        case .invalidTimestamp: "INVALID_TIMESTAMP"
        case .unsupportedVersion: "UNSUPPORTED_VERSION"
        case .topicExists: "TOPIC_EXISTS"
        case .invalidPartitions: "INVALID_PARTITIONS"
        case .invalidConfig: "INVALID_CONFIG"
        case .invalidRequest: "INVALID_REQUEST"
        case .outOfOrderSequence: "OUT_OF_ORDER_SEQUENCE"
        case .duplicateSequence: "DUPLICATE_SEQUENCE"
        case .staleProducerEpoch: "STALE_PRODUCER_EPOCH"
        case .storageError: "STORAGE_ERROR"
        case .unknownProducer: "UNKNOWN_PRODUCER"
        case .unsupportedCompressionType: "UNSUPPORTED_COMPRESSION_TYPE"
        case .invalidRecord: "INVALID_RECORD"
        case .unknownTopicID: "UNKNOWN_TOPIC_ID"
        case .unknownPartition: "UNKNOWN_PARTITION"
        case .offsetsLost: "OFFSETS_LOST"
        case .unknownOperation: "UNKNOWN_OPERATION"
        case .diskFull: "DISK_FULL"
        case .storageFailed: "STORAGE_FAILED"
        case .tooManyRequests: "TOO_MANY_REQUESTS"
        case .shuttingDown: "SHUTTING_DOWN"
        case .helloRequired: "HELLO_REQUIRED"
        case .frameTooLarge: "FRAME_TOO_LARGE"
        case .limitReached: "LIMIT_REACHED"
        case .internalError: "INTERNAL_ERROR"
        case .invalidGroupName: "INVALID_GROUP_NAME"
        case .groupNotEmpty: "GROUP_NOT_EMPTY"
        case .unknownGroup: "UNKNOWN_GROUP"
        case .fencedMember: "FENCED_MEMBER"
        case .staleMemberEpoch: "STALE_MEMBER_EPOCH"
        case .groupExists: "GROUP_EXISTS"
        case .resetOutdated: "RESET_OUTDATED"
        case .wrongGroupKind: "WRONG_GROUP_KIND"
        case .leaseLost: "LEASE_LOST"
        case .unknownDeadLetter: "UNKNOWN_DEAD_LETTER"
        case .deadLetterQuarantined: "DEAD_LETTER_QUARANTINED"
        case .deadLetterBusy: "DEAD_LETTER_BUSY"
        case .notParked: "NOT_PARKED"
        case .tooManyMessageIDs: "TOO_MANY_MESSAGE_IDS"
        }
    }

    /// Whether the same request may succeed later without any change.
    package var isRetriable: Bool {
        switch self {
        case .requestTimedOut, .loading, .diskFull, .storageFailed, .tooManyRequests,
            .shuttingDown, .deadLetterBusy, .tooManyMessageIDs:
            true
        case .none, .offsetOutOfRange, .corruptMessage, .unknownTopic, .messageTooLarge,
            .invalidTopicName, .notAuthorized, .invalidTimestamp, .unsupportedVersion,
            .topicExists, .invalidPartitions, .invalidConfig, .invalidRequest,
            .outOfOrderSequence, .duplicateSequence, .staleProducerEpoch, .storageError,
            .unknownProducer, .unsupportedCompressionType, .invalidRecord, .unknownTopicID,
            .unknownPartition, .offsetsLost, .unknownOperation, .helloRequired,
            .frameTooLarge, .limitReached, .internalError,
            .invalidGroupName, .groupNotEmpty, .unknownGroup, .fencedMember, .staleMemberEpoch,
            .groupExists, .resetOutdated, .wrongGroupKind, .leaseLost, .unknownDeadLetter,
            .deadLetterQuarantined, .notParked:
            false
        }
    }

    /// What the error says about the records of a produce.
    package var outcome: ErrorOutcome {
        switch self {
        case .requestTimedOut, .storageFailed, .internalError, .duplicateSequence:
            .unknown
        case .none, .offsetOutOfRange, .offsetsLost, .topicExists, .invalidTopicName,
            .invalidPartitions, .invalidConfig,
            .invalidGroupName, .groupNotEmpty, .unknownGroup, .fencedMember, .staleMemberEpoch,
            .groupExists, .resetOutdated, .wrongGroupKind, .leaseLost, .unknownDeadLetter,
            .deadLetterQuarantined, .deadLetterBusy, .notParked:
            .notApplicable
        case .corruptMessage, .unknownTopic, .messageTooLarge, .loading, .notAuthorized,
            .invalidTimestamp, .unsupportedVersion, .invalidRequest, .outOfOrderSequence,
            .staleProducerEpoch, .storageError, .unknownProducer, .unsupportedCompressionType,
            .invalidRecord, .unknownTopicID, .unknownPartition, .unknownOperation, .diskFull,
            .tooManyRequests, .shuttingDown, .helloRequired, .frameTooLarge, .limitReached,
            .tooManyMessageIDs:
            .notWritten
        }
    }

    /// Whether the broker closes the connection after the frame that carries this error.
    package var closesConnection: Bool {
        switch self {
        case .frameTooLarge, .helloRequired:
            true
        case .none, .offsetOutOfRange, .corruptMessage, .unknownTopic, .requestTimedOut,
            .messageTooLarge, .loading, .invalidTopicName, .notAuthorized, .invalidTimestamp,
            .unsupportedVersion, .topicExists, .invalidPartitions, .invalidConfig,
            .invalidRequest, .outOfOrderSequence, .duplicateSequence, .staleProducerEpoch,
            .storageError, .unknownProducer, .unsupportedCompressionType, .invalidRecord,
            .unknownTopicID, .unknownPartition, .offsetsLost, .unknownOperation, .diskFull,
            .storageFailed, .tooManyRequests, .shuttingDown, .limitReached, .internalError,
            .invalidGroupName, .groupNotEmpty, .unknownGroup, .fencedMember, .staleMemberEpoch,
            .groupExists, .resetOutdated, .wrongGroupKind, .leaseLost, .unknownDeadLetter,
            .deadLetterQuarantined, .deadLetterBusy, .notParked, .tooManyMessageIDs:
            false
        }
    }

    /// One sentence for people: what happened and, where it helps, what to do.
    package var text: String {
        switch self {
        case .none: "No error."
        case .offsetOutOfRange: "The offset lies below the log start or above the log end."
        case .corruptMessage: "The stored or sent batch fails its checksum."
        case .unknownTopic: "There is no topic of this name."
        case .requestTimedOut: "The time of the request ran out before it was answered."
        case .messageTooLarge: "The batch is larger than the topic allows."
        case .loading: "The partition is still reading its state; try again soon."
        case .invalidTopicName: "The topic name is not allowed."
        case .notAuthorized: "The principal may not do this."
        case .invalidTimestamp: "An event time lies too far in the future."
        case .unsupportedVersion: "This version is not spoken here."
        case .topicExists: "A topic of this name exists already."
        case .invalidPartitions: "The number of partitions is not allowed."
        case .invalidConfig: "A setting is unknown or its value is not allowed."
        case .invalidRequest: "The request does not have the form that Protocol.md describes."
        case .outOfOrderSequence: "A batch of this producer is missing before this one."
        case .duplicateSequence:
            "Below the next sequence and no batch that is remembered: it may have been written."
        case .staleProducerEpoch: "A newer instance of this producer has taken over."
        case .storageError: "The partition is offline because of its storage."
        case .unknownProducer: "The producer is not known, or not any more: take a new epoch or id."
        case .unsupportedCompressionType: "This broker cannot read compressed batches."
        case .invalidRecord: "A record in the batch is not well-formed."
        case .unknownTopicID: "There is no topic of this id; it may have been deleted."
        case .unknownPartition: "The topic has no partition of this number."
        case .offsetsLost: "The offsets were lost in a power cut before they were durable."
        case .unknownOperation: "There is no operation of this number."
        case .diskFull:
            "The disk is full; until there is space the broker takes no records, neither commits "
                + "nor acks of groups, and makes no topics and groups. Reading goes on."
        case .storageFailed: "The disk failed while the batch was being made durable."
        case .tooManyRequests: "Too many requests wait at once."
        case .shuttingDown: "The broker is stopping."
        case .helloRequired: "The first frame of a connection must be a hello."
        case .frameTooLarge: "The frame is larger than this connection may send."
        case .limitReached: "A limit of the broker's configuration is reached."
        case .internalError: "The broker failed; its log says more."
        case .invalidGroupName: "The group name is not allowed."
        case .groupNotEmpty: "The group has members; stop them first."
        case .unknownGroup: "There is no group of this name."
        case .fencedMember: "The member is not in the group; it must join again."
        case .staleMemberEpoch: "The partition is not the member's any more."
        case .groupExists: "A group of this name exists already."
        case .resetOutdated: "How far the group is has changed since the reset was planned."
        case .wrongGroupKind: "The group is of the other kind: a stream or a queue."
        case .leaseLost:
            "The records were handed to another since, one of them is a dead letter, the group was "
                + "reset there, retention is taking them, or the broker has restarted."
        case .unknownDeadLetter: "The group has no dead letter of this number, or not any more."
        case .deadLetterQuarantined: "The dead letter was sent to its group too often."
        case .deadLetterBusy: "The dead letter is with its group, or not in its topic yet."
        case .notParked: "The record is not parked, or not any more."
        case .tooManyMessageIDs:
            "The broker remembers as many message ids as it may; they leave with time."
        }
    }

    /// The code of that name; nil for an unknown one.
    package init?(name: String) {
        guard let match = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = match
    }
}
