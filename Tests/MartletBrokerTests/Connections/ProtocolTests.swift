import MartletFormat
import MartletWire
import Testing

@Suite struct ProtocolTests {
    @Test func `a client says hello, makes a topic, produces and reads it back`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, partitions: 2)
        for acks in [Acks.durable, .written] {
            let result = try client.produce(topic, makeBatch(3), partition: 1, acks: acks)
            #expect(result.error == .none, "\(result.message)")
            #expect(result.durability == acks.rawValue)
        }
        try client.send(
            try fetchRequest(topic, from: 0, partition: 1, wait: 5_000, minBytes: 150)
                .frame(correlation: 9))
        let (correlation, reply, attachment) = try client.receive(FetchReply.self)
        #expect(correlation == 9)
        let part = try #require(reply.partitions.first)
        #expect(part.error == .none && part.highWatermark == 6)
        let first = try RecordBatchHeader(reading: attachment.bytes)
        #expect(first.baseOffset == 0 && first.recordCount == 3)
        var checksum = part.startChecksum
        var position = 0
        while position < attachment.count {
            let rest = attachment.span(position..<attachment.count)
            checksum = RecordBatch.prefixChecksum(rest, continuing: checksum)
            position += try RecordBatchHeader(reading: rest).byteCount
        }
        #expect(checksum == part.endChecksum)
        try harness.stop()
    }

    @Test func `F-34 an unknown operation is answered and the connection lives`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        for operation in [UInt16(999), 0, 0x7FFF] {
            var frame = try PingRequest().frame(correlation: 7)
            frame[4] = UInt8(operation >> 8)
            frame[5] = UInt8(truncatingIfNeeded: operation)
            try client.send(frame)
            let (header, payload) = try client.receive()
            #expect(header.operation == operation | FrameHeader.replyBit)
            #expect(header.correlation == 7)
            let reply = try PingReply.decode(payload, 0..<payload.count, version: 1).message
            #expect(reply.error == .unknownOperation)
        }
        #expect(try client.ask(PingRequest()).error == .none)
        try harness.stop()
    }

    @Test(arguments: [UInt16(0), 2, 65_535])
    func `F-34 an unknown version is answered and the connection lives`(version: UInt16) throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        try client.send(
            try PingRequest().frame(operation: 2, version: version, correlation: 8))
        let (correlation, reply, _) = try client.receive(PingReply.self)
        #expect(correlation == 8 && reply.error == .unsupportedVersion)
        #expect(try client.ask(PingRequest()).error == .none)
        try harness.stop()
    }

    @Test func `a hello of another version is answered, the next one may do better`() throws {
        let harness = try BrokerHarness()
        let client = try harness.connect()
        var hello = HelloRequest()
        hello.versionMin = 7
        hello.versionMax = 9
        #expect(try client.ask(hello).error == .unsupportedVersion)
        let reply = try client.ask(HelloRequest())
        #expect(reply.error == .none && reply.version == 1 && reply.principal == "anonymous")
        #expect(reply.operations.count == Operation.allCases.count)
        #expect(try client.ask(HelloRequest()).error == .invalidRequest)
        try harness.stop()
    }

    @Test func `every operation but hello is refused before hello, and closes`() throws {
        let harness = try BrokerHarness()
        for operation in Operation.allCases where operation != .hello {
            let client = try harness.connect()
            try client.send(
                try PingRequest().frame(
                    operation: operation.rawValue, version: 1, correlation: 1))
            let frames = try client.receiveUntilClosed()
            #expect(frames.count == 1, "\(operation)")
            let payload = try #require(frames.first).payload
            #expect(
                try PingReply.decode(payload, 0..<payload.count, version: 1).message.error
                    == .helloRequired)
        }
        try harness.stop()
    }

    @Test func `a malformed request is refused and the connection lives`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        for operation in Operation.allCases where operation != .ping {
            // One byte is not enough for any of them, and too much for those without fields.
            let header = FrameHeader(
                operation: operation.rawValue, version: 1, correlation: 3, payloadBytes: 1)
            let slab = ByteSlab(capacity: 17)
            header.encode(into: slab)
            slab.append(UInt8(7))
            try client.send(unsafe slab.withUnsafeBytes(0..<17) { unsafe [UInt8]($0) })
            let (_, reply, _) = try client.receive(PingReply.self)
            #expect(reply.error == .invalidRequest, "\(operation)")
        }
        #expect(try client.ask(PingRequest()).error == .none)
        try harness.stop()
    }

    @Test func `F-28 a conversation sent byte by byte is understood the same`() throws {
        let harness = try BrokerHarness()
        let client = try harness.connect()
        for byte in try HelloRequest().frame(correlation: 5) { try client.send([byte]) }
        #expect(try client.receive(HelloReply.self).reply.error == .none)
        let topic = try harness.makeTopic(client)
        for byte in try produceFrame(topic, [makeBatch(2)]) { try client.send([byte]) }
        #expect(try client.receive(ProduceReply.self).reply.results.first?.error == ErrorCode.none)
        try harness.stop()
    }
}
