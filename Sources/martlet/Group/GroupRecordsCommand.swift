import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet group records`.
enum GroupRecordsCommand {
    static let command: Command = Command(
        CommandSpec(
            "records", "List where the records of a queue are that are not handled.",
            discussion: [
                "Ready, in flight and with whom, delayed until when, or parked since when; records "
                    + "that follow each other and are alike in one line, OFFSETS from the first to the "
                    + "last. Dead ones are listed by 'martlet dlq list', handled ones nowhere. Of a "
                    + "stream group only what was sent to it again is listed.",
                "A queue in order by key hands out one record of a key at a time: what waits behind "
                    + "another is ready, too.",
            ],
            arguments: [GroupCommands.argument],
            flags: [
                FlagSpec(
                    "state", value: "STATE",
                    choices: QueueRecords.State.allCases.map(\.rawValue), repeatable: true,
                    "Only these: ready, in-flight, delayed or parked."),
                FlagSpec(
                    "topic", short: "t", value: "TOPIC", offers: .topic, "Only of this topic."),
                FlagSpec("limit", short: "n", value: "N", "So many lines at most."),
                CommonFlags.output([.table, .json, .jsonl], "table (default), json or jsonl."),
                CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec("martlet group records notify", "All that it owes"),
                ExampleSpec(
                    "martlet group records notify --state in-flight",
                    "What hangs, and with which member"
                ),
                ExampleSpec(
                    "martlet group records notify --state delayed -o jsonl",
                    "What comes again, and why"),
            ])
    ) { context in
        let name = try context.argument(0)
        let limit = try context.invocation.integer("limit", in: 1...1_000_000)
        let words = context.invocation.values("state")
        let states = words.compactMap { QueueRecords.State(rawValue: $0) }
        let topic = context.invocation.value("topic")
        let listsReady = states.isEmpty || states.contains(.ready)
        let (records, group) = try await context.withClient { client in
            let records = try await client.admin.queueRecords(
                of: name, states: Set(states.isEmpty ? QueueRecords.State.allCases : states),
                topic: topic, limit: limit.map { Int($0) })
            return (records, listsReady ? try await client.admin.describeGroup(name) : nil)
        }
        var table = Table([
            .left("TOPIC"), .right("PARTITION"), .left("OFFSETS"), .left("STATE"),
            .right("ATTEMPTS"), .left("AT"), .left("MEMBER"), .left("FAILURE"), .left("TEXT"),
        ])
        for record in records {
            table.add([
                record.partition.topic, "\(record.partition.partition)", span(record.offsets),
                record.isReplay ? "\(record.state.rawValue), again" : record.state.rawValue,
                "\(record.attempts)", record.at.map { TimeText.text($0) } ?? "",
                record.member ?? "", record.failure, record.text,
            ])
        }
        try context.show(table, objects: records.map(json))
        if let group, let more = untouched(group, topic) { context.output.message(more) }
    }

    /// What waits where the broker has no list yet, since nobody has received from there.
    private static func untouched(_ group: GroupDescription, _ topic: String?) -> String? {
        guard group.kind != .stream else { return nil }
        let begun = Set(group.queues.map(\.partition))
        let lines = group.partitions.filter { line in
            !begun.contains(line.partition) && (line.lag ?? 0) > 0
                && (topic == nil || line.partition.topic == topic)
        }
        guard !lines.isEmpty else { return nil }
        let records = Shown.plural(lines.reduce(0) { $0 &+ ($1.lag ?? 0) }, "record")
        let partitions = Shown.plural(Int64(lines.count), "partition")
        return "\(records) in \(partitions) that nobody has received from yet are ready, too"
    }

    private static func span(_ offsets: Range<Int64>) -> String {
        offsets.count == 1
            ? "\(offsets.lowerBound)" : "\(offsets.lowerBound)-\(offsets.upperBound - 1)"
    }

    private static func json(_ record: QueueRecords) -> JSONValue {
        [
            "topic": .string(record.partition.topic),
            "partition": JSONValue(record.partition.partition),
            "from": .integer(record.offsets.lowerBound),
            "to": .integer(record.offsets.upperBound),
            "isReplay": .boolean(record.isReplay), "state": .string(record.state.rawValue),
            "attempts": JSONValue(record.attempts),
            "member": record.member.map { .string($0) } ?? .null,
            "at": record.at.map { .integer($0) } ?? .null, "failure": .string(record.failure),
            "text": .string(record.text),
        ]
    }
}
