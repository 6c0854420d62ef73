import FoundationEssentials
import MartletFormat
import MartletWire
import Testing

/// Holds Protocol.md to the code. Its tables and examples are written by
///
///     MARTLET_WRITE_PROTOCOL=1 swift test --filter ProtocolTests
///
/// which puts them between the document's markers; what stands around them is written by hand.
@Suite(.serialized) struct ProtocolTests {
    private static let path = "Protocol.md"

    @Test func `the document says what the code says`() throws {
        let parts = try ProtocolParts.all()
        if ProcessInfo.processInfo.environment["MARTLET_WRITE_PROTOCOL"] == "1" {
            try MarkedDocument(Self.path).rewrite(parts)
        }
        let document = try MarkedDocument(Self.path)
        #expect(Set(document.names) == Set(parts.keys), "a part is missing or unknown")
        for (name, text) in parts {
            #expect(
                document.parts[name] == text,
                "\(name) differs: run MARTLET_WRITE_PROTOCOL=1 swift test --filter ProtocolTests")
        }
    }

    @Test func `every hex example is a whole frame that the wire module reads`() throws {
        let examples = try MarkedDocument(Self.path).blocks(of: "hex")
        #expect(examples.count == 2 * Operation.allCases.count + 1)
        var requests: Set<Operation> = []
        var replies: Set<Operation> = []
        for example in examples {
            let bytes = try #require(
                Self.bytes(example.text), "\(Self.path):\(example.line) is not hexadecimal")
            let header = try read(bytes, "\(Self.path):\(example.line)")
            let operation = try #require(header.known)
            if header.isReply { replies.insert(operation) } else { requests.insert(operation) }
        }
        #expect(requests == Set(Operation.allCases))
        #expect(replies == Set(Operation.allCases))
    }

    private func read(_ bytes: [UInt8], _ place: String) throws -> FrameHeader {
        let slab = slab(bytes)
        let decoder = FrameDecoder(frameBytesMax: 64 << 10)
        guard case .frame(let header, let payload) = try decoder.step(in: slab.bytes, at: 0) else {
            Issue.record("\(place) is not a whole frame")
            return FrameHeader(operation: 0, version: 0, correlation: 0, payloadBytes: 0)
        }
        #expect(payload.upperBound == bytes.count, "\(place) goes on behind its frame")
        let again = try #require(try MessageCatalog.transcode(header, slab, payload), "\(place)")
        // What follows the fields is the attachment, and must be batches.
        #expect(bytes.starts(with: again), "\(place) is written differently")
        try checkBatches(slab, from: again.count, "\(place)")
        return header
    }

    private func checkBatches(_ slab: ByteSlab, from start: Int, _ place: String) throws {
        var position = start
        while position < slab.count {
            let header = try RecordBatchHeader(reading: slab.bytes, at: position)
            let end = position + header.byteCount
            try #require(end <= slab.count, "\(place): a batch is cut short")
            let checked = try RecordBatch.validateForAppend(slab.span(position..<end))
            #expect(checked == header, "\(place)")
            position = end
        }
    }

    @Test func `the fetch example's checksums are those of its batches`() throws {
        let frames = ExampleMessages.frames(of: .fetch)
        let reply = try #require(frames.reply.message as? FetchReply)
        let result = try #require(reply.partitions.first)
        let chain = ExampleBatches.chain(
            frames.reply.attachment, continuing: result.startChecksum)
        #expect(chain == result.endChecksum)
        #expect(reply.attachmentBytes == frames.reply.attachment.reduce(0) { $0 + $1.count })
    }

    @Test func `the batch header's table has the format module's positions`() throws {
        typealias Layout = RecordBatchLayout
        let positions = [
            Layout.baseOffset, Layout.batchLength, Layout.leaderEpoch, Layout.magicByte,
            Layout.checksum, Layout.attributes, Layout.lastOffsetDelta, Layout.baseTimestamp,
            Layout.maxTimestamp, Layout.producerID, Layout.producerEpoch, Layout.baseSequence,
            Layout.recordCount,
        ]
        var offset = 0
        for (field, position) in zip(batchHeaderFields, positions) {
            #expect(offset == position, "\(field.name)")
            offset += field.size
        }
        #expect(offset == Layout.records)
        #expect(batchHeaderFields.count == positions.count)
    }

    /// The bytes of an example: two digits each, a `#` begins a remark.
    private static func bytes(_ lines: [Substring]) -> [UInt8]? {
        var result: [UInt8] = []
        for line in lines {
            let data = line.prefix { $0 != "#" }
            for word in data.split(separator: " ") {
                guard word.count == 2, let byte = UInt8(word, radix: 16) else { return nil }
                result.append(byte)
            }
        }
        return result
    }
}
