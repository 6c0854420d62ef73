import MartletClient
import MartletConfiguration
import MartletJSON

/// `martlet group policy`: what becomes of records whose handlers fail.
enum GroupPolicyCommand {
    static let command: Command = Command(
        CommandSpec(
            "policy", "Show or set what becomes of records whose handlers fail.",
            discussion: [
                "A failed record comes again after a pause; each pause is longer than the one before. "
                    + "When its attempts are used up, and at once when a handler says that it fails "
                    + "for ever, it becomes a dead letter ('martlet dlq'), or it is parked ('martlet "
                    + "group parked'), or the group stands still in its partition until 'martlet "
                    + "group resume'. Nothing is dropped.",
                "park-record sets the record aside and goes on; park-key keeps all later records of "
                    + "its key behind it, in a stream and in a queue that is in order by key.",
                "It holds in every queue, and in a stream for members whose handlers leave it to the "
                    + "group (failures = .byPolicy); an error of other members of a stream ends "
                    + "them, and the record comes again.",
                "Flags that are not there leave what is. It holds for failures from then on.",
            ],
            arguments: [GroupCommands.argument],
            flags: [
                FlagSpec("attempts", value: "N", "Tries in all; 0: as many as it takes."),
                FlagSpec("backoff", value: "TIME", "The first pause."),
                FlagSpec("factor", value: "X", "Each pause to the one before: 1 to 100."),
                FlagSpec("backoff-max", value: "TIME", "No pause is longer."),
                FlagSpec("jitter", value: "N%", "Chance shortens a pause by up to so much."),
                FlagSpec(
                    "then", value: "WORD",
                    choices: ["dead-letter", "pause", "park-record", "park-key"],
                    "What comes when it is not tried any more."),
                FlagSpec(
                    "breaker", value: "N%",
                    "Opens the breaker when so much fails ('martlet group breaker'); or 'off'."),
                FlagSpec("breaker-window", value: "N", "Of how many outcomes."),
                FlagSpec("breaker-open", value: "TIME", "How long nothing is handed out then."),
                FlagSpec("breaker-probes", value: "N", "How many records are tried after that."),
                CommonFlags.output([.table, .json, .jsonl], "table (default), json or jsonl."),
            ],
            examples: [
                ExampleSpec("martlet group policy notify", "What holds now"),
                ExampleSpec(
                    "martlet group policy notify --attempts 5 --backoff 2s --backoff-max 5m",
                    "More patience"),
            ]), run)

    private static func run(_ context: CommandContext) async throws {
        let name = try context.argument(0)
        let names = [
            "attempts", "backoff", "factor", "backoff-max", "jitter", "then", "breaker",
            "breaker-window", "breaker-open", "breaker-probes",
        ]
        let isSet = names.contains { context.invocation.has($0) }
        // What is wrong with the flags is told before anybody is asked.
        _ = try changed(FailurePolicy(), context)
        let policy = try await context.withClient { client in
            let now = try await client.admin.describeGroup(name).policy
            let next = try changed(now, context)
            if isSet { try await client.admin.setFailurePolicy(next, of: name) }
            return next
        }
        switch context.format() {
        case .table, .name, .raw:
            let breaker = GroupBreakerCommand.text(policy.breaker)
            try context.output.line("\(text(policy)); \(breaker)")
        case .json: try context.output.json(json(policy))
        case .jsonl: try context.output.jsonLine(json(policy))
        }
        if isSet { context.output.message("set the policy of group \(name)") }
    }

    private static func changed(
        _ policy: FailurePolicy, _ context: CommandContext
    ) throws -> FailurePolicy {
        var policy = policy
        let invocation = context.invocation
        let times: ClosedRange<Int64> = 1...(30 * 86_400_000)
        if let attempts = try invocation.integer("attempts", in: 0...65_535) {
            policy.attempts = Int(attempts)
        }
        if let time = try invocation.milliseconds("backoff", in: times) {
            policy.backoff = .milliseconds(time)
        }
        if let time = try invocation.milliseconds("backoff-max", in: times) {
            policy.backoffMax = .milliseconds(time)
        }
        if let word = invocation.value("factor") {
            guard let factor = Double(word), 1...100 ~= factor else {
                throw context.usage("--factor: '\(word)' is not a number from 1 to 100")
            }
            policy.factor = factor
        }
        if let word = invocation.value("jitter") {
            let digits = word.hasSuffix("%") ? word.dropLast() : word[...]
            guard let percent = Int(digits), 0...100 ~= percent else {
                throw context.usage("--jitter: '\(word)' is not a share from 0% to 100%")
            }
            policy.jitter = Double(percent) / 100
        }
        switch invocation.value("then") {
        case "pause": policy.last = .pause
        case "dead-letter": policy.last = .deadLetter
        case "park-record": policy.last = .parkRecord
        case "park-key": policy.last = .parkKey
        case .some, nil: break
        }
        try change(&policy.breaker, context)
        return policy
    }

    private static func change(
        _ breaker: inout BreakerPolicy, _ context: CommandContext
    ) throws {
        let invocation = context.invocation
        if let word = invocation.value("breaker") {
            let digits = word.hasSuffix("%") ? word.dropLast() : word[...]
            let percent = Int(digits).flatMap { 1...100 ~= $0 ? $0 : nil }
            guard word == "off" || percent != nil else {
                throw context.usage("--breaker: '\(word)' is not a share from 1% to 100%, or off")
            }
            breaker.share = percent.map { Double($0) / 100 }
        }
        if let window = try invocation.integer("breaker-window", in: 1...10_000) {
            breaker.window = Int(window)
        }
        if let time = try invocation.milliseconds("breaker-open", in: 1...86_400_000) {
            breaker.openTime = .milliseconds(time)
        }
        if let probes = try invocation.integer("breaker-probes", in: 1...1_000) {
            breaker.probes = Int(probes)
        }
    }

    /// `3 tries, pauses of 2s × 2 up to 5m (shortened by up to 20%), then a dead letter`.
    static func text(_ policy: FailurePolicy) -> String {
        let first = Units.format(milliseconds: policy.backoff.inMilliseconds)
        let most = Units.format(milliseconds: policy.backoffMax.inMilliseconds)
        let percent = Int((policy.jitter * 100).rounded())
        let factor = Shown.decimal(policy.factor, policy.factor == policy.factor.rounded() ? 0 : 2)
        let last =
            switch policy.last {
            case .deadLetter: "a dead letter"
            case .pause: "the group stands still there"
            case .parkRecord: "the record is parked"
            case .parkKey: "the record is parked with its key"
            }
        // Nothing is tried again after the only try.
        if policy.attempts == 1 { return "1 try, then \(last)" }
        let tries = policy.attempts == 0 ? "any number of" : "\(policy.attempts)"
        return "\(tries) tries, pauses of \(first) x \(factor) up to \(most) "
            + "(shortened by up to \(percent)%), then \(last)"
    }

    static func json(_ policy: FailurePolicy) -> JSONValue {
        let last =
            switch policy.last {
            case .deadLetter: "dead-letter"
            case .pause: "pause"
            case .parkRecord: "park-record"
            case .parkKey: "park-key"
            }
        return [
            "attempts": JSONValue(policy.attempts),
            "backoffMilliseconds": .integer(policy.backoff.inMilliseconds),
            "factor": .double(policy.factor),
            "backoffMaxMilliseconds": .integer(policy.backoffMax.inMilliseconds),
            "jitter": .double(policy.jitter), "then": .string(last),
            "breaker": GroupBreakerCommand.json(policy.breaker),
        ]
    }
}
