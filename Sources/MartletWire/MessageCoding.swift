package import MartletFormat

extension WireMessage {
    /// Bytes of the fields, without attachment. Throws when the message breaks one of its limits.
    package func fieldBytes(version: UInt16) throws(WireError) -> Int {
        var meter = FieldMeter(version: version)
        var copy = self
        try copy.fields(&meter)
        return meter.byteCount
    }

    /// Appends the fields. The slab must have room for `fieldBytes`.
    package func encode(into slab: ByteSlab, version: UInt16) throws(WireError) {
        var encoder = FieldEncoder(into: slab, version: version)
        var copy = self
        try copy.fields(&encoder)
    }

    /// Reads the message in `range` of the slab. Returns it with the range of its attachment, which
    /// has exactly the length that the fields announce; a message without one must fill the range.
    ///
    /// Errors count bytes from the message's first, as Protocol.md's tables do.
    package static func decode(
        _ slab: ByteSlab, _ range: Range<Int>, version: UInt16
    ) throws(WireError) -> (message: Self, attachment: Range<Int>) {
        var decoder = FieldDecoder(slab, range, version: version)
        var message = Self()
        do throws(WireError) {
            try message.fields(&decoder)
            let expected = message.attachmentBytes ?? 0
            guard decoder.remaining == expected else {
                throw .trailing(at: decoder.position, expected: expected, have: decoder.remaining)
            }
        } catch {
            throw error.counted(from: range.lowerBound)
        }
        return (message, decoder.position..<range.upperBound)
    }

    /// Appends a whole frame except its attachment, which the caller sends behind it.
    ///
    /// `operation` is the number for the header: with the reply bit for a reply.
    package func encodeFrame(
        into slab: ByteSlab, fieldBytes: Int, operation: UInt16, version: UInt16,
        correlation: UInt64
    ) throws(WireError) {
        let header = FrameHeader(
            operation: operation, version: version, correlation: correlation,
            payloadBytes: fieldBytes + (attachmentBytes ?? 0))
        header.encode(into: slab)
        try encode(into: slab, version: version)
    }

    /// The frame's bytes without attachment, as an array: for tests, examples and rare requests.
    package func frame(
        operation: UInt16, version: UInt16, correlation: UInt64
    ) throws(WireError) -> [UInt8] {
        let size = try fieldBytes(version: version)
        let slab = ByteSlab(capacity: FrameHeader.byteCount + size)
        try encodeFrame(
            into: slab, fieldBytes: size, operation: operation, version: version,
            correlation: correlation)
        return unsafe slab.withUnsafeBytes(0..<slab.count) { bytes in unsafe [UInt8](bytes) }
    }
}

extension WireRequest {
    /// The request's frame, as an array.
    package func frame(correlation: UInt64) throws(WireError) -> [UInt8] {
        try frame(
            operation: Self.operation.rawValue, version: Self.operation.versions.upperBound,
            correlation: correlation)
    }
}

extension WireReply {
    /// The reply's frame, as an array.
    package func frame(correlation: UInt64) throws(WireError) -> [UInt8] {
        try frame(
            operation: Self.operation.rawValue | FrameHeader.replyBit,
            version: Self.operation.versions.upperBound, correlation: correlation)
    }
}
