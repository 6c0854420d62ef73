import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet bench handover`.
enum BenchHandoverCommand {
    static let command: Command = Command(
        CommandSpec(
            "handover", "How long partitions are nobody's when a member of a group ends.",
            discussion: [
                "A member joins, waits until it has its part, and leaves in order, or is a process "
                    + "that is killed: then its session has to run out. Latencies count until the "
                    + "others have been given all that it had."
            ],
            flags: [
                FlagSpec("rounds", value: "N", "How often; 100."),
                FlagSpec("members", value: "N", "Members, with the one that ends; 3."),
                FlagSpec("partitions", short: "p", value: "N", "Partitions of the topic; 6."),
                FlagSpec("kill", "Kill it; else it leaves in order."),
                FlagSpec("session", value: "TIME", "The members' session; 1s."),
                CommonFlags.streamedOutput,
            ],
            examples: [
                ExampleSpec("martlet bench handover", "Leaves"),
                ExampleSpec("martlet bench handover --kill --rounds 30", "Kills"),
            ])
    ) { context in
        let flags = context.invocation
        var plan = BenchPlan(.handover)
        plan.partitions = Int(try flags.integer("partitions", in: 1...10_000) ?? 6)
        let members = Int(try flags.integer("members", in: 2...1_000) ?? 3)
        let rounds = Int(try flags.integer("rounds", in: 1...100_000) ?? 100)
        let session = try flags.milliseconds("session", in: 1_000...300_000) ?? 1_000
        guard members <= plan.partitions else {
            throw context.usage("--members: more than --partitions, so that some have none")
        }
        let isKill = flags.has("kill")
        let wantsTable = context.format(elsewhere: .jsonl) == .table
        let latency = try await Interruption.cancelling { [plan] in
            try await context.withClient { client in
                try await BenchTopic.with(plan, client) { topic in
                    try await HandoverBench(
                        client: client, topic: topic, group: topic, partitions: plan.partitions,
                        members: members, session: .milliseconds(session), rounds: rounds,
                        isKill: isKill
                    ).run()
                }
            }
        }
        if wantsTable {
            var table = Table([
                .right("ROUNDS"), .right("P50 ms"), .right("P99 ms"), .right("MAX ms"),
            ])
            func milliseconds(_ nanoseconds: Int64) -> String {
                Shown.decimal(Double(nanoseconds) / 1e6, 1)
            }
            table.add([
                "\(rounds)", milliseconds(latency.percentile(0.5)),
                milliseconds(latency.percentile(0.99)), milliseconds(latency.maximum),
            ])
            return try context.output.write(table.text())
        }
        try context.output.jsonLine([
            "bench": "handover", "records": JSONValue(rounds),
            "latencyMicroseconds": latency.json,
            "settings": [
                "members": JSONValue(members), "partitions": JSONValue(plan.partitions),
                "kill": .boolean(isKill), "sessionMilliseconds": .integer(session),
            ],
        ])
    }
}
