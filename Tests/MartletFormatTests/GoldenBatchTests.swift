import Glibc
import MartletFormat
import MartletJSON
import MartletSystem
import MartletTestSupport
import Testing

/// Batches written by an independent implementation, and ours written for it to read:
/// `scripts/golden-batches` is the other half.
@Suite("Golden batches") struct GoldenBatchTests {
    static let directory = Repository.root + "/Tests/MartletFormatTests/Golden"

    static let names: [String] = {
        let files = (try? PosixFileSystem().list(directory)) ?? []
        return files.filter { $0.hasSuffix(".bin") }.map { String($0.dropLast(4)) }
    }()

    /// Not ours to write: we read its header and refuse to append it.
    static let refused = ["transactional"]

    @Test func `the files are there`() {
        #expect(Self.names.count >= 13, "none in \(Self.directory)?")
    }

    @Test(arguments: names) func `a foreign batch reads as described`(name: String) throws {
        let bytes = try Self.read("\(Self.directory)/\(name).bin")
        let text = try Self.read("\(Self.directory)/\(name).json")
        let expected = try JSONValue(parsing: text)
        #expect(try GoldenBatch(bytes).description == expected)
    }

    @Test(arguments: names) func `a foreign batch is written again byte for byte`(
        name: String
    ) throws {
        let bytes = try Self.read("\(Self.directory)/\(name).bin")
        guard !Self.refused.contains(name) else {
            #expect(blamed(bytes) == "attributes")
            return
        }
        let golden = try GoldenBatch(bytes)
        #expect(try validate(bytes) == golden.header)
        let producer = TestProducer(
            id: golden.header.producerID,
            epoch: golden.header.producerEpoch,
            sequence: golden.header.baseSequence
        )
        var ours = try #require(build(golden.records, producer: producer))
        // The one field that producers fill differently, and brokers overwrite.
        put(golden.header.leaderEpoch, at: RecordBatchLayout.leaderEpoch, in: &ours)
        #expect(ours == bytes)
    }

    /// Writes into the folder that `MARTLET_GOLDEN_OUT` names; builds and describes them in any case.
    @Test func `our batches for the other side to read`() throws {
        let folder = unsafe getenv("MARTLET_GOLDEN_OUT").map { unsafe String(cString: $0) }
        let files = PosixFileSystem()
        if let folder { try files.makeDirectory(folder) }
        var random = SeededRandom.announced()
        for index in 0..<300 {
            let records = random.goldenRecords(index)
            let producer = TestProducer(
                id: Int64(index) &- 1,
                epoch: Int16(index - 1),
                sequence: Int32(index - 1)
            )
            var bytes = try #require(build(records, producer: producer))
            put(Int64(index) << 32, at: RecordBatchLayout.baseOffset, in: &bytes)
            put(Int32(index), at: RecordBatchLayout.leaderEpoch, in: &bytes)
            let batch = try GoldenBatch(bytes)
            #expect(batch.records == records)
            guard let folder else { continue }
            try Self.write(bytes, to: "\(folder)/\(index).bin", files)
            try Self.write(
                JSONWriter.bytes(batch.description),
                to: "\(folder)/\(index).json",
                files
            )
        }
    }

    private static func read(_ path: String) throws -> [UInt8] {
        let file = try PosixFileSystem().open(path, .readOnly)
        let slab = ByteSlab(capacity: Int(try file.size()))
        let size = try unsafe slab.fill { room throws(SystemError) in
            try unsafe file.read(into: room, at: 0)
        }
        try file.close()
        #expect(size == slab.capacity)
        return array(slab.bytes)
    }

    private static func write(_ bytes: [UInt8], to path: String, _ files: PosixFileSystem) throws {
        let file = try files.open(path, .createNew)
        try unsafe bytes.withUnsafeBytes { try unsafe file.write($0, at: 0) }
        try file.close()
    }
}

/// A batch as the product's cursors see it, in the words of the description files.
private struct GoldenBatch {
    let header: RecordBatchHeader
    let records: [TestRecord]
    private let offsetDeltas: [Int32]

    init(_ bytes: [UInt8]) throws {
        header = try readHeader(bytes)
        try unsafe RecordBatch.checkChecksum(bytes.span.bytes, header)
        records = try decode(bytes)
        var deltas: [Int32] = []
        var cursor = RecordCursor(header)
        while let record = try unsafe cursor.next(in: bytes.span.bytes) {
            deltas.append(record.offsetDelta)
        }
        offsetDeltas = deltas
    }

    var description: JSONValue {
        [
            "header": [
                "baseOffset": JSONValue(header.baseOffset),
                "leaderEpoch": JSONValue(header.leaderEpoch),
                "checksum": JSONValue(header.checksum),
                "attributes": JSONValue(header.attributes),
                "lastOffsetDelta": JSONValue(header.lastOffsetDelta),
                "baseTimestamp": JSONValue(header.baseTimestamp),
                "maxTimestamp": JSONValue(header.maxTimestamp),
                "producerID": JSONValue(header.producerID),
                "producerEpoch": JSONValue(header.producerEpoch),
                "baseSequence": JSONValue(header.baseSequence),
                "recordCount": JSONValue(header.recordCount),
            ],
            "records": .array(zip(records, offsetDeltas).map(describe)),
        ]
    }

    private func describe(_ record: TestRecord, _ offsetDelta: Int32) -> JSONValue {
        [
            "offset": JSONValue(header.baseOffset + Int64(offsetDelta)),
            "timestamp": JSONValue(record.timestamp),
            "key": Self.hex(record.key),
            "value": Self.hex(record.value),
            "headers": .array(
                record.headers.map { ["key": .string($0.key), "value": Self.hex($0.value)] }
            ),
        ]
    }

    private static func hex(_ bytes: [UInt8]?) -> JSONValue {
        guard let bytes else { return .null }
        let digits = Array("0123456789abcdef")
        return .string(
            bytes.reduce(into: "") { text, byte in
                text.append(digits[Int(byte >> 4)])
                text.append(digits[Int(byte & 15)])
            }
        )
    }
}

extension SeededRandom {
    /// The samples of these tests first, then random ones, some with times far apart.
    fileprivate mutating func goldenRecords(_ index: Int) -> [TestRecord] {
        if index == 0 { return SampleBatch.records }
        if index == 1 { return [0, .max, -1].map { TestRecord(timestamp: $0) } }
        if index == 2 { return [.min, -1].map { TestRecord(timestamp: $0) } }
        let times: Int64 = index % 3 == 0 ? Int64(1) << Int64.random(in: 0...61, using: &self) : 300
        return (0..<Int.random(in: 1...12, using: &self)).map { _ in
            var record = self.record()
            record.timestamp = Int64.random(in: -times...times, using: &self)
            return record
        }
    }
}
