import CMartletShim

/// CRC-32C (Castagnoli), the checksum of RFC 3720 appendix B.4: reflected polynomial 0x82F63B78.
///
/// `CRC32C.checksum` of the nine ASCII bytes `123456789` is `0xE3069283`; of 32 zero bytes
/// `0x8A9136AA`. `checksum(b, continuing: checksum(a))` is the checksum of `a` followed by `b`.
package enum CRC32C {
    /// Whether this processor has the instruction; asked once.
    private static let hasInstruction = martlet_crc32c_available() != 0

    /// The checksum of `bytes`, or of everything `crc` covers followed by `bytes`.
    package static func checksum(_ bytes: RawSpan, continuing crc: UInt32 = 0) -> UInt32 {
        guard hasInstruction else { return software(bytes, continuing: crc) }
        return unsafe bytes.withUnsafeBytes { buffer in
            unsafe martlet_crc32c(crc, buffer.baseAddress, buffer.count)
        }
    }

    /// The same by tables, eight bytes a step: for processors without the instruction, and the
    /// independent witness in tests.
    package static func software(_ bytes: RawSpan, continuing crc: UInt32 = 0) -> UInt32 {
        let table = tables.span
        var state = ~crc
        var position = 0
        let end = bytes.byteCount
        while end &- position >= 8 {
            let word = UInt64(
                littleEndian: unsafe bytes.unsafeLoadUnaligned(
                    fromUncheckedByteOffset: position,
                    as: UInt64.self
                )
            )
            let mixed = word ^ UInt64(state)
            var next: UInt32 = 0
            for lane in 0..<8 {
                let byte = Int(truncatingIfNeeded: (mixed &>> UInt64(8 &* lane)) & 0xFF)
                next ^= table[(7 &- lane) &* 256 &+ byte]
            }
            state = next
            position &+= 8
        }
        while position < end {
            let byte = unsafe bytes.unsafeLoad(fromUncheckedByteOffset: position, as: UInt8.self)
            state = (state &>> 8) ^ table[Int((state ^ UInt32(byte)) & 0xFF)]
            position &+= 1
        }
        return ~state
    }

    /// Two checksums that were continued by the same `count` bytes, whichever they were, differ by
    /// `difference` now: by what they differed before.
    package static func difference(_ difference: UInt32, before count: Int) -> UInt32 {
        var state = difference
        for _ in 0..<(8 * count) {
            // The polynomial's top bit tells whether a step forward took it in.
            state = state >> 31 == 1 ? (state ^ 0x82F6_3B78) << 1 | 1 : state << 1
        }
        return state
    }

    /// Eight tables of 256: table `k` advances a byte over `k` further zero bytes.
    private static let tables: [UInt32] = {
        var table = [UInt32](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var state = UInt32(byte)
            for _ in 0..<8 {
                state = (state &>> 1) ^ (state & 1 == 1 ? 0x82F6_3B78 : 0)
            }
            table[byte] = state
        }
        for index in 256..<(8 * 256) {
            let before = table[index - 256]
            table[index] = (before &>> 8) ^ table[Int(before & 0xFF)]
        }
        return table
    }()
}
