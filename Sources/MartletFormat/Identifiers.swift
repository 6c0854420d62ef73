/// The 16 bytes that name a topic for ever. Never given twice, also when a name is used again.
package struct TopicID: Hashable, Sendable, Comparable, CustomStringConvertible {
    package let high: UInt64
    package let low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    package static let zero = TopicID(high: 0, low: 0)

    /// 32 lower-case hexadecimal digits: also the name of the topic's directory.
    package var description: String { Self.hex(high) + Self.hex(low) }

    /// Reads what `description` wrote; nil for anything else.
    package init?(_ text: some StringProtocol) {
        let digits = Array(text.utf8)
        guard digits.count == 32,
            digits.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }),
            let high = UInt64(text.prefix(16), radix: 16),
            let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }

    package static func < (left: TopicID, right: TopicID) -> Bool {
        left.high == right.high ? left.low < right.low : left.high < right.high
    }

    private static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// What a topic promises of the records that its readers see.
package enum Durability: UInt8, Sendable, CaseIterable {
    /// Readers see a record only after `fdatasync` covered it.
    case durable = 1
    /// Readers see a record once it is in the operating system's cache.
    case written = 2

    package var name: String {
        switch self {
        case .durable: "durable"
        case .written: "written"
        }
    }

    package init?(name: some StringProtocol) {
        guard let match = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = match
    }
}

/// What a producer waits for.
package enum Acks: UInt8, Sendable, CaseIterable {
    /// No reply; a refused batch closes the connection with an error frame.
    case none = 0
    /// The batch is in the operating system's cache: survives `kill -9`, not a power cut.
    case written = 1
    /// The batch and everything before it in the partition is on disk.
    case durable = 2

    package var name: String {
        switch self {
        case .none: "none"
        case .written: "written"
        case .durable: "durable"
        }
    }

    package init?(name: some StringProtocol) {
        guard let match = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = match
    }
}
