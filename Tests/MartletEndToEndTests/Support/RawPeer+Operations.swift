import Testing

/// More of Protocol.md than `RawPeer` itself needs.
extension RawPeer {
    static let corrupt: UInt16 = 2
    static let storageError: UInt16 = 56
    static let offsetOutOfRange: UInt16 = 1

    /// What a fetch of one partition gave.
    struct Fetched {
        let error: UInt16
        let logStart: Int64
        let damaged: [Range<Int64>]
        let batches: [UInt8]
    }

    /// Makes a topic of one partition with settings; its id.
    func createTopic(_ name: String, settings: [(String, String)]) throws -> [UInt8] {
        let changes = settings.flatMap { RawBytes.string($0) + RawBytes.string($1) }
        let fields =
            RawBytes.string(name) + RawBytes.integer(Int32(1))
            + RawBytes.integer(UInt32(settings.count)) + changes + [0]
        var reply = try #require(request(10, fields))
        try #require(reply.error == 0, "\(reply.message)")
        return reply.fields.take(16)
    }

    func deleteTopic(_ topic: [UInt8]) throws {
        #expect(try #require(request(11, topic)).error == 0)
    }

    /// The fields of a fetch from partition 0.
    static func fetch(
        _ topic: [UInt8], from offset: Int64, wait: UInt32 = 0, maxBytes: UInt32 = 1 << 20,
        verify: Bool = false
    ) -> [UInt8] {
        RawBytes.integer(wait) + RawBytes.integer(UInt32(1)) + RawBytes.integer(maxBytes)
            + [verify ? 1 : 0] + RawBytes.integer(UInt32(1)) + topic + RawBytes.integer(Int32(0))
            + RawBytes.integer(offset) + RawBytes.integer(maxBytes)
            // Of no group: no epoch, no name, no member.
            + RawBytes.integer(Int32(0)) + RawBytes.string("") + [UInt8](repeating: 0, count: 16)
    }

    func fetch(_ topic: [UInt8], from offset: Int64, verify: Bool = false) throws -> Fetched {
        let reply = try #require(request(21, Self.fetch(topic, from: offset, verify: verify)))
        // Of the whole as of the partition: it may be asked for again.
        if reply.error == Self.tooManyRequests {
            return Fetched(error: reply.error, logStart: -1, damaged: [], batches: [])
        }
        try #require(reply.error == 0, "\(reply.message)")
        return Self.fetched(reply)
    }

    static func fetched(_ reply: Frame) -> Fetched {
        var fields = reply.fields
        _ = fields.integer(UInt32.self)
        _ = fields.integer(UInt32.self)
        let error = fields.integer(UInt16.self)
        _ = fields.string()
        _ = fields.integer(Int64.self)
        let logStart = fields.integer(Int64.self)
        _ = fields.integer(UInt64.self)
        _ = ranges(&fields)
        let damaged = ranges(&fields)
        let count = Int(fields.integer(UInt32.self))
        return Fetched(
            error: error, logStart: logStart, damaged: damaged, batches: fields.take(count))
    }

    private static func ranges(_ fields: inout RawReader) -> [Range<Int64>] {
        (0..<fields.integer(UInt32.self)).map { _ in
            let from = fields.integer(Int64.self)
            return from..<max(from, fields.integer(Int64.self))
        }
    }

    /// Everything that can be read from `offset` on, batch after batch.
    func drain(_ topic: [UInt8], from offset: Int64 = 0) throws -> [UInt8] {
        let end = try endOffset(of: topic)
        var next = offset
        var all: [UInt8] = []
        while next < end {
            let part = try fetch(topic, from: next)
            try #require(part.error == 0 && !part.batches.isEmpty, "at \(next): \(part.error)")
            all += part.batches
            next = Self.nextOffset(behind: part.batches)
        }
        return all
    }

    /// The offset behind the last of these batches.
    static func nextOffset(behind batches: [UInt8]) -> Int64 {
        var rest = batches[...]
        var next: Int64 = 0
        while rest.count >= 61 {
            var reader = RawReader(Array(rest.prefix(61)))
            let base = reader.integer(Int64.self)
            let length = Int(reader.integer(Int32.self)) + 12
            _ = reader.take(11)
            next = base + Int64(reader.integer(Int32.self)) + 1
            rest = rest.dropFirst(length)
        }
        return next
    }
}

extension [UInt8] {
    /// Two digits for each.
    var hex: String { map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
}
