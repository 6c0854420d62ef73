import MartletClient
import MartletConfiguration
import MartletJSON

/// What one measurement does.
struct BenchPlan: Sendable {
    enum Kind: String, Sendable {
        case produce, consume, e2e, handover
    }

    enum Spread: String, CaseIterable, Sendable {
        /// Each record into the next partition.
        case even
        /// As the client does it for records without a key: a batch here, a batch there.
        case sticky
    }

    enum Interface: String, CaseIterable, Sendable {
        case batch, record
    }

    /// Members of a group instead of a plain consumer.
    struct Sharing: Sendable {
        let group: String
        let isQueue: Bool
        let members: Int
    }

    var kind: Kind
    /// Bytes of a value.
    var size = 1024
    var acks = AckLevel.durable
    var durability = "durable"
    /// At least so long, and at least so many bytes.
    var seconds: Int64 = 5
    var bytes: Int64 = 2 << 30
    var warmUpSeconds: Int64 = 1
    var partitions = 1
    /// Records a second, sent when they are due; nil: as fast as it goes.
    var rate: Int64?
    var producers = 1
    /// Records on their way at once, each awaited; nil: batches, bounded by the client's buffer.
    var inFlight: Int?
    var batchBytes = 1 << 20
    var lingerMilliseconds: Int64 = 2
    var bufferBytes = 64 << 20
    var spread = Spread.even
    var interface = Interface.batch
    var sharing: Sharing?
    var keepsTopic = false

    init(_ kind: Kind) {
        self.kind = kind
    }

    var producerConfiguration: ProducerConfiguration {
        ProducerConfiguration(
            acks: acks, linger: .milliseconds(lingerMilliseconds), batchBytes: batchBytes,
            bufferBytes: max(bufferBytes, batchBytes))
    }

    var json: JSONValue {
        var object: JSONObject = [
            "size": JSONValue(size), "acks": .string(acks.name),
            "durability": .string(durability), "seconds": .integer(seconds),
            "bytes": .integer(bytes), "warmUpSeconds": .integer(warmUpSeconds),
            "partitions": JSONValue(partitions), "rate": rate.map { .integer($0) } ?? .null,
            "producers": JSONValue(producers),
            "inFlight": inFlight.map { JSONValue($0) } ?? .null,
            "batchBytes": JSONValue(batchBytes),
            "lingerMilliseconds": .integer(lingerMilliseconds),
            "bufferBytes": JSONValue(bufferBytes), "spread": .string(spread.rawValue),
        ]
        if kind == .consume { object["api"] = .string(interface.rawValue) }
        if let sharing {
            object["group"] = .string(sharing.group)
            object["queue"] = .boolean(sharing.isQueue)
            object["members"] = JSONValue(sharing.members)
        }
        return .object(object)
    }
}

extension BenchPlan {
    static let commonFlags = [
        FlagSpec("size", value: "BYTES", "Bytes of each value; 1024."),
        CommonFlags.acks,
        CommonFlags.durability("Of the topic: durable (default) or written."),
        FlagSpec("seconds", value: "S", "Measure at least so long; 5."),
        FlagSpec("warmup", value: "S", "Run so long before that; 1."),
        FlagSpec("partitions", short: "p", value: "N", "Partitions of the topic; 1."),
        FlagSpec("batch", value: "BYTES", "The client's batch size; 1MiB."),
        FlagSpec("keep", "Do not delete the topic."),
        CommonFlags.streamedOutput,
    ]

    static let sharingFlags = [
        FlagSpec("group", value: "NAME", "Read as this group, made for each pass."),
        FlagSpec("queue", "The group is a queue: each record is acked by itself."),
        FlagSpec("members", value: "N", "Members of the group; 1."),
    ]

    /// From the flags of a command, with the command's own defaults.
    init(_ kind: Kind, _ context: CommandContext) throws {
        self.init(kind)
        let flags = context.invocation
        func integer(_ flag: String, _ range: ClosedRange<Int64>, _ other: Int64) throws -> Int64 {
            try flags.integer(flag, in: range) ?? other
        }
        size = Int(try flags.bytes("size", in: 16...(8 << 20)) ?? 1024)
        acks = flags.value("acks").flatMap { AckLevel(name: $0) } ?? .durable
        durability = flags.value("durability") ?? "durable"
        seconds = try integer("seconds", 1...86_400, 5)
        warmUpSeconds = try integer("warmup", 0...3600, 1)
        partitions = Int(try integer("partitions", 1...10_000, 1))
        producers = Int(try integer("producers", 1...1000, 1))
        batchBytes = Int(try flags.bytes("batch", in: 1024...(64 << 20)) ?? 1 << 20)
        rate = try flags.integer("rate", in: 1...10_000_000)
        inFlight = try flags.integer("in-flight", in: 1...1_000_000).map { Int($0) }
        lingerMilliseconds = try flags.milliseconds("linger", in: 0...60_000) ?? 2
        bufferBytes = Int(try flags.bytes("buffer", in: 1024...(4 << 30)) ?? 64 << 20)
        spread = flags.value("spread").flatMap { Spread(rawValue: $0) } ?? .even
        interface = flags.value("api").flatMap { Interface(rawValue: $0) } ?? .batch
        keepsTopic = flags.has("keep")
        let members = Int(try integer("members", 1...1_000, 1))
        if let group = flags.value("group") {
            sharing = Sharing(group: group, isQueue: flags.has("queue"), members: members)
        } else if flags.has("queue") || flags.has("members") {
            throw ToolError.usage("--queue and --members need --group NAME")
        }
        // One at a time, or paced, would take for ever to move gigabytes.
        let isThroughput = rate == nil && inFlight == nil
        bytes = try flags.bytes("bytes") ?? (isThroughput ? 2 << 30 : 0)
    }
}
