import MartletJSON
import MartletTestSupport
import MartletTesting
import Testing

@testable import MartletClient
@testable import martlet

/// `martlet replay` as people use it, with a real broker: what it chooses is what comes again.
@Suite(.timeLimit(.minutes(5))) struct ReplayToolTests {
    /// The tool against a broker with a topic `t` of 3 partitions. Record N has the key N % 7, the time
    /// 1,000,000 + 10 × N but for every ninth, which is late, and every eleventh has an id.
    private struct Bench: ToolBench {
        let client: MartletClient
        static let count = 900

        static func time(_ number: Int) -> Int64 {
            1_000_000 + Int64(number) * 10 - (number % 9 == 0 ? 2_000 : 0)
        }

        func fill(_ numbers: Range<Int>) async throws {
            try await client.withProducer { producer in
                for number in numbers {
                    let id = RecordHeader("correlation-id", "c\(number % 22)")
                    let other = RecordHeader("trace", "x\(number % 10)")
                    try producer.enqueue(
                        topic: "t", key: "k\(number % 7)", value: "\(number)",
                        headers: number % 11 == 0 ? [id, other] : [other],
                        partition: Int32(number % 3), timestamp: Self.time(number))
                }
            }
        }
    }

    private struct Choice {
        let flags: String
        let isChosen: @Sendable (Int) -> Bool
    }

    /// Offsets of a partition are the numbers by three.
    private static let choices = [
        Choice(flags: "--from 10 --until 40") { 10..<40 ~= $0 / 3 },
        Choice(flags: "--partition 1 --from 290") { $0 % 3 == 1 && $0 / 3 >= 290 },
        Choice(flags: "--from @1001000 --until @1005000") {
            1_001_000..<1_005_000 ~= Bench.time($0)
        },
        Choice(flags: "--key k3") { $0 % 7 == 3 },
        Choice(flags: "--correlation-id c11") { $0 % 22 == 11 },
        Choice(flags: "--correlation-id x4 --correlation-header trace --key k0") {
            $0 % 10 == 4 && $0 % 7 == 0
        },
    ]

    private static func with(_ body: (Bench) async throws -> Void) async throws {
        try await MartletTestBroker.run(topics: ["t": 3]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                try await body(Bench(client: client))
            }
        }
    }

    @Test(arguments: [true, false])
    func `what the tool chooses is what comes again`(_ isQueue: Bool) async throws {
        try await Self.with { bench in
            let (client, seen) = (bench.client, SeenNumbers())
            try await bench.fill(0..<Bench.count)
            let member = Task {
                if isQueue {
                    try await client.consumeQueue("g", topics: ["t"]) { seen.add($0.record) }
                } else {
                    try await client.consumeGroup("g", topics: ["t"], handling: .perKey(4)) {
                        seen.add($0)
                    }
                }
            }
            while seen.count < Bench.count { await Task.yield() }
            #expect(seen.take().values.allSatisfy { $0 == 1 })
            var number = Bench.count
            for choice in Self.choices {
                // What was handled may not be committed yet.
                let words = "replay --to g --topic t --unhandled " + choice.flags
                let expected = (0..<number).filter(choice.isChosen)
                let plan = try bench.json(words)
                #expect(plan["records"]?.integerValue == Int64(expected.count), "\(choice.flags)")
                #expect(plan["executed"] == .boolean(false) && plan["sent"] == .null)
                #expect(seen.count == 0)
                // The flow goes on; what comes is no part of the plan.
                let news = number..<number + 30
                async let fresh: Void = bench.fill(news)
                let done = try bench.json(
                    "replay --to g --plan - --execute", input: JSONWriter.text(plan))
                #expect(done["sent"]?.integerValue == Int64(expected.count))
                try await fresh
                while seen.count < expected.count + 30 { await Task.yield() }
                let found = seen.take()
                #expect(
                    Set(found.keys) == Set(expected + news), "\(choice.flags)")
                #expect(found.values.allSatisfy { $0 == 1 })
                number += 30
            }
            member.cancel()
            await #expect(throws: CancellationError.self) { try await member.value }
        }
    }

    @Test func `what a group has not handled is divided from what it has`() {
        let partition = TopicPartition("t", 0)
        let open = OpenRecords([
            partition: OpenRecords.above(10, without: [12..<15, 20..<21])
        ])
        #expect(open.divide(0..<10, of: partition).handled == [0..<10])
        #expect(open.divide(0..<10, of: partition).open == 0)
        #expect(open.divide(5..<25, of: partition).handled == [5..<10, 12..<15, 20..<21])
        #expect(open.divide(5..<25, of: partition).open == 11)
        #expect(open.divide(13..<14, of: partition).handled == [13..<14])
        #expect(open.divide(30..<Int64.max, of: partition).handled.isEmpty)
        var cursor = open.cursor(of: partition)
        let found = (0..<Int64(25)).filter { cursor.isOpen($0) }
        #expect(found == [10, 11, 15, 16, 17, 18, 19, 21, 22, 23, 24])
        // What the group does not read is not its flow's.
        let other = TopicPartition("u", 0)
        #expect(open.divide(0..<9, of: other).handled == [0..<9])
        var none = open.cursor(of: other)
        let isOpen = none.isOpen(3)
        #expect(!isOpen)
    }

    @Test func `what a stream has not committed is left out, unless it is asked for`() async throws
    {
        try await Self.with { bench in
            let admin = bench.client.admin
            try await bench.fill(0..<30)
            try await admin.createGroup("g", topics: ["t"])
            let words = ["replay", "--to", "g", "--topic", "t"]
            let nothing = try bench.run(words)
            #expect(nothing.errorOutput.contains("left out: 30 records"))
            #expect(nothing.errorOutput.contains("0 records would be sent"))
            try await admin.commitOffsets(
                "g", [TopicPartition("t", 0): 10, TopicPartition("t", 1): 4])
            let plan = try bench.json("replay --to g --topic t")
            #expect(plan["records"]?.integerValue == 14 && plan["unhandled"]?.integerValue == 16)
            let line = try #require(plan["plan"]?.arrayValue?.last)
            #expect(plan["plan"]?.arrayValue?.count == 2 && plan["hasUnhandled"] == false)
            #expect(line["records"]?.integerValue == 4 && line["unhandled"]?.integerValue == 6)
            // Also where records are looked at one by one: those with the key k3 are 3, 10, 17, 24.
            let key = try bench.json("replay --to g --topic t --key k3")
            #expect(key["records"]?.integerValue == 3 && key["unhandled"]?.integerValue == 1)
            let all = try bench.json("replay --to g --topic t --unhandled")
            #expect(all["records"]?.integerValue == 30 && all["unhandled"]?.integerValue == 16)
            let done = try bench.run(words + ["--unhandled", "--execute"])
            #expect(done.errorOutput.contains("16 records of the plan group g has not handled"))
            #expect(done.errorOutput.contains("sent 30 records"))
            // A plan that was kept is sent as it is, and tells what is not handled now.
            try await admin.commitOffsets("g", [TopicPartition("t", 1): 10])
            let given = try bench.json("replay --to g --plan -", input: JSONWriter.text(all))
            #expect(given["records"]?.integerValue == 30 && given["unhandled"]?.integerValue == 10)
        }
    }

    private struct Transient: Error {}

    @Test func `what a queue owes is left out and comes once`() async throws {
        try await Self.with { bench in
            let (admin, seen) = (bench.client.admin, SeenNumbers())
            try await bench.fill(0..<30)
            try await admin.createGroup("q", .queue(.earliest), topics: ["t"])
            let nothing = try bench.run(["replay", "--to", "q", "--topic", "t"])
            #expect(nothing.errorOutput.contains("left out: 30 records"))
            // Nor is it listed yet, which is said.
            for words in [[], ["--state", "ready"], ["--topic", "t"]] {
                let listed = try bench.run(["group", "records", "q"] + words)
                #expect(listed.errorOutput.contains("30 records in 3 partitions that nobody"))
            }
            let delays = try bench.run(["group", "records", "q", "--state", "delayed"])
            #expect(delays.errorOutput.isEmpty)
            try await admin.setFailurePolicy(
                FailurePolicy(
                    backoff: .seconds(3_600), backoffMax: .seconds(3_600),
                    breaker: BreakerPolicy(share: nil)), of: "q")
            let client = bench.client
            let member = Task {
                try await client.consumeQueue("q", topics: ["t"]) { work in
                    let number = Int(work.record.valueString ?? "") ?? -1
                    if number % 5 == 0 { throw Transient() }
                    seen.add(work.record)
                }
            }
            while true {
                let queues = try await admin.describeGroup("q").queues
                let acked = queues.reduce(0) { $0 + $1.acked }
                if acked == 24, queues.reduce(0, { $0 + $1.delayed }) == 6 { break }
            }
            #expect(seen.take().count == 24)
            let done = try bench.json("replay --to q --topic t --execute")
            #expect(done["sent"]?.integerValue == 24 && done["unhandled"]?.integerValue == 6)
            while seen.count < 24 { await Task.yield() }
            #expect(
                seen.take()
                    == Dictionary(
                        uniqueKeysWithValues: (0..<30).filter { $0 % 5 != 0 }.map { ($0, 1) }))
            let delayed = try await admin.describeGroup("q")
            #expect(delayed.queues.reduce(0) { $0 + $1.delayed } == 6)
            member.cancel()
            await #expect(throws: CancellationError.self) { try await member.value }
        }
    }

    @Test func `a plan is shown, taken back, and refused when it makes no sense`() async throws {
        try await Self.with { bench in
            try await bench.fill(0..<30)
            try await bench.client.admin.createGroup("g")
            let dry = try bench.run(["replay", "--to", "g", "--topic", "t", "--from", "5"])
            #expect(
                dry.output.contains("t") && dry.errorOutput.contains("15 records would be sent"))
            #expect(try await bench.client.admin.describeGroup("g").replays.isEmpty)
            let done = try bench.run([
                "replay", "--to", "g", "--topic", "t", "--from", "5", "--execute",
            ])
            #expect(done.errorOutput.contains("sent 15 records to group g again"))
            let twice = try bench.run([
                "replay", "--to", "g", "--topic", "t", "--from", "4", "--execute",
            ])
            #expect(
                twice.errorOutput.contains("sent 3 records")
                    && twice.errorOutput.contains("15 were"))
            let shown = try bench.run(["group", "describe", "g"])
            #expect(shown.output.contains("SENT AGAIN"))
            let replays = try #require(try bench.json("group describe g")["replays"]?.arrayValue)
            #expect(replays.count == 3 && replays[0]["ready"]?.integerValue == 6)
            let dryCancel = try bench.run(["replay", "--to", "g", "--cancel"])
            #expect(dryCancel.errorOutput.contains("18 records would be taken back"))
            let part = try bench.run([
                "replay", "--to", "g", "--cancel", "--topic", "t", "--partition", "1", "--execute",
            ])
            #expect(part.errorOutput.contains("took 6 records back"))
            #expect(
                try bench.json("replay --to g --cancel --execute")["records"]?.integerValue == 12)
            try bench.run(["replay", "--topic", "t"], expect: 2)
            try bench.run(["replay", "--to", "g"], expect: 2)
            try bench.run(["replay", "--to", "g", "--plan", "-"], input: "{}", expect: 2)
            let other = try bench.json("replay --to g --topic t")
            try await bench.client.admin.createGroup("h")
            try bench.run(
                ["replay", "--to", "h", "--plan", "-"], input: JSONWriter.text(other), expect: 2)
            let absurd: [JSONValue] = (0..<2).map { partition in
                [
                    "topic": "t", "partition": .integer(partition), "records": .integer(.max),
                    "ranges": [["from": 0, "to": 1]],
                ]
            }
            try bench.run(
                ["replay", "--to", "g", "--plan", "-"],
                input: JSONWriter.text(["group": "g", "plan": .array(absurd)]))
            let stale = JSONWriter.text(other).replacingEnd()
            let refused = try bench.run(
                ["replay", "--to", "g", "--plan", "-", "--execute"], input: stale, expect: 3)
            #expect(refused.errorOutput.contains("OFFSET_OUT_OF_RANGE"))
        }
    }
}

extension String {
    /// A plan of a log that is longer.
    fileprivate func replacingEnd() -> String {
        split(separator: "\"to\":10").joined(separator: "\"to\":11")
    }
}
