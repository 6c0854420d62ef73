import MartletFormat
import MartletTestSupport
import Testing

@Suite("Varint") struct VarintTests {
    /// Both sides of every change of length, and the ends.
    static let edges: [UInt64] =
        (0..<10).flatMap { index -> [UInt64] in
            let edge: UInt64 = 1 << UInt64(7 * index)
            return [edge - 1, edge, edge + 1]
        } + [UInt64.max, UInt64.max - 1, 1 << 63, (1 << 63) - 1]

    static func encode(_ value: UInt64) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(rest & 0x7F) | 0x80)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }

    private func read(_ bytes: [UInt8], at position: inout Int) throws(FormatError) -> UInt64 {
        try unsafe bytes.span.bytes.readUnsignedVarint("v", at: &position)
    }

    @Test(arguments: edges) func `an edge value reads back, wherever it lies`(value: UInt64) throws
    {
        let coded = Self.encode(value)
        #expect(Varint.unsignedByteCount(value) == coded.count)
        for before in 0..<9 {
            // With eight bytes to load behind it, and without.
            for after in [0, 1, 7, 8, 20] {
                let bytes =
                    [UInt8](repeating: 0xFF, count: before) + coded
                    + [UInt8](repeating: 0x80, count: after)
                var position = before
                let got = try read(bytes, at: &position)
                #expect(got == value)
                #expect(position == before + coded.count)
            }
        }
    }

    @Test(arguments: edges) func `a cut value is refused and moves nothing`(value: UInt64) {
        let coded = Self.encode(value)
        for kept in 0..<coded.count {
            var position = 3
            let bytes = [0, 0, 0] + coded[..<kept]
            #expect(
                throws: FormatError.truncated(field: "v", at: 3, need: kept + 1, have: kept)
            ) { try read(bytes, at: &position) }
            #expect(position == 3)
        }
    }

    @Test func `what does not fit 64 bits is refused`() {
        let nines = [UInt8](repeating: 0xFF, count: 9)
        for tail in [[2], [0x7F], [0x80, 0], [0x80, 1], [0xFF, 0xFF, 0xFF]] as [[UInt8]] {
            var position = 0
            #expect(throws: FormatError.self) { try read(nines + tail, at: &position) }
            #expect(throws: FormatError.self) {
                try read(nines + tail + [UInt8](repeating: 0, count: 16), at: &position)
            }
            #expect(position == 0)
        }
    }

    @Test func `zeros in front of the end are taken, up to ten bytes`() throws {
        for count in 1...10 {
            let bytes = [UInt8](repeating: 0x80, count: count - 1) + [0]
            for after in [0, 16] {
                var position = 0
                let got = try read(bytes + [UInt8](repeating: 0xFF, count: after), at: &position)
                #expect(got == 0)
                #expect(position == count)
            }
        }
    }

    @Test func `signed values keep short ones short`() throws {
        for (value, size) in [
            (0, 1), (-1, 1), (63, 1), (-64, 1), (64, 2), (-65, 2), (Int64.max, 10), (Int64.min, 10),
        ] {
            let coded = Self.encode(Varint.zigZag(value))
            #expect(coded.count == size)
            #expect(Varint.byteCount(value) == size)
            #expect(Varint.unZigZag(Varint.zigZag(value)) == value)
            var position = 0
            let got = try unsafe coded.span.bytes.readVarint("v", at: &position)
            #expect(got == value)
        }
    }

    @Test func `a position outside the bytes is refused`() {
        for start in [-1, Int.min, 5, Int.max] {
            var position = start
            #expect(throws: FormatError.self) { try read([0, 0, 0, 0], at: &position) }
            #expect(position == start)
        }
    }

    @Test func `random values read back`() throws {
        var random = SeededRandom.announced()
        for _ in 0..<random.iterations(20_000) {
            let value = random.next() >> UInt64.random(in: 0...63, using: &random)
            var position = 0
            let got = try read(Self.encode(value) + random.bytes(4), at: &position)
            #expect(got == value)
        }
    }
}
