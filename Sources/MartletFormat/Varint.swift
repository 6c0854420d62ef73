/// Variable-length integers, seven bits a byte, least significant group first, the top bit of each
/// byte saying that another follows. Signed values are zig-zag coded, so small negatives stay short.
package enum Varint {
    /// The bytes of the longest 64-bit varint.
    package static let bytesMax = 10
    /// The bytes of the longest 32-bit varint. Other readers of the format refuse longer ones, even
    /// when the extra groups are zero, so this module refuses them too.
    package static let bytesMax32 = 5

    /// 0, -1, 1, -2, ... as 0, 1, 2, 3, ...
    @inline(__always)
    package static func zigZag(_ value: Int64) -> UInt64 {
        UInt64(bitPattern: (value &<< 1) ^ (value &>> 63))
    }

    /// The inverse of `zigZag`.
    @inline(__always)
    package static func unZigZag(_ value: UInt64) -> Int64 {
        Int64(bitPattern: (value &>> 1) ^ (0 &- (value & 1)))
    }

    /// The bytes that `value` takes as an unsigned varint, 1...10.
    @inline(__always)
    package static func unsignedByteCount(_ value: UInt64) -> Int {
        // Nearly all are this small, and a predicted branch is cheaper than counting bits.
        if value < 0x80 { return 1 }
        if value < 0x4000 { return 2 }
        // The bits divided by seven and rounded up, for 1...64 bits.
        return ((64 &- value.leadingZeroBitCount) &* 9 &+ 64) &>> 6
    }

    /// The bytes that `value` takes as a zig-zag varint, 1...10.
    @inline(__always)
    package static func byteCount(_ value: Int64) -> Int { unsignedByteCount(zigZag(value)) }
}

extension RawSpan {
    /// Reads a zig-zag varint of at most ten bytes.
    package func readVarint(_ field: String, at position: inout Int) throws(FormatError) -> Int64 {
        Varint.unZigZag(try readUnsignedVarint(field, at: &position))
    }

    /// Reads an unsigned varint of at most ten bytes.
    package func readUnsignedVarint(
        _ field: String,
        at position: inout Int
    ) throws(FormatError) -> UInt64 {
        guard position >= 0 else { throw truncation(field, at: position, need: 1, end: byteCount) }
        return try varint64(field, at: &position, below: byteCount)
    }

    /// An unsigned 64-bit varint in `[position, end)`.
    ///
    /// The caller vouches for `0 <= position` and `end <= byteCount`: everything read stays below `end`.
    @inline(__always)
    func varint64(
        _ field: String,
        at position: inout Int,
        below end: Int
    ) throws(FormatError) -> UInt64 {
        if end &- position >= 8, let value = varintInWord(at: &position) { return value }
        return try varintBytewise(field, at: &position, below: end, bytesMax: Varint.bytesMax)
    }

    /// A zig-zag 32-bit varint in `[position, end)`; the same promise as for `varint64`.
    func varint32(
        _ field: String,
        at position: inout Int,
        below end: Int
    ) throws(FormatError) -> Int {
        if end &- position >= 8, let value = plainVarint32(at: &position) { return value }
        let coded = try varintBytewise(
            field,
            at: &position,
            below: end,
            bytesMax: Varint.bytesMax32
        )
        return Int(truncatingIfNeeded: Varint.unZigZag(coded))
    }

    /// A zig-zag varint of up to eight bytes; nil, the position unmoved, when it is longer. The caller
    /// vouches for eight readable bytes.
    @inline(__always)
    func plainVarint64(at position: inout Int) -> Int64? {
        if let coded = shortVarint(at: &position) { return Varint.unZigZag(coded) }
        guard let coded = varintInWord(at: &position) else { return nil }
        return Varint.unZigZag(coded)
    }

