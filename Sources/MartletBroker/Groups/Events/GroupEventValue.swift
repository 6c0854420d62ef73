import MartletFormat
import MartletGroups
import MartletJSON

/// The value of a record of `$group-events`: JSON, so that whoever reads the topic can read it too.
/// docs/OPERATIONS.md has every field; readers pass what they do not know.
enum GroupEventValue {
    /// The header with the kind of the event, by which readers choose.
    static let typeHeader = "type"

    static func bytes(_ event: GroupEvent) -> [UInt8] {
        var value: JSONObject = [
            "type": .string(event.kind.rawValue), "group": .string(event.group),
            "at": .integer(event.at), "by": .string(event.by.rawValue),
            "shard": JSONValue(event.shard), "number": .integer(event.number),
        ]
        if let member = event.member { value["member"] = .string("\(member)") }
        if let instance = event.instance { value["instance"] = .string(instance) }
        if !event.client.isEmpty { value["client"] = .string(event.client) }
        if let topic = event.topic {
            value["topic"] = .string(event.topicName ?? "\(topic)")
            value["topicID"] = .string("\(topic)")
        }
        if !event.partitions.isEmpty {
            value["partitions"] = .array(event.partitions.map { JSONValue($0) })
        }
        if let count = event.count { value["count"] = .integer(count) }
        if let from = event.from { value["from"] = .integer(from) }
        if let to = event.to { value["to"] = .integer(to) }
        if !event.reason.isEmpty { value["reason"] = .string(event.reason) }
        return JSONWriter.bytes(.object(value))
    }
}
