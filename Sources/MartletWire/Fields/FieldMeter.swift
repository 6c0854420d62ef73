package import MartletFormat

/// Counts the bytes of a message before it is written, and holds it to its limits, so that the
/// encoder can write into exactly enough room without looking back.
package struct FieldMeter: FieldCoder, ~Copyable {
    package let version: UInt16
    package private(set) var byteCount = 0

    package init(version: UInt16) {
        self.version = version
    }

    package mutating func bool(_ name: String, _ value: inout Bool, _ meaning: String) {
        byteCount += 1
    }

    package mutating func uint8(_ name: String, _ value: inout UInt8, _ meaning: String) {
        byteCount += 1
    }

    package mutating func int16(_ name: String, _ value: inout Int16, _ meaning: String) {
        byteCount += 2
    }

    package mutating func uint16(_ name: String, _ value: inout UInt16, _ meaning: String) {
        byteCount += 2
    }

    package mutating func int32(_ name: String, _ value: inout Int32, _ meaning: String) {
        byteCount += 4
    }

    package mutating func uint32(_ name: String, _ value: inout UInt32, _ meaning: String) {
        byteCount += 4
    }

    package mutating func int64(_ name: String, _ value: inout Int64, _ meaning: String) {
        byteCount += 8
    }

    package mutating func uint64(_ name: String, _ value: inout UInt64, _ meaning: String) {
        byteCount += 8
    }

    package mutating func identifier(_ name: String, _ value: inout TopicID, _ meaning: String) {
        byteCount += 16
    }

    package mutating func string(
        _ name: String, _ value: inout String, max: Int, _ meaning: String
    ) throws(WireError) {
        try check(name, value.utf8.count, max)
        byteCount += 2 + value.utf8.count
    }

    package mutating func optionalString(
        _ name: String, _ value: inout String?, max: Int, _ meaning: String
    ) throws(WireError) {
        try check(name, value?.utf8.count ?? 0, max)
        byteCount += 2 + (value?.utf8.count ?? 0)
    }

    package mutating func bytes(
        _ name: String, _ value: inout [UInt8], max: Int, _ meaning: String
    ) throws(WireError) {
        try check(name, value.count, max)
        byteCount += 2 + value.count
    }

    // As in the decoder.
    @specialized(where Item == FetchEntry)
    @specialized(where Item == ProduceEntry)
    @specialized(where Item == FetchResult)
    @specialized(where Item == ProduceResult)
    @specialized(where Item == OffsetRange)
    package mutating func array<Item: WireItem>(
        _ name: String, _ values: inout [Item], max: Int, _ meaning: String
    ) throws(WireError) {
        try check(name, values.count, max)
        byteCount += 4
        // A copy of the item, not of the array, which somebody else holds too.
        for var item in values { try item.fields(&self) }
    }

    package mutating func item<Item: WireItem>(
        _ name: String, _ value: inout Item
    ) throws(WireError) {
        try value.fields(&self)
    }

    private func check(_ name: String, _ value: Int, _ max: Int) throws(WireError) {
        guard value <= max else {
            throw .overLimit(field: name, at: byteCount, value: value, max: max)
        }
    }
}