    /// A zig-zag varint of 32 bits; nil, the position unmoved, when it is longer or larger. The caller
    /// vouches for eight readable bytes.
    @inline(__always)
    func plainVarint32(at position: inout Int) -> Int? {
        if let coded = shortVarint(at: &position) {
            return Int(truncatingIfNeeded: Varint.unZigZag(coded))
        }
        var after = position
        guard let coded = varintInWord(at: &after), coded <= UInt64(UInt32.max),
            after &- position <= Varint.bytesMax32
        else { return nil }
        position = after
        return Int(truncatingIfNeeded: Varint.unZigZag(coded))
    }

    /// A varint of one or two bytes; nil, the position unmoved, when it is longer. The caller vouches
    /// for two readable bytes.
    ///
    /// Most are this short, and the branches pay for themselves: a predicted length lets the processor
    /// start on the next field before this one's bytes have arrived.
    @inline(__always)
    private func shortVarint(at position: inout Int) -> UInt64? {
        let pair = UInt64(
            UInt16(
                littleEndian: unsafe unsafeLoadUnaligned(
                    fromUncheckedByteOffset: position,
                    as: UInt16.self
                )
            )
        )
        if pair & 0x80 == 0 {
            position &+= 1
            return pair & 0x7F
        }
        if pair & 0x8000 == 0 {
            position &+= 2
            return (pair & 0x7F) | ((pair &>> 8) &<< 7)
        }
        return nil
    }

    /// A varint of up to eight bytes from one load; nil, the position unmoved, when it is longer.
    /// The caller vouches for eight readable bytes.
    @inline(__always)
    private func varintInWord(at position: inout Int) -> UInt64? {
        let word = UInt64(
            littleEndian: unsafe unsafeLoadUnaligned(
                fromUncheckedByteOffset: position,
                as: UInt64.self
            )
        )
        let stops = ~word & 0x8080_8080_8080_8080
        guard stops != 0 else { return nil }
        position &+= (stops.trailingZeroBitCount &+ 1) &>> 3
        // Keep the bytes up to the first stop, then close the seven one-bit holes pairwise.
        var value = word & (stops ^ (stops &- 1)) & 0x7F7F_7F7F_7F7F_7F7F
        value = (value & 0x007F_007F_007F_007F) | ((value & 0x7F00_7F00_7F00_7F00) &>> 1)
        value = (value & 0x0000_3FFF_0000_3FFF) | ((value & 0x3FFF_0000_3FFF_0000) &>> 2)
        return (value & 0x0FFF_FFFF) | ((value & 0x0FFF_FFFF_0000_0000) &>> 4)
    }

    /// The careful way: near the end of the bytes, for nine and ten byte values, and for bad ones.
    @inline(never)
    private func varintBytewise(
        _ field: String,
        at position: inout Int,
        below end: Int,
        bytesMax: Int
    ) throws(FormatError) -> UInt64 {
        // What the last possible byte may hold: 64 - 63 bits, or 32 - 28 bits.
        let lastByteMax: UInt8 = bytesMax == Varint.bytesMax ? 0x01 : 0x0F
        var value: UInt64 = 0
        for index in 0..<bytesMax {
            guard position &+ index < end else {
                throw truncation(field, at: position, need: index &+ 1, end: end)
            }
            let byte = unsafe unsafeLoad(
                fromUncheckedByteOffset: position &+ index,
                as: UInt8.self
            )
            value |= UInt64(byte & 0x7F) &<< UInt64(7 &* index)
            guard byte >= 0x80 else {
                guard index < bytesMax - 1 || byte <= lastByteMax else {
                    throw .invalid(field: field, at: position, reason: "does not fit its integer")
                }
                position &+= index &+ 1
                return value
            }
        }
        throw .invalid(
            field: field,
            at: position,
            reason: "is a varint of more than \(bytesMax) bytes"
        )
    }
}

extension RawSpan {
    /// Whether the bytes in `range` are UTF-8 text. Precondition: the range is inside.
    package func isUTF8(_ range: Range<Int>) -> Bool {
        let bytes = Span<UInt8>(_bytes: extracting(range))
        do {
            _ = try UTF8Span(validating: bytes)
            return true
        } catch {
            return false
        }
    }
}
