import MartletClient
import MartletConfiguration
import MartletJSON
import MartletSystem

/// `martlet group breaker`: what a group's breaker does, and to open or close it by hand.
enum GroupBreakerCommand {
    static let command: Command = Command(
        CommandSpec(
            "breaker", "Show, open or close a group's breaker.",
            discussion: [
                "When nearly everything fails for a while, the breaker opens: nothing is handed out, "
                    + "instead of making dead letters of it all. Then a few records are tried, and it "
                    + "closes or opens again. 'martlet group policy --breaker' sets when.",
                "--open stops the group for the time of its policy; 'martlet group pause' stops it "
                    + "until somebody resumes it.",
            ],
            arguments: [GroupCommands.argument],
            flags: [
                FlagSpec("close", "Close it now, whatever failed before."),
                FlagSpec("open", "Open it now."),
                CommonFlags.output([.table, .json, .jsonl], "table (default), json or jsonl."),
            ],
            examples: [
                ExampleSpec("martlet group breaker notify", "What it does"),
                ExampleSpec("martlet group breaker notify --close", "The outage is over"),
            ]), run)

    private static func run(_ context: CommandContext) async throws {
        let name = try context.argument(0)
        let (opens, closes) = (context.invocation.has("open"), context.invocation.has("close"))
        guard !opens || !closes else { throw context.usage("--open and --close: not both") }
        let group = try await context.withClient { client in
            if opens { try await client.admin.openBreaker(of: name) }
            if closes { try await client.admin.closeBreaker(of: name) }
            return try await client.admin.describeGroup(name)
        }
        switch context.format() {
        case .table, .name, .raw:
            try context.output.line(text(group.breaker, group.policy.breaker))
        case .json: try context.output.json(json(group.breaker, group.policy.breaker))
        case .jsonl: try context.output.jsonLine(json(group.breaker, group.policy.breaker))
        }
    }

    /// `open since 12:00:00, tried again in 24s; opens at 50% of 100 outcomes ...`.
    static func text(_ breaker: GroupBreaker, _ policy: BreakerPolicy) -> String {
        guard policy.share != nil else { return "off" }
        var parts: [String] = [breaker.state.rawValue]
        if let since = breaker.since { parts[0] += " since \(TimeText.text(since))" }
        if let until = breaker.until {
            let left = max(0, until - SystemClock().wallMilliseconds())
            parts[0] += ", tried again in \(Shown.duration(milliseconds: left))"
        } else if breaker.outcomes > 0 {
            parts.append("\(breaker.failures) of the last \(breaker.outcomes) failed")
        }
        parts.append(text(policy))
        return parts.joined(separator: "; ")
    }

    /// `opens for 30s when 50% of 100 fail, then tries 10`.
    static func text(_ policy: BreakerPolicy) -> String {
        guard let share = policy.share else { return "no breaker" }
        let time = Units.format(milliseconds: policy.openTime.inMilliseconds)
        return "opens for \(time) when \(Int((share * 100).rounded()))% of \(policy.window) fail, "
            + "then tries \(policy.probes)"
    }

    static func json(_ breaker: GroupBreaker, _ policy: BreakerPolicy) -> JSONValue {
        [
            "state": .string(breaker.state.rawValue),
            "since": breaker.since.map { .integer($0) } ?? .null,
            "until": breaker.until.map { .integer($0) } ?? .null,
            "outcomes": JSONValue(breaker.outcomes), "failures": JSONValue(breaker.failures),
            "openings": .integer(Int64(clamping: breaker.openings)), "policy": json(policy),
        ]
    }

    static func json(_ policy: BreakerPolicy) -> JSONValue {
        [
            "share": policy.share.map { .double($0) } ?? .null,
            "window": JSONValue(policy.window),
            "openMilliseconds": .integer(policy.openTime.inMilliseconds),
            "probes": JSONValue(policy.probes),
        ]
    }
}
