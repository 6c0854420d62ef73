import MartletFormat

/// A named piece of data beside a record's value.
public struct RecordHeader: Sendable, Equatable {
    /// The name; it need not be unique within a record.
    public let key: String
    /// The content; nil is not the same as empty.
    public let value: [UInt8]?

    /// - Parameters:
    ///   - key: the name.
    ///   - value: the content.
    public init(_ key: String, _ value: [UInt8]?) {
        self.key = key
        self.value = value
    }

    /// - Parameters:
    ///   - key: the name.
    ///   - value: the content, stored as UTF-8.
    public init(_ key: String, _ value: String) {
        self.init(key, Array(value.utf8))
    }

    /// The header that says which message a record is. A topic with the setting
    /// `deduplication.window` stores no message twice within that time, whoever sends it: a second
    /// `send` succeeds with the offset of the first, and says that it is a duplicate.
    ///
    /// Each partition has a window of its own: copies of a message must go to the same one, as those
    /// with the same key do.
    ///
    /// - Parameter id: 1 to 128 bytes of UTF-8; other records must not have the same.
    /// - Returns: the header `message-id`.
    public static func messageID(_ id: String) -> RecordHeader {
        RecordHeader("\(MessageID.header)", id)
    }

    /// The content as text; nil when it is null or not UTF-8.
    public var stringValue: String? {
        value.flatMap { String(validating: $0, as: UTF8.self) }
    }
}
