import MartletFormat
import MartletTestSupport
import Testing

/// Batches that between them use every part of the format.
enum SampleBatch {
    static let records: [TestRecord] = [
        TestRecord(key: [1, 2, 3], value: [UInt8](repeating: 7, count: 100), timestamp: 1_000),
        TestRecord(key: nil, value: nil, timestamp: 900),
        TestRecord(
            key: [],
            value: [],
            headers: [TestHeader(key: "trace", value: [9]), TestHeader(key: "", value: nil)],
            timestamp: 1_000_000
        ),
        TestRecord(key: [5], value: [6], timestamp: -1),
    ]

    static let producer = TestProducer(id: 77, epoch: 3, sequence: 1_000)

    static func bytes(_ records: [TestRecord] = records) throws -> [UInt8] {
        try #require(build(records, producer: producer))
    }
}

@Suite("Record batch") struct RecordBatchTests {
    @Test func `a built batch validates and reads back`() throws {
        let bytes = try SampleBatch.bytes()
        let header = try validate(bytes)
        #expect(header.byteCount == bytes.count)
        #expect(header.recordCount == 4)
        #expect(header.lastOffsetDelta == 3)
        #expect(header.baseTimestamp == 1_000)
        #expect(header.maxTimestamp == 1_000_000)
        #expect(header.producerID == 77 && header.hasProducerID)
        #expect(header.producerEpoch == 3)
        #expect(header.baseSequence == 1_000)
        #expect(header.codec == 0)
        #expect(!header.isTransactional && !header.isControl && !header.isLogAppendTime)
        #expect(try decode(bytes) == SampleBatch.records)
        #expect(ReferenceDecoder.decode(bytes) == SampleBatch.records)
    }

    @Test func `random batches read back as they were`() throws {
        var random = SeededRandom.announced()
        for _ in 0..<random.iterations(300) {
            let count = Int.random(in: 1...20, using: &random)
            let records = (0..<count).map { _ in random.record() }
            let bytes = try #require(build(records))
            let header = try validate(bytes)
            #expect(header.maxTimestamp == records.map(\.timestamp).max())
            #expect(try decode(bytes) == records)
            #expect(ReferenceDecoder.decode(bytes) == records)
        }
    }

    @Test func `assigning keeps the checksum right`() throws {
        let slab = ByteSlab(capacity: 1000)
        slab.append(UInt16(0))
        // Bound to a name first: the compiler stumbles over the span of a call that may throw.
        let bytes = try SampleBatch.bytes()
        slab.append(unsafe bytes.span.bytes)
        RecordBatch.assign(baseOffset: .max - 4, leaderEpoch: .min, in: slab, at: 2)
        let header = try RecordBatch.validateForAppend(slab.span(2..<slab.count))
        #expect(header.leaderEpoch == .min)
        #expect(header.lastOffset == .max - 1)
        #expect(header.nextOffset == .max)
    }

