import MartletJSON
import MartletTestSupport
import MartletTesting
import Testing

@testable import MartletClient

/// `martlet group reset` of a queue group as people use it, while its members run.
@Suite(.timeLimit(.minutes(5))) struct QueueResetToolTests {
    private struct Bench: ToolBench {
        let client: MartletClient
        static let reset = ["group", "reset", "q", "--all-topics"]

        func fill(_ numbers: Range<Int>) async throws {
            try await client.withProducer { producer in
                for number in numbers {
                    try producer.enqueue(
                        topic: "t", value: "\(number)", partition: Int32(number % 3),
                        timestamp: 1_000)
                }
            }
        }

        /// Waits until nobody has anything of the group.
        func waitUntilIdle(lag: Int64? = nil) async throws {
            while true {
                let group = try await client.admin.describeGroup("q")
                let isIdle = group.queues.allSatisfy { $0.inFlight == 0 }
                if group.queues.count == 3, isIdle, lag == nil || group.lag == lag { return }
                await Task.yield()
            }
        }
    }

    private static func with(
        _ handler: @escaping @Sendable (ConsumedRecord) async throws -> Void,
        _ body: (Bench) async throws -> Void
    ) async throws {
        try await MartletTestBroker.run(topics: ["t": 3]) { broker in
            try await Martlet.withClient(broker.configuration) { client in
                let members = (0..<2).map { _ in
                    Task {
                        try await client.consumeQueue("q", topics: ["t"]) {
                            try await handler($0.record)
                        }
                    }
                }
                try await body(Bench(client: client))
                for member in members {
                    member.cancel()
                    await #expect(throws: CancellationError.self) { try await member.value }
                }
            }
        }
    }

    @Test func `a queue goes back by a plan while its members wait, and each record comes again`()
        async throws
    {
        let seen = SeenNumbers()
        try await Self.with {
            seen.add($0)
        } _: { bench in
            try await bench.fill(0..<300)
            while seen.count < 300 { await Task.yield() }
            try await bench.waitUntilIdle(lag: 0)
            #expect(seen.take().values.allSatisfy { $0 == 1 })
            let shown = try bench.run(Bench.reset + ["--shift", "-40"])
            #expect(shown.errorOutput.contains("dry run") && shown.output.contains("-40"))
            let plan = try bench.run(Bench.reset + ["--shift", "-40", "-o", "json"]).output
            #expect(seen.count == 0)
            let execute = ["group", "reset", "q", "--plan", "-", "--execute"]
            try bench.run(execute, input: plan)
            while seen.count < 120 { await Task.yield() }
            try await bench.waitUntilIdle(lag: 0)
            let found = seen.take()
            #expect(Set(found.keys) == Set(180..<300) && found.values.allSatisfy { $0 == 1 })
            // The plan fits a second time: the group has come to the same place.
            let text = try bench.run(["group", "describe", "q"]).output
            #expect(text.contains("START") && text.contains(" 60 "))
            try await bench.fill(300..<303)
            while seen.count < 3 { await Task.yield() }
            try await bench.waitUntilIdle(lag: 0)
            let outdated = try bench.run(execute, input: plan, expect: 6)
            #expect(outdated.errorOutput.contains("RESET_OUTDATED"))
            let ends = try bench.json("group describe q")
            let queues = ends["queues"]?.arrayValue ?? []
            #expect(queues.count == 3)
            #expect(queues.allSatisfy { $0["start"]?.integerValue == 60 })
            #expect(queues.allSatisfy { $0["acked"]?.integerValue == 41 })
        }
    }

    @Test func `under its members a queue is reset only when it is paused or forced`() async throws
    {
        let (seen, doors) = (SeenNumbers(), (0..<2).map { _ in Promise<Void>() })
        try await Self.with {
            let count = seen.add($0)
            if count <= doors.count { await doors[count - 1].settled() }
        } _: { bench in
            try await bench.fill(0..<30)
            while seen.count < 2 { await Task.yield() }
            let noted = try bench.run(Bench.reset + ["--to", "latest"])
            #expect(noted.output.contains("in flight: pause the group, or --force"))
            let refused = try bench.run(
                Bench.reset + ["--to", "latest", "--execute"], expect: 4)
            #expect(refused.errorOutput.contains("GROUP_NOT_EMPTY"))
            try bench.run(Bench.reset + ["--to", "latest", "--execute", "--force"])
            #expect(try await bench.client.admin.describeGroup("q").lag == 0)
            // What is answered late is refused, and what is new comes.
            for door in doors { door.succeed(()) }
            try await bench.fill(30..<33)
            try await bench.waitUntilIdle(lag: 0)
            let group = try await bench.client.admin.describeGroup("q")
            #expect(group.queues.map(\.start) == [10, 10, 10])
            #expect(group.queues.map(\.acked) == [1, 1, 1])
        }
    }
}
