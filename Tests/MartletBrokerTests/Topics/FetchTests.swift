import MartletConfiguration
import MartletFormat
import MartletStorage
import MartletTelemetry
import MartletWire
import Testing

@testable import MartletBroker

@Suite struct FetchTests {
    @Test func `a parked fetch is woken by a produce and never holds other replies back`() throws {
        let harness = try BrokerHarness()
        let reader = try harness.hello()
        let writer = try harness.hello()
        let topic = try harness.makeTopic(writer)
        try reader.send(try fetchRequest(topic, from: 0, wait: 20_000).frame(correlation: 11))
        #expect(try reader.ask(PingRequest()).error == .none)
        #expect(try writer.produce(topic, makeBatch(4)).error == .none)
        let (correlation, reply, attachment) = try reader.receive(FetchReply.self)
        #expect(correlation == 11)
        #expect(reply.partitions.first?.highWatermark == 4)
        #expect(attachment.count == makeBatch(4).count)
        try harness.stop()
    }

    @Test func `a fetch with nothing to read is answered in time, with every partition`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, partitions: 3)
        var request = fetchRequest(topic, from: 0, wait: 30)
        request.partitions = (0..<3).map {
            FetchEntry(topic: topic, partition: $0, offset: 0, maxBytes: 1_000)
        }
        let reply = try client.ask(request)
        #expect(reply.partitions.map(\.index) == [0, 1, 2])
        #expect(reply.partitions.allSatisfy { $0.error == .none && $0.recordsLength == 0 })
        try harness.stop()
    }

    @Test func `minBytes is waited for`() throws {
        let harness = try BrokerHarness()
        let reader = try harness.hello()
        let writer = try harness.hello()
        let topic = try harness.makeTopic(writer)
        let batch = makeBatch(1, bytes: 100)
        let wanted = UInt32(batch.count * 3)
        try reader.send(
            try fetchRequest(topic, from: 0, wait: 20_000, minBytes: wanted)
                .frame(correlation: 1))
        for _ in 0..<3 { #expect(try writer.produce(topic, batch).error == .none) }
        let (_, reply, attachment) = try reader.receive(FetchReply.self)
        #expect(attachment.count == Int(wanted))
        #expect(reply.partitions.count == 1)
        try harness.stop()
    }

    @Test func `errors of a fetch are named per partition`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(5))
        var request = fetchRequest(topic, from: 6, wait: 20_000)
        request.partitions += [
            FetchEntry(topic: topic, partition: 4, offset: 0, maxBytes: 1_000),
            FetchEntry(topic: .zero, partition: 0, offset: 0, maxBytes: 1_000),
            FetchEntry(topic: topic, partition: 0, offset: -1, maxBytes: 1_000),
            FetchEntry(topic: topic, partition: 0, offset: 3, maxBytes: 1),
        ]
        let (_, reply, attachment) = try exchange(client, request)
        #expect(
            reply.partitions.map(\.error) == [
                .offsetOutOfRange, .unknownPartition, .unknownTopicID, .offsetOutOfRange, .none,
            ])
        #expect(reply.partitions.first?.highWatermark == 5)
        // The whole batch although more than a byte, from below the asked offset.
        #expect(attachment.count == makeBatch(5).count)
        try harness.stop()
    }

    @Test func `a reader before the end of a compacted log is told at once`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(5))
        let log = try #require(harness.broker.engine.topic(named: "t")?.partition(0))
        let limits = BrokerLimits(BrokerConfiguration())
        for offset: Int64 in [3, 5] {
            var answer = FetchAnswer(fetchRequest(topic, from: offset), limits)
            answer.add(0, .atEnd(log.view), log, at: offset)
            #expect(answer.mustWait == (offset == 5))
            #expect(answer.finished().reply.partitions.map(\.highWatermark) == [5])
        }
        try harness.stop()
    }

    @Test func `a verified fetch reads through every check`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        for _ in 0..<4 { _ = try client.produce(topic, makeBatch(5)) }
        var request = fetchRequest(topic, from: 0)
        request.verify = true
        let (_, reply, attachment) = try exchange(client, request)
        #expect(reply.partitions.first?.error == ErrorCode.none)
        #expect(attachment.count == 4 * makeBatch(5).count)
        try harness.stop()
    }

    @Test(arguments: [UInt32(0), 1])
    func `a verified fetch of next to nothing gives a batch and blames none`(
        maxBytes: UInt32
    ) throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        for _ in 0..<4 { _ = try client.produce(topic, makeBatch(5)) }
        var request = fetchRequest(topic, from: 5, maxBytes: 1_000)
        request.partitions[0].maxBytes = maxBytes
        request.verify = true
        for _ in 0..<2 {
            let (_, reply, attachment) = try exchange(client, request)
            #expect(reply.partitions.first?.error == ErrorCode.none)
            #expect(attachment.count == makeBatch(5).count)
        }
        try harness.stop()
    }

    @Test(arguments: [false, true])
    func `a fetch of no bytes gives a batch, or waits for one`(ofAll: Bool) throws {
        let harness = try BrokerHarness()
        let (client, writer) = (try harness.hello(), try harness.hello())
        let topic = try harness.makeTopic(client)
        for _ in 0..<2 { _ = try client.produce(topic, makeBatch(5)) }
        var request = fetchRequest(topic, from: 0, wait: 20_000)
        if ofAll { request.maxBytes = 0 } else { request.partitions[0].maxBytes = 0 }
        for offset: Int64 in [0, 5] {
            request.partitions[0].offset = offset
            let (_, reply, attachment) = try exchange(client, request)
            #expect(reply.partitions.first?.error == ErrorCode.none)
            #expect(attachment.count == makeBatch(5).count)
        }
        request.partitions[0].offset = 10
        try client.send(try request.frame(correlation: 3))
        #expect(try client.ask(PingRequest()).error == .none)
        _ = try writer.produce(topic, makeBatch(5))
        #expect(try client.receive(FetchReply.self).attachment.count == makeBatch(5).count)
        try harness.stop()
    }

    @Test func `thousands of parked fetches are each woken once by their own partition`() throws {
        let harness = try BrokerHarness(
            configure: { $0.listener.requestsInFlightMax = 10_000 })
        let reader = try harness.hello()
        let writer = try harness.hello()
        let topic = try harness.makeTopic(writer, partitions: 4)
        let total = UInt64(8_000)
        var stream: [UInt8] = []
        for number in 0..<total {
            stream += try fetchRequest(
                topic, from: 0, partition: Int32(number % 4), wait: 25_000
            ).frame(correlation: number)
        }
        try reader.send(stream)
        #expect(try reader.ask(PingRequest()).error == .none)
        #expect(try parkedCount(harness) == Int(total))
        _ = try writer.produce(topic, makeBatch(), partition: 2)
        var woken: Set<UInt64> = []
        for _ in 0..<(total / 4) {
            let (correlation, reply, _) = try reader.receive(FetchReply.self)
            #expect(reply.partitions.count == 1)
            woken.insert(correlation)
        }
        #expect(woken.count == Int(total / 4) && woken.allSatisfy { $0 % 4 == 2 })
        #expect(try parkedCount(harness) == Int(total * 3 / 4))
        try harness.stop()
    }

    @Test func `minBytes above what the disk gives at a time is not waited for`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        let batch = makeBatch(1, bytes: 700_000)
        for _ in 0..<4 { #expect(try client.produce(topic, batch).error == .none) }
        var request = fetchRequest(
            topic, from: 0, wait: 100, minBytes: 2_500_000, maxBytes: 4_000_000)
        request.verify = true
        let (_, reply, attachment) = try exchange(client, request)
        #expect(reply.partitions.map(\.error) == [.none])
        #expect(attachment.count == batch.count)
        // Whoever waits asks the disk once more when the time is over.
        #expect(try metric("disk_fetches_total", harness) == 1)
        try harness.stop()
    }

    @Test func `a verified fetch that waited is verified too`() throws {
        let harness = try BrokerHarness()
        let reader = try harness.hello()
        let writer = try harness.hello()
        let topic = try harness.makeTopic(writer)
        var request = fetchRequest(topic, from: 0, wait: 50)
        request.verify = true
        let (_, reply, attachment) = try exchange(reader, request)
        #expect(reply.partitions.map(\.error) == [.none] && attachment.count == 0)
        #expect(try metric("disk_fetches_total", harness) == 2)
        try harness.stop()
    }

    private func parkedCount(_ harness: BrokerHarness) throws -> Int {
        try metric("parked_fetches", harness)
    }

    private func metric(_ name: String, _ harness: BrokerHarness) throws -> Int {
        let text = PrometheusText.render(harness.registry)
        let line = text.split(separator: "\n").first {
            $0.hasPrefix("martlet_broker_\(name) ")
        }
        return Int(try #require(line).split(separator: " ").last ?? "") ?? -1
    }

    private func exchange(
        _ client: RawClient, _ request: FetchRequest
    ) throws -> (correlation: UInt64, reply: FetchReply, attachment: ByteSlab) {
        try client.send(try request.frame(correlation: 1))
        return try client.receive(FetchReply.self)
    }

    @Test func `offsets by end and by time, and delete-records`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        for time in [1_000, 3_000, 2_000] as [Int64] {
            _ = try client.produce(topic, makeBatch(2, time: 1_700_000_000_000 + time))
        }
        func offset(_ kind: OffsetKind, _ time: Int64 = 0) throws -> Int64 {
            var entry = ListOffsetsEntry()
            entry.topic = topic
            entry.kind = kind.rawValue
            entry.time = 1_700_000_000_000 + time
            var request = ListOffsetsRequest()
            request.entries = [entry]
            let result = try #require(try client.ask(request).results.first)
            #expect(result.error == .none)
            return result.offset
        }
        #expect(try offset(.earliest) == 0)
        #expect(try offset(.latest) == 6)
        #expect(try offset(.time, 1_500) == 2)
        #expect(try offset(.time, 3_001) == 6)
        var entry = DeleteRecordsEntry()
        entry.topic = topic
        entry.before = 2
        var delete = DeleteRecordsRequest()
        delete.entries = [entry]
        let result = try #require(try client.ask(delete).results.first)
        #expect(result.error == .none && result.logStart == 2)
        #expect(try offset(.earliest) == 2)
        try harness.stop()
    }
}
