import MartletFormat
import Testing

@Suite("Record batch") struct RecordBatchTests {
    @Test func `a built batch validates and reads back`() throws {
        let slab = ByteSlab(capacity: 4096)
        let builder = RecordBatchBuilder(slab: slab)
        let first = builder.add(
            key: [1, 2, 3],
            value: [UInt8](repeating: 7, count: 200),
            headers: [("trace", [9]), ("none", nil)],
            timestamp: 1_000
        )
        #expect(first)
        let second = builder.add(timestamp: 900)
        #expect(second)
        let header = builder.finish(producerID: 5, producerEpoch: 1, baseSequence: 40)
        #expect(header.maxTimestamp == 1_000)

        RecordBatch.assign(baseOffset: 77, leaderEpoch: 3, in: slab, at: 0)
        let read = try RecordBatch.validateForAppend(slab.bytes)
        #expect(read.baseOffset == 77)
        #expect(read.leaderEpoch == 3)
        #expect(read.lastOffset == 78)
        #expect(read.checksum == header.checksum)

        var cursor = RecordCursor(read)
        let one = try cursor.next(in: slab.bytes)
        #expect(one?.key?.count == 3)
        #expect(one?.value?.count == 200)
        #expect(one?.headerCount == 2)
        let two = try cursor.next(in: slab.bytes)
        #expect(two != nil && two?.key == nil && two?.value == nil)
        #expect(two?.timestampDelta == -100)
        let none = try cursor.next(in: slab.bytes)
        #expect(none == nil)
    }

    @Test func `the check value of RFC 3720`() {
        let digits = Array("123456789".utf8)
        #expect(crc(digits) == 0xE306_9283)
        #expect(softwareCRC(digits) == 0xE306_9283)
    }
}
