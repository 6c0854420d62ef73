import MartletBroker
import MartletFormat
import MartletJSON
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

/// What members say of their reset policies.
@Suite struct PolicyResetTests {
    private static func reset(
        _ owned: OwnedPartition, _ reason: UInt8, from: Int64 = 3, to: Int64 = 7
    ) -> PolicyResetItem {
        var item = PolicyResetItem()
        item.owned = owned
        item.reason = reason
        (item.from, item.to) = (from, to)
        return item
    }

    private static func tell(
        _ member: RawMember, _ resets: [PolicyResetItem]
    ) throws -> ErrorCode {
        var request = CommitOffsetsRequest()
        request.group = member.group
        request.member = member.id
        request.resets = resets
        return try member.client.ask(request).error
    }

    private static func counted(_ harness: BrokerHarness) -> [String: Int] {
        let start = "martlet_group_policy_resets_total{group=\"g\",reason=\""
        var found: [String: Int] = [:]
        for line in PrometheusText.render(harness.registry).split(separator: "\n")
        where line.hasPrefix(start) {
            let parts = line.dropFirst(start.count).split(separator: "\"} ")
            found[String(parts[0])] = Int(parts[1])
        }
        return found
    }

    @Test func `what a reset policy chose is counted, and in the log with from and to`() throws {
        let sink = LogCapture()
        let harness = try BrokerHarness(setUp: {
            $0.logger = Logger(label: "test", level: .info, sink: sink)
        })
        let client = try harness.hello()
        _ = try harness.makeTopic(client, partitions: 2)
        let member = RawMember(client, 1)
        let other = RawMember(try harness.hello(), 2)
        for one in [member, other] { #expect(try one.join() == .none) }
        for one in [member, other] { try one.waitForChange() }
        let mine = try #require(member.owned.first?.owned)
        let others = try #require(other.owned.first?.owned)
        #expect(Self.counted(harness) == ["uncommitted": 0, "gone": 0, "lost": 0])
        let resets = [
            Self.reset(mine, 1, from: -1, to: 0), Self.reset(mine, 2), Self.reset(mine, 3),
            Self.reset(mine, 3, from: .max, to: .max),
        ]
        #expect(try Self.tell(member, resets) == .none)
        // Who does not own a partition does not move there.
        #expect(try Self.tell(member, [Self.reset(others, 2)]) == .none)
        var old = mine
        old.epoch -= 1
        #expect(try Self.tell(member, [Self.reset(old, 2)]) == .none)
        #expect(Self.counted(harness) == ["uncommitted": 1, "gone": 1, "lost": 2])
        let lines = sink.lines.filter { $0.contains("GROUP_RESET_BY_POLICY") }
        #expect(lines.count == 3 && lines.allSatisfy { $0.contains("group=g") })
        #expect(lines.contains { $0.contains("reason=gone from=3 to=7") })
        #expect(sink.lines.contains { $0.contains("GROUP_BEGINS") && $0.contains("partitions=1") })
        try harness.stop()
    }

    @Test func `what no policy chooses is refused`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        _ = try harness.makeTopic(client)
        let member = RawMember(client, 1)
        #expect(try member.join() == .none)
        try member.waitForChange()
        let mine = try #require(member.owned.first?.owned)
        for item in [
            Self.reset(mine, 0), Self.reset(mine, 4), Self.reset(mine, 2, to: -1),
            Self.reset(mine, 2, from: -2), Self.reset(mine, 2, from: .min),
        ] {
            #expect(try Self.tell(member, [Self.reset(mine, 2), item]) == .invalidRequest)
        }
        #expect(Self.counted(harness) == ["uncommitted": 0, "gone": 0, "lost": 0])
        try harness.stop()
    }
    /// After a crash that forgets the commit the members choose again, and that is told then.
    @Test func `a move by a reset policy is told once the commit beside it is durable`() throws {
        let files = FaultyFileSystem()
        let bench = try EventBench(files: files)
        let topic = try bench.harness.makeTopic(bench.client)
        _ = try bench.client.produce(topic, makeBatch(9))
        let member = RawMember(try bench.harness.hello(), 1)
        #expect(try member.join() == .none)
        try member.waitForChange()
        let mine = try #require(member.owned.first?.owned)
        _ = try bench.wait(for: "partitions.assigned")
        let gate = Latch()
        files.set { $0.gate = gate }
        var entry = CommitEntry()
        (entry.owned, entry.position.offset) = (mine, 7)
        var commit = CommitOffsetsRequest()
        (commit.group, commit.member, commit.entries) = ("g", member.id, [entry])
        commit.resets = [Self.reset(mine, 2), Self.reset(mine, 1, from: -1, to: 0)]
        try member.client.send(try commit.frame(correlation: 5))
        // It is in `$groups`, and not on the disk.
        var describe = DescribeGroupRequest()
        describe.group = "g"
        #expect(
            try eventually {
                try bench.client.ask(describe).partitions.first?.committed.offset == 7
            })
        func lines() -> [String] {
            bench.sink.lines.filter {
                $0.contains("GROUP_RESET_BY_POLICY") || $0.contains("GROUP_BEGINS")
            }
        }
        for _ in 0..<200 {
            let isTold = try bench.events().contains { $0["type"] == "group.reset" }
            #expect(!isTold && lines().isEmpty)
            if isTold { break }
        }
        gate.arrive()
        _ = try member.client.receive(CommitOffsetsReply.self)
        #expect(lines().count == 2)
        let told = try bench.wait(for: "group.reset").filter { $0["type"] == "group.reset" }
        #expect(told.count == 1 && told.first?["to"] == 7)
        try bench.harness.stop()
    }
}
