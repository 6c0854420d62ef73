package import MartletFormat

/// Reads a message's fields from one range of a slab. Everything in there is a stranger's: each
/// read is held to the range, each length and count to its limit and to what is left, before
/// anything is reserved for it.
package struct FieldDecoder: FieldCoder, ~Copyable {
    package let version: UInt16
    private let slab: ByteSlab
    /// Where the next field begins, in the slab.
    package private(set) var position: Int
    private let end: Int

    /// `range` must lie inside the slab's bytes.
    package init(_ slab: ByteSlab, _ range: Range<Int>, version: UInt16) {
        self.slab = slab
        self.version = version
        position = range.lowerBound
        end = range.upperBound
    }

    package var remaining: Int { end - position }

    package mutating func bool(
        _ name: String, _ value: inout Bool, _ meaning: String
    ) throws(WireError) {
        let raw: UInt8 = try integer(name)
        guard raw <= 1 else {
            throw .invalid(field: name, at: position - 1, reason: "\(raw) is neither 0 nor 1")
        }
        value = raw == 1
    }

    package mutating func uint8(
        _ name: String, _ value: inout UInt8, _ meaning: String
    ) throws(WireError) {
        value = try integer(name)
    }

    package mutating func int16(
        _ name: String, _ value: inout Int16, _ meaning: String
    ) throws(WireError) {
        value = try integer(name)
    }

    package mutating func uint16(
        _ name: String, _ value: inout UInt16, _ meaning: String
    ) throws(WireError) {
        value = try integer(name)
    }

    package mutating func int32(
        _ name: String, _ value: inout Int32, _ meaning: String
    ) throws(WireError) {
        value = try integer(name)
    }

    package mutating func count(
        _ name: String, _ value: inout Int32, max: Int32, _ meaning: String
    ) throws(WireError) {
        try int32(name, &value, meaning)
        guard value >= 0, value <= max else {
            let reason = "\(value) is not within 0 and \(max)"
            throw .invalid(field: name, at: position - 4, reason: reason)
        }
    }

    package mutating func uint32(
        _ name: String, _ value: inout UInt32, _ meaning: String
    ) throws(WireError) {
        value = try integer(name)
    }

    package mutating func int64(
        _ name: String, _ value: inout Int64, _ meaning: String
    ) throws(WireError) {
        value = try integer(name)
    }

    package mutating func uint64(
        _ name: String, _ value: inout UInt64, _ meaning: String
    ) throws(WireError) {
        value = try integer(name)
    }

    package mutating func identifier(
        _ name: String, _ value: inout TopicID, _ meaning: String
    ) throws(WireError) {
        let high: UInt64 = try integer(name)
        let low: UInt64 = try integer(name)
        value = TopicID(high: high, low: low)
    }

    package mutating func string(
        _ name: String, _ value: inout String, max: Int, _ meaning: String
    ) throws(WireError) {
        let length: UInt16 = try integer(name)
        value = try text(name, length, max: max)
    }

    package mutating func optionalString(
        _ name: String, _ value: inout String?, max: Int, _ meaning: String
    ) throws(WireError) {
        let length: UInt16 = try integer(name)
        value = length == Self.nullLength ? nil : try text(name, length, max: max)
    }

    package mutating func bytes(
        _ name: String, _ value: inout [UInt8], max: Int, _ meaning: String
    ) throws(WireError) {
        let length: UInt16 = try integer(name)
        let range = try run(name, Int(length), max: max)
        value = unsafe slab.withUnsafeBytes(range) { bytes in unsafe [UInt8](bytes) }
    }

    // Each record's way passes here. Unspecialized, it asks the runtime for the types at each call.
    @specialized(where Item == FetchEntry)
    @specialized(where Item == ProduceEntry)
    @specialized(where Item == FetchResult)
    @specialized(where Item == ProduceResult)
    @specialized(where Item == OffsetRange)
    package mutating func array<Item: WireItem>(
        _ name: String, _ values: inout [Item], max: Int, _ meaning: String
    ) throws(WireError) {
        let raw: UInt32 = try integer(name)
        let count = Int(raw)
        guard count <= max else {
            throw .overLimit(field: name, at: position - 4, value: count, max: max)
        }
        // Each item takes at least `bytesMin`, so a count that cannot be true reserves nothing.
        guard count <= remaining / Item.bytesMin else {
            throw .truncated(
                field: name, at: position, need: count * Item.bytesMin, have: remaining)
        }
        var items: [Item] = []
        items.reserveCapacity(count)
        for _ in 0..<count {
            var item = Item()
            try item.fields(&self)
            items.append(item)
        }
        values = items
    }

    package mutating func item<Item: WireItem>(
        _ name: String, _ value: inout Item
    ) throws(WireError) {
        try value.fields(&self)
    }

    private mutating func integer<Value: FixedWidthInteger & BitwiseCopyable>(
        _ name: String
    ) throws(WireError) -> Value {
        let size = MemoryLayout<Value>.size
        let range = try run(name, size, max: size)
        let bytes = slab.bytes
        return unsafe Value(
            bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: range.lowerBound, as: Value.self))
    }

    /// Takes the next `length` bytes.
    private mutating func run(
        _ name: String, _ length: Int, max: Int
    ) throws(WireError) -> Range<Int> {
        guard length <= max else {
            throw .overLimit(field: name, at: position, value: length, max: max)
        }
        guard length <= remaining else {
            throw .truncated(field: name, at: position, need: length, have: remaining)
        }
        defer { position += length }
        return position..<(position + length)
    }

    private mutating func text(
        _ name: String, _ length: UInt16, max: Int
    ) throws(WireError) -> String {
        let start = position
        let range = try run(name, Int(length), max: max)
        let text = unsafe slab.withUnsafeBytes(range) { bytes in
            unsafe String(validating: bytes, as: UTF8.self)
        }
        guard let text else {
            throw .invalid(field: name, at: start, reason: "not UTF-8")
        }
        return text
    }
}
