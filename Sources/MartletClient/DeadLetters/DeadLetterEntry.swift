import MartletFormat
import MartletJSON

/// Something that the topic `GROUP.dlq` tells of a dead letter: that its record died, or what
/// somebody did to it later.
///
/// A handler of a queue gets it with a record that was sent to the group again. Whoever reads the
/// topic makes it from its records.
public struct DeadLetterEntry: Sendable {
    /// What happened.
    public enum Kind: String, Sendable {
        /// The group's handlers cannot do it.
        case died
        /// Somebody changed what is sent to the group again.
        case edited
        /// Somebody said that it needs no handling any more.
        case resolved
        /// Somebody said who is to look after it.
        case assigned
        /// Somebody said something about it.
        case commented
    }

    /// What happened.
    public let kind: Kind
    /// All entries of a group have numbers in one row, from 1.
    public let number: UInt64
    /// The dead letter's own number: that of the entry with which it died first.
    public let letter: UInt64
    /// The group's name.
    public let group: String
    /// When the group was made, in milliseconds since 1970: another group of the same name has
    /// numbers of its own.
    public let groupCreatedAt: Int64
    /// The partition where the record comes from, by the topic's name at that time.
    public let partition: TopicPartition
    /// Its offset there.
    public let offset: Int64
    /// When this happened, in milliseconds since 1970.
    public let at: Int64
    /// Handlers that had begun with it, in all.
    public let attempts: Int
    /// How often it had died.
    public let deaths: Int
    /// Why it is a dead letter.
    public let reason: DeadLetterReason
    /// The id of the member that had it; nil unless it died.
    public let member: String?
    /// The name of that member's client; nil unless it died.
    public let client: String?
    /// What its handlers failed with first; nil unless it died.
    public let firstFailure: HandlerFailure?
    /// What its handlers failed with last; nil unless it died.
    public let lastFailure: HandlerFailure?
    /// The trace that the record belongs to: 32 hexadecimal digits out of its header `traceparent` (W3C
    /// Trace Context). nil without one, or when it does not say it rightly.
    public let traceID: String?
    /// Who did it; nil when it died.
    public let author: String?
    /// Why, or what there is to say; nil when it died or was assigned.
    public let note: String?
    /// Who is to look after it from then on; nil: nobody, or it was not assigned.
    public let assignee: String?
    /// The record as it was, or as it was edited: at the place where it comes from, without the
    /// header that tells all this. Without key and value unless it died or was edited.
    public let record: ConsumedRecord

    /// Reads what the broker wrote.
    ///
    /// - Parameter record: of a topic of dead letters; nil for one that the broker did not write.
    public init?(_ record: ConsumedRecord) {
        guard let (header, start) = record.lastHeader, header.key == Self.header,
            let bytes = header.value, let json = Self.parse(bytes),
            let kind = json["kind"]?.stringValue.flatMap(Kind.init),
            let number = json["number"]?.integerValue.flatMap(UInt64.init(exactly:)),
            let letter = json["letter"]?.integerValue.flatMap(UInt64.init(exactly:)),
            let group = json["group"]?.stringValue,
            let createdAt = json["groupCreatedAt"]?.integerValue,
            let topic = json["topic"]?.stringValue,
            let partition = json["partition"]?.integerValue.flatMap(Int32.init(exactly:)),
            let offset = json["offset"]?.integerValue, let at = json["at"]?.integerValue,
            let attempts = json["attempts"]?.integerValue,
            let deaths = json["deaths"]?.integerValue,
            let reason = json["reason"]?.stringValue.flatMap(DeadLetterReason.init)
        else { return nil }
        self.kind = kind
        self.number = number
        self.letter = letter
        self.group = group
        groupCreatedAt = createdAt
        self.partition = TopicPartition(topic, partition)
        self.offset = offset
        self.at = at
        self.attempts = Int(attempts)
        self.deaths = Int(deaths)
        self.reason = reason
        member = json["member"]?.stringValue
        client = json["client"]?.stringValue
        firstFailure = json["firstFailure"].flatMap(HandlerFailure.init)
        lastFailure = json["lastFailure"].flatMap(HandlerFailure.init)
        traceID = json["traceID"]?.stringValue
        author = json["author"]?.stringValue
        note = json["note"]?.stringValue
        assignee = json["assignee"]?.stringValue.flatMap { $0.isEmpty ? nil : $0 }
        self.record = record.moved(to: self.partition, offset, headersBefore: start)
    }

    /// The last header of each record that the broker wrote.
    static let header = "martlet-dead-letter"

    /// The name of a group's topic of dead letters.
    ///
    /// - Parameter group: its name.
    /// - Returns: the topic's name; the topic is there from the group's first dead letter on.
    public static func topic(of group: String) -> String { group + ".dlq" }

    private static func parse(_ bytes: [UInt8]) -> JSONValue? {
        do throws(JSONError) {
            return try JSONValue(parsing: bytes)
        } catch {
            return nil  // somebody else's header of that name
        }
    }
}

/// Why a record became a dead letter.
public enum DeadLetterReason: String, Sendable, CaseIterable {
    /// A handler failed for ever.
    case permanent
    /// The attempts that the group's policy allows are used up.
    case attempts
    /// A handler set it aside.
    case rejected
    /// Retention was about to take it before a handler that had it was done.
    case retention
}

/// Why a handler did not do its work.
public struct HandlerFailure: Sendable, Equatable {
    /// What the handler made of it.
    public enum Severity: String, Sendable {
        /// It may go well another time.
        case transient
        /// It never goes well.
        case permanent
        /// Somebody has to look at it.
        case rejected
    }

    /// What the handler made of it.
    public let severity: Severity
    /// The kind of failure: the name of the error's type.
    public let kind: String
    /// Its words.
    public let text: String
    /// When the broker heard of it, in milliseconds since 1970.
    public let at: Int64

    init?(_ json: JSONValue) {
        guard let severity = json["severity"]?.stringValue.flatMap(Severity.init),
            let kind = json["kind"]?.stringValue, let text = json["text"]?.stringValue,
            let at = json["at"]?.integerValue
        else { return nil }
        self.severity = severity
        self.kind = kind
        self.text = text
        self.at = at
    }
}