    @Test func `every cut of a batch is refused`() throws {
        let bytes = try SampleBatch.bytes()
        let header = try readHeader(bytes)
        for kept in 0..<bytes.count {
            let cut = Array(bytes[..<kept])
            #expect(refusal(cut) != nil, "\(kept) bytes")
            // As a reader of a torn file meets it: the header is whole, the rest is not.
            var cursor = RecordCursor(header)
            #expect(throws: FormatError.self) { _ = try unsafe cursor.next(in: cut.span.bytes) }
            #expect(throws: FormatError.self) {
                try unsafe RecordBatch.checkChecksum(cut.span.bytes, header)
            }
            guard kept >= RecordBatch.headerBytes else { continue }
            // As a peer with bad intent sends it: length and checksum fit the cut.
            var sealed = cut
            seal(&sealed)
            #expect(refusal(sealed) != nil, "\(kept) bytes, sealed")
            #expect(throws: FormatError.self) { try decode(sealed) }
        }
    }

    @Test func `every changed byte is refused, or seen by the prefix checksum`() throws {
        let bytes = try SampleBatch.bytes()
        let prefix = unsafe RecordBatch.prefixChecksum(bytes.span.bytes, continuing: 5)
        #expect(prefix == softwareCRC(bytes[..<17], continuing: 5))
        for position in bytes.indices {
            for flip in UInt8(1)...255 {
                var changed = bytes
                changed[position] ^= flip
                if position < RecordBatch.prefixBytes {
                    let seen = unsafe RecordBatch.prefixChecksum(changed.span.bytes, continuing: 5)
                    #expect(seen != prefix)
                } else {
                    #expect(refusal(changed) != nil, "byte \(position) ^ \(flip)")
                }
            }
        }
    }

    @Test func `with a right checksum, exactly the well-formed is taken`() throws {
        var random = SeededRandom.announced()
        var taken = 0
        for _ in 0..<random.iterations(6_000) {
            let count = Int.random(in: 1...3, using: &random)
            let records = (0..<count).map { _ in random.record(around: 500) }
            var bytes = try #require(build(records))
            random.damage(&bytes)
            seal(&bytes)
            let expected = ReferenceDecoder.decode(bytes)
            let error = refusal(bytes)
            #expect((error == nil) == (expected != nil), "\(String(describing: error)) \(bytes)")
            guard let expected else { continue }
            taken += 1
            #expect(try decode(bytes) == expected)
        }
        #expect(taken > 0)
    }

    @Test func `bytes after the batch are refused`() throws {
        let bytes = try SampleBatch.bytes()
        #expect(blamed(bytes + [0]) == "batch length")
        var sealed = bytes + [0]
        seal(&sealed)
        #expect(blamed(sealed) == "records")
    }
}

@Suite("Record batch rules") struct RecordBatchRuleTests {
    typealias Layout = RecordBatchLayout

    /// The field blamed after an integer of the header was replaced.
    private func blame(_ value: some FixedWidthInteger, at position: Int) throws -> String? {
        var bytes = try SampleBatch.bytes()
        put(value, at: position, in: &bytes)
        put(softwareCRC(bytes[RecordBatch.crcStart...]), at: Layout.checksum, in: &bytes)
        return blamed(bytes)
    }

    @Test func `header fields out of their ranges`() throws {
        for magic: Int8 in [0, 1, 3, -1] {
            #expect(try blame(magic, at: Layout.magicByte) == "magic")
        }
        for length: Int32 in [48, 0, -1, .min, .max, 49] {
            #expect(try blame(length, at: Layout.batchLength) == "batch length")
        }
        for offset: Int64 in [-1, .min, .max, .max - 3] {
            #expect(try blame(offset, at: Layout.baseOffset) == "base offset")
        }
        #expect(try blame(Int64.max - 4, at: Layout.baseOffset) == nil)
        for count: Int32 in [-1, .min] {
            #expect(try blame(count, at: Layout.recordCount) == "record count")
            #expect(try blame(count, at: Layout.lastOffsetDelta) == "last offset delta")
        }
        for count: Int32 in [0, .max] {
            #expect(try blame(count, at: Layout.recordCount) == "record count")
        }
        for delta: Int32 in [0, 2, 4, .max] {
            #expect(try blame(delta, at: Layout.lastOffsetDelta) == "last offset delta")
        }
        for time: Int64 in [0, 999_999, .max, .min] {
            #expect(try blame(time, at: Layout.maxTimestamp) == "max timestamp")
        }
        for time: Int64 in [.max, .min] {
            #expect(try blame(time, at: Layout.baseTimestamp) == "timestamp delta")
        }
        #expect(try blame(Int32.min, at: Layout.leaderEpoch) == nil)
    }

    @Test func `attributes that a producer may not set`() throws {
        for attributes: Int16 in [1, 2, 3, 4, 7, 8, 16, 32, 64, 128, .min, -1] {
            #expect(try blame(attributes, at: Layout.attributes) == "attributes")
        }
    }

    @Test func `producer fields go together`() throws {
        #expect(try blame(Int64(-2), at: Layout.producerID) == "producer id")
        #expect(try blame(Int64.min, at: Layout.producerID) == "producer id")
        let together = "producer epoch and base sequence"
        #expect(try blame(Int16(-1), at: Layout.producerEpoch) == together)
        #expect(try blame(Int32(-1), at: Layout.baseSequence) == together)
        // Without an id the others do not matter.
        #expect(try blame(Int64(-1), at: Layout.producerID) == nil)
    }

