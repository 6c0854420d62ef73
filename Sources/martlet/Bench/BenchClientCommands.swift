import MartletClient
import MartletConfiguration

/// `martlet bench produce|consume|e2e`.
enum BenchClientCommands {
    static let produce: Command = Command(
        CommandSpec(
            "produce", "How fast records become acknowledged.",
            discussion: [
                "Without --in-flight records are batched as the client does it, as fast as it "
                    + "takes them; latencies are then those of a record that is awaited now and "
                    + "then among them. With --in-flight each record is awaited. With --rate "
                    + "records are sent when they are due, and latencies count from then."
            ],
            flags: BenchPlan.commonFlags + [
                FlagSpec("bytes", value: "MIN", "Measure at least so many bytes; 2GiB if batched."),
                FlagSpec("rate", value: "R", "Records a second; else as fast as it goes."),
                FlagSpec("producers", value: "N", "Producers, each with its connection; 1."),
                FlagSpec(
                    "in-flight", value: "N", "Await each record, with N on their way per producer."),
                FlagSpec("linger", value: "TIME", "How long a record may wait for others; 2ms."),
                FlagSpec("buffer", value: "BYTES", "The client's memory per producer; 64MiB."),
                FlagSpec(
                    "spread", value: "HOW", choices: BenchPlan.Spread.allCases.map(\.rawValue),
                    "even: each record into the next partition (default); sticky: as the client "
                        + "does it without keys."),
            ],
            examples: [
                ExampleSpec("martlet bench produce --size 1024", "Durable, batched"),
                ExampleSpec(
                    "martlet bench produce --size 100 --in-flight 1 -o json", "One at a time"),
                ExampleSpec(
                    "martlet bench produce --acks written --durability written", "Page cache"),
            ])
    ) { context in
        let plan = try BenchPlan(.produce, context)
        try await run(plan, context) { try await ProduceBench(plan, $0).run() }
    }

    static let consume: Command = Command(
        CommandSpec(
            "consume", "How fast records are read from the page cache.",
            discussion: [
                "Fills its topic first, reads it once to warm up, then over and over. The lengths "
                    + "and last bytes of keys and values are summed. Latencies are those of "
                    + "waiting for the next batch."
            ],
            flags: BenchPlan.commonFlags + [
                FlagSpec("bytes", value: "MIN", "Bytes to fill, and to read at least; 2GiB."),
                FlagSpec(
                    "api", value: "WHICH", choices: BenchPlan.Interface.allCases.map(\.rawValue),
                    "batch (default) or record."),
            ] + BenchPlan.sharingFlags,
            examples: [
                ExampleSpec(
                    "martlet bench consume --size 100 --bytes 200MiB --group q --queue --members 8",
                    "Acks of a queue"),
                ExampleSpec("martlet bench consume --size 100 --api record", "Record by record"),
            ])
    ) { context in
        let plan = try BenchPlan(.consume, context)
        try await run(plan, context) { try await ConsumeBench(plan, $0).run() }
    }

    static let endToEnd: Command = Command(
        CommandSpec(
            "e2e", "How long a record takes from its producer to a consumer.",
            discussion: [
                "Records are sent when they are due, and latencies count from then; the latency "
                    + "from the moment they were really sent stands beside it."
            ],
            flags: BenchPlan.commonFlags + [
                FlagSpec("rate", value: "R", "Records a second; 1000."),
                FlagSpec("bytes", value: "MIN", "Measure at least so many bytes."),
            ] + BenchPlan.sharingFlags,
            examples: [
                ExampleSpec(
                    "martlet bench e2e --size 100 --rate 10000 --group q --queue --members 8",
                    "Through a queue"),
                ExampleSpec("martlet bench e2e --size 100 --rate 1000", "Durable"),
                ExampleSpec(
                    "martlet bench e2e --size 100 --acks written --durability written",
                    "Page cache"),
            ])
    ) { context in
        var plan = try BenchPlan(.e2e, context)
        plan.rate = plan.rate ?? 1000
        plan.bytes = try context.invocation.bytes("bytes") ?? 0
        try await run(plan, context) { [plan] in try await EndToEndBench(plan, $0).run() }
    }

    private static func run(
        _ plan: BenchPlan, _ context: CommandContext,
        _ body: @escaping @Sendable (MartletClient) async throws -> BenchResult
    ) async throws {
        let format = context.format(elsewhere: .jsonl)
        let result = try await Interruption.cancelling {
            try await context.withClient(body)
        }
        switch format {
        case .table, .name, .raw: try context.output.write(result.text(plan))
        case .json, .jsonl: try context.output.jsonLine(result.json(plan))
        }
    }
}
