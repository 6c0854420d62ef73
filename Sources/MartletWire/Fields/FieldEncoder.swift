package import MartletFormat

/// Appends a message's fields to a slab. The slab must have the room that `FieldMeter` counted for
/// the same message, and the meter has held it to its limits.
package struct FieldEncoder: FieldCoder, ~Copyable {
    package let version: UInt16
    private let slab: ByteSlab

    package init(into slab: ByteSlab, version: UInt16) {
        self.slab = slab
        self.version = version
    }

    package mutating func bool(_ name: String, _ value: inout Bool, _ meaning: String) {
        slab.append(value ? 1 as UInt8 : 0)
    }

    package mutating func uint8(_ name: String, _ value: inout UInt8, _ meaning: String) {
        slab.append(value)
    }

    package mutating func int16(_ name: String, _ value: inout Int16, _ meaning: String) {
        slab.append(value)
    }

    package mutating func uint16(_ name: String, _ value: inout UInt16, _ meaning: String) {
        slab.append(value)
    }

    package mutating func int32(_ name: String, _ value: inout Int32, _ meaning: String) {
        slab.append(value)
    }

    package mutating func uint32(_ name: String, _ value: inout UInt32, _ meaning: String) {
        slab.append(value)
    }

    package mutating func int64(_ name: String, _ value: inout Int64, _ meaning: String) {
        slab.append(value)
    }

    package mutating func uint64(_ name: String, _ value: inout UInt64, _ meaning: String) {
        slab.append(value)
    }

    package mutating func identifier(_ name: String, _ value: inout TopicID, _ meaning: String) {
        slab.append(value.high)
        slab.append(value.low)
    }

    package mutating func string(
        _ name: String, _ value: inout String, max: Int, _ meaning: String
    ) {
        append(text: value)
    }

    package mutating func optionalString(
        _ name: String, _ value: inout String?, max: Int, _ meaning: String
    ) {
        if let value {
            append(text: value)
        } else {
            slab.append(Self.nullLength)
        }
    }

    package mutating func bytes(
        _ name: String, _ value: inout [UInt8], max: Int, _ meaning: String
    ) {
        slab.append(UInt16(truncatingIfNeeded: value.count))
        unsafe slab.append(value.span.bytes)
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
        slab.append(UInt32(truncatingIfNeeded: values.count))
        // A copy of the item, not of the array, which somebody else holds too.
        for var item in values { try item.fields(&self) }
    }

    package mutating func item<Item: WireItem>(
        _ name: String, _ value: inout Item
    ) throws(WireError) {
        try value.fields(&self)
    }

    /// The length fits: every limit of a string lies below the null length.
    private func append(text: String) {
        slab.append(UInt16(truncatingIfNeeded: text.utf8.count))
        unsafe slab.append(text.utf8Span.span.bytes)
    }
}