    /// The field blamed for a batch whose only record is these bytes.
    private func blame(record: [UInt8], maxTimestamp: Int64 = 0) -> String? {
        var bytes = [UInt8](repeating: 0, count: Layout.records) + record
        put(Layout.magic, at: Layout.magicByte, in: &bytes)
        put(Int64(-1), at: Layout.producerID, in: &bytes)
        put(maxTimestamp, at: Layout.maxTimestamp, in: &bytes)
        put(Int32(1), at: Layout.recordCount, in: &bytes)
        seal(&bytes)
        #expect((blamed(bytes) == nil) == (ReferenceDecoder.decode(bytes) != nil))
        return blamed(bytes)
    }

    /// Prefixes the length of what follows.
    private func framed(_ body: [UInt8]) -> [UInt8] {
        VarintTests.encode(Varint.zigZag(Int64(body.count))) + body
    }

    @Test func `record fields out of their ranges`() {
        // Attributes, timestamp delta, offset delta, null key, null value, no headers.
        #expect(blame(record: framed([0, 0, 0, 1, 1, 0])) == nil)
        #expect(blame(record: framed([1, 0, 0, 1, 1, 0])) == "record attributes")
        #expect(blame(record: framed([0, 0, 2, 1, 1, 0])) == "offset delta")
        #expect(blame(record: framed([0, 0, 1, 1, 1, 0])) == "offset delta")
        #expect(blame(record: framed([0, 2, 0, 1, 1, 0])) == "max timestamp")
        #expect(blame(record: framed([0, 1, 0, 1, 1, 0]), maxTimestamp: -1) == nil)
        #expect(blame(record: framed([0, 0, 0, 3, 1, 0])) == "key length")
        #expect(blame(record: framed([0, 0, 0, 1, 3, 0])) == "value length")
        #expect(blame(record: framed([0, 0, 0, 8, 1, 0])) == "key length")
        #expect(blame(record: framed([0, 0, 0, 1, 4, 0])) == "value length")
        #expect(blame(record: framed([0, 0, 0, 1, 1, 1])) == "header count")
        #expect(blame(record: framed([0, 0, 0, 1, 1, 2])) == "headers")
        #expect(blame(record: framed([0, 0, 0, 1, 1, 0, 0])) == "header count")
        #expect(blame(record: framed([0, 0, 0, 1, 1, 2, 0, 1])) == nil)
        #expect(blame(record: framed([0, 0, 0, 1, 1, 2, 1, 1])) == "header key length")
        #expect(blame(record: framed([0, 0, 0, 1, 1, 2, 0, 3])) == "header value length")
        #expect(blame(record: framed([0, 0, 0, 1, 1, 2, 2, 0xFF, 1])) == "header key")
        #expect(blame(record: framed([0, 0, 0, 1, 1, 2, 0, 1, 0])) == "headers")
        #expect(blame(record: [1] + [0, 0, 0, 1, 1, 0]) == "record length")
        #expect(blame(record: [14] + [0, 0, 0, 1, 1, 0]) == "record length")
        #expect(blame(record: [10] + [0, 0, 0, 1, 1, 0]) == "header count")
        #expect(blame(record: [0] + [0, 0, 0, 1, 1, 0]) == "record attributes")
    }

