import MartletFormat
import MartletTestSupport
import Testing

@Suite("Record cursor") struct RecordCursorTests {
    @Test func `batches lie one behind the other`() throws {
        let first = try SampleBatch.bytes()
        let second = try #require(build([TestRecord(key: [8], value: [9], timestamp: 3)]))
        let both = first + second
        #expect(try decode(both) == SampleBatch.records)
        #expect(try decode(both, at: first.count).count == 1)
    }

    @Test func `a batch thinned by compaction is read`() throws {
        // Offsets 0 and 3 are left of 0...5.
        let records = [TestRecord(value: [1]), TestRecord(value: [2])]
        var bytes = try #require(build(records))
        put(Int32(5), at: RecordBatchLayout.lastOffsetDelta, in: &bytes)
        bytes[61 + 8 + 3] = 6
        seal(&bytes)
        #expect(try decode(bytes) == records)
        #expect(try readHeader(bytes).nextOffset == 6)
        #expect(blamed(bytes) == "last offset delta")
    }

    @Test func `a batch emptied by compaction is read`() throws {
        var bytes = Array(try SampleBatch.bytes()[..<61])
        put(Int32(0), at: RecordBatchLayout.recordCount, in: &bytes)
        seal(&bytes)
        #expect(try decode(bytes) == [])
        #expect(blamed(bytes) == "record count")
    }

    @Test func `compressed records are not guessed at`() throws {
        var bytes = try SampleBatch.bytes()
        put(Int16(2), at: RecordBatchLayout.attributes, in: &bytes)
        seal(&bytes)
        #expect(try readHeader(bytes).codec == 2)
        #expect(throws: FormatError.invalid(field: "attributes", at: 61, reason: "name codec 2")) {
            try decode(bytes)
        }
    }

    @Test func `an error stays and the cursor stands still`() throws {
        var bytes = try SampleBatch.bytes()
        let header = try readHeader(bytes)
        // The length of the second record.
        let second = 61 + 2 + 111
        var cursor = RecordCursor(header)
        let first = try unsafe cursor.next(in: bytes.span.bytes)
        #expect(first?.headers.upperBound == second - 1)
        bytes[second - 1] = 1
        for _ in 0..<2 {
            #expect(throws: FormatError.self) { _ = try unsafe cursor.next(in: bytes.span.bytes) }
        }
        bytes[second - 1] = 14
        let again = try unsafe cursor.next(in: bytes.span.bytes)
        #expect(again?.offsetDelta == 1)
    }

    @Test func `records that end before their batch`() throws {
        var bytes = try SampleBatch.bytes()
        put(Int32(3), at: RecordBatchLayout.recordCount, in: &bytes)
        #expect(throws: FormatError.self) { try decode(bytes) }
        put(Int32(5), at: RecordBatchLayout.recordCount, in: &bytes)
        #expect(throws: FormatError.self) { try decode(bytes) }
    }

    @Test func `a header cursor over shorter bytes throws`() throws {
        let bytes = try SampleBatch.bytes()
        var cursor = RecordCursor(try readHeader(bytes))
        var fields: RecordFields?
        for _ in 0..<3 { fields = try unsafe cursor.next(in: bytes.span.bytes) }
        let record = try #require(fields)
        #expect(record.headerCount == 2)
        var headers = HeaderCursor(record)
        let short = Array(bytes[..<(record.headers.upperBound - 1)])
        #expect(throws: FormatError.self) { _ = try unsafe headers.next(in: short.span.bytes) }
    }
}

@Suite("Record batch header") struct RecordBatchHeaderTests {
    @Test func `every field is where the layout says`() throws {
        let bytes = (0..<64).map { UInt8($0) }
        var shifted = [0xEE] + bytes
        put(Int8(2), at: 1 + RecordBatchLayout.magicByte, in: &shifted)
        let header = try readHeader(shifted, at: 1)
        #expect(header.baseOffset == 0x0001_0203_0405_0607)
        #expect(header.batchLength == 0x0809_0A0B)
        #expect(header.leaderEpoch == 0x0C0D_0E0F)
        #expect(header.checksum == 0x1112_1314)
        #expect(header.attributes == 0x1516)
        #expect(header.lastOffsetDelta == 0x1718_191A)
        #expect(header.baseTimestamp == 0x1B1C_1D1E_1F20_2122)
        #expect(header.maxTimestamp == 0x2324_2526_2728_292A)
        #expect(header.producerID == 0x2B2C_2D2E_2F30_3132)
        #expect(header.producerEpoch == 0x3334)
        #expect(header.baseSequence == 0x3536_3738)
        #expect(header.recordCount == 0x393A_3B3C)
        #expect(header.codec == 6)
        #expect(header.isTransactional)

        let slab = ByteSlab(capacity: 100)
        slab.appendZeros(70)
        header.write(into: slab, at: 4)
        #expect(try RecordBatchHeader(reading: slab.bytes, at: 4) == header)
        #expect(array(slab.span(4..<65)) == Array(shifted[1..<62]))
    }

