package import MartletFormat

/// What happens to old records of a topic.
package enum CleanupPolicy: String, Sendable, CaseIterable {
    /// Segments go by age and size.
    case delete
    /// The newest record of each key stays.
    case compact
    /// Both.
    case compactAndDelete = "compact,delete"

    package var compacts: Bool { self != .delete }
    package var deletes: Bool { self != .compact }
}

/// What ends the life of records.
package enum RetentionMode: String, Sendable, CaseIterable {
    /// Age and size.
    case limits
    /// All groups have handled them; age and size only where the topic itself sets them.
    case untilConsumed = "until-consumed"
}

/// Where the value of a setting comes from. The raw value is the wire's.
package enum SettingSource: UInt8, Sendable {
    case builtIn = 0
    case broker = 1
    case topic = 2
}

/// How a setting's text is to be read by people and tools.
package enum SettingUnit: Sendable {
    case milliseconds
    case bytes
    case choice([String])
}

/// One key that a topic can set. Values are canonical: integers of the unit, or one of the words.
package struct TopicSettingKey: Sendable {
    package let name: String
    package let unit: SettingUnit
    /// Inclusive range of integer values; -1 (for ever, no limit) is written separately.
    package let range: ClosedRange<Int64>
    package let allowsUnlimited: Bool
    package let meaning: String
}

/// The settings of a topic, typed.
package struct TopicSettings: Equatable, Sendable {
    package var durability: Durability = .durable
    package var cleanup: CleanupPolicy = .delete
    package var retentionMode: RetentionMode = .limits
    /// ms; -1 for ever.
    package var retentionMilliseconds: Int64 = 7 * 86_400_000
    /// Bytes a partition; -1 no limit.
    package var retentionBytes: Int64 = -1
    package var segmentBytes: Int64 = 256 << 20
    package var segmentMilliseconds: Int64 = 7 * 86_400_000
    package var batchBytesMax: Int64 = 1 << 20
    package var eventTimeFutureMaxMilliseconds: Int64 = 3_600_000
    package var tombstoneRetentionMilliseconds: Int64 = 86_400_000
    package var compactionLagMilliseconds: Int64 = 0
    /// A message whose id was appended so short a time ago is not stored again; 0: ids mean nothing.
    package var deduplicationWindowMilliseconds: Int64 = 0

    package init() {}

    private static let day: Int64 = 86_400_000
    private static let centuries = 1000 * 366 * day

    /// Every key, in the order in which tools show them.
    package static let keys: [TopicSettingKey] = [
        TopicSettingKey(
            name: "durability", unit: .choice(Durability.allCases.map(\.name)), range: 0...0,
            allowsUnlimited: false,
            meaning: "durable: readers see what is on disk; written: what is in the system's cache"),
        TopicSettingKey(
            name: "cleanup.policy", unit: .choice(CleanupPolicy.allCases.map(\.rawValue)),
            range: 0...0, allowsUnlimited: false,
            meaning: "delete by age and size, compact by key, or both"),
        TopicSettingKey(
            name: "retention.mode", unit: .choice(RetentionMode.allCases.map(\.rawValue)),
            range: 0...0, allowsUnlimited: false,
            meaning: "limits: records go by age and size; until-consumed: when all groups have "
                + "handled them, and by age and size only where the topic itself sets these"),
        TopicSettingKey(
            name: "retention.ms", unit: .milliseconds, range: 1...centuries, allowsUnlimited: true,
            meaning: "age at which a segment is deleted; -1 keeps for ever"),
        TopicSettingKey(
            name: "retention.bytes", unit: .bytes, range: 1...Int64.max / 2, allowsUnlimited: true,
            meaning: "bytes a partition keeps, exact to one segment; -1 for no limit"),
        TopicSettingKey(
            name: "segment.bytes", unit: .bytes, range: 65_536...4_294_967_296,
            allowsUnlimited: false, meaning: "size at which a new segment begins"),
        TopicSettingKey(
            name: "segment.ms", unit: .milliseconds, range: 1...centuries, allowsUnlimited: false,
            meaning: "age at which a new segment begins"),
        TopicSettingKey(
            name: "batch.bytes.max", unit: .bytes, range: 1_024...8_388_608,
            allowsUnlimited: false, meaning: "largest batch that is accepted"),
        TopicSettingKey(
            name: "event.time.future.max.ms", unit: .milliseconds, range: 0...centuries,
            allowsUnlimited: false,
            meaning: "how far ahead of the broker's clock an event time may lie"),
        TopicSettingKey(
            name: "tombstone.retention.ms", unit: .milliseconds, range: 0...centuries,
            allowsUnlimited: false, meaning: "how long compaction keeps a tombstone"),
        TopicSettingKey(
            name: "compaction.lag.ms", unit: .milliseconds, range: 0...centuries,
            allowsUnlimited: false, meaning: "age below which compaction leaves a segment alone"),
        TopicSettingKey(
            name: "deduplication.window.ms", unit: .milliseconds, range: 0...3_600_000,
            allowsUnlimited: false,
            meaning: "a record is not stored again within this time when its header message-id is "
                + "that of another; 0: duplicates are stored"),
    ]

    package static func key(named name: String) -> TopicSettingKey? {
        keys.first { $0.name == name }
    }

    /// The canonical text of a setting; nil for a name that is none.
    package func value(of name: String) -> String? {
        switch name {
        case "durability": durability.name
        case "cleanup.policy": cleanup.rawValue
        case "retention.mode": retentionMode.rawValue
        default: integer(name).map { String(self[keyPath: $0]) }
        }
    }

    /// Sets one key from its canonical text.
    /// - Throws: `invalidSetting` with the key and what it takes.
    package mutating func set(_ name: String, to text: String) throws(StorageError) {
        guard let key = Self.key(named: name) else {
            throw StorageError(
                .invalidSetting,
                "unknown setting \"\(name)\"; known are \(Self.keys.map(\.name).joined(separator: ", "))"
            )
        }
        switch key.unit {
        case .choice(let words):
            guard words.contains(text) else {
                throw StorageError(
                    .invalidSetting,
                    "\(name): \"\(text)\" is none of \(words.joined(separator: ", "))")
            }
            if let value = Durability(name: text) { durability = value }
            if let value = CleanupPolicy(rawValue: text) { cleanup = value }
            if let value = RetentionMode(rawValue: text) { retentionMode = value }
        case .milliseconds, .bytes:
            guard let path = integer(name) else { return }
            guard let value = Int64(text),
                key.range.contains(value) || (key.allowsUnlimited && value == -1)
            else {
                let unlimited = key.allowsUnlimited ? ", or -1" : ""
                throw StorageError(
                    .invalidSetting,
                    "\(name): \"\(text)\" is not within \(key.range.lowerBound) … \(key.range.upperBound)\(unlimited)"
                )
            }
            self[keyPath: path] = value
        }
    }

    private func integer(_ name: String) -> WritableKeyPath<TopicSettings, Int64>? {
        switch name {
        case "retention.ms": \.retentionMilliseconds
        case "retention.bytes": \.retentionBytes
        case "segment.bytes": \.segmentBytes
        case "segment.ms": \.segmentMilliseconds
        case "batch.bytes.max": \.batchBytesMax
        case "event.time.future.max.ms": \.eventTimeFutureMaxMilliseconds
        case "tombstone.retention.ms": \.tombstoneRetentionMilliseconds
        case "compaction.lag.ms": \.compactionLagMilliseconds
        case "deduplication.window.ms": \.deduplicationWindowMilliseconds
        default: nil  // not an integer key
        }
    }
}
