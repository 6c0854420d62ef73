import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet status`.
enum StatusCommand {
    static let command: Command = Command(
        CommandSpec(
            "status", "Show the broker in figures.",
            flags: [CommonFlags.output],
            examples: [
                ExampleSpec("martlet status", "For people"),
                ExampleSpec("martlet status -o json", "For programs"),
            ])
    ) { context in
        let format = context.format()
        let server = try context.server
        let (status, roundTrip) = try await context.withClient { client in
            let status = try await client.admin.status()
            return (status, try await client.admin.ping())
        }
        switch format {
        case .table, .name, .raw: try context.output.write(text(status, roundTrip, server))
        case .json: try context.output.json(json(status, roundTrip, server))
        case .jsonl: try context.output.jsonLine(json(status, roundTrip, server))
        }
    }

    private static func text(_ status: BrokerStatus, _ trip: Duration, _ server: String) -> String {
        var facts = Facts()
        facts.add("broker", "\(server), version \(status.version), process \(status.pid)")
        facts.add(
            "up",
            "\(Shown.duration(milliseconds: status.uptime.inMilliseconds)) since "
                + TimeText.text(status.startedAt))
        facts.add(
            "last stop", status.isCleanStart ? "clean" : "unclean; 'martlet doctor' tells more")
        facts.add("producers", status.isWritable ? "served" : "refused: \(status.reason)")
        facts.add(
            "topics",
            "\(Shown.count(status.topics)) with \(Shown.plural(status.partitions, "partition"))")
        facts.add("connections", Shown.count(status.connections))
        facts.add("records in", Shown.count(status.recordsIn))
        facts.add("bytes in", Shown.bytes(Int64(clamping: status.bytesIn)))
        facts.add("bytes out", Shown.bytes(Int64(clamping: status.bytesOut)))
        facts.add("data", Shown.bytes(status.dataBytes))
        facts.add(
            "disk",
            "\(Shown.bytes(status.diskAvailable)) free of \(Shown.bytes(status.diskTotal))")
        facts.add("leader epoch", "\(status.leaderEpoch)")
        facts.add("round trip", "\(Shown.decimal(trip.inMicroseconds, 0)) us")
        return facts.text
    }

    private static func json(
        _ status: BrokerStatus, _ trip: Duration, _ server: String
    ) -> JSONValue {
        [
            "server": .string(server), "version": .string(status.version),
            "pid": JSONValue(status.pid), "startedAt": .integer(status.startedAt),
            "uptimeMilliseconds": .integer(status.uptime.inMilliseconds),
            "isCleanStart": .boolean(status.isCleanStart),
            "isWritable": .boolean(status.isWritable), "reason": .string(status.reason),
            "leaderEpoch": JSONValue(status.leaderEpoch), "topics": JSONValue(status.topics),
            "partitions": JSONValue(status.partitions),
            "connections": JSONValue(status.connections),
            "recordsIn": JSONValue(status.recordsIn), "bytesIn": JSONValue(status.bytesIn),
            "bytesOut": JSONValue(status.bytesOut), "dataBytes": .integer(status.dataBytes),
            "diskTotal": .integer(status.diskTotal),
            "diskAvailable": .integer(status.diskAvailable),
            "roundTripMicroseconds": .double(trip.inMicroseconds.rounded()),
        ]
    }
}

extension Duration {
    var inMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        return overflow ? .max : whole &+ attoseconds / 1_000_000_000_000_000
    }

    var inMicroseconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) * 1e6 + Double(attoseconds) / 1e12
    }
}
