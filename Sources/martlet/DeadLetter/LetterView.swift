import MartletClient
import MartletJSON

/// A dead letter as the tools show it: what the broker has in mind, and what its topic says.
struct LetterView: Sendable {
    let letter: DeadLetter
    /// Its newest entry: what would be sent again. Nil when the topic does not have it.
    let newest: DeadLetterEntry?
    /// The entry with which it died last; of one that was edited, another than the newest.
    let died: DeadLetterEntry?

    /// The header that names the type of an event.
    static let typeHeader = "type"

    var eventType: String? {
        newest?.record.headers.first { $0.key == Self.typeHeader }?.stringValue
    }

    /// Where the record comes from, by the topic's name today, or of then.
    var partition: TopicPartition {
        guard letter.partition.topic.isEmpty, let newest else { return letter.partition }
        return newest.partition
    }

    /// Of the record that would be sent again, or of the one that died.
    var traceID: String? { newest?.traceID ?? died?.traceID }

    var failure: HandlerFailure? { died?.lastFailure }

    var state: String { letter.isReplaying ? "replaying" : "dead" }

    /// `PermanentError: no tail number`.
    static func words(_ failure: HandlerFailure?) -> String {
        guard let failure else { return "?" }
        return failure.text.isEmpty ? failure.kind : "\(failure.kind): \(failure.text)"
    }
}

/// What is counted of a dead letter. Unlike a `LetterView` it holds no record, and with it no memory
/// of a whole fetch.
struct LetterFacts: Sendable {
    let letter: DeadLetter
    let topic: String
    let eventType: String?
    let errorKind: String?
    /// What it has in common with others of the same cause.
    let cause: String?
}

extension LetterFacts {
    init(_ view: LetterView) {
        self.init(
            letter: view.letter, topic: view.partition.topic, eventType: view.eventType,
            errorKind: view.failure?.kind,
            cause: view.failure.map(ErrorFingerprint.text))
    }
}

/// Dead letters as JSON.
enum LetterJSON {
    /// Everything but the record.
    static func summary(_ view: LetterView, _ group: String) -> JSONObject {
        let letter = view.letter
        var object: JSONObject = [
            "number": JSONValue(letter.number), "group": .string(group),
            "topic": .string(view.partition.topic),
            "partition": JSONValue(view.partition.partition), "offset": .integer(letter.offset),
            "state": .string(view.state), "reason": .string(letter.reason.rawValue),
            "attempts": JSONValue(letter.attempts), "deaths": JSONValue(letter.deaths),
            "replays": JSONValue(letter.replays), "diedAt": .integer(letter.diedAt),
            "place": letter.place.map { .integer($0) } ?? .null,
            "assignee": letter.assignee.map { .string($0) } ?? .null,
            "remarks": JSONValue(letter.remarks),
            "type": view.eventType.map { .string($0) } ?? .null,
            "traceID": view.traceID.map { .string($0) } ?? .null,
            "member": view.died?.member.map { .string($0) } ?? .null,
            "client": view.died?.client.map { .string($0) } ?? .null,
            "firstFailure": failure(view.died?.firstFailure),
            "lastFailure": failure(view.died?.lastFailure),
        ]
        RecordJSON.add("key", view.newest?.record.keyBytes, to: &object)
        if let edited = view.newest, edited.kind == .edited { object["edited"] = entry(edited) }
        return object
    }

    /// With the record that would be sent again.
    static func whole(_ view: LetterView, _ group: String) -> JSONObject {
        var object = summary(view, group)
        guard let record = view.newest?.record else { return object }
        object["timestamp"] = .integer(record.timestamp)
        RecordJSON.add("value", record.valueBytes, to: &object)
        object["headers"] = .array(
            record.headers.map { header in
                var item: JSONObject = ["key": .string(header.key)]
                RecordJSON.add("value", header.value, to: &item)
                return .object(item)
            })
        return object
    }

    /// One line of a dead letter's history.
    static func entry(_ entry: DeadLetterEntry) -> JSONValue {
        var object: JSONObject = [
            "entry": JSONValue(entry.number), "kind": .string(entry.kind.rawValue),
            "at": .integer(entry.at),
        ]
        if let author = entry.author { object["author"] = .string(author) }
        if let note = entry.note { object["note"] = .string(note) }
        if entry.kind == .assigned {
            object["assignee"] = entry.assignee.map { .string($0) } ?? .null
        }
        if entry.kind == .died {
            object["reason"] = .string(entry.reason.rawValue)
            object["lastFailure"] = failure(entry.lastFailure)
        }
        return .object(object)
    }

    private static func failure(_ failure: HandlerFailure?) -> JSONValue {
        guard let failure else { return .null }
        return [
            "severity": .string(failure.severity.rawValue), "kind": .string(failure.kind),
            "text": .string(failure.text), "at": .integer(failure.at),
        ]
    }
}
