package import MartletFormat

/// The 16 bytes before every message, big-endian, the same in both directions:
///
///     offset  size  type  field        meaning
///          0     4  u32   byteCount    bytes after this field; 12 and more
///          4     2  u16   operation    see `Operation`; bit 15 is set in a reply
///          6     2  u16   version      of this operation
///          8     8  u64   correlation  chosen by the client, echoed in the reply
package struct FrameHeader: Equatable, Sendable {
    /// Bytes of the header, the length field included.
    package static let byteCount = 16
    /// Bytes of the length field, which it does not count itself.
    package static let lengthBytes = 4
    /// The smallest value that the length field may have.
    package static let byteCountMin = byteCount - lengthBytes
    package static let replyBit: UInt16 = 0x8000

    /// The number as sent; it may be one that this build does not know.
    package var operation: UInt16
    package var version: UInt16
    package var correlation: UInt64
    /// Bytes after the header: the message's fields and its attachment.
    package var payloadBytes: Int

    package init(operation: UInt16, version: UInt16, correlation: UInt64, payloadBytes: Int) {
        self.operation = operation
        self.version = version
        self.correlation = correlation
        self.payloadBytes = payloadBytes
    }

    package var isReply: Bool { operation & Self.replyBit != 0 }

    /// The operation without the reply bit; nil when it is unknown.
    package var known: Operation? { Operation(rawValue: operation & ~Self.replyBit) }

    /// The whole frame's bytes, the length field included.
    package var frameBytes: Int { Self.byteCount + payloadBytes }

    /// The header of the answer to this frame.
    package func reply(payloadBytes: Int) -> FrameHeader {
        FrameHeader(
            operation: operation | Self.replyBit, version: version, correlation: correlation,
            payloadBytes: payloadBytes)
    }

    /// Appends the 16 bytes. `payloadBytes` must fit the length field; every caller is held to a
    /// frame limit far below that.
    package func encode(into slab: ByteSlab) {
        slab.append(UInt32(payloadBytes + Self.byteCountMin))
        slab.append(operation)
        slab.append(version)
        slab.append(correlation)
    }

    /// Reads the header at `position`. The length must have been checked before (`FrameDecoder`).
    init(reading bytes: RawSpan, at position: Int) throws(WireError) {
        var cursor = position
        do throws(FormatError) {
            let length = try bytes.readUInt32("byteCount", at: &cursor)
            operation = try bytes.readUInt16("operation", at: &cursor)
            version = try bytes.readUInt16("version", at: &cursor)
            correlation = try bytes.readUInt64("correlation", at: &cursor)
            payloadBytes = Int(length) - Self.byteCountMin
        } catch {
            throw WireError(error)
        }
    }

    static func check(length: UInt32, frameBytesMax: Int) throws(WireError) {
        let length = Int(length)
        guard length >= Self.byteCountMin else { throw .frameTooSmall(byteCount: length) }
        guard length <= frameBytesMax else {
            throw .frameTooLarge(byteCount: length, max: frameBytesMax)
        }
    }

    /// The header at `position` of a frame whose length was refused, so that the refusal can name
    /// it; nil when its 16 bytes are not all there. Its `payloadBytes` are 0.
    package static func peek(_ bytes: RawSpan, at position: Int) -> FrameHeader? {
        guard bytes.byteCount - position >= byteCount else { return nil }
        do throws(WireError) {
            var header = try FrameHeader(reading: bytes, at: position)
            header.payloadBytes = 0
            return header
        } catch {
            return nil
        }
    }
}
