import MartletBroker
import MartletFormat
import MartletStorage
import MartletWire
import Testing

/// Readers whose records are taken away under them (fault matrix, rows 24 and 25).
@Suite struct RetentionReaderTests {
    @Test
    func `F-24 F-25 segments that go while they are sent arrive whole, then the offset is gone`()
        throws
    {
        let harness = try BrokerHarness(limits: { $0.socketSendBytes = 16 << 10 })
        let client = try harness.hello()
        let topic = try harness.makeTopic(
            client, settings: [("segment.bytes", "65536"), ("batch.bytes.max", "65536")])
        let batches = 40
        var fills: [UInt8] = []
        for number in 0..<batches {
            let fill = UInt8(truncatingIfNeeded: number + 1)
            let batch = makeBatch(1, bytes: 60_000, fill: fill)
            #expect(try client.produce(topic, batch).error == .none)
            fills.append(fill)
        }
        // Replies that do not fit any buffer: most of each still lies in a file when that goes.
        let readers = try (0..<20).map { _ in try harness.hello(receiveBufferBytes: 8 << 10) }
        for (number, reader) in readers.enumerated() {
            let request = fetchRequest(topic, from: Int64(number), maxBytes: 1_000_000)
            try reader.send(try request.frame(correlation: 1))
        }
        #expect(try client.ask(PingRequest()).error == .none)
        var entry = DeleteRecordsEntry()
        entry.topic = topic
        entry.before = -1
        var delete = DeleteRecordsRequest()
        delete.entries = [entry]
        let deleted = try #require(try client.ask(delete).results.first)
        #expect(deleted.logStart == Int64(batches))

        for (number, reader) in readers.enumerated() {
            let (_, reply, attachment) = try reader.receive(FetchReply.self)
            let part = try #require(reply.partitions.first)
            guard part.error == .none else {
                #expect(part.error == .offsetOutOfRange, "reader \(number)")
                continue
            }
            // Each batch is whole and the one that was stored at its offset.
            #expect(attachment.count == Int(part.recordsLength) && attachment.count > 0)
            var at = 0
            while at < attachment.count {
                let header = try RecordBatchHeader(
                    reading: attachment.span(at..<attachment.count))
                let batch = attachment.span(at..<(at + header.byteCount))
                _ = try RecordBatch.validateForAppend(batch)
                let value = unsafe attachment.withUnsafeBytes(at..<(at + header.byteCount)) {
                    unsafe $0[header.byteCount - 2]
                }
                #expect(value == fills[Int(header.baseOffset)])
                at += header.byteCount
            }
        }
        // Whoever was slow is told, with the place where the log begins.
        let late = try client.ask(fetchRequest(topic, from: 3))
        #expect(late.partitions.first?.error == .offsetOutOfRange)
        #expect(late.partitions.first?.logStart == Int64(batches))
        try harness.stop()
    }
}
