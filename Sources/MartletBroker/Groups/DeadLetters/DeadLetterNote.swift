import MartletFormat
import MartletGroups
import MartletJSON

/// The last header of each record in a dead letter topic: where the record comes from, and what
/// happened to it. JSON, so that whoever reads the topic can read it too.
enum DeadLetterNote {
    static let header = "martlet-dead-letter"

    /// - Parameter record: what is written with it.
    static func header(
        of entry: LetterEntry, _ record: DeadRecord, _ group: String, createdAt: Int64
    ) -> (key: String, value: [UInt8]?) {
        var note: JSONObject = [
            "kind": .string(name(of: entry.kind)), "number": JSONValue(entry.number),
            "letter": JSONValue(entry.letter), "group": .string(group),
            "groupCreatedAt": .integer(createdAt), "topic": .string(entry.topicName),
            "topicID": .string("\(entry.origin.partition.topic)"),
            "partition": JSONValue(entry.origin.partition.partition),
            "offset": .integer(entry.origin.offset), "at": .integer(entry.at),
            "attempts": JSONValue(entry.attempts), "deaths": JSONValue(entry.deaths),
            "reason": .string(entry.reason.name),
        ]
        if let trace = TraceParent.traceID(of: record.headers) { note["traceID"] = .string(trace) }
        switch entry.kind {
        case .died:
            note["member"] = .string("\(entry.member)")
            note["client"] = .string(entry.client)
            note["firstFailure"] = value(of: entry.trail.first)
            note["lastFailure"] = value(of: entry.trail.last)
        case .edited, .resolved, .commented:
            note["author"] = .string(entry.author)
            note["note"] = .string(entry.note)
        case .assigned:
            note["author"] = .string(entry.author)
            note["assignee"] = .string(entry.assignee)
        }
        return (header, JSONWriter.bytes(.object(note)))
    }

    /// Which entry of which group a record of the topic holds; nil: none that the broker wrote.
    static func identity(_ record: DeadRecord) -> (number: UInt64, groupCreatedAt: Int64)? {
        guard let note = read(record), let number = note["number"]?.integerValue,
            let number = UInt64(exactly: number), let at = note["groupCreatedAt"]?.integerValue
        else { return nil }
        return (number, at)
    }

    /// What the record failed with first.
    static func firstFailure(_ record: DeadRecord) -> HandlerFailure? {
        guard let failure = read(record)?["firstFailure"],
            let kind = failure["kind"]?.stringValue, let text = failure["text"]?.stringValue,
            let at = failure["at"]?.integerValue
        else { return nil }
        let severity = HandlerFailure.Severity.allCases.first {
            name(of: $0) == failure["severity"]?.stringValue
        }
        return HandlerFailure(severity ?? .transient, kind: kind, text: text, at: at)
    }

    private static func read(_ record: DeadRecord) -> JSONValue? {
        guard let last = record.headers.last, last.key == header, let bytes = last.value else {
            return nil
        }
        do throws(JSONError) {
            return try JSONValue(parsing: bytes)
        } catch {
            return nil  // somebody else's header of that name
        }
    }

    private static func value(of failure: HandlerFailure) -> JSONValue {
        [
            "severity": .string(name(of: failure.severity)), "kind": .string(failure.kind),
            "text": .string(failure.text), "at": .integer(failure.at),
        ]
    }

    private static func name(of kind: LetterEntry.Kind) -> String {
        switch kind {
        case .died: "died"
        case .edited: "edited"
        case .resolved: "resolved"
        case .assigned: "assigned"
        case .commented: "commented"
        }
    }

    private static func name(of severity: HandlerFailure.Severity) -> String {
        switch severity {
        case .transient: "transient"
        case .permanent: "permanent"
        case .rejected: "rejected"
        }
    }
}
