import MartletFormat
import MartletWire

/// Bytes with a word beside each group of them: how Protocol.md shows a frame.
struct HexTrace {
    struct Line {
        let bytes: [UInt8]
        let note: String
    }

    private static let bytesPerLine = 16
    private(set) var lines: [Line] = []

    var bytes: [UInt8] { lines.flatMap(\.bytes) }

    mutating func add(_ bytes: [UInt8], _ note: String) {
        lines.append(Line(bytes: bytes, note: note))
    }

    mutating func add(_ value: some FixedWidthInteger, _ note: String) {
        add(bigEndian(value), note)
    }

    /// Hexadecimal bytes on the left, what they are on the right.
    var text: String {
        lines.map { line in
            stride(from: 0, to: max(line.bytes.count, 1), by: Self.bytesPerLine).map { start in
                let piece = line.bytes.dropFirst(start).prefix(Self.bytesPerLine)
                let left = hex(piece).padded(to: Self.bytesPerLine * 3 - 1)
                return start == 0 ? "\(left)  # \(line.note)" : hex(piece)
            }.joined(separator: "\n")
        }.joined(separator: "\n")
    }
}

/// Writes a message field by field, by its own means, and notes the name and the value of each.
struct FieldTracer: FieldCoder, ~Copyable {
    let version: UInt16
    private(set) var trace = HexTrace()
    private var prefix = ""

    init(version: UInt16) {
        self.version = version
    }

    private mutating func note(_ bytes: [UInt8], _ name: String, _ value: String) {
        trace.add(bytes, "\(prefix)\(name) = \(value)")
    }

    private mutating func note(_ value: some FixedWidthInteger, _ name: String) {
        note(bigEndian(value), name, "\(value)")
    }

    mutating func bool(_ name: String, _ value: inout Bool, _ meaning: String) {
        note([value ? 1 : 0], name, "\(value)")
    }

    mutating func uint8(_ name: String, _ value: inout UInt8, _ meaning: String) {
        note(value, name)
    }

    mutating func int16(_ name: String, _ value: inout Int16, _ meaning: String) {
        note(value, name)
    }

    mutating func uint16(_ name: String, _ value: inout UInt16, _ meaning: String) {
        note(value, name)
    }

    mutating func int32(_ name: String, _ value: inout Int32, _ meaning: String) {
        note(value, name)
    }

    mutating func uint32(_ name: String, _ value: inout UInt32, _ meaning: String) {
        let isHex = name == "magic" || name.hasSuffix("Checksum")
        note(bigEndian(value), name, isHex ? hexWord(value) : "\(value)")
    }

    mutating func int64(_ name: String, _ value: inout Int64, _ meaning: String) {
        note(value, name)
    }

    mutating func uint64(_ name: String, _ value: inout UInt64, _ meaning: String) {
        note(value, name)
    }

    mutating func identifier(_ name: String, _ value: inout TopicID, _ meaning: String) {
        note(bigEndian(value.high) + bigEndian(value.low), name, "\(value)")
    }

    mutating func string(_ name: String, _ value: inout String, max: Int, _ meaning: String) {
        note(bigEndian(UInt16(value.utf8.count)) + Array(value.utf8), name, "\"\(value)\"")
    }

    mutating func optionalString(
        _ name: String, _ value: inout String?, max: Int, _ meaning: String
    ) {
        guard let text = value else { return note([0xFF, 0xFF], name, "null") }
        note(bigEndian(UInt16(text.utf8.count)) + Array(text.utf8), name, "\"\(text)\"")
    }

    mutating func bytes(_ name: String, _ value: inout [UInt8], max: Int, _ meaning: String) {
        note(bigEndian(UInt16(value.count)) + value, name, "\(value.count) bytes")
    }

    mutating func array<Item: WireItem>(
        _ name: String, _ values: inout [Item], max: Int, _ meaning: String
    ) throws(WireError) {
        let count = values.count
        note(bigEndian(UInt32(count)), name, "\(count) \(count == 1 ? "item" : "items")")
        let outer = prefix
        for index in values.indices {
            prefix = "\(outer)\(name)[\(index)]."
            try values[index].fields(&self)
        }
        prefix = outer
    }

    mutating func item<Item: WireItem>(_ name: String, _ value: inout Item) throws(WireError) {
        let outer = prefix
        prefix = "\(outer)\(name)."
        try value.fields(&self)
        prefix = outer
    }
}

