import MartletBroker
import MartletFormat
import MartletGroups
import MartletTestSupport
import MartletWire
import Testing

/// A member of the queue group `q`, as a client without any library would be one.
private struct RawQueue {
    let client: RawClient
    let member: RawMember

    init(_ client: RawClient, _ number: UInt64) throws {
        self.client = client
        member = RawMember(client, number, group: "q")
        #expect(try member.join(kind: 1) == .none)
    }

    func request(_ records: UInt32, lease: Int32 = 60_000, wait: UInt32 = 0) -> ReceiveRequest {
        var request = ReceiveRequest()
        request.group = "q"
        request.member = member.id
        request.maxRecords = records
        request.leaseMilliseconds = lease
        request.maxWaitMilliseconds = wait
        return request
    }

    func receive(
        _ records: UInt32, lease: Int32 = 60_000, wait: UInt32 = 0
    ) throws -> [DeliveredRange] {
        let reply = try client.ask(request(records, lease: lease, wait: wait))
        #expect(reply.error == .none, "\(reply.message)")
        return reply.delivered
    }

    func settle(
        _ delivered: DeliveredRange, _ range: Range<Int64>, verb: UInt8, _ milliseconds: Int64 = 0
    ) throws -> ErrorCode {
        var entry = SettleEntry()
        entry.topic = delivered.topic
        entry.partition = delivered.partition
        entry.lane = delivered.lane
        entry.range = OffsetRange(range.lowerBound, range.upperBound)
        entry.delivery = delivered.delivery
        entry.verb = verb
        entry.milliseconds = milliseconds
        var request = SettleRequest()
        request.group = "q"
        request.entries = [entry]
        let reply = try client.ask(request)
        return reply.error == .none ? try #require(reply.results.first).error : reply.error
    }

    func line() throws -> QueuePartitionLine {
        var request = DescribeGroupRequest()
        request.group = "q"
        return try #require(try client.ask(request).queues.first)
    }
}

extension DeliveredRange {
    fileprivate var offsets: Range<Int64> { range.from..<range.to }
}

