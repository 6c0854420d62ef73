import MartletFormat
import MartletWire

/// Fills every field of a message with a value that is unlike its default, so that a field that is
/// forgotten or swapped shows. Arrays get `arrayCount` items.
struct FieldFiller: FieldCoder, ~Copyable {
    let version: UInt16 = 1
    var next: UInt64
    let arrayCount: Int

    init(seed: UInt64, arrayCount: Int) {
        next = seed
        self.arrayCount = arrayCount
    }

    private mutating func draw() -> UInt64 {
        next = next &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return next >> 17
    }

    mutating func bool(_ name: String, _ value: inout Bool, _ meaning: String) {
        value = draw() % 2 == 0
    }
    mutating func uint8(_ name: String, _ value: inout UInt8, _ meaning: String) {
        value = UInt8(truncatingIfNeeded: draw())
    }
    mutating func int16(_ name: String, _ value: inout Int16, _ meaning: String) {
        value = Int16(truncatingIfNeeded: draw())
    }
    mutating func uint16(_ name: String, _ value: inout UInt16, _ meaning: String) {
        // The error of a reply stays 0, or its fields would not be there.
        value = name == "error" ? 0 : UInt16(truncatingIfNeeded: draw())
    }
    mutating func int32(_ name: String, _ value: inout Int32, _ meaning: String) {
        value = Int32(truncatingIfNeeded: draw())
    }
    mutating func count(_ name: String, _ value: inout Int32, max: Int32, _ meaning: String) {
        value = Int32(draw() % UInt64(max))
    }
    mutating func uint32(_ name: String, _ value: inout UInt32, _ meaning: String) {
        value =
            name == "recordsLength"
            ? UInt32(draw() % 50) : UInt32(truncatingIfNeeded: draw())
    }
    mutating func int64(_ name: String, _ value: inout Int64, _ meaning: String) {
        value = Int64(truncatingIfNeeded: draw() &* 31)
    }
    mutating func uint64(_ name: String, _ value: inout UInt64, _ meaning: String) {
        value = draw() &* 31
    }
    mutating func identifier(_ name: String, _ value: inout TopicID, _ meaning: String) {
        value = TopicID(high: draw(), low: draw())
    }
    mutating func string(_ name: String, _ value: inout String, max: Int, _ meaning: String) {
        value = "é\(draw() % 1_000)"
    }
    mutating func optionalString(
        _ name: String, _ value: inout String?, max: Int, _ meaning: String
    ) {
        value = draw() % 3 == 0 ? nil : "v\(draw() % 1_000)"
    }
    mutating func bytes(_ name: String, _ value: inout [UInt8], max: Int, _ meaning: String) {
        value = [1, UInt8(truncatingIfNeeded: draw()), 0]
    }
    mutating func array<Item: WireItem>(
        _ name: String, _ values: inout [Item], max: Int, _ meaning: String
    ) throws(WireError) {
        values = []
        for _ in 0..<arrayCount {
            var item = Item()
            try item.fields(&self)
            values.append(item)
        }
    }
    mutating func item<Item: WireItem>(_ name: String, _ value: inout Item) throws(WireError) {
        try value.fields(&self)
    }
}

extension WireMessage {
    static func filled(seed: UInt64 = 7, arrayCount: Int = 2) throws -> Self {
        var filler = FieldFiller(seed: seed, arrayCount: arrayCount)
        var message = Self()
        try message.fields(&filler)
        return message
    }
}

/// Types of all messages, requests and replies.
let allMessages: [any WireMessage.Type] = Operation.allCases.flatMap { operation in
    let types = MessageCatalog.messages(of: operation)
    return [types.request as any WireMessage.Type, types.reply as any WireMessage.Type]
}

/// A slab that holds exactly these bytes.
func slab(_ bytes: [UInt8]) -> ByteSlab {
    let slab = ByteSlab(capacity: max(bytes.count, 1))
    unsafe slab.append(bytes.span.bytes)
    return slab
}
