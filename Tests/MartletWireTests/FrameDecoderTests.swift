import MartletFormat
import MartletWire
import Testing

@Suite struct FrameDecoderTests {
    private let decoder = FrameDecoder(frameBytesMax: 1_000)

    @Test func `F-28 frames come out the same however the bytes are cut`() throws {
        let first = try HelloRequest.filled().frame(correlation: 1)
        let second = try PingRequest().frame(correlation: 2)
        let stream = first + second
        for cut in 0...stream.count {
            let found = try frames(of: [Array(stream[..<cut]), Array(stream[cut...])])
            #expect(found.map(\.correlation) == [1, 2], "cut at \(cut)")
        }
        let bytewise = try frames(of: stream.map { [$0] })
        #expect(bytewise.map(\.payloadBytes) == [first.count - 16, 0])
    }

    /// What an owner does: appends what arrived, takes every whole frame.
    private func frames(of pieces: [[UInt8]]) throws -> [FrameHeader] {
        let slab = ByteSlab(capacity: 4_096)
        var position = 0
        var found: [FrameHeader] = []
        for piece in pieces {
            unsafe slab.append(piece.span.bytes)
            read: while true {
                switch try decoder.step(in: slab.bytes, at: position) {
                case .frame(let header, let payload):
                    found.append(header)
                    #expect(payload.lowerBound == position + FrameHeader.byteCount)
                    position = payload.upperBound
                case .needBytes(let count):
                    #expect(count > slab.count - position)
                    break read
                }
            }
        }
        #expect(position == slab.count)
        return found
    }

    @Test(arguments: [
        UInt32(0), 1, 11, 1_001, UInt32(Int32.max), UInt32(Int32.max) + 1, UInt32.max,
    ])
    func `F-29 a length outside the limits is refused by its four bytes alone`(
        length: UInt32
    ) throws {
        let bytes = slab((0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * $0)) })
        let error = #expect(throws: WireError.self) {
            _ = try decoder.step(in: bytes.bytes, at: 0)
        }
        #expect(error?.breaksFraming == true)
        #expect(error?.code == (length < 12 ? .invalidRequest : .frameTooLarge))
    }

    @Test func `the largest and the smallest frame are taken`() throws {
        let smallest = slab([0, 0, 0, 12] + [UInt8](repeating: 0, count: 12))
        #expect(
            try decoder.step(in: smallest.bytes, at: 0)
                == .frame(
                    FrameHeader(operation: 0, version: 0, correlation: 0, payloadBytes: 0),
                    payload: 16..<16))
        let largest = slab([0, 0, 3, 0xE8, 0, 1, 0, 1])
        #expect(try decoder.step(in: largest.bytes, at: 0) == .needBytes(16))
        let header = slab([0, 0, 3, 0xE8] + [UInt8](repeating: 0, count: 12))
        #expect(try decoder.step(in: header.bytes, at: 0) == .needBytes(1_004))
    }
}
