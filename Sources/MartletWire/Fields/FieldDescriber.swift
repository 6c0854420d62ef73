package import MartletFormat

/// One row of a byte table in Protocol.md.
package struct FieldRow: Equatable, Sendable {
    /// Bytes from the start of the message; nil behind the first field of variable length.
    package let offset: Int?
    /// Bytes of the field; nil when it varies.
    package let size: Int?
    package let type: String
    /// `topics[].name` for a field inside an array's item.
    package let name: String
    package let meaning: String
}

/// Walks a message's description and keeps a row for each field, in order.
package struct FieldDescriber: FieldCoder, ~Copyable {
    package let version: UInt16
    package private(set) var rows: [FieldRow] = []
    private var offset: Int? = 0
    private var prefix = ""

    package init(version: UInt16) {
        self.version = version
    }

    package mutating func bool(_ name: String, _ value: inout Bool, _ meaning: String) {
        add(name, "bool", 1, meaning)
    }

    package mutating func uint8(_ name: String, _ value: inout UInt8, _ meaning: String) {
        add(name, "u8", 1, meaning)
    }

    package mutating func int16(_ name: String, _ value: inout Int16, _ meaning: String) {
        add(name, "i16", 2, meaning)
    }

    package mutating func uint16(_ name: String, _ value: inout UInt16, _ meaning: String) {
        add(name, "u16", 2, meaning)
    }

    package mutating func int32(_ name: String, _ value: inout Int32, _ meaning: String) {
        add(name, "i32", 4, meaning)
    }

    package mutating func uint32(_ name: String, _ value: inout UInt32, _ meaning: String) {
        add(name, "u32", 4, meaning)
    }

    package mutating func int64(_ name: String, _ value: inout Int64, _ meaning: String) {
        add(name, "i64", 8, meaning)
    }

    package mutating func uint64(_ name: String, _ value: inout UInt64, _ meaning: String) {
        add(name, "u64", 8, meaning)
    }

    package mutating func identifier(_ name: String, _ value: inout TopicID, _ meaning: String) {
        add(name, "id", 16, meaning)
    }

    package mutating func string(
        _ name: String, _ value: inout String, max: Int, _ meaning: String
    ) {
        add(name, "string ≤ \(max)", nil, meaning)
    }

    package mutating func optionalString(
        _ name: String, _ value: inout String?, max: Int, _ meaning: String
    ) {
        add(name, "string ≤ \(max) or null", nil, meaning)
    }

    package mutating func bytes(
        _ name: String, _ value: inout [UInt8], max: Int, _ meaning: String
    ) {
        add(name, "bytes ≤ \(max)", nil, meaning)
    }

    package mutating func array<Item: WireItem>(
        _ name: String, _ values: inout [Item], max: Int, _ meaning: String
    ) throws(WireError) {
        add(name, "array ≤ \(max)", nil, meaning)
        var item = Item()
        let outer = prefix
        prefix += name + "[]."
        try item.fields(&self)
        prefix = outer
    }

    package mutating func item<Item: WireItem>(
        _ name: String, _ value: inout Item
    ) throws(WireError) {
        let outer = prefix
        prefix += name + "."
        try value.fields(&self)
        prefix = outer
    }

    private mutating func add(_ name: String, _ type: String, _ size: Int?, _ meaning: String) {
        rows.append(
            FieldRow(offset: offset, size: size, type: type, name: prefix + name, meaning: meaning))
        if let at = offset, let size { offset = at + size } else { offset = nil }
    }
}

extension WireMessage {
    /// The message's byte table.
    package static func rows(version: UInt16) throws(WireError) -> [FieldRow] {
        var describer = FieldDescriber(version: version)
        var message = Self()
        try message.fields(&describer)
        return describer.rows
    }

    /// The byte table as Protocol.md prints it.
    package static func table(version: UInt16) throws(WireError) -> String {
        var lines = [
            "| offset | size | type | field | meaning |",
            "|---:|---:|---|---|---|",
        ]
        for row in try rows(version: version) {
            let offset = row.offset.map(String.init) ?? "–"
            let size = row.size.map(String.init) ?? "–"
            lines.append("| \(offset) | \(size) | \(row.type) | `\(row.name)` | \(row.meaning) |")
        }
        if Self().attachmentBytes != nil {
            lines.append("| – | – | batches | *attachment* | record batches, one after the other |")
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