/// Queue groups over the wire, with the real broker.
@Suite struct QueueTests {
    @Test func `each record is with one member, and what is acked never comes again`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(10))
        let first = try RawQueue(client, 1)
        let second = try RawQueue(try harness.hello(), 2)
        let one = try #require(try first.receive(4).first)
        #expect(one.offsets == 0..<4 && one.attempts == 0)
        let two = try #require(try second.receive(100).first)
        #expect(two.offsets == 4..<10 && two.delivery != one.delivery)
        #expect(try first.receive(100).isEmpty)
        #expect(try first.settle(one, 0..<2, verb: 1) == .none)
        #expect(try first.settle(one, 4..<6, verb: 1) == .leaseLost)
        // Given back, they are the other's; done stays done.
        #expect(try first.settle(one, 2..<4, verb: 2) == .none)
        let back = try #require(try second.receive(100).first)
        #expect(back.offsets == 2..<4 && back.attempts == 1)
        #expect(try first.settle(one, 2..<4, verb: 1) == .leaseLost)
        #expect(try first.settle(one, 0..<2, verb: 1) == .none)
        let line = try first.line()
        #expect(line.acked == 2 && line.inFlight == 8 && line.ready == 0 && line.lag == 8)
        try harness.stop()
    }

    @Test func `a receive waits for new records, and for those that come back`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        let other = try RawQueue(try harness.hello(), 2)
        #expect(try other.receive(1).isEmpty)
        try other.client.send(try other.request(5, wait: 20_000).frame(correlation: 7))
        _ = try client.produce(topic, makeBatch(1))
        var delivered = try other.client.receive(ReceiveReply.self).reply.delivered
        let one = try #require(delivered.first)
        #expect(one.offsets == 0..<1)
        let waiting = try RawQueue(try harness.hello(), 3)
        // Given back for a while, it is ready again when that is over.
        try waiting.client.send(try waiting.request(5, wait: 20_000).frame(correlation: 8))
        #expect(try other.settle(one, 0..<1, verb: 2, 50) == .none)
        delivered = try waiting.client.receive(ReceiveReply.self).reply.delivered
        #expect(delivered.first?.offsets == 0..<1 && delivered.first?.attempts == 1)
        // Its member leaves: it is ready at once.
        try other.client.send(try other.request(5, wait: 20_000).frame(correlation: 9))
        var leave = LeaveGroupRequest()
        leave.group = "q"
        leave.member = waiting.member.id
        #expect(try client.ask(leave).error == .none)
        delivered = try other.client.receive(ReceiveReply.self).reply.delivered
        let again = try #require(delivered.first)
        #expect(again.offsets == 0..<1)
        // Late, but still the newest: it counts.
        #expect(try other.settle(again, 0..<1, verb: 1) == .none)
        #expect(try other.line().lag == 0)
        try harness.stop()
    }

    @Test func `a lease that runs out passes to another, unless it is extended`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(2))
        let first = try RawQueue(client, 1)
        let second = try RawQueue(try harness.hello(), 2)
        let one = try #require(try first.receive(2, lease: 500).first)
        #expect(one.offsets == 0..<2)
        #expect(try first.settle(one, 0..<1, verb: 3, 60_000) == .none)
        let lost = try #require(try second.receive(2, wait: 20_000).first)
        #expect(lost.offsets == 1..<2)
        #expect(try first.settle(one, 1..<2, verb: 1) == .leaseLost)
        #expect(try first.settle(one, 0..<1, verb: 1) == .none)
        try harness.stop()
    }

    @Test func `after a restart what is done stays done, and the rest is ready`() throws {
        let directory = try TemporaryDirectory("queue")
        var harness = try BrokerHarness(
            directory: directory, setUp: { $0.groupLimits.snapshotRecordsMin = 3 })
        var client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(10))
        var queue = try RawQueue(client, 1)
        let one = try #require(try queue.receive(10).first)
        for offset: Int64 in [0, 1, 5, 7] {
            #expect(try queue.settle(one, offset..<(offset + 1), verb: 1) == .none)
        }
        #expect(try queue.settle(one, 2..<3, verb: 4) == .none)
        #expect(try queue.settle(one, 9..<10, verb: 2, 3_600_000) == .none)
        try harness.stop()

        harness = try BrokerHarness(directory: directory)
        client = try harness.hello()
        queue = try RawQueue(client, 2)
        #expect(try queue.settle(one, 3..<4, verb: 1) == .leaseLost)
        #expect(try queue.settle(one, 0..<2, verb: 1) == .none)
        let delivered = try queue.receive(100)
        #expect(delivered.map(\.offsets) == [2..<3, 3..<5, 6..<7, 8..<9])
        #expect(delivered.map(\.attempts) == [1, 0, 0, 0])
        let line = try queue.line()
        #expect(line.acked == 4 && line.inFlight == 5 && line.delayed == 1 && line.ready == 0)
        try harness.stop()
    }

    @Test func `kinds of groups are not confused, and nonsense is named`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(3))
        let queue = try RawQueue(client, 1)
        #expect(try RawMember(client, 5, group: "q").join() == .wrongGroupKind)
        let stream = RawMember(client, 6, group: "s")
        #expect(try stream.join() == .none)
        #expect(try stream.join(kind: 1) == .wrongGroupKind)
        #expect(try stream.join(kind: 5) == .invalidRequest)
        var request = queue.request(1)
        request.group = "nobody"
        #expect(try client.ask(request).error == .unknownGroup)
        #expect(try client.ask(queue.request(0)).error == .invalidRequest)
        #expect(try client.ask(queue.request(1, lease: 5)).error == .invalidRequest)
        request = queue.request(1)
        request.member = TopicID(high: 1, low: 1)
        #expect(try client.ask(request).error == .fencedMember)
        let one = try #require(try queue.receive(3).first)
        #expect(try queue.settle(one, 0..<1, verb: 9) == .invalidRequest)
        #expect(try queue.settle(one, 0..<0, verb: 1) == .invalidRequest)
        #expect(try queue.settle(one, 0..<1, verb: 2, -5) == .invalidRequest)
        #expect(try queue.settle(one, -5..<1, verb: 1) == .invalidRequest)
        #expect(try queue.settle(one, Int64.max - 1..<Int64.max, verb: 1) == .leaseLost)
        #expect(try queue.settle(one, 0..<Int64.max, verb: 1) == .invalidRequest)
        #expect(try queue.settle(one, 0..<3, verb: 1) == .none)
        try harness.stop()
    }
}