    @Test func `a length below a header's is refused by itself`() throws {
        var bytes = try SampleBatch.bytes()
        for length: Int32 in [.min, -1, 0, 48] {
            put(length, at: RecordBatchLayout.batchLength, in: &bytes)
            #expect(throws: FormatError.self) { try readHeader(bytes) }
        }
        // Also when somebody else made the header.
        put(Int32(49), at: RecordBatchLayout.batchLength, in: &bytes)
        var header = try readHeader(bytes)
        for length: Int32 in [.min, 0, 8, 48] {
            header.batchLength = length
            #expect(throws: FormatError.self) {
                try unsafe RecordBatch.checkChecksum(bytes.span.bytes, header)
            }
            var cursor = RecordCursor(header)
            #expect(throws: FormatError.self) { _ = try unsafe cursor.next(in: bytes.span.bytes) }
        }
        #expect(try readHeader(bytes).byteCount == 61)
        put(Int32.max, at: RecordBatchLayout.batchLength, in: &bytes)
        #expect(try readHeader(bytes).byteCount == Int(Int32.max) + 12)
    }

    @Test func `it needs 61 bytes from where it begins`() throws {
        let bytes = try SampleBatch.bytes()
        for position in [-1, Int.min, Int.max, bytes.count, bytes.count - 60] {
            #expect(throws: FormatError.self) { try readHeader(bytes, at: position) }
        }
    }
}

@Suite("Record batch builder") struct RecordBatchBuilderTests {
    @Test func `it writes behind what is there`() throws {
        let slab = ByteSlab(capacity: 4096)
        slab.append(UInt64(0x1122_3344_5566_7788))
        let first = RecordBatchBuilder(slab: slab)
        for record in SampleBatch.records { #expect(first.add(record)) }
        #expect(first.recordCount == 4)
        let header = first.finish()
        #expect(header.byteCount == first.byteCount)
        let end = slab.count
        let second = RecordBatchBuilder(slab: slab)
        #expect(second.add(TestRecord(value: [1])))
        _ = second.finish()
        #expect(array(slab.span(0..<8)) == [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88])
        #expect(try RecordBatch.validateForAppend(slab.span(8..<end)) == header)
        #expect(try RecordBatch.validateForAppend(slab.span(end..<slab.count)).recordCount == 1)
    }

    @Test func `a record that does not fit changes nothing`() throws {
        let record = TestRecord(key: [1], value: [UInt8](repeating: 2, count: 50), timestamp: 5)
        let whole = try #require(build([record]))
        for capacity in 61..<whole.count {
            let slab = ByteSlab(capacity: capacity)
            let builder = RecordBatchBuilder(slab: slab)
            #expect(!builder.add(record))
            #expect(builder.recordCount == 0)
            #expect(builder.byteCount == 61)
        }
        let slab = ByteSlab(capacity: whole.count)
        let builder = RecordBatchBuilder(slab: slab)
        #expect(builder.add(record))
        #expect(!builder.add(TestRecord()))
        _ = builder.finish()
        #expect(array(slab.bytes) == whole)
    }

    @Test func `times at the ends of the range`() throws {
        for times: [Int64] in [
            [.min], [.max], [.min, -1], [.max, 0], [0, .max, -1], [-1, .min],
        ] {
            let records = times.map { TestRecord(timestamp: $0) }
            let bytes = try #require(build(records))
            #expect(try validate(bytes).maxTimestamp == times.max())
            #expect(try decode(bytes) == records)
        }
        // The difference is no 64-bit integer: the record opens the next batch.
        #expect(build([TestRecord(timestamp: .min), TestRecord(timestamp: 0)]) == nil)
        #expect(build([TestRecord(timestamp: .max), TestRecord(timestamp: -2)]) == nil)
    }

    @Test func `producer fields at the ends of their ranges`() throws {
        let producer = TestProducer(id: .max, epoch: .max, sequence: .max)
        let header = try validate(try #require(build([TestRecord()], producer: producer)))
        #expect(header.producerID == .max)
        #expect(header.producerEpoch == .max)
        #expect(header.baseSequence == .max)
    }

    @Test func `the estimate is never too small`() {
        var random = SeededRandom.announced()
        for _ in 0..<random.iterations(300) {
            let slab = ByteSlab(capacity: 1 << 16)
            let builder = RecordBatchBuilder(slab: slab)
            for time: Int64 in [0, .max, -1, .min + 1] {
                var record = random.record()
                record.timestamp = time
                let estimate = RecordBatchBuilder.estimatedBytes(
                    keyBytes: record.key?.count ?? 0,
                    valueBytes: record.value?.count ?? 0,
                    headers: record.headers.map { (key: $0.key, value: $0.value) }
                )
                let before = builder.byteCount
                _ = builder.add(record)
                #expect(builder.byteCount - before <= estimate)
            }
        }
    }

    @Test func `many records, offsets of one to three bytes`() throws {
        let records = (0..<9_000).map { TestRecord(value: [UInt8($0 & 0xFF)], timestamp: $0 / 7) }
        let bytes = try #require(build(records))
        #expect(try validate(bytes).recordCount == 9_000)
        #expect(try decode(bytes) == records)
    }
}

@Suite("Format error") struct FormatErrorTests {
    @Test func `it says what is wrong and where`() {
        #expect(
            FormatError.truncated(field: "key length", at: 70, need: 2, have: 1).description
                == "key length at byte 70 needs 2 bytes, 1 are left"
        )
        #expect(
            FormatError.invalid(field: "magic", at: 16, reason: "is 1, must be 2").description
                == "magic at byte 16 is 1, must be 2"
        )
        #expect(
            FormatError.checksum(at: 17, stored: 0xAB, computed: 0xFFFF_FFFF).description
                == "checksum at byte 17 is 0x000000ab, the bytes give 0xffffffff"
        )
    }
}
