import MartletFormat
import MartletStorage
import MartletWire

/// How the storage's errors look on the wire: the one place where one becomes the other.
enum StorageErrors {
    static func code(_ error: StorageError) -> ErrorCode {
        switch error.code {
        case .syncFailed: .storageFailed
        case .ioFailed, .corrupt, .notUsable, .offline, .removed: .storageError
        case .diskFull: .diskFull
        case .noDescriptors: .loading
        case .topicExists: .topicExists
        case .unknownTopic: .unknownTopicID
        case .invalidName: .invalidTopicName
        case .invalidSetting: .invalidConfig
        case .limitReached: .limitReached
        case .offsetOutOfRange: .offsetOutOfRange
        }
    }

    static func refusal(_ refusal: AppendRefusal) -> (code: ErrorCode, text: String) {
        switch refusal {
        case .outOfOrderSequence(let expected):
            (.outOfOrderSequence, "the next sequence of this producer here is \(expected)")
        case .duplicateSequence: (.duplicateSequence, ErrorCode.duplicateSequence.text)
        case .unknownProducer: (.unknownProducer, ErrorCode.unknownProducer.text)
        case .staleEpoch(let current):
            (.staleProducerEpoch, "the producer's epoch is \(current) now")
        case .diskFull(let reason): (.diskFull, reason)
        case .noDescriptors(let reason): (.loading, reason)
        case .offline(let reason): offline(reason)
        case .failed(let error): (code(error), error.message)
        case .invalidTimestamp(let reason): (.invalidTimestamp, reason)
        case .tooLarge(let max): (.messageTooLarge, "the topic takes batches up to \(max) bytes")
        case .nullKey: (.invalidRecord, "a compacted topic needs a key on every record")
        case .messageIDTooLong(let index, let bytes):
            (
                .invalidRecord,
                "the message-id of record \(index) has \(bytes) bytes, at most "
                    + "\(MessageID.bytesMax) are allowed"
            )
        case .tooManyMessageIDs(let bytesMax):
            (
                .tooManyMessageIDs,
                "message ids fill message.ids.bytes.max (\(bytesMax) bytes); try again later"
            )
        }
    }

    static func offline(_ reason: OfflineReason) -> (code: ErrorCode, text: String) {
        switch reason {
        case .broken(let text): (.storageError, text)
        case .deleted: (.unknownTopicID, reason.text)
        }
    }
}
