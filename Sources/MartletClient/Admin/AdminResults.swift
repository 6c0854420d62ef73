/// A topic, as a producer or a consumer has to know it.
public struct TopicInfo: Sendable, Equatable {
    /// 32 hexadecimal digits that name the topic for ever; all zero when it was only validated.
    public let id: String
    /// The topic's name.
    public let name: String
    /// The number of partitions.
    public let partitions: Int
    /// What it promises its readers; nil when this client is too old to know.
    public let durability: TopicDurability?
    /// Bytes of the largest batch that it takes; 0 when it was only validated.
    public let batchBytesMax: Int
    /// Whether older records of a key may be gone.
    public let isCompacted: Bool
}

/// A topic in a list.
public struct TopicListing: Sendable, Equatable {
    /// 32 hexadecimal digits that name the topic for ever.
    public let id: String
    /// The topic's name; empty when the broker cannot read its metadata.
    public let name: String
    /// The number of partitions.
    public let partitions: Int
    /// What it promises its readers; nil when this client is too old to know.
    public let durability: TopicDurability?
    /// Whether it is one of the broker's own.
    public let isInternal: Bool
    /// Whether it can be read and written.
    public let isOnline: Bool
    /// Bytes of its logs.
    public let bytes: Int64
}

/// Where the value of a setting comes from.
public enum SettingSource: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    /// Martlet's own default.
    case builtIn = 0
    /// The broker's configuration.
    case broker = 1
    /// The topic itself.
    case topic = 2

    /// `default`, `broker` or `topic`.
    public var description: String {
        switch self {
        case .builtIn: "default"
        case .broker: "broker"
        case .topic: "topic"
        }
    }
}

/// A topic's setting that is in force.
public struct TopicSettingValue: Sendable, Equatable {
    /// The setting's name, such as `retention.time`.
    public let key: String
    /// The value in force.
    public let value: String
    /// Where the value comes from.
    public let source: SettingSource
}

/// What a change did to one setting.
public struct SettingChange: Sendable, Equatable {
    /// The setting's name.
    public let key: String
    /// The value in force before.
    public let before: String?
    /// The value in force now.
    public let after: String?
    /// Where `after` comes from.
    public let source: SettingSource
}

/// Whether a partition can be used.
public enum PartitionState: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    /// It can be read and written.
    case online = 0
    /// It can be read; producers wait until its state is read.
    case loading = 1
    /// Its storage cannot be used.
    case offline = 2

    /// `online`, `loading` or `offline`.
    public var description: String {
        switch self {
        case .online: "online"
        case .loading: "loading"
        case .offline: "offline"
        }
    }
}

/// One partition, as the broker sees it.
public struct PartitionStatus: Sendable, Equatable {
    /// The partition's number, from 0.
    public let partition: Int32
    /// Whether it can be used.
    public let state: PartitionState
    /// The first offset that can be read.
    public let logStart: Int64
    /// Readers see what lies below.
    public let highWatermark: Int64
    /// What lies below is on disk.
    public let durableEnd: Int64
    /// The offset of the next record.
    public let logEnd: Int64
    /// Grows with each start after an unclean stop.
    public let leaderEpoch: Int32
    /// The number of segment files.
    public let segments: Int
    /// Bytes of the log.
    public let bytes: Int64
    /// When the oldest record was appended, in milliseconds since 1970; nil when unknown.
    public let firstAppendTime: Int64?
    /// When the newest record was appended, in milliseconds since 1970; nil when unknown.
    public let lastAppendTime: Int64?
    /// Offsets that were never given to a record that lasted.
    public let gaps: [Range<Int64>]
    /// Offsets whose records are damaged and in quarantine.
    public let damaged: [Range<Int64>]
    /// All groups have handled what lies below, so that retention `until-consumed` takes it; nil:
    /// the topic has another retention.
    public let consumed: Int64?
    /// The group that is furthest behind and so keeps what is there; nil: there is none.
    public let heldBy: String?
}

/// A topic with its settings and partitions.
public struct TopicDescription: Sendable, Equatable {
    /// 32 hexadecimal digits that name the topic for ever.
    public let id: String
    /// The topic's name.
    public let name: String
    /// All settings with their source.
    public let settings: [TopicSettingValue]
    /// The partitions by number.
    public let partitions: [PartitionStatus]
}

