import MartletJSON

/// Something that happened to a group, as the topic `$group-events` tells it: who came and went, what
/// stands still, what became of records that failed. Made of the topic's records; a broker that is
/// newer than this client may tell of kinds and fields that it passes.
public struct GroupHistoryEvent: Sendable {
    /// The topic that the broker writes them to.
    public static let topic = "$group-events"

    /// What happened, such as `member.joined`; docs/OPERATIONS.md has them all.
    public let type: String
    /// The group's name; empty when the event is about the events themselves (`events.missed`).
    public let group: String
    /// When, in milliseconds since 1970.
    public let at: Int64
    /// Who made it happen: `person`, `member`, `policy`, `time` or `broker`.
    public let by: String
    /// Where the broker recorded it: later events of a group have higher numbers. -1 for what it does not
    /// record.
    public let number: Int64
    /// The member's id; nil when it is about none.
    public let member: String?
    /// The member's instance id; nil when it has none.
    public let instance: String?
    /// The client name of the member, or of the person's program; nil when it is not known.
    public let client: String?
    /// The topic's name at that time; nil when it is about none.
    public let topicName: String?
    /// Partitions of the topic; none for all of it. An event lists 1,000 at most.
    public let partitions: [Int32]
    /// How many records, dead letters, partitions or events it tells of; nil when nothing is counted.
    public let count: Int64?
    /// Of records: the first offset. Of a reset: where the group was. Of an open breaker and of an expired
    /// group: since when, in milliseconds since 1970.
    public let from: Int64?
    /// Of records: the offset behind the last one. Of a reset: where the group goes on. Of an open breaker:
    /// until when.
    public let to: Int64?
    /// Why, in a word; nil when there is none.
    public let reason: String?
    /// Its offset in the topic.
    public let offset: Int64

    /// Reads what the broker wrote.
    ///
    /// - Parameter record: of the topic `$group-events`; nil for what no broker wrote.
    public init?(_ record: ConsumedRecord) {
        guard let bytes = record.valueBytes, let json = Self.parse(bytes),
            let type = json["type"]?.stringValue, let group = json["group"]?.stringValue,
            let at = json["at"]?.integerValue
        else { return nil }
        self.type = type
        self.group = group
        self.at = at
        by = json["by"]?.stringValue ?? ""
        number = json["number"]?.integerValue ?? -1
        member = json["member"]?.stringValue
        instance = json["instance"]?.stringValue
        client = json["client"]?.stringValue
        topicName = json["topic"]?.stringValue
        partitions = (json["partitions"]?.arrayValue ?? []).compactMap {
            $0.integerValue.flatMap(Int32.init(exactly:))
        }
        count = json["count"]?.integerValue
        from = json["from"]?.integerValue
        to = json["to"]?.integerValue
        reason = json["reason"]?.stringValue
        offset = record.offset
    }

    private static func parse(_ bytes: [UInt8]) -> JSONValue? {
        do throws(JSONError) {
            return try JSONValue(parsing: bytes)
        } catch {
            return nil
        }
    }
}
