import MartletFormat

/// What the bytes at a place in the stream hold.
package enum FrameStep: Equatable, Sendable {
    /// A whole frame: its header and where its payload lies in the bytes that were given.
    case frame(FrameHeader, payload: Range<Int>)
    /// Not yet: the frame is whole once this many bytes lie at its place. 4 or 16 while the length
    /// is not known.
    case needBytes(Int)
}

/// Finds the frames in a stream of bytes that may be cut anywhere.
///
/// It holds no bytes: the owner keeps them, asks for the frame at a place, and goes on behind it.
/// The length field is judged as soon as its four bytes are there, so nothing is ever kept for a
/// frame that would be refused.
package struct FrameDecoder: Sendable {
    /// The largest value that the length field may have.
    package var frameBytesMax: Int

    package init(frameBytesMax: Int) {
        self.frameBytesMax = frameBytesMax
    }

    /// Looks at the bytes from `position` on. Throws only what breaks the framing for good.
    package func step(in bytes: RawSpan, at position: Int) throws(WireError) -> FrameStep {
        let have = bytes.byteCount - position
        guard have >= FrameHeader.lengthBytes else { return .needBytes(FrameHeader.lengthBytes) }
        var cursor = position
        let length: UInt32
        do throws(FormatError) {
            length = try bytes.readUInt32("byteCount", at: &cursor)
        } catch {
            throw WireError(error)
        }
        try FrameHeader.check(length: length, frameBytesMax: frameBytesMax)
        let frameBytes = Int(length) + FrameHeader.lengthBytes
        guard have >= frameBytes else {
            // A peer that is slow with the header is asked for the header first, so that a refusal
            // can name the operation and the correlation.
            return .needBytes(have < FrameHeader.byteCount ? FrameHeader.byteCount : frameBytes)
        }
        let header = try FrameHeader(reading: bytes, at: position)
        let start = position + FrameHeader.byteCount
        return .frame(header, payload: start..<(start + header.payloadBytes))
    }
}
