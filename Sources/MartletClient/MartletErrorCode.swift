import MartletWire

/// What went wrong, as a stable name.
///
/// The names of errors that a broker answers are those of Protocol.md; the client adds a few of its
/// own for what happens on this side of the wire.
public struct MartletErrorCode: Hashable, Sendable, CustomStringConvertible {
    /// The stable name, in upper case with underscores, such as `UNKNOWN_TOPIC`.
    public let name: String

    /// Whether the same call may succeed later without any change.
    let isRetriable: Bool

    init(_ code: ClientErrorCode) {
        name = code.name
        isRetriable = code.isRetriable
    }

    init(_ code: ErrorCode) {
        name = code.name
        isRetriable = code.isRetriable
    }

    /// The name.
    public var description: String { name }

    // MARK: - The client's own

    /// No broker could be reached within the deadline.
    public static let connectionFailed = MartletErrorCode(ClientErrorCode.connectionFailed)
    /// The connection broke while the answer was outstanding.
    public static let connectionLost = MartletErrorCode(ClientErrorCode.connectionLost)
    /// The time that the caller allowed ran out.
    public static let deadlineExceeded = MartletErrorCode(ClientErrorCode.deadlineExceeded)
    /// The producer's buffer is full: the broker takes records more slowly than they are made.
    public static let bufferFull = MartletErrorCode(ClientErrorCode.bufferFull)
    /// The client, producer or consumer was closed.
    public static let closed = MartletErrorCode(ClientErrorCode.closed)
    /// An argument or a configuration field is not allowed; nothing was sent.
    public static let invalidArgument = MartletErrorCode(ClientErrorCode.invalidArgument)
    /// The peer does not speak the protocol as Protocol.md describes it.
    public static let protocolError = MartletErrorCode(ClientErrorCode.protocolError)

    // MARK: - The broker's

    /// The offset lies below the log start or above the log end.
    public static let offsetOutOfRange = MartletErrorCode(.offsetOutOfRange)
    /// Stored or sent data fails its checksum.
    public static let corruptMessage = MartletErrorCode(.corruptMessage)
    /// There is no topic of this name.
    public static let unknownTopic = MartletErrorCode(.unknownTopic)
    /// The broker could not answer in the time that the request allowed.
    public static let requestTimedOut = MartletErrorCode(.requestTimedOut)
    /// The batch is larger than the topic allows.
    public static let messageTooLarge = MartletErrorCode(.messageTooLarge)
    /// The partition is still reading its state.
    public static let loading = MartletErrorCode(.loading)
    /// The topic name is not allowed.
    public static let invalidTopicName = MartletErrorCode(.invalidTopicName)
    /// The principal may not do this.
    public static let notAuthorized = MartletErrorCode(.notAuthorized)
    /// An event time lies too far in the future.
    public static let invalidTimestamp = MartletErrorCode(.invalidTimestamp)
    /// This version of an operation is not spoken by the broker.
    public static let unsupportedVersion = MartletErrorCode(.unsupportedVersion)
    /// A topic of this name exists already.
    public static let topicExists = MartletErrorCode(.topicExists)
    /// The number of partitions is not allowed.
    public static let invalidPartitions = MartletErrorCode(.invalidPartitions)
    /// A setting is unknown or its value is not allowed.
    public static let invalidConfig = MartletErrorCode(.invalidConfig)
    /// The request does not have the form that Protocol.md describes.
    public static let invalidRequest = MartletErrorCode(.invalidRequest)
    /// A batch of this producer is missing before this one.
    public static let outOfOrderSequence = MartletErrorCode(.outOfOrderSequence)
    /// The batch was written long ago; its offset is no longer known.
    public static let duplicateSequence = MartletErrorCode(.duplicateSequence)
    /// A newer instance of this producer has taken over.
    public static let staleProducerEpoch = MartletErrorCode(.staleProducerEpoch)
    /// The topic or the partition is offline because of its storage.
    public static let storageError = MartletErrorCode(.storageError)
    /// The broker no longer knows this producer's state.
    public static let unknownProducer = MartletErrorCode(.unknownProducer)
    /// The broker or the client cannot read this compression.
    public static let unsupportedCompressionType = MartletErrorCode(.unsupportedCompressionType)
    /// A record in the batch is not well-formed.
    public static let invalidRecord = MartletErrorCode(.invalidRecord)
    /// The topic was deleted, also when a new one has its name.
    public static let unknownTopicID = MartletErrorCode(.unknownTopicID)
    /// The topic has no partition of this number.
    public static let unknownPartition = MartletErrorCode(.unknownPartition)
    /// The offsets were lost in a power cut before they were durable.
    public static let offsetsLost = MartletErrorCode(.offsetsLost)
    /// The broker knows no such operation.
    public static let unknownOperation = MartletErrorCode(.unknownOperation)
    /// The broker's disk is full.
    public static let diskFull = MartletErrorCode(.diskFull)
    /// The broker's disk failed while the batch was being made durable.
    public static let storageFailed = MartletErrorCode(.storageFailed)
    /// Too many requests wait at once.
    public static let tooManyRequests = MartletErrorCode(.tooManyRequests)
    /// The broker is stopping.
    public static let shuttingDown = MartletErrorCode(.shuttingDown)
    /// The first frame of a connection was not a hello.
    public static let helloRequired = MartletErrorCode(.helloRequired)
    /// A frame was larger than the connection allows.
    public static let frameTooLarge = MartletErrorCode(.frameTooLarge)
    /// The name is not allowed for a group.
    public static let invalidGroupName = MartletErrorCode(.invalidGroupName)
    /// A group of this name exists already.
    public static let groupExists = MartletErrorCode(.groupExists)
    /// How far the group is has changed since a reset was planned.
    public static let resetOutdated = MartletErrorCode(.resetOutdated)
    /// There is no group of this name.
    public static let unknownGroup = MartletErrorCode(.unknownGroup)
    /// The group has members, and only one without can be changed like that.
    public static let groupNotEmpty = MartletErrorCode(.groupNotEmpty)
    /// The group does not know the member (any more).
    public static let fencedMember = MartletErrorCode(.fencedMember)
    /// The partition belongs to another member of the group by now.
    public static let staleMemberEpoch = MartletErrorCode(.staleMemberEpoch)
    /// The group is a queue where a stream was asked for, or the other way round.
    public static let wrongGroupKind = MartletErrorCode(.wrongGroupKind)
    /// Somebody else has the record by now, it is a dead letter, or the broker has restarted since.
    public static let leaseLost = MartletErrorCode(.leaseLost)
    /// The group has no dead letter of this number, or not any more.
    public static let unknownDeadLetter = MartletErrorCode(.unknownDeadLetter)
    /// The dead letter was sent to its group as often as the caller allows.
    public static let deadLetterQuarantined = MartletErrorCode(.deadLetterQuarantined)
    /// The dead letter is with its group now, or not in its topic yet.
    public static let deadLetterBusy = MartletErrorCode(.deadLetterBusy)
    /// The record is not parked, or not any more.
    public static let notParked = MartletErrorCode(.notParked)
    /// A limit of the broker's configuration is reached.
    public static let limitReached = MartletErrorCode(.limitReached)
    /// The broker failed; its log says more.
    public static let internalError = MartletErrorCode(.internalError)
}
