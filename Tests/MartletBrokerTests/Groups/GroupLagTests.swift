import MartletBroker
import MartletFormat
import MartletStorage
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

/// How far groups are behind, and how soon retention would take what they have not handled.
@Suite struct GroupLagTests {
    private static let day: Int64 = 86_400_000
    private let clock = ManualClock()

    private func harness(_ directory: TemporaryDirectory? = nil) throws -> BrokerHarness {
        try BrokerHarness(directory: directory, setUp: { $0.clock = clock })
    }

    private func describe(_ client: RawClient, _ group: String = "g") throws -> DescribeGroupReply {
        var request = DescribeGroupRequest()
        request.group = group
        return try client.ask(request)
    }

    private func trim(_ client: RawClient, _ topic: TopicID, before offset: Int64) throws {
        var request = DeleteRecordsRequest()
        var entry = DeleteRecordsEntry()
        entry.topic = topic
        entry.before = offset
        request.entries = [entry]
        #expect(try client.ask(request).results.first?.error == ErrorCode.none)
    }

    /// The value of a metric of group `g` and topic `t`.
    private func metric(_ harness: BrokerHarness, _ name: String) -> Double? {
        let start = "martlet_group_\(name){group=\"g\",topic=\"t\"} "
        return PrometheusText.render(harness.registry).split(separator: "\n")
            .first { $0.hasPrefix(start) }.flatMap { Double($0.dropFirst(start.count)) }
    }

