import MartletClient
import MartletConfiguration
import MartletJSON
import Synchronization

/// `martlet topic verify`: reads everything there is and checks it.
enum TopicVerifyCommand {
    static let command: Command = Command(
        CommandSpec(
            "verify", "Read a whole topic and check every record.",
            discussion: [
                "Reads every partition from its start to its present end: checksums, record "
                    + "structure, offsets without holes. The exit code is 2 when something is damaged."
            ],
            arguments: [TopicCommands.topicArgument],
            flags: [CommonFlags.partition, CommonFlags.output, CommonFlags.noHeaders],
            examples: [ExampleSpec("martlet topic verify orders", "Is everything readable?")]),
        run)

    /// What was found in one partition.
    struct Findings {
        let place: LogView.Place
        var records: Int64 = 0
        var bytes: Int64 = 0
        var damaged: [Range<Int64>] = []
        /// Offsets without records: what may have been there was lost before it was durable.
        var gaps: [Range<Int64>] = []
    }

    private static func run(_ context: CommandContext) async throws {
        let name = try context.argument(0)
        _ = context.format()
        let findings = try await context.withClient { client in
            let topic = try await client.admin.topic(name)
            let partitions =
                try context.partitions(of: topic) ?? topic.allPartitions
            let view = try await LogView.load(client.admin, name, partitions)
            var findings: [Findings] = []
            for place in view.partitions {
                findings.append(try await verify(client, name, place))
            }
            return findings
        }
        try show(findings, context)
        let damaged = findings.reduce(0) { $0 + $1.damaged.count }
        if damaged > 0 {
            throw ToolError.usage(
                "topic \(name) has \(Shown.plural(damaged, "damaged range")): restore from a backup, or "
                    + "see 'martlet topic skip-damage --help'")
        }
        let records = findings.reduce(0) { $0 + $1.records }
        context.output.message("\(Shown.plural(records, "record")), everything is sound")
    }

    private static func verify(
        _ client: MartletClient, _ topic: String, _ place: LogView.Place
    ) async throws -> Findings {
        var findings = Findings(place: place)
        guard place.earliest < place.latest else { return findings }
        let partition = TopicPartition(topic, place.partition)
        var configuration = ConsumerConfiguration([
            .partition(topic, place.partition, start: .offset(place.earliest))
        ])
        // What retention takes away while we read is no damage.
        configuration.resetPolicy = .earliest
        let gaps = Mutex<[Range<Int64>]>([])
        try await client.withConsumer(configuration) { consumer in
            let reading = BoundedReading(consumer, ends: [partition: place.latest]) { event in
                if case .offsetsLost(_, let range) = event { gaps.withLock { $0.append(range) } }
            }
            var next = place.earliest
            while next < place.latest {
                do {
                    try await read(reading, &next, &findings)
                    next = place.latest
                } catch let error as MartletError where error.code == .corruptMessage {
                    let stands = consumer.positions()[partition] ?? next
                    let range = try damagedRange(error, max(next, stands))
                    findings.damaged.append(range)
                    next = range.upperBound
                    if next < place.latest {
                        try await consumer.seek(partition, to: .offset(next))
                    }
                }
            }
            // Gaps before damage at the end have been told of, and nobody listened any more.
            await reading.finish()
        }
        findings.gaps = gaps.withLock { $0 }
        return findings
    }

    private static func read(
        _ reading: BoundedReading, _ next: inout Int64, _ findings: inout Findings
    ) async throws {
        try await reading.run { batch in
            for record in batch {
                findings.records += 1
                _ = record.headers
            }
            findings.bytes += Int64(batch.byteCount)
            next = batch.nextOffset
            return true
        }
    }

    private static func damagedRange(
        _ error: MartletError, _ next: Int64
    ) throws -> Range<Int64> {
        guard let from = error.context["from"].flatMap({ Int64($0) }),
            let to = error.context["to"].flatMap({ Int64($0) }), to > next
        else { throw error }
        return max(from, next)..<to
    }

    private static func show(_ findings: [Findings], _ context: CommandContext) throws {
        var table = Table([
            .right("PARTITION"), .right("START"), .right("END"), .right("RECORDS"), .right("SIZE"),
            .left("DAMAGED"),
        ])
        for found in findings {
            let damaged = found.damaged.map { "\($0.lowerBound)..<\($0.upperBound)" }
            table.add([
                "\(found.place.partition)", "\(found.place.earliest)", "\(found.place.latest)",
                "\(found.records)", Shown.bytes(found.bytes),
                damaged.isEmpty ? "none" : damaged.joined(separator: " "),
            ])
        }
        try context.show(table, objects: findings.map(json))
    }

    private static func json(_ found: Findings) -> JSONValue {
        [
            "partition": JSONValue(found.place.partition),
            "start": .integer(found.place.earliest), "end": .integer(found.place.latest),
            "records": .integer(found.records), "bytes": .integer(found.bytes),
            "damaged": .array(found.damaged.map(RangeJSON.value)),
            "gaps": .array(found.gaps.map(RangeJSON.value)),
        ]
    }
}
