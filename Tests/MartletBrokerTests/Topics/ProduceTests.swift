import MartletConfiguration
import MartletFormat
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

@Suite struct ProduceTests {
    @Test func `produce replies keep the order of their requests, other replies overtake`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, partitions: 3)
        var stream: [UInt8] = []
        for number in UInt64(0)..<60 {
            let acks: Acks = number % 3 == 0 ? .durable : .written
            stream += try produceFrame(
                topic, [makeBatch()], partition: Int32(number % 3), acks: acks,
                correlation: number)
        }
        try client.send(stream)
        for number in UInt64(0)..<60 {
            let (correlation, reply, _) = try client.receive(ProduceReply.self)
            #expect(correlation == number)
            #expect(reply.results.first?.error == ErrorCode.none)
        }
        try harness.stop()
    }

    /// The first batch of a log is put off until its files are open.
    @Test func `a batch that was put off is not held back by its own place in the limit`() throws {
        let harness = try BrokerHarness(limits: { $0.requestsInFlightMax = 1 })
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        for number in Int64(0)..<3 {
            let result = try client.produce(topic, makeBatch())
            #expect(result.error == .none && result.baseOffset == number)
        }
        try harness.stop()
    }

    @Test func `each batch of a request has its own result, in order`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, partitions: 2)
        var request = ProduceRequest()
        let good = makeBatch(2)
        var broken = makeBatch(2)
        broken[broken.count - 1] ^= 1
        var compressed = makeBatch(2)
        compressed[22] = 1
        let future = makeBatch(1, time: 9_000_000_000_000)
        let batches: [(TopicID, Int32, [UInt8], ErrorCode)] = [
            (topic, 0, good, .none),
            (TopicID(high: 1, low: 2), 0, good, .unknownTopicID),
            (topic, 2, good, .unknownPartition),
            (topic, -1, good, .unknownPartition),
            (topic, 1, broken, .corruptMessage),
            (topic, 1, compressed, .unsupportedCompressionType),
            (topic, 1, future, .invalidTimestamp),
            (topic, 1, Array(good.dropLast()), .invalidRecord),
            (topic, 1, [], .invalidRecord),
            (topic, 1, makeBatch(1, bytes: 1_100_000), .messageTooLarge),
            (topic, 1, good, .none),
        ]
        request.batches = batches.map {
            ProduceEntry(topic: $0.0, partition: $0.1, recordsLength: UInt32($0.2.count))
        }
        let reply = try client.ask(request, attachment: batches.flatMap(\.2))
        #expect(reply.results.map(\.error) == batches.map(\.3))
        #expect(reply.results.map(\.baseOffset).filter { $0 >= 0 } == [0, 0])
        try harness.stop()
    }

    @Test func `acks none has no reply, and a refused batch closes with an error frame`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        try client.send(try produceFrame(topic, [makeBatch()], acks: .none, correlation: 4))
        #expect(try client.ask(PingRequest()).error == .none)
        var broken = makeBatch()
        broken[70] ^= 0xFF
        let after = try PingRequest().frame(correlation: 6)
        try client.send(
            try produceFrame(topic, [broken], acks: .none, correlation: 5) + after)
        let frames = try client.receiveUntilClosed()
        #expect(frames.map(\.header.correlation) == [5])
        let payload = try #require(frames.first).payload
        let reply = try ProduceReply.decode(payload, 0..<payload.count, version: 1).message
        #expect(reply.error == .corruptMessage)
        try harness.stop()
    }

    @Test func `the internal topic can be read and not written`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        var metadata = MetadataRequest()
        metadata.names = [TopicNameItem("$producers"), TopicNameItem("nothing")]
        let topics = try client.ask(metadata).topics
        #expect(topics.map(\.error) == [.none, .unknownTopic])
        let id = try #require(topics.first).id
        #expect(try client.produce(id, makeBatch()).error == .notAuthorized)
        var delete = DeleteTopicRequest()
        delete.id = id
        #expect(try client.ask(delete).error == .notAuthorized)
        try harness.stop()
    }

    /// What the storage puts off lies in the broker for as long as the disk takes.
    @Test func `a batch that was put off is not written once its epoch is over`() throws {
        let files = FaultyFileSystem()
        let harness = try BrokerHarness(
            configure: { $0.storage.unsyncedDurablePartitionBytesMax = 8 << 20 },
            setUp: { $0.fileSystem = files })
        let client = try harness.hello()
        let other = try harness.hello()
        let topic = try harness.makeTopic(client)
        let producer = try client.ask(InitProducerRequest())
        let gate = Latch()
        files.set { $0.gate = gate }
        // The last of them finds 8 MiB that are not on disk.
        let last: Int32 = 9
        for number in 0...last {
            let batch = makeBatch(
                1, bytes: 1_000_000, producerID: producer.producerID,
                epoch: producer.producerEpoch, sequence: number)
            try client.send(try produceFrame(topic, [batch], correlation: UInt64(number)))
        }
        // The first waited for its files.
        let metrics = harness.broker.services.metrics
        #expect(
            eventually {
                metrics.batchesIn.value == UInt64(last) && metrics.storagePauses.value > 1
            })
        var next = InitProducerRequest()
        next.producerID = producer.producerID
        next.producerEpoch = producer.producerEpoch
        try other.send(try next.frame(correlation: 1))
        // Taken in turn: the other request was, when this one is answered.
        try other.send(try PingRequest().frame(correlation: 2))
        #expect(try other.receive(PingReply.self).correlation == 2)
        files.set { $0.gate = nil }
        gate.arrive()
        #expect(try other.receive(InitProducerReply.self).reply.producerEpoch == 1)
        for number in 0...last {
            let result = try client.receive(ProduceReply.self).reply.results.first
            #expect(result?.error == (number < last ? ErrorCode.none : .staleProducerEpoch))
        }
        let state = try client.ask(fetchRequest(topic, from: 0))
        #expect(state.partitions.first?.highWatermark == Int64(last))
        try harness.stop()
    }

    @Test func `F-38 F-39 F-40 retries give the original offset, gaps are refused`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        let producer = try client.ask(InitProducerRequest())
        func batch(_ sequence: Int32) -> [UInt8] {
            makeBatch(
                2, producerID: producer.producerID, epoch: producer.producerEpoch,
                sequence: sequence)
        }
        for number in Int32(0)..<8 {
            let result = try client.produce(topic, batch(number * 2))
            #expect(result.error == .none && result.baseOffset == Int64(number * 2))
        }
        let again = try client.produce(topic, batch(8))
        #expect(again.error == .none && again.baseOffset == 8 && again.duplicate)
        #expect(try client.produce(topic, batch(0)).error == .duplicateSequence)
        #expect(try client.produce(topic, batch(20)).error == .outOfOrderSequence)
        let state = try client.ask(fetchRequest(topic, from: 0))
        #expect(state.partitions.first?.highWatermark == 16)
        try harness.stop()
    }

    @Test func `producer ids are never given twice, epochs fence, and survive a restart`() throws {
        var harness = try BrokerHarness()
        var client = try harness.hello()
        let first = try client.ask(InitProducerRequest())
        let second = try client.ask(InitProducerRequest())
        #expect(first.producerID != second.producerID)
        var bump = InitProducerRequest()
        bump.producerID = first.producerID
        bump.producerEpoch = first.producerEpoch
        let bumped = try client.ask(bump)
        #expect(bumped.producerID == first.producerID && bumped.producerEpoch == 1)
        #expect(try client.ask(bump).error == .staleProducerEpoch)
        let directory = harness.directory
        try harness.stop()
        harness = try BrokerHarness(directory: directory)
        client = try harness.hello()
        let topic = try harness.makeTopic(client)
        let id = first.producerID
        let old = makeBatch(producerID: id, epoch: 0, sequence: 0)
        #expect(try client.produce(topic, old).error == .staleProducerEpoch)
        let new = makeBatch(producerID: id, epoch: 1, sequence: 0)
        #expect(try client.produce(topic, new).error == .none)
        let unknown = makeBatch(producerID: 77_777, epoch: 0, sequence: 0)
        #expect(try client.produce(topic, unknown).error == .unknownProducer)
        let third = try client.ask(InitProducerRequest())
        #expect(third.producerID > second.producerID)
        try harness.stop()
    }
}
