package import MartletFormat

/// One visitor over the fields of a message. The same description of a message measures, writes,
/// reads, and prints it, so that they cannot differ.
///
/// Integers are big-endian. Strings and bytes have a u16 length before them; `nullLength` in its
/// place means null where null is allowed. Arrays have a u32 count before their items.
package protocol FieldCoder: ~Copyable {
    /// The operation's version, for fields that were added later.
    var version: UInt16 { get }

    mutating func bool(_ name: String, _ value: inout Bool, _ meaning: String) throws(WireError)
    mutating func uint8(_ name: String, _ value: inout UInt8, _ meaning: String) throws(WireError)
    mutating func int16(_ name: String, _ value: inout Int16, _ meaning: String) throws(WireError)
    mutating func uint16(
        _ name: String, _ value: inout UInt16, _ meaning: String)
        throws(WireError)
    mutating func int32(_ name: String, _ value: inout Int32, _ meaning: String) throws(WireError)
    /// An `int32` from 0 to `max`.
    mutating func count(
        _ name: String, _ value: inout Int32, max: Int32, _ meaning: String)
        throws(WireError)
    mutating func uint32(
        _ name: String, _ value: inout UInt32, _ meaning: String)
        throws(WireError)
    mutating func int64(_ name: String, _ value: inout Int64, _ meaning: String) throws(WireError)
    mutating func uint64(
        _ name: String, _ value: inout UInt64, _ meaning: String)
        throws(WireError)
    /// 16 bytes.
    mutating func identifier(
        _ name: String, _ value: inout TopicID, _ meaning: String)
        throws(WireError)
    /// UTF-8 of at most `max` bytes.
    mutating func string(
        _ name: String, _ value: inout String, max: Int, _ meaning: String)
        throws(WireError)
    /// The same, or null.
    mutating func optionalString(
        _ name: String, _ value: inout String?, max: Int, _ meaning: String
    ) throws(WireError)
    mutating func bytes(
        _ name: String, _ value: inout [UInt8], max: Int, _ meaning: String)
        throws(WireError)
    /// At most `max` items.
    mutating func array<Item: WireItem>(
        _ name: String, _ values: inout [Item], max: Int, _ meaning: String
    ) throws(WireError)
    /// A nested group of fields that stands in place, without a length.
    mutating func item<Item: WireItem>(_ name: String, _ value: inout Item) throws(WireError)
}

extension FieldCoder where Self: ~Copyable {
    /// The length that stands for null.
    package static var nullLength: UInt16 { UInt16.max }

    // Who reads what another peer wrote has to check it.
    package mutating func count(
        _ name: String, _ value: inout Int32, max: Int32, _ meaning: String
    ) throws(WireError) {
        try int32(name, &value, meaning)
    }

    /// An error code. One that this build does not know is read as `internalError`.
    package mutating func errorCode(_ value: inout ErrorCode) throws(WireError) {
        var raw = value.rawValue
        try uint16("error", &raw, "0, or one of the error codes")
        value = ErrorCode(rawValue: raw) ?? .internalError
    }

    package mutating func errorMessage(_ value: inout String) throws(WireError) {
        try string(
            "message", &value, max: WireLimits.errorMessageBytesMax,
            "for people; empty without error")
    }
}

/// A group of fields inside a message, most often the item of an array.
package protocol WireItem: Equatable, Sendable {
    /// Bytes of the smallest item. An array's count is held against the bytes that are left divided
    /// by this before room for it is reserved. A test compares it with an encoded `init()`.
    static var bytesMin: Int { get }
    init()
    mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError)
}

/// One message, described once.
package protocol WireMessage: Equatable, Sendable {
    static var operation: Operation { get }
    /// One sentence for Protocol.md.
    static var purpose: String { get }
    /// Bytes of the attachment that the fields announce; nil when the message has none.
    var attachmentBytes: Int? { get }
    init()
    mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError)
}

extension WireMessage {
    package var attachmentBytes: Int? { nil }
}

package protocol WireRequest: WireMessage {
    associatedtype Reply: WireReply
}

/// A reply begins with its error; when that is not 0 nothing follows the message text. The first
/// two fields are the same in every version of every operation, for ever.
package protocol WireReply: WireMessage {
    var error: ErrorCode { get set }
    var message: String { get set }
    /// What follows `error` and `message` when `error` is 0.
    mutating func result(_ c: inout some FieldCoder & ~Copyable) throws(WireError)
}

extension WireReply {
    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.errorCode(&error)
        try c.errorMessage(&message)
        guard error == .none else { return }
        try result(&c)
    }

    /// A reply that says only what went wrong.
    package init(error: ErrorCode, message: String) {
        self.init()
        self.error = error
        self.message = WireLimits.clip(message)
    }
}

/// Limits of single fields. Those of whole frames and batches are configuration.
package enum WireLimits {
    package static let topicNameBytesMax = 249
    package static let errorMessageBytesMax = 1_024
    package static let settingKeyBytesMax = 128
    package static let settingValueBytesMax = 1_024
    package static let textBytesMax = 4_096
    package static let namesMax = 1_000
    package static let settingsMax = 64
    package static let partitionsPerRequestMax = 4_096
    /// That can have an id, in the largest batch that any topic takes.
    package static let recordsPerBatchMax = 500_000
    package static let topicsMax = 100_000
    package static let partitionsPerTopicMax = 50_000
    package static let rangesMax = 1_000
    /// Of what is done above a group's offset in a partition.
    package static let finishedMax = 4_000
    /// Of all partitions of one reply: what is done above their offsets.
    package static let repliedRangesMax = 400_000
    /// Records of a stream's partition that are set aside.
    package static let parkedMax = 1_000
    package static let eventsMax = 10_000
    package static let groupNameBytesMax = 249
    package static let deliveriesMax = 1_000
    package static let commitMetadataBytesMax = 4_096
    package static let groupsMax = 5_000
    package static let membersMax = 10_000
    package static let assignmentMax = 100_000
    package static let pausesMax = 1_000
    package static let lettersMax = 1_000
    /// Of one assignment or comment. With them and their words it fits into one batch of `$groups`,
    /// so it is made whole or not at all.
    package static let remarkedLettersMax = 100
    /// With them and their ranges a replay fits into one batch of `$groups`.
    package static let replayPartitionsMax = 100
    package static let replayRangesMax = 10_000
    package static let failureKindBytesMax = 200
    package static let failureTextBytesMax = 1_000
    /// Of `BytesPiece`: more than the largest batch that any topic takes.
    package static let piecesMax = 2_000
    /// Types of events, with the line for the rest.
    package static let handledTypesMax = HandlerTimesByType.typesMax + 1
    package static let handlerBucketsMax = HandlerTimes.bucketCount

    /// Cuts a text to its limit, at a character.
    package static func clip(
        _ text: String, to bytesMax: Int = errorMessageBytesMax
    ) -> String {
        guard text.utf8.count > bytesMax else { return text }
        var clipped = ""
        var bytes = 0
        for character in text {
            bytes += character.utf8.count
            if bytes > bytesMax { break }
            clipped.append(character)
        }
        return clipped
    }
}
