import MartletClient
import MartletConfiguration
import MartletJSON

/// Shows events of groups one by one: who looks on sees each when it comes.
struct GroupEventPrinter {
    private let format: OutputFormat
    private let output: Output
    private let hasHeader: Bool
    private var isFirst = true

    init(_ context: CommandContext) {
        format = context.format(elsewhere: .jsonl)
        output = context.output
        hasHeader = !context.invocation.has("no-headers")
    }

    mutating func show(_ event: GroupHistoryEvent) throws {
        switch format {
        case .table, .raw, .name:
            if isFirst, hasHeader {
                try output.line(Self.line("TIME", "GROUP", "EVENT", "BY", "WHAT"))
            }
            try output.line(
                Self.line(
                    TimeText.text(event.at), Shown.text(event.group), Shown.text(event.type),
                    Shown.text(event.by), Shown.text(Self.what(event))))
        case .json:
            try output.write(isFirst ? "[\n" : ",\n")
            try output.write(JSONWriter.bytes(Self.json(event)))
        case .jsonl: try output.jsonLine(Self.json(event))
        }
        isFirst = false
    }

    func finish() throws {
        guard format == .json else { return }
        try output.write(isFirst ? "[]\n" : "\n]\n")
    }

    private static func line(
        _ time: String, _ group: String, _ type: String, _ by: String, _ what: String
    ) -> String {
        let start = [(time, 24), (group, 16), (type, 22), (by, 6)].map { text, width in
            text + String(repeating: " ", count: max(0, width - Shown.width(text)))
        }
        let line = (start + [what]).joined(separator: "  ")
        return String(line.reversed().drop { $0 == " " }.reversed())
    }

    /// The rest of it in a few words.
    static func what(_ event: GroupHistoryEvent) -> String {
        var words: [String] = []
        // Of a reset it counts partitions, which are named.
        if let count = event.count, event.type != "group.reset" { words.append("\(count)") }
        if let topic = event.topicName {
            let few = event.partitions.prefix(8).map { "\($0)" }.joined(separator: ",")
            let more = event.partitions.count > 8 ? ",..." : ""
            words.append(event.partitions.isEmpty ? topic : "\(topic)/\(few)\(more)")
        }
        switch (event.type.hasPrefix("records."), event.from, event.to) {
        case (true, let from?, let to?): words.append("offsets \(from) up to \(to)")
        case (true, nil, let to?): words.append("below \(to)")
        case (false, let from, let to?) where event.type == "group.reset":
            words.append("from \(from.map { "\($0)" } ?? "nowhere") to \(to)")
        case (false, _, let to?) where event.type.hasPrefix("headroom."):
            let bySize = event.reason == "size"
            words.append(bySize ? "after \(Shown.bytes(to))" : "at \(TimeText.text(to))")
        case (_, _, _): break
        }
        if let member = event.member { words.append("member \(member.prefix(8))") }
        if let instance = event.instance { words.append("instance \(instance)") }
        if let client = event.client { words.append("client \(client)") }
        if let reason = event.reason { words.append("(\(reason))") }
        return words.joined(separator: " ")
    }

    static func json(_ event: GroupHistoryEvent) -> JSONValue {
        var object: JSONObject = [
            "type": .string(event.type), "group": .string(event.group), "at": .integer(event.at),
            "by": .string(event.by), "number": .integer(event.number),
            "offset": .integer(event.offset),
            "partitions": .array(event.partitions.map { JSONValue($0) }),
        ]
        let texts = [
            ("member", event.member), ("instance", event.instance), ("client", event.client),
            ("topic", event.topicName), ("reason", event.reason),
        ]
        for (key, text) in texts { object[key] = text.map { .string($0) } ?? .null }
        for (key, number) in [("count", event.count), ("from", event.from), ("to", event.to)] {
            object[key] = number.map { .integer($0) } ?? .null
        }
        return .object(object)
    }
}
