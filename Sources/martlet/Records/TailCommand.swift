import MartletClient
import MartletConfiguration
import MartletSystem

/// `martlet tail`.
enum TailCommand {
    static let command: Command = Command(
        CommandSpec(
            "tail", aliases: ["consume"], "Read records of a topic.",
            discussion: [
                "Begins 10 records before the end of each partition, or where --from says: "
                    + "earliest, latest, an offset, -N for N before the end, @TIME for the first "
                    + "record with that event time or a later one (@2026-01-22T12:00Z, "
                    + "@1769083200000, @-15m).",
                "Ends at what is the end when it begins. With -f it goes on with what comes; so it "
                    + "does with -c until it has that many, and with --from latest, unless -e is "
                    + "there. Ctrl-C ends it in order.",
                "With --group it reads what the group's other members leave to it, goes on where the "
                    + "group is (--from says where one begins that is nowhere yet), commits what it "
                    + "has printed, and ends with -c or Ctrl-C. A queue is not read so: 'martlet group "
                    + "records' lists what it has not handled.",
                "--format: " + RecordFormat.meaning,
            ],
            arguments: [TopicCommands.topicArgument], flags: flags,
            examples: [
                ExampleSpec("martlet tail orders -f", "The last ones, and what comes"),
                ExampleSpec("martlet tail orders --from earliest -o jsonl", "Everything"),
                ExampleSpec("martlet tail orders --from @-1h --key k1", "A key's last hour"),
                ExampleSpec(
                    "martlet tail orders -f --format '%T %p %o %k %v %h{traceparent}\\n'",
                    "In a form of your own"),
            ]), run)

    private static let flags = [
        FlagSpec(
            "from", value: "WHERE", suggestions: ["earliest", "latest"],
            "Where to begin: earliest, latest, N, -N or @TIME."),
        FlagSpec(
            "until", value: "WHERE", suggestions: ["end"],
            "Where to end: end, N (not with it), -N or @TIME."),
        FlagSpec("last", short: "n", value: "N", "The last N of each partition: --from -N."),
        FlagSpec("follow", short: "f", "Go on with what comes."),
        FlagSpec("exit", short: "e", "End at the end, whatever else is there."),
        FlagSpec("count", short: "c", value: "N", "End after N records."),
        FlagSpec("group", value: "GROUP", offers: .group, "Read as a member of this group."),
        FlagSpec("session", value: "TIME", "Not heard of for so long, the member is dead; 10s."),
        CommonFlags.partition,
        FlagSpec("key", short: "k", value: "KEY", "Only records with this key."),
        FlagSpec("grep", short: "g", value: "TEXT", "Only records with this text in the value."),
        CommonFlags.output(
            [.table, .json, .jsonl, .raw],
            "table, json, jsonl, or raw for the values alone; without it a table on a terminal "
                + "and jsonl elsewhere."),
        FlagSpec("format", value: "TEXT", "A form of your own, see above."),
        CommonFlags.noHeaders,
    ]

    private static func run(_ context: CommandContext) async throws {
        let plan = try TailPlan(context)
        let group = try context.invocation.value("group").map {
            try GroupTail($0, plan, context)
        }
        try await Interruption.cancelling {
            var printer = try RecordPrinter(context)
            do {
                try await context.withClient { client in
                    if let group {
                        try await group.run(client, context, &printer)
                    } else {
                        try await read(client, plan, context, &printer)
                    }
                }
                try printer.finish()
            } catch is CancellationError {
                try printer.finish()
            } catch {
                // What came before the error is data all the same.
                try printer.abandon()
                throw error
            }
        }
    }

    private static func read(
        _ client: MartletClient, _ plan: TailPlan, _ context: CommandContext,
        _ printer: inout RecordPrinter
    ) async throws {
        guard plan.count != 0,
            let range = try await plan.resolve(client.admin, context)
        else { return }
        let output = context.output
        try await client.withConsumer(range.configuration) { consumer in
            for (partition, start) in range.starts {
                try await consumer.seek(partition, to: .offset(start))
            }
            let reading = BoundedReading(consumer, ends: range.ends) { event in
                if let text = describe(event) { output.message("martlet: \(text)") }
            }
            var left = plan.count ?? .max
            try await reading.run { batch in
                let end = range.ends?[TopicPartition(batch.topic, batch.partition)] ?? .max
                for record in batch where record.offset < end && plan.accepts(record) {
                    try printer.show(RecordView(record))
                    left -= 1
                    if left == 0 { break }
                }
                try printer.flush()
                try Task.checkCancellation()
                return left > 0
            }
        }
    }

    static func describe(_ event: ConsumerEvent) -> String? {
        switch event {
        case .caughtUp: nil
        case .offsetsLost(let partition, let range):
            "offsets \(range.lowerBound) up to \(range.upperBound) of \(partition) hold no records: "
                + "the broker did not stop in order, and what it may have had there was not durable"
        case .damageSkipped(let partition, let range):
            "offsets \(range.lowerBound) up to \(range.upperBound) of \(partition) are damaged and "
                + "passed over"
        case .reset(let partition, let from, let to):
            "offset \(from) of \(partition) is not there any more; going on at \(to)"
        case .disconnected(let error): "connection lost (\(error.code.name)); trying again"
        case .reconnected: "connected again"
        case .partitionsAdded(let topic, let total):
            "topic \(topic) now has \(total) partitions; the new ones are read too"
        }
    }
}

