import MartletFormat

/// Takes an input apart. What is not there reads as zero.
struct Feed {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { rest = bytes[...] }

    var isEmpty: Bool { rest.isEmpty }

    mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

    mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) -> Value {
        var value: Value = 0
        for _ in 0..<(Value.bitWidth / 8) { value = value << 8 | Value(truncatingIfNeeded: byte()) }
        return value
    }

    mutating func take(_ count: Int) -> [UInt8] {
        let taken = Array(rest.prefix(count))
        rest = rest.dropFirst(count)
        return taken
    }

    mutating func remainder() -> [UInt8] { take(rest.count) }
}

extension Array where Element == UInt8 {
    /// A slab of exactly these bytes, so that a read behind the end is found.
    var slab: ByteSlab {
        let slab = ByteSlab(capacity: count)
        slab.append(span.bytes)
        return slab
    }

    mutating func append(bigEndian value: some FixedWidthInteger) {
        for shift in stride(from: value.bitWidth - 8, through: 0, by: -8) {
            append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    mutating func put(_ value: UInt32, at position: Int) {
        for index in 0..<4 {
            self[position + index] = UInt8(truncatingIfNeeded: value >> (24 - 8 * UInt32(index)))
        }
    }

    func crc(_ range: Range<Int>) -> UInt32 {
        CRC32C.checksum(span.bytes.extracting(range))
    }

    /// Gives every whole batch its right checksum, so that what lies behind it is reached.
    mutating func repairBatches() {
        var at = 0
        while count - at >= RecordBatch.headerBytes {
            let length = (8..<12).reduce(0) { $0 << 8 | Int(self[at + $1]) }
            guard length >= 49, length <= count - at - 12 else { return }
            let end = at + 12 + length
            put(crc(at + RecordBatch.crcStart..<end), at: at + 17)
            at = end
        }
    }
}

extension ByteSlab {
    var array: [UInt8] { withUnsafeBytes(0..<count) { Array($0) } }
}
