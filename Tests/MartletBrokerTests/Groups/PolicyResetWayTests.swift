import MartletClient
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker
@testable import MartletStorage

/// A reset policy's choice from end to end: what the member hears, and what the broker says of it.
@Suite(.timeLimit(.minutes(2))) struct PolicyResetWayTests {
    /// A topic with a segment for each of its six records, and the group `g` at the second one.
    private struct Bench {
        let sink = LogCapture()
        let harness: BrokerHarness
        let raw: RawClient

        init() throws {
            let sink = sink
            harness = try BrokerHarness(setUp: {
                $0.logger = Logger(label: "test", level: .info, sink: sink)
            })
            raw = try harness.hello()
            let topic = try harness.makeTopic(
                raw, settings: [("segment.bytes", "65536"), ("retention.bytes", "-1")])
            for _ in 0..<6 {
                try #require(try raw.produce(topic, makeBatch(1, bytes: 60_000)).error == .none)
            }
        }

        /// Retention takes all but the newest; where the log begins then.
        func retain() throws -> Int64 {
            let topic = try #require(harness.broker.engine.topic(named: "t"))
            var request = AlterTopicRequest()
            request.id = topic.id
            request.changes = [TopicSettingChange("retention.bytes", "119000")]
            try #require(try raw.ask(request).error == .none)
            let log = try #require(topic.partition(0))
            log.upkeep { log.applyRetention() }
            return log.view.logStart
        }

        func metric(_ reason: String) -> String? {
            let name =
                "martlet_group_policy_resets_total{group=\"g\",reason=\"\(reason)\"} "
            return PrometheusText.render(harness.registry).split(separator: "\n")
                .first { $0.hasPrefix(name) }.map { String($0.dropFirst(name.count)) }
        }
    }

    @Test func `what retention took from a group is told by event, log and metric`() async throws {
        let bench = try Bench()
        let server = "127.0.0.1:\(bench.harness.port)"
        try await Martlet.withClient(ClientConfiguration(server: server)) { client in
            try await client.admin.createGroup("g")
            try await client.admin.commitOffsets("g", [TopicPartition("t", 0): 1])
            let start = try bench.retain()
            #expect(start > 1 && start < 6)
            try await client.withGroupConsumer(
                GroupConsumerConfiguration("g", topics: ["t"], resetPolicy: .earliest)
            ) { consumer in
                var records = consumer.records.makeAsyncIterator()
                let first = try #require(try await records.next())
                #expect(first.offset == start)
                for await case .reset(let partition, let from, let to) in consumer.events {
                    #expect(partition == TopicPartition("t", 0) && from == 1 && to == start)
                    break
                }
                // It is said with the commit that follows at once.
                while bench.metric("gone") != "1" { await Task.yield() }
            }
            #expect(bench.metric("uncommitted") == "0" && bench.metric("lost") == "0")
            let lines = bench.sink.lines.filter { $0.contains("GROUP_RESET_BY_POLICY") }
            #expect(lines.count == 1)
            #expect(
                lines.first?.contains("topic=t partition=0 reason=gone from=1 to=\(start)")
                    == true, "\(lines)")
            #expect(lines.first?.contains("group=g member=") == true)
        }
        try bench.harness.stop()
    }
}
