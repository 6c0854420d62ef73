/// A second reader of record batches, as plain as it can be: one byte at a time, no error but nil. The
/// product's reader must take exactly what this one takes. It applies the rules for appended batches,
/// the checksum apart.
struct ReferenceDecoder {
    private let bytes: [UInt8]
    private var position = 0
    private var end: Int

    private init(_ bytes: [UInt8]) {
        self.bytes = bytes
        end = bytes.count
    }

    static func decode(_ bytes: [UInt8]) -> [TestRecord]? {
        var decoder = ReferenceDecoder(bytes)
        return decoder.batch()
    }

    private mutating func batch() -> [TestRecord]? {
        guard let baseOffset = integer(8), let length = integer(4), integer(4) != nil,
            integer(1) == 2, integer(4) != nil, integer(2) == 0, let lastDelta = integer(4),
            let baseTime = integer(8), let maxTime = integer(8), let producer = integer(8),
            let epoch = integer(2), let sequence = integer(4), let count = integer(4)
        else { return nil }
        guard length == Int64(bytes.count - 12), count >= 1, lastDelta == count - 1,
            baseOffset >= 0, !baseOffset.addingReportingOverflow(count).overflow
        else { return nil }
        guard producer == -1 || (producer >= 0 && epoch >= 0 && sequence >= 0) else { return nil }
        var records: [TestRecord] = []
        for index in 0..<count {
            guard let record = record(index: index, baseTime: baseTime) else { return nil }
            records.append(record)
        }
        guard position == end, records.map(\.timestamp).max() == maxTime else { return nil }
        return records
    }

    private mutating func record(index: Int64, baseTime: Int64) -> TestRecord? {
        let batchEnd = end
        guard let length = varint(32), length >= 0, length <= Int64(end - position) else {
            return nil
        }
        end = position + Int(length)
        guard integer(1) == 0, let delta = varint(64), varint(32) == index,
            let key = part(), let value = part(), let count = varint(32), count >= 0, count <= 64
        else { return nil }
        guard end - position <= 32 * 1024 else { return nil }
        let (time, overflow) = baseTime.addingReportingOverflow(delta)
        guard !overflow else { return nil }
        var record = TestRecord(key: key.bytes, value: value.bytes, timestamp: time)
        for _ in 0..<count {
            guard let key = part()?.bytes, let value = part(),
                let text = String(validating: key, as: UTF8.self)
            else { return nil }
            record.headers.append(TestHeader(key: text, value: value.bytes))
        }
        guard position == end else { return nil }
        end = batchEnd
        return record
    }

    private struct Part {
        var bytes: [UInt8]?
    }

    private mutating func part() -> Part? {
        guard let length = varint(32), length >= -1, length <= Int64(end - position) else {
            return nil
        }
        guard length >= 0 else { return Part(bytes: nil) }
        position += Int(length)
        return Part(bytes: Array(bytes[position - Int(length)..<position]))
    }

    /// A signed big-endian integer.
    private mutating func integer(_ size: Int) -> Int64? {
        guard end - position >= size else { return nil }
        var value: Int64 = bytes[position] >= 0x80 ? -1 : 0
        for byte in bytes[position..<position + size] { value = value << 8 | Int64(byte) }
        position += size
        return value
    }

    /// A zig-zag varint, refused when it has more bytes or bits than the integer.
    private mutating func varint(_ bits: Int) -> Int64? {
        var value: UInt64 = 0
        var shift = 0
        while position < end {
            let byte = bytes[position]
            position += 1
            let group = UInt64(byte & 0x7F)
            guard shift < bits, shift + 7 <= bits || group >> UInt64(bits - shift) == 0 else {
                return nil
            }
            value |= group << UInt64(shift)
            guard byte >= 0x80 else {
                let half = Int64(value >> 1)
                return value & 1 == 0 ? half : -half - 1
            }
            shift += 7
        }
        return nil
    }
}
