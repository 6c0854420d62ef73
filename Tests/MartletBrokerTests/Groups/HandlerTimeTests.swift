import MartletFormat
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

/// What members say of how long their handlers ran.
@Suite struct HandlerTimeTests {
    private static func report(_ milliseconds: [Int64], _ type: String = "") -> [TypeTimesItem] {
        var times = HandlerTimesByType()
        for time in milliseconds { times.add(nanoseconds: time * 1_000_000, type: type) }
        return times.items
    }

    private static func commit(
        _ member: RawMember, _ partition: AssignedPartition, _ offset: Int64,
        _ report: [TypeTimesItem]
    ) throws -> CommitOffsetsReply {
        var entry = CommitEntry()
        entry.owned = partition.owned
        entry.position.offset = offset
        var request = CommitOffsetsRequest()
        request.group = member.group
        request.member = member.id
        request.entries = [entry]
        request.handled = report
        return try member.client.ask(request)
    }

    /// Acks the first record of partition 0.
    private static func settle(
        _ member: RawMember, _ report: [TypeTimesItem]
    ) throws -> SettleReply {
        var receive = ReceiveRequest()
        receive.group = member.group
        receive.member = member.id
        receive.maxRecords = 1
        receive.leaseMilliseconds = 60_000
        let delivered = try #require(try member.client.ask(receive).delivered.first)
        var entry = SettleEntry()
        entry.topic = delivered.topic
        entry.range = delivered.range
        entry.delivery = delivered.delivery
        entry.verb = 1
        var request = SettleRequest()
        request.group = member.group
        request.entries = [entry]
        request.handled = report
        return try member.client.ask(request)
    }

    private static func told(_ client: RawClient, _ group: String) throws -> HandlerTimes {
        try byType(client, group).total
    }

    private static func byType(
        _ client: RawClient, _ group: String
    ) throws -> HandlerTimesByType {
        var request = DescribeGroupRequest()
        request.group = group
        return try #require(HandlerTimesByType(try client.ask(request).handled))
    }

    /// The values of the group's histogram, by what stands before them.
    private static func metrics(_ harness: BrokerHarness, _ group: String) -> [String: Double] {
        let name = "martlet_group_handler_seconds"
        var found: [String: Double] = [:]
        for line in PrometheusText.render(harness.registry).split(separator: "\n")
        where line.hasPrefix(name) && line.contains("{group=\"\(group)\",type=") {
            let parts = line.split(separator: " ")
            found[String(parts[0].dropFirst(name.count))] = Double(parts[1])
        }
        return found
    }