    @Test func `32-bit fields in more than five bytes, or beyond 32 bits`() {
        let tail = [UInt8](repeating: 0xAA, count: 32)
        // A value of 32 bytes, so that the eight-byte loads have room.
        let body: [UInt8] = [0, 0, 0, 1, 64] + tail + [0]
        #expect(blame(record: framed(body)) == nil)
        // The record's length, 38, as a longer and longer varint.
        let zeros = [UInt8](repeating: 0x80, count: 8)
        for size in 2...9 {
            let length = [76 | 0x80] + zeros[..<(size - 2)] + [0]
            let refused = blame(record: length + body)
            #expect(refused == (size <= 5 ? nil : "record length"), "\(size) bytes")
            // The same in the middle of the record and at its end.
            let offset = framed([0, 0, 0x80] + zeros[..<(size - 2)] + [0, 1, 64] + tail + [0])
            #expect(blame(record: offset) == (size <= 5 ? nil : "offset delta"), "\(size) bytes")
            let count = framed([0, 0, 0, 1, 64] + tail + [0x80] + zeros[..<(size - 2)] + [0])
            #expect(blame(record: count) == (size <= 5 ? nil : "header count"), "\(size) bytes")
        }
        // Bits that a careless cut to 32 bits would lose.
        for top: UInt8 in [0x10, 0x20, 0x40, 0x7F] {
            let zero: [UInt8] = [0x80, 0x80, 0x80, 0x80, top]
            #expect(blame(record: framed([0, 0] + zero + [1, 64] + tail + [0])) == "offset delta")
            #expect(blame(record: framed([0, 0] + zero + [1, 1, 0])) == "offset delta")
        }
        let wide: [UInt8] = [0xCC, 0x80, 0x80, 0x80, 0x10]
        #expect(blame(record: wide + body) == "record length")
        // The largest lengths there are.
        let largest: [UInt8] = [0xFE, 0xFF, 0xFF, 0xFF, 0x0F]
        let smallest: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F]
        for length in [largest, smallest] {
            #expect(blame(record: length + body) == "record length")
            #expect(blame(record: framed([0, 0, 0] + length + [1] + tail)) == "key length")
            #expect(blame(record: framed([0, 0, 0, 1] + length + tail)) == "value length")
            let counted = blame(record: framed([0, 0, 0, 1, 1] + length + tail))
            #expect(counted == (length == largest ? "headers" : "header count"))
            #expect(
                blame(record: framed([0, 0] + length + [1, 64] + tail + [0])) == "offset delta")
        }
    }

    @Test func `the limits on headers`() throws {
        func blame(count: Int, valueBytes: Int) throws -> String? {
            let header = TestHeader(key: "k", value: [UInt8](repeating: 1, count: valueBytes))
            let record = TestRecord(headers: [TestHeader](repeating: header, count: count))
            let bytes = try #require(build([record, TestRecord()]))
            #expect((blamed(bytes) == nil) == (ReferenceDecoder.decode(bytes) != nil))
            return blamed(bytes)
        }
        #expect(try blame(count: 64, valueBytes: 10) == nil)
        #expect(try blame(count: 65, valueBytes: 10) == "headers")
        // Key length, key, a value length of three bytes, value.
        #expect(try blame(count: 1, valueBytes: 32 * 1024 - 5) == nil)
        #expect(try blame(count: 1, valueBytes: 32 * 1024 - 4) == "headers")
        #expect(try blame(count: 64, valueBytes: 512) == "headers")
    }
}

extension SeededRandom {
    /// Changes a few bytes, mostly where lengths and counts are; sometimes cuts or grows the batch.
    mutating func damage(_ bytes: inout [UInt8]) {
        for _ in 0..<Int.random(in: 1...3, using: &self) {
            let inHeader = Int.random(in: 0..<5, using: &self) == 0
            let position =
                inHeader
                ? Int.random(in: 0..<61, using: &self)
                : Int.random(in: 61..<min(bytes.count, 80), using: &self)
            // Never the magic: too many batches would end there.
            guard position != RecordBatchLayout.magicByte else { continue }
            switch Int.random(in: 0..<4, using: &self) {
            case 0: bytes[position] = UInt8.random(in: 0...255, using: &self)
            case 1: bytes[position] = UInt8.random(in: 0...4, using: &self)
            case 2: bytes[position] &+= 2
            default: bytes[position] ^= 0x80
            }
        }
        switch Int.random(in: 0..<10, using: &self) {
        case 0: bytes.removeLast(Int.random(in: 1...(bytes.count - 61), using: &self))
        case 1: bytes += self.bytes(Int.random(in: 1...9, using: &self))
        default: break
        }
    }
}