/// What `tail` was asked for.
struct TailPlan: Sendable {
    let topic: String
    let from: LogPlace
    let until: LogPlace?
    let follows: Bool
    let count: Int64?
    /// A broker that restarts is waited for by those who follow it, unless they say how long. That
    /// there is none at all is told as soon as ever.
    let deadline: Duration?
    private let key: [UInt8]?
    private let text: [UInt8]?

    init(_ context: CommandContext) throws {
        let invocation = context.invocation
        topic = try context.argument(0)
        let last = try invocation.integer("last", in: 0 ... .max)
        if last != nil, invocation.has("from") {
            throw context.usage("--from and --last exclude each other")
        }
        let start = try invocation.value("from").map {
            try LogPlace(parsing: $0, "--from", context)
        }
        from = start ?? .fromEnd(last ?? 10)
        count = try invocation.integer("count", in: 0 ... .max)
        until = try invocation.value("until").map { try LogPlace(parsing: $0, "--until", context) }
        if invocation.has("follow"), invocation.has("exit") || until != nil {
            throw context.usage("--follow has no end, so --exit and --until make no sense with it")
        }
        let isBounded = invocation.has("exit") || until != nil
        follows = invocation.has("follow") || (!isBounded && (count != nil || start == .latest))
        deadline = follows && !invocation.has("connect-timeout") ? .seconds(60) : nil
        key = invocation.value("key").map { Array($0.utf8) }
        text = invocation.value("grep").map { Array($0.utf8) }
    }

    func accepts(_ record: ConsumedRecord) -> Bool {
        if let key, record.keyBytes != key { return false }
        if let text, !text.isEmpty {
            return record.valueBytes?[...].firstRange(of: text) != nil
        }
        return true
    }

    /// What to read; nil when nothing is there.
    func resolve(_ admin: AdminClient, _ context: CommandContext) async throws -> TailRange? {
        let info = try await admin.topic(topic)
        let chosen = try context.partitions(of: info)
        if follows, chosen == nil, from == .earliest || from == .latest {
            // The whole topic, so that partitions that are added later are read too.
            let start: StartPosition = from == .earliest ? .earliest : .latest
            return TailRange(self, [.topic(topic, start: start)])
        }
        let view = try await LogView.load(admin, topic, chosen ?? info.allPartitions)
        if case .offset(let offset) = from { try Self.hold(offset, in: view, context) }
        let starts = try await from.offsets(in: view, admin)
        let ends = try await (until ?? .latest).offsets(in: view, admin)
        return range(of: view, isWhole: chosen == nil, starts, ends)
    }

    /// An offset above the end of every partition is a mistake; above the end of some it is told.
    private static func hold(
        _ offset: Int64, in view: LogView, _ context: CommandContext
    ) throws {
        let short = view.partitions.filter { $0.latest < offset }
        let ends = short.map { "partition \($0.partition) ends at \($0.latest)" }
        let text = "topic \(view.topic): offset \(offset) is above the end: "
        guard !short.isEmpty else { return }
        guard short.count < view.partitions.count else {
            throw ToolError(
                .notFound, text + ends.joined(separator: ", ") + " (OFFSET_OUT_OF_RANGE)")
        }
        context.output.message("martlet: " + text + ends.joined(separator: ", "))
    }

    func range(
        of view: LogView, isWhole: Bool, _ starts: [Int32: Int64], _ ends: [Int32: Int64]
    ) -> TailRange? {
        var assignments: [Assignment] = []
        var begins: [TopicPartition: Int64] = [:]
        var wanted: [TopicPartition: Int64] = [:]
        for place in view.partitions {
            let start = min(max(starts[place.partition] ?? 0, place.earliest), place.latest)
            let end = min(ends[place.partition] ?? 0, place.latest)
            begins[TopicPartition(topic, place.partition)] = start
            if !follows {
                guard start < end else { continue }
                wanted[TopicPartition(topic, place.partition)] = end
            }
            assignments.append(.partition(topic, place.partition, start: .offset(start)))
        }
        if assignments.isEmpty { return nil }
        if !follows { return TailRange(self, assignments, ends: wanted) }
        // The whole topic again, each partition from its own place.
        return isWhole
            ? TailRange(self, [.topic(topic, start: .earliest)], starts: begins)
            : TailRange(self, assignments)
    }
}

/// Partitions with where to begin and where to end.
struct TailRange: Sendable {
    let configuration: ConsumerConfiguration
    /// Where to go before the first record is taken, in a topic that is read as a whole.
    let starts: [TopicPartition: Int64]
    let ends: [TopicPartition: Int64]?

    init(
        _ plan: TailPlan, _ assignments: [Assignment], starts: [TopicPartition: Int64] = [:],
        ends: [TopicPartition: Int64]? = nil
    ) {
        var configuration = ConsumerConfiguration(assignments)
        // What retention takes away while we read is told and passed.
        configuration.resetPolicy = .earliest
        configuration.deadline = plan.deadline
        self.configuration = configuration
        self.starts = starts
        self.ends = ends
    }
}
