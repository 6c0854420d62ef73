import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet group events`.
enum GroupEventsCommand {
    static let command: Command = Command(
        CommandSpec(
            "events", "Show what happened to groups.",
            discussion: [
                "Who joined, left or was lost, which partitions went to whom, pauses and resets and "
                    + "by whom, breakers, and what became of records that failed: from the topic "
                    + "$group-events, which 'martlet tail' reads as well. What happens over and over "
                    + "is one event with a count and a range of offsets.",
                "All that is kept, or what --since leaves; with -f it goes on with what comes. "
                    + "Ctrl-C ends it in order.",
            ],
            arguments: [
                ArgumentSpec("GROUP", offers: .group, optional: true, "Only of this group.")
            ],
            flags: [
                FlagSpec("follow", short: "f", "Go on with what comes."),
                FlagSpec(
                    "since", value: "@TIME",
                    "Not what is older: @2026-01-22T12:00Z, @1769083200000, @-15m."),
                FlagSpec(
                    "type", value: "TYPE", repeatable: true,
                    "Only of this type, such as member.left; with a dot at its end, of all that "
                        + "begin so."),
                CommonFlags.streamedOutput,
                CommonFlags.noHeaders,
            ],
            examples: [
                ExampleSpec("martlet group events board --since -1h", "Its last hour"),
                ExampleSpec("martlet group events -f --type member.", "Who comes and goes"),
                ExampleSpec(
                    "martlet group events -o jsonl --type records.dead-lettered",
                    "What died, by counts"),
            ]), run)

    private static func run(_ context: CommandContext) async throws {
        let filter = GroupEventFilter(context)
        let follows = context.invocation.has("follow")
        let since = try context.invocation.value("since").map {
            // As `dlq list` takes it: nothing but a moment can stand here.
            try LogPlace(parsing: $0.hasPrefix("@") ? $0 : "@\($0)", "--since", context)
        }
        try await Interruption.cancelling {
            var printer = GroupEventPrinter(context)
            do {
                try await context.withClient { client in
                    try await read(client, since ?? .earliest, follows, context) {
                        if let event = GroupHistoryEvent($0), filter.accepts(event) {
                            try printer.show(event)
                        }
                    }
                }
                try printer.finish()
            } catch is CancellationError {
                try printer.finish()
            }
        }
    }

    private static func read(
        _ client: MartletClient, _ start: LogPlace, _ follows: Bool, _ context: CommandContext,
        _ show: (ConsumedRecord) throws -> Void
    ) async throws {
        let topic = GroupHistoryEvent.topic
        let view = try await LogView.load(client.admin, topic, [0])
        guard let place = view.partitions.first else { return }
        let from = try await start.offsets(in: view, client.admin)[0] ?? place.earliest
        guard follows || from < place.latest else { return }
        var configuration = ConsumerConfiguration(
            [.partition(topic, 0, start: .offset(max(from, place.earliest)))])
        configuration.resetPolicy = .earliest
        if follows { configuration.deadline = .seconds(60) }
        let end = follows ? Int64.max : place.latest
        let ends = follows ? nil : [TopicPartition(topic, 0): place.latest]
        let output = context.output
        try await client.withConsumer(configuration) { consumer in
            let reading = BoundedReading(consumer, ends: ends) { event in
                if let text = TailCommand.describe(event) { output.message("martlet: \(text)") }
            }
            try await reading.run { batch in
                for record in batch where record.offset < end { try show(record) }
                try Task.checkCancellation()
                return true
            }
        }
    }
}

/// Which events are wanted.
struct GroupEventFilter: Sendable {
    let group: String?
    let types: [String]

    init(_ context: CommandContext) {
        self.init(group: context.invocation.argument(0), types: context.invocation.values("type"))
    }

    init(group: String?, types: [String]) {
        self.group = group
        self.types = types
    }

    func accepts(_ event: GroupHistoryEvent) -> Bool {
        // That some are missing concerns every group.
        if let group, event.group != group, !event.group.isEmpty { return false }
        return types.isEmpty
            || types.contains { $0.hasSuffix(".") ? event.type.hasPrefix($0) : event.type == $0 }
    }
}
