import MartletFormat
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// A queue group is reset over the wire, with the real broker.
@Suite struct QueueResetTests {
    private func reset(
        _ client: RawClient, _ topic: TopicID, expected: Int64 = -2, _ offset: Int64,
        isForced: Bool = false
    ) throws -> ResetGroupReply {
        var entry = ResetEntry()
        (entry.topic, entry.expected, entry.offset) = (topic, expected, offset)
        var request = ResetGroupRequest()
        request.group = "q"
        request.isForced = isForced
        request.entries = [entry]
        return try client.ask(request)
    }

    private func isExact(_ line: QueuePartitionLine, end: Int64) -> Bool {
        line.acked + line.expired + line.dead + line.inFlight + line.delayed + line.parked
            + line.ready == end - line.start
    }

    @Test
    func `a reset of a queue holds over a restart, and late answers of before count for nothing`()
        throws
    {
        let directory = try TemporaryDirectory("queue-reset")
        var harness = try BrokerHarness(directory: directory)
        var client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(10))
        var queue = try RawLetters(client)
        #expect(try queue.setPolicy(attempts: 3, backoff: 1, factor: 100) == .none)
        let before = try #require(try queue.receive(10).first)
        #expect(try queue.settle(before, 0..<6) == .none)
        #expect(try queue.fail(before, 8, verb: 6, "Broken", "for ever") == .none)
        _ = try queue.waitForStored()
        #expect(try reset(client, topic, 4).error == .groupNotEmpty)
        let forced = try reset(client, topic, expected: 6, 4, isForced: true)
        #expect(forced.error == .none && forced.results.map(\.offset) == [4])
        var line = try queue.line()
        #expect(line.start == 4 && line.ready == 5 && line.dead == 1 && line.acked == 0)
        #expect(isExact(line, end: 10))
        #expect(try queue.settle(before, 6..<8) == .leaseLost)
        let again = try queue.receiveAll(5)
        #expect(again.map(\.range) == [OffsetRange(4, 8), OffsetRange(9, 10)])
        #expect(try queue.settle(before, 6..<8) == .leaseLost)
        #expect(try queue.settle(again[0], 4..<6) == .none)
        try harness.stop()

        harness = try BrokerHarness(directory: directory)
        client = try harness.hello()
        queue = try RawLetters(client)
        line = try queue.line()
        #expect(line.start == 4 && line.acked == 2 && line.dead == 1 && line.ready == 3)
        // Held to the log, and to the floor of the plan.
        #expect(try reset(client, topic, expected: 4, 0).error == .resetOutdated)
        let clamped = try reset(client, topic, expected: 6, 4_711)
        #expect(clamped.results.map(\.offset) == [10])
        #expect(clamped.results.map(\.isClamped) == [true])
        line = try queue.line()
        #expect(line.lag == 0 && line.dead == 0 && isExact(line, end: 10))
        // The letter is there, and comes beside the flow.
        #expect(try queue.replay(try queue.letters().map(\.number)) == [.none])
        let letter = try #require(try queue.receive(wait: 5_000).first)
        #expect(letter.lane == 1)
        #expect(try queue.settle(letter, letter.range.from..<letter.range.to) == .none)
        #expect(isExact(try queue.line(), end: 10))
        #expect(try queue.letters().isEmpty)
        // Who waits is handed what is owed again.
        try client.send(try queue.request(wait: 20_000).frame(correlation: 9))
        let other = try harness.hello()
        #expect(try reset(other, topic, 0).error == .none)
        let delivered = try client.receive(ReceiveReply.self).reply.delivered
        #expect(delivered.map(\.range) == [OffsetRange(0, 10)])
        try harness.stop()
    }
}

extension RawLetters {
    fileprivate func request(wait: UInt32) -> ReceiveRequest {
        var request = ReceiveRequest()
        request.group = "q"
        request.member = member.id
        request.maxRecords = 100
        request.leaseMilliseconds = 60_000
        request.maxWaitMilliseconds = wait
        return request
    }
}
