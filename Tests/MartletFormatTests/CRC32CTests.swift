import MartletFormat
import MartletTestSupport
import Testing

@Suite("CRC-32C") struct CRC32CTests {
    /// RFC 3720 appendix B.4, and the usual check value.
    static let vectors: [(bytes: [UInt8], checksum: UInt32)] = [
        ([], 0),
        ([UInt8](repeating: 0, count: 32), 0x8A91_36AA),
        ([UInt8](repeating: 0xFF, count: 32), 0x62A8_AB43),
        ([UInt8](0..<32), 0x46DD_794E),
        ([UInt8]((0..<32).reversed()), 0x113F_DB5C),
        (
            [
                0x01, 0xC0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
                0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
            ], 0xD996_3A56
        ),
        (Array("123456789".utf8), 0xE306_9283),
    ]

    @Test(arguments: vectors)
    func `known vectors`(bytes: [UInt8], checksum: UInt32) {
        #expect(crc(bytes) == checksum)
        #expect(softwareCRC(bytes) == checksum)
    }

    /// 392 and 4088 are where the shim changes its way of working.
    @Test func `both ways agree at every length around the thresholds`() {
        var random = SeededRandom.announced()
        let slab = ByteSlab(capacity: 16 * 1024)
        slab.append(unsafe random.bytes(16 * 1024).span.bytes)
        let lengths =
            [0..<1300, 4070..<4110, 4470..<4500, 8150..<8190].flatMap { $0 }
        for length in lengths {
            for start in [0, 1, 3, 8] {
                let span = slab.span(start..<start + length)
                let seed = UInt32(truncatingIfNeeded: random.next())
                let hardware = CRC32C.checksum(span, continuing: seed)
                let software = CRC32C.software(span, continuing: seed)
                #expect(hardware == software, "length \(length), start \(start)")
            }
        }
    }

    @Test func `what two checksums differed by before the same bytes is computed back`() {
        var random = SeededRandom.announced()
        for _ in 0..<200 {
            let bytes = random.bytes(random.below(80))
            let slab = ByteSlab(capacity: 80)
            slab.append(unsafe bytes.span.bytes)
            let first = UInt32(truncatingIfNeeded: random.next())
            let second = UInt32(truncatingIfNeeded: random.next())
            let after =
                CRC32C.checksum(slab.bytes, continuing: first)
                ^ CRC32C.checksum(slab.bytes, continuing: second)
            #expect(CRC32C.difference(after, before: bytes.count) == first ^ second)
        }
    }

    @Test func `both ways agree on random stretches, and pieces make the whole`() {
        var random = SeededRandom.announced()
        let bytes = random.bytes(70_000)
        let whole = unsafe bytes.span.bytes
        for _ in 0..<random.iterations(300) {
            let start = Int.random(in: 0..<1000, using: &random)
            let end = Int.random(in: start..<70_000, using: &random)
            let cut = Int.random(in: start...end, using: &random)
            let hardware = CRC32C.checksum(whole.extracting(start..<end))
            let software = CRC32C.software(whole.extracting(start..<end))
            let first = CRC32C.checksum(whole.extracting(start..<cut))
            let joined = CRC32C.checksum(whole.extracting(cut..<end), continuing: first)
            #expect(hardware == software)
            #expect(hardware == joined)
        }
    }
}
