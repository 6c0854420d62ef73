import MartletJSON
import MartletTestSupport
import MartletTesting
import Testing

@testable import MartletClient

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
                let words = "replay --to g --topic t " + choice.flags
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
