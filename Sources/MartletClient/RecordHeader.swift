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

    /// The content as text; nil when it is null or not UTF-8.
    public var stringValue: String? {
        value.flatMap { String(validating: $0, as: UTF8.self) }
    }
}
