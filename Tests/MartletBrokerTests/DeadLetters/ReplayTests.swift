import MartletFormat
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// Records that are sent to a group again, over the wire.
@Suite struct ReplayTests {
    private struct Group {
        let client: RawClient
        let member: RawMember
        let name: String

        init(_ client: RawClient, _ name: String, kind: UInt8, member number: UInt64 = 1) throws {
            self.client = client
            self.name = name
            member = RawMember(client, number, group: name)
            #expect(try member.join(kind: kind) == .none)
        }

        func request(wait: UInt32 = 0) -> ReceiveRequest {
            var request = ReceiveRequest()
            request.group = name
            request.member = member.id
            request.maxRecords = 1_000
            request.leaseMilliseconds = 60_000
            request.maxWaitMilliseconds = wait
            return request
        }

        func receive() throws -> [DeliveredRange] {
            let reply = try client.ask(request())
            #expect(reply.error == .none, "\(reply.message)")
            return reply.delivered
        }

        func settle(_ delivered: DeliveredRange, verb: UInt8 = 1) throws -> ErrorCode {
            var entry = SettleEntry()
            entry.topic = delivered.topic
            entry.partition = delivered.partition
            entry.lane = delivered.lane
            entry.range = delivered.range
            entry.delivery = delivered.delivery
            entry.verb = verb
            var request = SettleRequest()
            request.group = name
            request.entries = [entry]
            return try #require(try client.ask(request).results.first).error
        }

        func replay(_ topic: TopicID, _ ranges: [Range<Int64>]) throws -> ReplayRecordsReply {
            var part = ReplayPartition()
            part.topic = topic
            part.ranges = ranges.map { OffsetRange($0.lowerBound, $0.upperBound) }
            var request = ReplayRecordsRequest()
            request.group = name
            request.partitions = [part]
            return try client.ask(request)
        }

        func cancel() throws -> Int64 {
            var request = CancelReplayRequest()
            request.group = name
            return try client.ask(request).records
        }

        func describe() throws -> DescribeGroupReply {
            var request = DescribeGroupRequest()
            request.group = name
            return try client.ask(request)
        }
    }

    @Test func `a stream group is handed what was sent again, and its offsets stay`() throws {
        let directory = try TemporaryDirectory()
        var harness = try BrokerHarness(directory: directory)
        var client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(20))
        var group = try Group(client, "s", kind: 0)
        #expect(try group.receive().isEmpty)
        #expect(try group.replay(topic, [2..<5, 9..<10]).records == 4)
        #expect(try group.replay(topic, [3..<6]).records == 1)
        let found = try group.receive()
        #expect(found.map(\.range) == [OffsetRange(2, 6), OffsetRange(9, 10)])
        #expect(found.allSatisfy { $0.lane == 1 })
        #expect(try group.settle(found[0]) == .none)
        var flow = found[1]
        flow.lane = 0
        #expect(try group.settle(flow) == .leaseLost)
        try harness.stop()

        harness = try BrokerHarness(directory: directory)
        client = try harness.hello()
        group = try Group(client, "s", kind: 0)
        let again = try group.receive()
        #expect(again.map(\.range) == [OffsetRange(9, 10)])
        var described = try group.describe()
        let line = try #require(described.replays.first)
        #expect(line.sent == 5 && line.acked == 4 && line.inFlight == 1 && line.ready == 0)
        #expect(described.partitions.allSatisfy { $0.committed.offset == -1 })
        #expect(try group.settle(again[0]) == .none)
        described = try group.describe()
        #expect(described.replays.first?.acked == 5 && described.queues.isEmpty)
        try harness.stop()
    }

    @Test func `a queue group's flow goes on beside it, in accounts of its own`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(10))
        let group = try Group(client, "q", kind: 1)
        for delivered in try group.receive() { #expect(try group.settle(delivered) == .none) }
        #expect(try group.replay(topic, [0..<4]).records == 4)
        _ = try client.produce(topic, makeBatch(3))
        var lanes: [UInt8: [OffsetRange]] = [:]
        for _ in 0..<2 {
            for delivered in try group.receive() {
                lanes[delivered.lane, default: []].append(delivered.range)
                // A record that died once is a dead letter once, of the lane.
                if delivered.lane == 0 { #expect(try group.settle(delivered) == .none) }
            }
        }
        #expect(lanes == [0: [OffsetRange(10, 13)], 1: [OffsetRange(0, 4)]])
        #expect(try group.cancel() == 4)
        let described = try group.describe()
        let flow = try #require(described.queues.first)
        #expect(flow.acked == 13 && flow.inFlight == 0 && flow.lag == 0)
        let lane = try #require(described.replays.first)
        #expect(lane.sent == 0 && lane.inFlight == 0 && lane.ready == 0)
        try harness.stop()
    }

    @Test func `what cannot be sent again is refused by name`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(10))
        let group = try Group(client, "s", kind: 0)
        for ranges in [[8..<11], [0..<2, 10..<11]] as [[Range<Int64>]] {
            let reply = try group.replay(topic, ranges)
            #expect(reply.error == .offsetOutOfRange && reply.message.contains("0 to 10"))
        }
        for ranges in [[3..<3], [4..<6, 5..<7], [6..<7, 1..<2]] as [[Range<Int64>]] {
            #expect(try group.replay(topic, ranges).error == .invalidRequest)
        }
        #expect(try group.replay(topic, [-3 ..< -1]).error == .offsetOutOfRange)
        let nowhere = TopicID(high: 5, low: 5)
        #expect(try group.replay(nowhere, [0..<1]).error == .unknownTopicID)
        let nobody = try Group(client, "other", kind: 1)
        #expect(try nobody.cancel() == 0)
        #expect(try group.describe().replays.isEmpty)
        try harness.stop()
    }

    @Test func `a receive of a stream group waits for what is sent again, not for new records`()
        throws
    {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(5))
        let waiting = try Group(try harness.hello(), "s", kind: 0)
        try waiting.client.send(try waiting.request(wait: 30_000).frame(correlation: 7))
        _ = try client.produce(topic, makeBatch(5))
        let other = try Group(client, "s", kind: 0, member: 2)
        #expect(try other.replay(topic, [1..<2]).records == 1)
        let reply = try waiting.client.receive(ReceiveReply.self).reply
        #expect(reply.delivered.map(\.range) == [OffsetRange(1, 2)])
        try harness.stop()
    }
}
