import MartletJSON
import MartletTestSupport
import MartletTesting
import Testing

@testable import MartletClient

/// `martlet dlq` and `martlet group policy` as people use them, with a real broker.
@Suite(.timeLimit(.minutes(3))) struct DeadLetterToolTests {
    private struct Refused: Error, CustomStringConvertible {
        let description: String
    }

    /// The tool, and a client whose member fails with some records.
    private struct Bench: ToolBench {
        let client: MartletClient

        @discardableResult
        func run(
            _ words: String..., input: String = "", editor: String? = nil, expect code: Int32 = 0,
            sourceLocation: SourceLocation = #_sourceLocation
        ) throws -> (output: String, errors: String) {
            let child = try run(
                words, input: input,
                changes: ["USER": "ann", "VISUAL": nil, "EDITOR": editor], expect: code,
                sourceLocation: sourceLocation)
            return (child.output, child.errorOutput)
        }

        /// Handles what there is, until so many are dead; what `fails` throws on becomes so.
        func handle(
            dead: Int64, _ fails: @escaping @Sendable (QueueRecord) throws -> QueueOutcome
        ) async throws {
            let member = Task {
                try await client.consumeQueue(QueueConfiguration("notify", topics: ["t"])) {
                    try fails($0)
                }
            }
            while true {
                let group = try await client.admin.describeGroup("notify")
                let isIdle = group.queues.allSatisfy { $0.inFlight == 0 && $0.delayed == 0 }
                let counts = group.deadLetters
                if !group.queues.isEmpty, group.lag == 0, isIdle, counts.dead == dead,
                    counts.replaying == 0, counts.notStored == 0
                {
                    break
                }
                await Task.yield()
            }
            member.cancel()
            await #expect(throws: CancellationError.self) { try await member.value }
        }
    }

    /// Ten records of two types in topic `t`: 3 and 4 fail for ever, 7 runs out of time.
    private static func with(_ body: (Bench) async throws -> Void) async throws {
        try await MartletTestBroker.run(topics: ["t": 1]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let bench = Bench(client: client)
                try await client.admin.createGroup("notify", .queue(.earliest))
                try bench.run("group", "policy", "notify", "--attempts", "2", "--backoff", "1ms")
                try await client.withProducer { producer in
                    for number in 0..<10 {
                        _ = try await producer.send(
                            ProducerRecord(
                                topic: "t", key: "k\(number % 4)", value: "value \(number)",
                                headers: [RecordHeader("type", number < 4 ? "early" : "late")],
                                timestamp: 1_000))
                    }
                }
                try await bench.handle(dead: 3) { record in
                    switch record.record.offset {
                    case 3: throw PermanentError("no tail number")
                    case 4: return .reject("odd")
                    case 7: throw Refused(description: "try \(record.attempt)")
                    case _: return .done
                    }
                }
                try await body(bench)
            }
        }
    }

    private static func numbers(_ json: JSONValue) -> [Int64] {
        (json.arrayValue ?? []).compactMap { $0["number"]?.integerValue }
    }

    private static func number(_ bench: Bench, at offset: Int64) throws -> String {
        let letters = try #require(try bench.json("dlq list notify").arrayValue)
        let letter = try #require(letters.first { $0["offset"]?.integerValue == offset })
        return "\(try #require(letter["number"]?.integerValue))"
    }

    @Test func `what is parked is listed with why, and released by hand`() async throws {
        try await MartletTestBroker.run(topics: ["t": 1]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let bench = Bench(client: client)
                try bench.run("group", "create", "notify", "--queue", "earliest", "--order", "key")
                try bench.run("group", "create", "s", "--order", "key", expect: 2)
                try bench.run("group", "policy", "notify", "--then", "park-key")
                let policy = try bench.json("group policy notify")
                #expect(policy["then"]?.stringValue == "park-key")
                try await client.withProducer { producer in
                    for key in ["a", "a", "b"] {
                        _ = try await producer.send(
                            ProducerRecord(topic: "t", key: key, value: "v", timestamp: 1_000))
                    }
                }
                let member = Task {
                    try await client.consumeQueue(QueueConfiguration("notify", topics: ["t"])) {
                        if $0.record.offset == 0 { throw PermanentError("no tail number") }
                        return QueueOutcome.done
                    }
                }
                while try await client.admin.describeGroup("notify").queues.first?.acked != 1 {
                    await Task.yield()
                }
                while try await client.admin.parkedRecords(of: "notify").isEmpty {
                    await Task.yield()
                }
                member.cancel()
                await #expect(throws: CancellationError.self) { try await member.value }
                let group = try bench.json("group describe notify")
                #expect(group["order"]?.stringValue == "key")
                #expect(group["queues"]?.arrayValue?.first?["parked"]?.integerValue == 1)
                let parked = try bench.json("group parked notify").arrayValue
                #expect(parked?.count == 1 && parked?.first?["offset"]?.integerValue == 0)
                #expect(parked?.first?["text"]?.stringValue?.contains("tail number") == true)
                #expect(
                    try bench.run("group", "parked", "notify", "-o", "name").output == "t:0:0\n")
                // Behind its key one waits, and what is done is in no list.
                let records = try bench.json("group records notify").arrayValue ?? []
                #expect(records.map { $0["state"]?.stringValue } == ["parked", "ready"])
                #expect(records.map { $0["from"]?.integerValue } == [0, 1])
                #expect(records.first?["text"]?.stringValue?.contains("tail number") == true)
                let doctor = try bench.run("doctor").output
                #expect(doctor.contains("1 record of group notify is parked"))
                #expect(doctor.contains("later records of 1 key wait behind"))
                try bench.run("group", "pause", "notify", "--topic", "t/0")
                let top = try bench.json("top --once --interval 100ms")["groups"]?[0]
                #expect(top?["parked"] == 1 && top?["isPaused"] == false)
                #expect(top?["pausedParts"] == ["t:0"] && top?["trouble"] == "no members")
                let listed = try bench.json("group list")[0]
                #expect(listed?["kind"] == "queue" && listed?["parked"] == 1)
                #expect(listed?["isPaused"] == false && listed?["pausedParts"] == 1)
                let line = try bench.run("group", "list", "--no-headers").output
                #expect(
                    line
                        == "notify  queue  paused in part  0  1  2  1  0\n"
                )
                let loss = try bench.run("group", "delete", "notify", "--dry-run").errors
                #expect(loss.contains("and forgets 1 parked record"))
                try bench.run("group", "resume", "notify")
                try bench.run("group", "release", "notify", expect: 2)
                try bench.run("group", "release", "notify", "t:0", expect: 2)
                try bench.run("group", "release", "notify", "t/0/1", expect: 3)
                let said = try bench.run("group", "release", "notify", "--all").errors
                #expect(said.contains("released 1 record"))
                #expect(try bench.json("group parked notify").arrayValue?.isEmpty == true)
            }
        }
    }

    @Test func `where each record is that is not handled is listed`() async throws {
        try await MartletTestBroker.run(topics: ["t": 1]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let bench = Bench(client: client)
                try bench.run("group", "create", "work", "--queue", "earliest")
                try await client.withProducer { producer in
                    for value in 0..<6 {
                        let record = ProducerRecord(topic: "t", value: "\(value)")
                        _ = try await producer.send(record)
                    }
                }
                let (hang, end) = AsyncStream<Void>.makeStream()
                let member = Task {
                    var queue = QueueConfiguration("work", topics: ["t"])
                    queue.concurrency = 6
                    try await client.consumeQueue(queue) { delivery in
                        switch delivery.record.offset {
                        case 1: for await _ in hang {}
                        case 3, 4: return .again(after: .seconds(600))
                        default: break
                        }
                        return .done
                    }
                }
                while try await client.admin.describeGroup("work").queues.first.map({
                    ($0.acked, $0.delayed, $0.inFlight) == (3, 2, 1)
                }) != true { await Task.yield() }
                let held = try bench.json("group records work --state in-flight").arrayValue ?? []
                #expect(held.map { $0["from"]?.integerValue } == [1])
                #expect(held.first?["to"]?.integerValue == 2)
                #expect(held.first?["attempts"]?.integerValue == 1)
                let id = try await client.admin.describeGroup("work").members.first?.id
                #expect(held.first?["member"]?.stringValue == id)
                let delayed = try await client.admin.queueRecords(of: "work", states: [.delayed])
                #expect(delayed.flatMap { Array($0.offsets) } == [3, 4])
                #expect(delayed.allSatisfy { ($0.at ?? 0) > 0 && $0.attempts == 1 })
                let first = try await client.admin.queueRecords(of: "work", limit: 1)
                #expect(first.map(\.state) == [.inFlight])
                let table = try bench.run("group", "records", "work", "--topic", "t").output
                #expect(table.contains("in-flight") && table.contains("delayed"))
                try bench.run("group", "records", "work", "--state", "lost", expect: 2)
                try bench.run("group", "records", "nobody", expect: 3)
                end.finish()
                member.cancel()
                await #expect(throws: CancellationError.self) { try await member.value }
            }
        }
    }

    @Test func `list, show, stats and export tell what is dead, and filters choose`() async throws {
        try await Self.with { bench in
            let all = try bench.json("dlq list notify")
            #expect(Self.numbers(all) == [1, 2, 3])
            let timeout = try #require(
                all.arrayValue?.first { $0["offset"]?.integerValue == 7 })
            #expect(timeout["reason"]?.stringValue == "attempts")
            #expect(timeout["attempts"]?.integerValue == 2)
            #expect(timeout["firstFailure"]?["text"]?.stringValue == "try 1")
            #expect(timeout["lastFailure"]?["text"]?.stringValue == "try 2")
            for (filter, count) in [
                ("--type early", 1), ("--type late", 2), ("--error Refused", 1),
                ("--error tail", 1), ("--key k3", 2), ("--topic t:0", 3), ("--topic u", 0),
                ("--since @-1h", 3), ("--until @-1h", 0), ("--id 2 --id 3", 2), ("-n 1", 1),
                ("-n 1 --type late", 1),
            ] {
                let words = ["dlq", "list", "notify", "-o", "json"]
                let found = try bench.run(words + filter.split(separator: " ").map(String.init))
                #expect(
                    try JSONValue(parsing: found.output).arrayValue?.count == count, "\(filter)")
                #expect(
                    found.errorOutput
                        == (count == 0
                            ? "no dead letter of group notify is like \(filter)\n" : ""),
                    "\(filter)")
            }
            let strange = try bench.run("dlq", "list", "notify", "--trace", "abc")
            #expect(strange.output.hasPrefix("N  STATE"))
            #expect(strange.errors == "no dead letter of group notify is like --trace abc\n")
            let nothing = try bench.run("dlq", "export", "notify", "--trace", "abc")
            #expect(nothing.output.isEmpty && nothing.errors == strange.errors)
            let table = try bench.run("dlq", "list", "notify").output
            #expect(table.hasPrefix("N  STATE") && table.contains("no tail number"))
            let stats = try bench.json("dlq stats notify")
            #expect(stats["dead"]?.integerValue == 3)
            #expect(stats["type"]?[0]?["value"]?.stringValue == "late")
            #expect(stats["type"]?[0]?["count"]?.integerValue == 2)
            let one = try Self.number(bench, at: 3)
            let shown = try bench.run("dlq", "show", "notify", one).output
            #expect(shown.contains("PermanentError: no tail number (permanent"))
            #expect(shown.contains("value 3") && shown.contains("t:0 @3"))
            #expect(try bench.run("dlq", "show", "notify", one, "-o", "raw").output == "value 3\n")
            let format = try bench.run(
                "dlq", "show", "notify", one, "--format", "%t %p %o %k %h{type}\\n")
            #expect(format.output == "t 0 3 k3 early\n")
            let lines = try bench.run("dlq", "export", "notify", "--type", "late").output
                .split(separator: "\n").map { try JSONValue(parsing: String($0)) }
            #expect(Set(lines.map { $0["value"]?.stringValue }) == ["value 4", "value 7"])
            #expect(lines.allSatisfy { $0["headers"]?[0]?["value"]?.stringValue == "late" })
            let group = try bench.json("group describe notify")
            #expect(group["deadLetters"]?["dead"]?.integerValue == 3)
            #expect(group["policy"]?["attempts"]?.integerValue == 2)
            #expect(try bench.run("group", "describe", "notify").output.contains("3, the oldest"))
        }
    }

    @Test func `an edit keeps the original, and a replay is handled`() async throws {
        try await Self.with { bench in
            let one = try Self.number(bench, at: 3)
            try bench.run(
                "dlq", "edit", "notify", one, "--note", "found it", editor: "sed -i s/3/three/")
            try bench.run(
                "dlq", "edit", "notify", one, "--key", "", "-H", "type=mended", "--author", "bob")
            let same = try bench.run("dlq", "edit", "notify", one, editor: "true").errors
            #expect(same.contains("nothing was changed"))
            let failed = try bench.run("dlq", "edit", "notify", one, editor: "false", expect: 1)
            #expect(failed.errors.contains("the editor ended with 1"))
            try bench.run("dlq", "edit", "notify", one, expect: 2)
            while try await bench.client.admin.deadLetters(of: "notify").contains(
                where: { $0.place == nil })
            {
                await Task.yield()
            }
            let shown = try bench.json("dlq show notify \(one)")
            #expect(shown["value"]?.stringValue == "value three")
            #expect(shown["key"]?.stringValue == "" && shown["lastFailure"]?["kind"] != nil)
            let history = try #require(shown["history"]?.arrayValue)
            #expect(history.map { $0["kind"]?.stringValue } == ["died", "edited", "edited"])
            #expect(history[1]["note"]?.stringValue == "found it")
            #expect(history[1]["author"]?.stringValue?.hasPrefix("ann@") == true)
            #expect(history[2]["author"]?.stringValue == "bob")

            let dry = try bench.run("dlq", "replay", "notify", "--id", one)
            #expect(dry.output.contains("permanent") && dry.errors.contains("dry run"))
            #expect(try await bench.client.admin.describeGroup("notify").deadLetters.replaying == 0)
            try bench.run("dlq", "replay", "notify", expect: 2)
            try bench.run("dlq", "replay", "notify", "--id", one, "--execute")
            let again = try bench.run("dlq", "replay", "notify", "--id", one, "--execute")
            #expect(again.errors.contains("1 with the group already"))
            try bench.run("dlq", "edit", "notify", one, "--key", "x", expect: 6)
            try await bench.handle(dead: 2) { record in
                #expect(record.record.valueString == "value three" && record.record.offset == 3)
                #expect(record.deadLetter?.author == "bob")
                return .done
            }
            let gone = try bench.json("dlq show notify \(one)")
            #expect(gone["state"]?.stringValue == "handled")
            #expect(gone["value"]?.stringValue == "value three")
            let told = try bench.run("dlq", "show", "notify", one).output
            #expect(told.contains("sent again and handled, or lost to retention"))
            let command = try #require(told.split(separator: "'").first { $0.contains("events") })
            let words = command.split(separator: " ").dropFirst().map(String.init)
            // Events are written a little later.
            while try !bench.run(words).output.contains("letters.replayed") { await Task.yield() }
            try bench.run("dlq", "replay", "notify", "--id", one, "--execute", expect: 3)
        }
    }

    @Test func `what is replayed too often stays, and what is resolved is gone`() async throws {
        try await Self.with { bench in
            let one = try Self.number(bench, at: 4)
            let some = try bench.run(
                "dlq", "replay", "notify", "--all", "--max", "2", "-o", "json")
            let plan = try JSONValue(parsing: some.output)
            #expect(plan["sent"]?.arrayValue?.count == 2 && plan["left"]?.integerValue == 1)
            #expect(plan["executed"]?.booleanValue == false)
            try bench.run("dlq", "replay", "notify", "--id", one, "--execute")
            // Nobody is there to handle it: that is told, and hinders no plan that it should not.
            let doctor = try bench.run("doctor").output
            #expect(
                doctor.contains(
                    "nobody is in group notify, and 1 record waits that somebody sent to it again"))
            #expect(doctor.contains("2 dead letters of group notify wait"))
            let reset = try bench.run("group", "reset", "notify", "-t", "t", "--to", "earliest")
            #expect(
                reset.output.contains("2 dead letters stay") && !reset.output.contains("flight"))
            let delete = try bench.run("group", "delete", "notify", "--dry-run").errors
            #expect(delete.contains("it would be refused: it has 3 dead letters"))
            #expect(try bench.json("group list")[0]?["dead"] == 2)
            try await bench.handle(dead: 3) { _ in .reject("still odd") }
            let quarantined = try bench.run(
                "dlq", "replay", "notify", "--id", one, "--max-replays", "1", "--execute",
                expect: 6)
            #expect(quarantined.errors.contains("--force"))
            try bench.run("dlq", "replay", "notify", "--id", one, "--force")

            try bench.run("dlq", "resolve", "notify", "--all", expect: 2)
            let dry = try bench.run("dlq", "resolve", "notify", "--all", "--note", "by hand")
            #expect(dry.errors.contains("dry run"))
            #expect(try await bench.client.admin.deadLetters(of: "notify").count == 3)
            let done = try bench.run(
                "dlq", "resolve", "notify", "--all", "--note", "by hand", "--execute", "-o", "json")
            let result = try JSONValue(parsing: done.output)
            #expect(result["resolved"]?.arrayValue?.count == 3)
            #expect(result["author"]?.stringValue?.hasPrefix("ann@") == true)
            #expect(try await bench.client.admin.deadLetters(of: "notify").isEmpty)
            let none = try bench.run("dlq", "list", "notify")
            #expect(none.output.hasPrefix("N  STATE"))
            #expect(none.errors == "group notify has no dead letters\n")
        }
    }

    @Test func `who deletes a group is told of the dead letters that stay, and how they go`()
        async throws
    {
        try await Self.with { bench in
            let refused = try bench.run("group", "delete", "notify", "--yes", expect: 4)
            #expect(refused.errors.contains("3 dead letters"))
            try bench.run(
                "dlq", "resolve", "notify", "--all", "--note", "by hand", "--execute")
            let dry = try bench.run("group", "delete", "notify", "--dry-run").errors
            #expect(dry.contains("would stay in topic notify.dlq"))
            let said = try bench.run("group", "delete", "notify", "--yes").errors
            #expect(said.hasPrefix("deleted group notify\n"))
            #expect(said.contains("stay in topic notify.dlq"))
            #expect(said.contains("'martlet topic delete notify.dlq' removes them"))
            // Who asks for them by the group is told where they are.
            for words in [["dlq", "list", "notify"], ["group", "describe", "notify"]] {
                let gone = try bench.run(words, expect: 3).errorOutput
                #expect(gone.contains("martlet tail notify.dlq"), "\(words): \(gone)")
            }
            let kept = try bench.run("tail", "notify.dlq", "--from", "earliest", "-o", "jsonl")
            #expect(kept.output.split(separator: "\n").count >= 3)
            try bench.run("topic", "delete", "notify.dlq", "--yes")
            let error = try bench.run("dlq", "list", "notify", expect: 3).errors
            #expect(!error.contains("notify.dlq") && error.contains("martlet group list"))

            try bench.run("group", "create", "plain")
            let near = try bench.run("group", "describe", "plan", expect: 3).errors
            #expect(near.contains("there is no group 'plan': did you mean 'plain'?"))
            let plain = try bench.run("group", "delete", "plain", "--yes", "-o", "json")
            #expect(try JSONValue(parsing: plain.output)["deadLetterTopic"] == .null)
            #expect(plain.errors.isEmpty)
        }
    }

    @Test func `a queue is not tailed as a group, and what shows it is named`() async throws {
        try await Self.with { bench in
            let error = try bench.run("tail", "t", "--group", "notify", "-c", "1", expect: 1).errors
            #expect(error.contains("the group is a queue"))
            #expect(error.contains("'martlet group records notify'"))
            #expect(error.contains("'martlet tail t' without --group"))
        }
    }

    @Test func `letters are assigned and commented, and what was said outlives them`() async throws
    {
        try await Self.with { bench in
            // In which order they died is not said: of the types early, late and late.
            let one = try Self.number(bench, at: 3)
            let two = try Self.number(bench, at: 4)
            let three = try Self.number(bench, at: 7)
            try bench.run("dlq", "assign", "notify", one, two, "--to", "bob")
            try bench.run("dlq", "assign", "notify", two, "--nobody", "--author", "eve")
            try bench.run("dlq", "comment", "notify", one, "--note", "ask\nthem")
            let dry = try bench.run("dlq", "assign", "notify", "--unassigned", "--to", "cy").errors
            #expect(dry.contains("2 dead letters of group notify would be assigned to cy"))
            let done = try bench.run(
                "dlq", "comment", "notify", "--type", "late", "--note", "INC-1", "--execute", "-o",
                "json")
            let result = try JSONValue(parsing: done.output)
            #expect(result["letters"]?.arrayValue?.count == 2)
            #expect(result["note"]?.stringValue == "INC-1")
            for wrong in [
                ["assign", "notify", "1"], ["assign", "notify", "--to", "bob"],
                ["assign", "notify", "1", "--to", "bob", "--nobody"],
                ["assign", "notify", "1", "--all", "--to", "bob"],
                ["comment", "notify", "1"], ["comment", "notify", "x", "--note", "y"],
                ["list", "notify", "--assigned", "a", "--unassigned"],
            ] {
                try bench.run(["dlq"] + wrong, expect: 2)
            }
            let refused = try bench.run(
                "dlq", "comment", "notify", one, "9", "--note", "x", expect: 3)
            #expect(refused.errors.contains("dead letter 9 was refused"))

            while try await bench.client.admin.describeGroup("notify").deadLetters.notStored > 0 {
                await Task.yield()
            }
            #expect(Self.numbers(try bench.json("dlq list notify --assigned bob")) == [Int64(one)])
            #expect(
                Self.numbers(try bench.json("dlq list notify --unassigned"))
                    == [two, three].compactMap { Int64($0) }.sorted())
            let table = try bench.run("dlq", "list", "notify").output
            #expect(table.contains("ASSIGNEE") && table.contains("bob"))
            let shown = try bench.run("dlq", "show", "notify", one).output
            #expect(shown.contains("bob") && shown.contains("ask\\nthem"), "\(shown)")
            let second = try bench.json("dlq show notify \(two)")
            let history = second["history"]?.arrayValue ?? []
            #expect(second["assignee"] == JSONValue.null)
            #expect(
                history.prefix(3).map { $0["kind"]?.stringValue } == [
                    "died", "assigned", "assigned",
                ])
            #expect(
                history.dropFirst().map { $0["assignee"]?.stringValue }.prefix(2) == ["bob", nil])
            #expect(history[1]["author"]?.stringValue?.hasPrefix("ann@") == true)
            #expect(history[2]["author"]?.stringValue == "eve")
            let lines = try bench.run("dlq", "export", "notify", "--id", one).output
            let line = try JSONValue(parsing: lines)
            #expect(line["assignee"]?.stringValue == "bob" && line["remarks"]?.integerValue == 3)
            #expect(line["history"]?.arrayValue?.count == 4)

            try bench.run(
                "dlq", "resolve", "notify", "--id", one, "--note", "by hand", "--execute")
            while try await bench.client.admin.describeGroup("notify").deadLetters.notStored > 0 {
                await Task.yield()
            }
            let gone = try bench.json("dlq show notify \(one)")
            #expect(
                gone["state"]?.stringValue == "resolved" && gone["assignee"]?.stringValue == "bob")
            #expect(
                gone["history"]?.arrayValue?.map { $0["kind"]?.stringValue }
                    == ["died", "assigned", "commented", "commented", "resolved"])
            #expect(try bench.run("dlq", "show", "notify", one).output.contains("by hand"))
            try bench.run("dlq", "show", "notify", "99", expect: 3)
        }
    }

    @Test func `a breaker is set, shown, opened and closed`() async throws {
        try await MartletTestBroker.run(topics: ["t": 1]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let bench = Bench(client: client)
                try await client.admin.createGroup("g", .queue(.earliest))
                try bench.run("group", "breaker", "nobody", expect: 3)
                try bench.run("group", "breaker", "g", "--open", "--close", expect: 2)
                for wrong in ["0%", "101%", "half"] {
                    try bench.run("group", "policy", "g", "--breaker", wrong, expect: 2)
                }
                try bench.run(
                    "group", "policy", "g", "--breaker", "25%", "--breaker-window", "20",
                    "--breaker-open", "1m", "--breaker-probes", "3")
                #expect(
                    try bench.run("group", "breaker", "g").output
                        == "closed; opens for 1m when 25% of 20 fail, then tries 3\n")
                let open = try bench.run("group", "breaker", "g", "--open").output
                #expect(open.hasPrefix("open since ") && open.contains(", tried again in "))
                let shown = try bench.json("group describe g")["breaker"]
                #expect(shown?["state"]?.stringValue == "open")
                #expect(shown?["openings"]?.integerValue == 1)
                #expect(try bench.json("group list")[0]?["breaker"] == "open")
                #expect(shown?["policy"]?["openMilliseconds"]?.integerValue == 60_000)
                #expect(
                    try bench.run("group", "describe", "g").output.contains("breaker:"))
                try bench.run("group", "breaker", "g", "--close")
                #expect(
                    try bench.json("group breaker g")["state"]?.stringValue == "closed")
                try bench.run("group", "policy", "g", "--breaker", "off")
                #expect(try bench.run("group", "breaker", "g").output == "off\n")
            }
        }
    }

    @Test func `what is not there has its exit code, and what is wrong with flags another`()
        async throws
    {
        try await MartletTestBroker.run(topics: ["t": 1]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let bench = Bench(client: client)
                for command in ["list", "stats", "export"] {
                    try bench.run("dlq", command, "nobody", expect: 3)
                }
                try bench.run("dlq", "show", "nobody", "1", expect: 3)
                try bench.run("dlq", "replay", "nobody", "--all", "--execute", expect: 3)
                try bench.run("group", "policy", "nobody", expect: 3)
                try await client.admin.createGroup("g", .queue(.earliest))
                try bench.run("dlq", "list", "g")
                try bench.run("dlq", "list", "g", "--id", "1", expect: 3)
                try bench.run("dlq", "list", "g", "--id", "x", expect: 2)
                try bench.run("dlq", "list", "g", "--since", "soon", expect: 2)
                try bench.run("dlq", "replay", "g", "--all", "--id", "1", expect: 2)
                try bench.run("group", "policy", "g", "--jitter", "200%", expect: 2)
                try bench.run("group", "policy", "g", "--factor", "0.5", expect: 2)
                let shown = try bench.run(
                    "group", "policy", "g", "--attempts", "5", "--jitter", "10%", "--then", "pause")
                #expect(
                    shown.output == "5 tries, pauses of 2s x 2 up to 5m (shortened by up to 10%), "
                        + "then the group stands still there; opens for 30s when 50% of 100 fail, "
                        + "then tries 10\n")
                let policy = try bench.json("group policy g")
                #expect(policy["then"]?.stringValue == "pause")
                let once = try bench.run("group", "policy", "g", "--attempts", "1")
                #expect(once.output.hasPrefix("1 try, then the group stands still there; "))
                #expect(policy["backoffMaxMilliseconds"]?.integerValue == 300_000)
            }
        }
    }
}