    @Test func `the age of the oldest record that waits grows, and ends with its commit`() throws {
        let harness = try harness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(
            client, settings: [("retention.ms", "\(7 * Self.day)"), ("retention.bytes", "1000000")])
        let member = RawMember(client, 1)
        try member.join(session: 300_000)
        try member.waitForChange()
        let empty = try describe(client)
        #expect(empty.lag == 0 && empty.lagMilliseconds == 0 && empty.headroomMilliseconds == -1)
        _ = try client.produce(topic, makeBatch(1))
        clock.advance(seconds: 100)
        _ = try client.produce(topic, makeBatch(2))
        clock.advance(seconds: 20)
        let both = try describe(client)
        #expect(both.lag == 3 && both.lagMilliseconds == 120_000)
        // Retention takes whole segments: not before the newest record of the segment is old. Its
        // clock believes jumps slowly.
        #expect(
            (7 * Self.day - 20_000...7 * Self.day + 100_000).contains(both.headroomMilliseconds))
        #expect(both.headroomBytes == 1_000_000)
        #expect(both.partitions.map(\.lagMilliseconds) == [120_000])
        #expect(metric(harness, "lag_seconds") == 120)
        #expect(metric(harness, "retention_headroom_bytes") == 1_000_000)
        #expect(try member.commit(member.owned[0], 1) == .none)
        #expect(try describe(client).lagMilliseconds == 20_000)
        #expect(metric(harness, "lag_seconds") == 20)
        #expect(try member.commit(member.owned[0], 3) == .none)
        let done = try describe(client)
        #expect(done.lag == 0 && done.lagMilliseconds == 0 && done.headroomMilliseconds == -1)
        #expect(metric(harness, "lag_seconds") == 0)
        #expect(metric(harness, "retention_headroom_seconds") == nil)
        try harness.stop()
    }

    @Test func `a group that stands still ages, however many records come`() throws {
        let harness = try harness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        let member = RawMember(client, 1)
        try member.join(session: 300_000)
        try member.waitForChange()
        // More places than a log remembers without its index.
        for second in 0..<100 {
            _ = try client.produce(topic, makeBatch(1))
            #expect(try describe(client).lagMilliseconds == Int64(second) * 1_000)
            clock.advance(seconds: 1)
        }
        try harness.stop()
    }

    @Test func `a group that deletion has passed has no lag below zero`() throws {
        let harness = try harness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, settings: [("retention.ms", "10000")])
        let member = RawMember(client, 1)
        try member.join(session: 300_000)
        try member.waitForChange()
        _ = try client.produce(topic, makeBatch(5))
        #expect(try member.commit(member.owned[0], 2) == .none)
        clock.advance(seconds: 9)
        #expect((1_000...10_000).contains(try describe(client).headroomMilliseconds))
        try trim(client, topic, before: 5)
        let gone = try describe(client)
        #expect(gone.lag == 0 && gone.lagMilliseconds == 0)
        #expect(gone.partitions.first?.logStart == 5)
        try harness.stop()
    }

    @Test func `handled records above the commit do not age`() throws {
        let harness = try harness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        let member = RawMember(client, 1)
        try member.join(session: 300_000)
        try member.waitForChange()
        _ = try client.produce(topic, makeBatch(2))
        clock.advance(seconds: 60)
        _ = try client.produce(topic, makeBatch(2))
        clock.advance(seconds: 5)
        var entry = CommitEntry()
        entry.owned = member.owned[0].owned
        entry.position.offset = 0
        entry.position.finished = [OffsetRange(1, 2)]
        var request = CommitOffsetsRequest()
        request.group = "g"
        request.member = member.id
        request.entries = [entry]
        #expect(try client.ask(request).results.first?.error == ErrorCode.none)
        #expect(try describe(client).lagMilliseconds == 65_000)
        // What lies below the log's start cannot be handled any more.
        try trim(client, topic, before: 1)
        let rest = try describe(client)
        #expect(rest.lag == 2 && rest.lagMilliseconds == 5_000)
        try harness.stop()
    }

    @Test func `the age is known again after a restart, as well as the index says`() throws {
        let directory = try TemporaryDirectory("lag")
        var harness = try harness(directory)
        var client = try harness.hello()
        let topic = try harness.makeTopic(client, settings: [("retention.ms", "\(Self.day)")])
        let member = RawMember(client, 1)
        try member.join(session: 300_000)
        try member.waitForChange()
        for _ in 0..<10 {
            _ = try client.produce(topic, makeBatch(1, bytes: 100_000))
            clock.advance(seconds: 10)
        }
        try harness.stop()
        harness = try self.harness(directory)
        client = try harness.hello()
        let group = try describe(client)
        #expect(group.lag == 10 && group.lagMilliseconds == 100_000)
        #expect((Self.day - 10_000...Self.day + 90_000).contains(group.headroomMilliseconds))
        try harness.stop()
    }

    private func create(
        _ client: RawClient, _ group: String, kind: UInt8 = 0, topics: [String] = []
    ) throws {
        var request = CreateGroupRequest()
        request.group = group
        request.kind = kind
        request.topics = topics.map { TopicNameItem($0) }
        #expect(try client.ask(request).error == .none)
    }

    @Test func `a topic that came when nobody was there any more has its lag, over a restart`()
        throws
    {
        let directory = try TemporaryDirectory("lag")
        var harness = try harness(directory)
        var client = try harness.hello()
        let member = RawMember(client, 1)
        try member.join(["t*"], session: 300_000)
        var leave = LeaveGroupRequest()
        leave.group = "g"
        leave.member = member.id
        #expect(try client.ask(leave).error == .none)
        let topic = try harness.makeTopic(client, partitions: 2, settings: [("retention.ms", "-1")])
        for count in 1...2 {
            _ = try client.produce(topic, makeBatch(count), partition: Int32(count - 1))
        }
        clock.advance(seconds: 30)
        for isRestarted in [false, true] {
            if isRestarted {
                try harness.stop()
                harness = try self.harness(directory)
                client = try harness.hello()
            }
            try #require(eventually { try describe(client).partitions.count == 2 })
            let group = try describe(client)
            #expect(group.lag == 3 && group.lagMilliseconds == 30_000)
            #expect(group.partitions.map(\.lag) == [1, 2])
            #expect(group.partitions.allSatisfy { !$0.hasOwner && $0.committedAt == -1 })
            #expect(metric(harness, "lag_records") == 3)
            #expect(metric(harness, "lag_seconds") == 30)
            #expect(try client.ask(ListGroupsRequest()).groups.map(\.lag) == [3])
        }
        try harness.stop()
    }

    @Test func `a group made for topics lags before its first member, a queue before it asks`()
        throws
    {
        let harness = try harness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(4))
        try create(client, "g", topics: ["t"])
        #expect(try describe(client).lag == 4)
        try create(client, "q", kind: 1, topics: ["t"])
        #expect(try describe(client, "q").lag == 4)
        // It would begin behind them.
        try create(client, "last", kind: 2, topics: ["t"])
        let last = try describe(client, "last")
        #expect(last.lag == 0 && last.partitions.map(\.lagMilliseconds) == [0])
        try create(client, "none")
        #expect(try describe(client, "none").partitions.isEmpty)
        // What its first member wants counts from then on.
        let member = RawMember(client, 1)
        try member.join(["other"])
        #expect(try describe(client).partitions.isEmpty)
        try harness.stop()
    }
}
