/// A record to be sent.
public struct ProducerRecord: Sendable, Equatable {
    /// The topic's name.
    public var topic: String
    /// Decides the partition, unless one is named; nil: any partition.
    public var key: [UInt8]?
    /// The content; nil is a tombstone on a compacted topic.
    public var value: [UInt8]?
    /// Data beside the value.
    public var headers: [RecordHeader]
    /// The partition; nil lets the key decide.
    public var partition: Int32?
    /// The event time in milliseconds since 1970; nil: now.
    public var timestamp: Int64?

    /// - Parameters:
    ///   - topic: the topic's name.
    ///   - key: decides the partition.
    ///   - value: the content.
    ///   - headers: data beside the value; at most 64 and 32 KiB.
    ///   - partition: nil lets the key decide.
    ///   - timestamp: the event time in milliseconds since 1970; nil: now.
    public init(
        topic: String, key: [UInt8]? = nil, value: [UInt8]?, headers: [RecordHeader] = [],
        partition: Int32? = nil, timestamp: Int64? = nil
    ) {
        self.topic = topic
        self.key = key
        self.value = value
        self.headers = headers
        self.partition = partition
        self.timestamp = timestamp
    }

    /// - Parameters:
    ///   - topic: the topic's name.
    ///   - key: decides the partition; stored as UTF-8.
    ///   - value: the content; stored as UTF-8.
    ///   - headers: data beside the value; at most 64 and 32 KiB.
    ///   - partition: nil lets the key decide.
    ///   - timestamp: the event time in milliseconds since 1970; nil: now.
    public init(
        topic: String, key: String? = nil, value: String?, headers: [RecordHeader] = [],
        partition: Int32? = nil, timestamp: Int64? = nil
    ) {
        self.init(
            topic: topic, key: key.map { Array($0.utf8) }, value: value.map { Array($0.utf8) },
            headers: headers, partition: partition, timestamp: timestamp)
    }
}

/// Where an acknowledged record is.
public struct DeliveryReceipt: Sendable, Equatable {
    /// The topic's name.
    public let topic: String
    /// The partition's number.
    public let partition: Int32
    /// The record's offset; -1 when it is not known: with `acks` none, or when the broker only
    /// remembers that it was written. Of a duplicate it is that of the first.
    public let offset: Int64
    /// What was reached; on a `written` topic, and with `acks` written, an offset is provisional
    /// until a reader saw it.
    public let durability: AckLevel
    /// Whether it was there already: by an earlier try, or as the same message of any producer
    /// (`RecordHeader.messageID`). Nothing was stored again.
    public let isDuplicate: Bool
    /// The leader epoch of its batch; -1 when not known.
    public let leaderEpoch: Int32
}
