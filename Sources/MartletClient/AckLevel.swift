import MartletFormat

/// What a producer waits for, and what a receipt says was reached.
public enum AckLevel: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    /// No answer at all: a lost connection loses records in silence.
    case none = 0
    /// In the operating system's cache of the broker: survives `kill -9`, not a power cut.
    case written = 1
    /// On disk, with everything before it in the partition.
    case durable = 2

    /// `none`, `written` or `durable`.
    public var name: String { acks.name }

    /// The name.
    public var description: String { name }

    /// Reads what `name` wrote; nil for anything else.
    public init?(name: String) {
        guard let acks = Acks(name: name) else { return nil }
        self.init(acks)
    }

    init(_ acks: Acks) {
        self =
            switch acks {
            case .none: .none
            case .written: .written
            case .durable: .durable
            }
    }

    var acks: Acks {
        switch self {
        case .none: .none
        case .written: .written
        case .durable: .durable
        }
    }
}

/// What a topic promises of the records that its readers see.
public enum TopicDurability: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    /// Readers see a record only after it is on disk.
    case durable = 1
    /// Readers see a record once it is in the operating system's cache.
    case written = 2

    /// `durable` or `written`.
    public var name: String {
        switch self {
        case .durable: "durable"
        case .written: "written"
        }
    }

    /// The name.
    public var description: String { name }
}

/// A partition of a topic, by the topic's name.
public struct TopicPartition: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The topic's name.
    public let topic: String
    /// The partition's number, from 0.
    public let partition: Int32

    /// - Parameters:
    ///   - topic: the topic's name.
    ///   - partition: the partition's number, from 0.
    public init(_ topic: String, _ partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    /// By topic, then by number.
    public static func < (left: TopicPartition, right: TopicPartition) -> Bool {
        (left.topic, left.partition) < (right.topic, right.partition)
    }

    /// `topic/partition`.
    public var description: String { "\(topic)/\(partition)" }

    /// Facts for an error's context.
    var context: [String: String] { ["topic": topic, "partition": String(partition)] }
}