extension WireMessage {
    /// The whole frame, with its attachment, taken apart.
    func trace(
        number: UInt16, correlation: UInt64, attachment: [[UInt8]]
    ) throws -> HexTrace {
        var tracer = FieldTracer(version: 1)
        var copy = self
        try copy.fields(&tracer)
        let fields = tracer.trace
        let payload = fields.bytes.count + attachment.reduce(0) { $0 + $1.count }
        var trace = HexTrace()
        trace.add(UInt32(payload + FrameHeader.byteCountMin), "byteCount = \(payload + 12)")
        let isReply = number & FrameHeader.replyBit != 0
        let name = Operation(rawValue: number & ~FrameHeader.replyBit)?.name ?? "unknown"
        trace.add(number, "operation: \(name)\(isReply ? ", reply" : "")")
        trace.add(UInt16(1), "version = 1")
        trace.add(correlation, "correlation = \(correlation)")
        for line in fields.lines { trace.add(line.bytes, line.note) }
        for (index, batch) in attachment.enumerated() {
            trace.addBatch(batch, name: "batch \(index)")
        }
        return trace
    }
}

extension HexTrace {
    /// A record batch, taken apart without the help of the format module.
    mutating func addBatch(_ batch: [UInt8], name: String) {
        var position = 0
        for (field, size, isHex) in batchHeaderFields {
            let bytes = Array(batch[position..<(position + size)])
            let value = isHex ? "0x" + hex(bytes, separator: "") : "\(signed(bytes))"
            add(bytes, "\(name): \(field) = \(value)")
            position += size
        }
        var record = 0
        while position < batch.count {
            addRecord(batch, &position, "\(name), record \(record)")
            record += 1
        }
    }

    private mutating func addRecord(_ batch: [UInt8], _ position: inout Int, _ name: String) {
        varint(batch, &position, "\(name): length")
        add([batch[position]], "\(name): attributes = \(batch[position])")
        position += 1
        varint(batch, &position, "\(name): timestampDelta")
        varint(batch, &position, "\(name): offsetDelta")
        run(batch, &position, "\(name): key")
        run(batch, &position, "\(name): value")
        let headers = varint(batch, &position, "\(name): headers")
        for _ in 0..<headers {
            run(batch, &position, "\(name): header key")
            run(batch, &position, "\(name): header value")
        }
    }

    @discardableResult
    private mutating func varint(_ batch: [UInt8], _ position: inout Int, _ note: String) -> Int {
        let start = position
        let value = zigZag(batch, &position)
        add(Array(batch[start..<position]), "\(note) = \(value)")
        return value
    }

    private mutating func run(_ batch: [UInt8], _ position: inout Int, _ note: String) {
        let start = position
        let length = zigZag(batch, &position)
        guard length >= 0 else {
            return add(Array(batch[start..<position]), "\(note) = null")
        }
        let text = String(decoding: batch[position..<(position + length)], as: UTF8.self)
        position += length
        add(Array(batch[start..<position]), "\(note), \(length) bytes: \(text)")
    }

    private func zigZag(_ batch: [UInt8], _ position: inout Int) -> Int {
        var raw: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let byte = batch[position]
            position += 1
            raw |= UInt64(byte & 0x7F) << shift
            shift += 7
            if byte & 0x80 == 0 { break }
        }
        return Int(Int64(bitPattern: (raw >> 1) ^ (0 &- (raw & 1))))
    }

    private func signed(_ bytes: [UInt8]) -> Int64 {
        let raw = bytes.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let unused = UInt64(64 - bytes.count * 8)
        return Int64(bitPattern: raw << unused) >> Int64(unused)
    }
}

/// The 61 bytes of a batch's header: name, size, and whether it reads better in hexadecimal.
let batchHeaderFields: [(name: String, size: Int, isHex: Bool)] = [
    ("baseOffset", 8, false), ("batchLength", 4, false), ("leaderEpoch", 4, false),
    ("magic", 1, false), ("crc", 4, true), ("attributes", 2, false),
    ("lastOffsetDelta", 4, false), ("baseTimestamp", 8, false), ("maxTimestamp", 8, false),
    ("producerId", 8, false), ("producerEpoch", 2, false), ("baseSequence", 4, false),
    ("recordCount", 4, false),
]

func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    stride(from: value.bitWidth - 8, through: 0, by: -8).map {
        UInt8(truncatingIfNeeded: value >> $0)
    }
}

func hex(_ bytes: some Collection<UInt8>, separator: String = " ") -> String {
    bytes.map { byte in
        (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }.joined(separator: separator)
}

func hexWord(_ value: UInt32) -> String { "0x" + hex(bigEndian(value), separator: "") }

extension String {
    func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}