    @Test func `what two members say is added up, for people and for a scrape`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, partitions: 2)
        _ = try client.produce(topic, makeBatch(10))
        let first = RawMember(client, 1)
        let second = RawMember(try harness.hello(), 2)
        for member in [first, second] { #expect(try member.join() == .none) }
        for member in [first, second] { try member.waitForChange() }
        #expect(Self.metrics(harness, "g").isEmpty)
        let one = try #require(first.owned.first)
        let two = try #require(second.owned.first)
        #expect(try Self.commit(first, one, 1, Self.report([2, 40])).error == .none)
        #expect(try Self.commit(second, two, 1, Self.report([2, 7_000])).error == .none)
        // A partition's commit may be refused: handlers ran all the same.
        let stale = try Self.commit(second, one, 2, Self.report([400_000]))
        #expect(stale.results.map(\.error) == [.staleMemberEpoch])
        let times = try Self.told(client, "g")
        #expect(times.count == 5 && times.longest == 400_000_000_000)
        #expect(times.mean == 407_044_000_000 / 5)
        #expect(times.bound(percent: 50) == 50_000_000)
        #expect(times.bound(percent: 99) == times.longest)
        let metrics = Self.metrics(harness, "g")
        #expect(metrics["_count{group=\"g\",type=\"\"}"] == 5)
        #expect(metrics["_sum{group=\"g\",type=\"\"}"] == 407.044)
        #expect(metrics["_bucket{group=\"g\",type=\"\",le=\"0.001\"}"] == 0)
        #expect(metrics["_bucket{group=\"g\",type=\"\",le=\"0.0025\"}"] == 2)
        #expect(metrics["_bucket{group=\"g\",type=\"\",le=\"0.05\"}"] == 3)
        #expect(metrics["_bucket{group=\"g\",type=\"\",le=\"10\"}"] == 4)
        #expect(metrics["_bucket{group=\"g\",type=\"\",le=\"300\"}"] == 4)
        #expect(metrics["_bucket{group=\"g\",type=\"\",le=\"+Inf\"}"] == 5)
        try harness.stop()
    }

    @Test func `types of events are told apart, so many of them and no more`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(10))
        let member = RawMember(client, 1)
        #expect(try member.join() == .none)
        try member.waitForChange()
        let owned = try #require(member.owned.first)
        var offset: Int64 = 0
        func tell(_ report: [TypeTimesItem]) throws {
            offset = min(10, offset + 1)
            #expect(try Self.commit(member, owned, offset, report).error == .none)
        }
        try tell(Self.report([2], "a") + Self.report([40, 40], "b\"\n"))
        try tell(Self.report([2], "b\"\n"))
        let lines = try Self.byType(client, "g").lines
        #expect(lines.mapValues(\.count) == ["a": 1, "b\"\n": 3])
        let metrics = Self.metrics(harness, "g")
        #expect(metrics["_count{group=\"g\",type=\"a\"}"] == 1)
        #expect(metrics["_count{group=\"g\",type=\"b\\\"\\n\"}"] == 3)
        for number in 0..<30 { try tell(Self.report([1], "type \(number)")) }
        let all = try Self.byType(client, "g").lines
        #expect(all.count == HandlerTimesByType.typesMax + 1)
        #expect(all["type 17"]?.count == 1 && all["type 18"] == nil)
        #expect(all[HandlerTimesByType.other]?.count == 12)
        #expect(try Self.told(client, "g").count == 34)
        try harness.stop()
    }

    @Test func `members of a queue say it with what they settle`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(10))
        for number in 1...2 as ClosedRange<UInt64> {
            let member = RawMember(client, number, group: "q")
            #expect(try member.join(kind: 1) == .none)
            #expect(try Self.settle(member, Self.report([3])).error == .none)
        }
        let times = try Self.told(client, "q")
        #expect(times.count == 2 && times.mean == 3_000_000)
        #expect(Self.metrics(harness, "q")["_sum{group=\"q\",type=\"\"}"] == 0.006)
        try harness.stop()
    }

    @Test func `what no handlers can have taken is refused, and nothing of it is taken`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(10))
        let member = RawMember(client, 1)
        let queue = RawMember(client, 2, group: "q")
        #expect(try member.join() == .none)
        #expect(try queue.join(kind: 1) == .none)
        try member.waitForChange()
        let owned = try #require(member.owned.first)
        var unknown = Self.report([500_000])
        unknown[0].times.buckets[0].bucket = 21
        var twice = Self.report([1])
        twice[0].times.buckets += twice[0].times.buckets
        var negative = Self.report([1])
        negative[0].times.sumNanoseconds = .min
        var none = Self.report([1])
        none[0].times.buckets[0].count = 0
        for report in [unknown, twice, negative, none] {
            #expect(try Self.commit(member, owned, 5, report).error == .invalidRequest)
            #expect(try Self.settle(queue, report).error == .invalidRequest)
        }
        #expect(try Self.told(client, "g").isEmpty && Self.told(client, "q").isEmpty)
        var request = DescribeGroupRequest()
        request.group = "g"
        #expect(try client.ask(request).partitions.map(\.committed.offset) == [-1])
        // As much as the fields hold: added up twice, it stands still.
        var most = Self.report([500_000])
        most[0].times.buckets[0].count = .max
        (most[0].times.sumNanoseconds, most[0].times.longestNanoseconds) = (.max, .max)
        for _ in 0..<2 { #expect(try Self.commit(member, owned, 5, most).error == .none) }
        let times = try Self.told(client, "g")
        #expect(times.count == .max && times.sum == .max && times.longest == .max)
        #expect(Self.metrics(harness, "g")["_bucket{group=\"g\",type=\"\",le=\"300\"}"] == 0)
        try harness.stop()
    }
}
