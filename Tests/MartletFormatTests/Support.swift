import MartletFormat
import MartletTestSupport

// The expectation macros cannot hold spans, so tests go through these, which take and give arrays.

struct TestHeader: Equatable, Sendable {
    var key: String
    var value: [UInt8]?
}

struct TestRecord: Equatable, Sendable {
    var key: [UInt8]?
    var value: [UInt8]?
    var headers: [TestHeader] = []
    var timestamp: Int64 = 0
}

extension RecordBatchBuilder {
    func add(_ record: TestRecord) -> Bool {
        let headers = record.headers.map { (key: $0.key, value: $0.value) }
        let time = record.timestamp
        switch (record.key, record.value) {
        case (nil, nil):
            return append(key: nil, value: nil, headers: headers, timestamp: time)
        case (let key?, nil):
            return unsafe append(
                key: key.span.bytes,
                value: nil,
                headers: headers,
                timestamp: time
            )
        case (nil, let value?):
            return unsafe append(
                key: nil,
                value: value.span.bytes,
                headers: headers,
                timestamp: time
            )
        case (let key?, let value?):
            return unsafe append(
                key: key.span.bytes,
                value: value.span.bytes,
                headers: headers,
                timestamp: time
            )
        }
    }
}

/// What the producer fields of a test's batch hold.
struct TestProducer {
    var id: Int64 = -1
    var epoch: Int16 = -1
    var sequence: Int32 = -1
}

/// A batch of these records; nil when the builder did not take them all.
func build(_ records: [TestRecord], producer: TestProducer = TestProducer()) -> [UInt8]? {
    let slab = ByteSlab(capacity: 1 << 20)
    let builder = RecordBatchBuilder(slab: slab)
    for record in records where !builder.add(record) { return nil }
    _ = builder.finish(
        producerID: producer.id,
        producerEpoch: producer.epoch,
        baseSequence: producer.sequence
    )
    return array(slab.bytes)
}

func array(_ span: RawSpan) -> [UInt8] {
    unsafe span.withUnsafeBytes { unsafe Array($0) }
}

func slice(_ bytes: [UInt8], _ range: Range<Int>?) -> [UInt8]? {
    range.map { Array(bytes[$0]) }
}

func readHeader(_ bytes: [UInt8], at position: Int = 0) throws(FormatError) -> RecordBatchHeader {
    try unsafe RecordBatchHeader(reading: bytes.span.bytes, at: position)
}

func validate(_ bytes: [UInt8]) throws(FormatError) -> RecordBatchHeader {
    try unsafe RecordBatch.validateForAppend(bytes.span.bytes)
}

/// Why `validateForAppend` refuses the bytes; nil when it takes them.
func refusal(_ bytes: [UInt8]) -> FormatError? {
    do throws(FormatError) {
        _ = try validate(bytes)
        return nil
    } catch {
        return error
    }
}

/// The field that `validateForAppend` blames.
func blamed(_ bytes: [UInt8]) -> String? {
    switch refusal(bytes) {
    case nil: nil
    case .truncated(let field, _, _, _): field
    case .invalid(let field, _, _): field
    case .checksum: "checksum"
    }
}

/// Every record of the batch at `position`, by the cursors.
func decode(_ bytes: [UInt8], at position: Int = 0) throws(FormatError) -> [TestRecord] {
    let header = try readHeader(bytes, at: position)
    var cursor = RecordCursor(header, startingAt: position + RecordBatch.headerBytes)
    var records: [TestRecord] = []
    while let fields = try unsafe cursor.next(in: bytes.span.bytes) {
        var record = TestRecord(
            key: slice(bytes, fields.key),
            value: slice(bytes, fields.value),
            timestamp: header.baseTimestamp &+ fields.timestampDelta
        )
        var headers = HeaderCursor(fields)
        while let header = try unsafe headers.next(in: bytes.span.bytes) {
            record.headers.append(
                TestHeader(
                    key: String(decoding: bytes[header.key], as: UTF8.self),
                    value: slice(bytes, header.value)
                )
            )
        }
        records.append(record)
    }
    return records
}

func crc(_ bytes: some Collection<UInt8>, continuing crc: UInt32 = 0) -> UInt32 {
    let bytes = Array(bytes)
    return unsafe CRC32C.checksum(bytes.span.bytes, continuing: crc)
}

func softwareCRC(_ bytes: some Collection<UInt8>, continuing crc: UInt32 = 0) -> UInt32 {
    let bytes = Array(bytes)
    return unsafe CRC32C.software(bytes.span.bytes, continuing: crc)
}

/// Overwrites bytes with an integer in big-endian order.
func put(_ value: some FixedWidthInteger, at position: Int, in bytes: inout [UInt8]) {
    let size = value.bitWidth / 8
    for index in 0..<size {
        bytes[position + index] = UInt8(truncatingIfNeeded: value >> (8 * (size - 1 - index)))
    }
}

/// Makes length and checksum right again after the batch was changed, as a peer with bad intent would.
func seal(_ bytes: inout [UInt8]) {
    put(Int32(bytes.count - 12), at: RecordBatchLayout.batchLength, in: &bytes)
    put(
        softwareCRC(bytes[RecordBatch.crcStart...]),
        at: RecordBatchLayout.checksum,
        in: &bytes
    )
}

extension SeededRandom {
    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
    }

    /// Any parts that a record may have; lengths favour the edges of the varints.
    mutating func record(around time: Int64 = 1_700_000_000_000) -> TestRecord {
        func part(_ random: inout SeededRandom) -> [UInt8]? {
            switch Int.random(in: 0..<8, using: &random) {
            case 0: nil
            case 1: []
            case 2: random.bytes(Int.random(in: 62...66, using: &random))
            case 3: random.bytes(Int.random(in: 0...400, using: &random))
            default: random.bytes(Int.random(in: 1...12, using: &random))
            }
        }
        var record = TestRecord(key: part(&self), value: part(&self))
        record.timestamp = time + Int64.random(in: -300...300, using: &self)
        if Int.random(in: 0..<4, using: &self) == 0 {
            for _ in 0..<Int.random(in: 1...4, using: &self) {
                let key = ["", "k", "traceparent", "schlüssel", "鍵"].randomElement(using: &self)
                record.headers.append(TestHeader(key: key ?? "", value: part(&self)))
            }
        }
        return record
    }
}