/// Which offset of a partition is asked for.
public enum OffsetQuery: Sendable, Equatable {
    /// The first offset that can be read.
    case earliest
    /// The high watermark: the offset after the last record that readers see.
    case latest
    /// The first record whose event time, in milliseconds since 1970, is not before this.
    case time(Int64)
}

/// An offset that was asked for.
public struct PartitionOffset: Sendable, Equatable {
    /// The partition's number, from 0.
    public let partition: Int32
    /// The offset; the high watermark when no record is at or after the time asked for.
    public let offset: Int64
    /// The event time of that record, for a query by time that found one.
    public let time: Int64?
    /// The partition's leader epoch.
    public let leaderEpoch: Int32
}

/// The broker in figures.
public struct BrokerStatus: Sendable, Equatable {
    /// The broker's version.
    public let version: String
    /// When it started, in milliseconds since 1970.
    public let startedAt: Int64
    /// How long it runs, by its monotonic clock.
    public let uptime: Duration
    /// Its process id.
    public let pid: Int32
    /// Whether the run before was shut down in order.
    public let isCleanStart: Bool
    /// Whether producers are served.
    public let isWritable: Bool
    /// Why not; empty when writable.
    public let reason: String
    /// Grows with each start after an unclean stop.
    public let leaderEpoch: Int32
    /// The number of topics.
    public let topics: Int
    /// The number of partitions.
    public let partitions: Int
    /// The number of connections now.
    public let connections: Int
    /// Records appended since the start.
    public let recordsIn: UInt64
    /// Bytes of batches appended since the start.
    public let bytesIn: UInt64
    /// Bytes of batches sent since the start.
    public let bytesOut: UInt64
    /// Bytes of the file system that holds the data.
    public let diskTotal: Int64
    /// Bytes that are free on it.
    public let diskAvailable: Int64
    /// Bytes of all logs.
    public let dataBytes: Int64
}

/// Something that recovery found or mended at the broker's last start.
public struct RecoveryNote: Sendable, Equatable {
    /// The topic's name, or its id when the name cannot be read.
    public let topic: String
    /// The partition; -1 for the whole topic.
    public let partition: Int32
    /// A stable word, such as `torn-tail`.
    public let kind: String
    /// The first offset concerned; nil when it is about none.
    public let from: Int64?
    /// The offset behind the last one concerned; nil when it is about none.
    public let to: Int64?
    /// Bytes cut, quarantined or rebuilt.
    public let bytes: Int64
    /// For people.
    public let detail: String
}

/// How bad a finding is.
public enum FindingSeverity: UInt8, Sendable, CaseIterable, Comparable, CustomStringConvertible {
    /// As it should be.
    case ok = 0
    /// Look into it soon.
    case warning = 1
    /// Look into it now.
    case critical = 2

    /// By how bad they are.
    public static func < (left: FindingSeverity, right: FindingSeverity) -> Bool {
        left.rawValue < right.rawValue
    }

    /// `ok`, `warning` or `critical`.
    public var description: String {
        switch self {
        case .ok: "ok"
        case .warning: "warning"
        case .critical: "critical"
        }
    }
}

/// One judgement of the doctor.
public struct HealthFinding: Sendable, Equatable {
    /// How bad it is.
    public let severity: FindingSeverity
    /// A stable word for it.
    public let code: String
    /// What was found.
    public let text: String
    /// What to do; may be empty.
    public let advice: String
}

/// One figure of the doctor.
public struct HealthFigure: Sendable, Equatable {
    /// A stable word for it.
    public let name: String
    /// The number, in `unit`.
    public let value: Int64
    /// Such as `bytes`; may be empty.
    public let unit: String
}

/// What recovery did, what is unhealthy, and what to do.
public struct DoctorReport: Sendable, Equatable {
    /// What the last start found and mended.
    public let recovery: [RecoveryNote]
    /// Judgements, the worst first.
    public let findings: [HealthFinding]
    /// Figures measured now.
    public let figures: [HealthFigure]
}
