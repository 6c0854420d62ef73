import MartletFormat
import MartletWire

/// The frame decoder. Input: limit u16, seed of the cuts u8, then the stream.
///
/// Oracle: the same frames and the same end whatever the cuts, and it never asks for bytes that it
/// has.
enum FrameTarget: FuzzTarget {
    static let name = "frame"

    private struct Found: Equatable {
        var frames: [FrameHeader] = []
        var payloads: [[UInt8]] = []
        var error: WireError?
    }

    static func run(_ input: [UInt8]) {
        var feed = Feed(input)
        let limit = Int(feed.integer(UInt16.self)) + FrameHeader.byteCountMin
        var random = UInt64(feed.byte()) &+ 1
        let stream = feed.remainder()
        let whole = decode(stream, limit) { stream.count }
        let cut = decode(stream, limit) {
            random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(random >> 59) + 1
        }
        require(whole == cut, "cuts change the frames: \(whole) and \(cut)")
    }

    /// Feeds the stream in pieces as a connection does, keeping only what is not used up.
    private static func decode(
        _ stream: [UInt8], _ limit: Int, pieces: () -> Int
    ) -> Found {
        let decoder = FrameDecoder(frameBytesMax: limit)
        var found = Found()
        var used = 0
        var given = 0
        while given < stream.count, found.error == nil {
            given = min(stream.count, given + pieces())
            let slab = Array(stream[used..<given]).slab
            var at = 0
            do {
                loop: while true {
                    switch try decoder.step(in: slab.bytes, at: at) {
                    case .frame(let header, let payload):
                        require(payload.lowerBound == at + FrameHeader.byteCount, "payload start")
                        require(payload.count == header.payloadBytes, "payload length")
                        require(payload.upperBound <= slab.count, "payload behind the end")
                        require(header.frameBytes - 4 <= limit, "frame over the limit")
                        found.frames.append(header)
                        found.payloads.append(Array(slab.array[payload]))
                        at = payload.upperBound
                    case .needBytes(let needed):
                        require(needed > slab.count - at, "asks for what it has")
                        require(needed <= limit + FrameHeader.lengthBytes, "asks over the limit")
                        break loop
                    }
                }
            } catch {
                require(error.breaksFraming, "\(error) is no matter of framing")
                found.error = error
            }
            used += at
        }
        return found
    }

    static var seeds: [(name: String, bytes: [UInt8])] {
        var stream: [UInt8] = [0xFF, 0xFF, 7]
        for (index, frame) in MessageTarget.frames.prefix(6).enumerated() {
            stream += frame.bytes
            if index == 2 { stream += FrameHeaderBytes.empty }
        }
        return [
            ("several", stream), ("small-limit", [0, 20, 3] + stream.dropFirst(3)),
            ("cut", Array(stream.dropLast(5))), ("short", [1, 0, 1, 0, 0, 0, 11, 0, 1]),
        ]
    }
}

enum FrameHeaderBytes {
    /// A frame without payload.
    static let empty: [UInt8] = [0, 0, 0, 12, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]
}
