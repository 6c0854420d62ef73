import MartletFormat
import MartletSystem
import MartletWire

/// Bytes from a socket in, frames out.
///
/// Small frames are read many at a time into one buffer. A frame that does not fit gets a slab of
/// its own, of which only the first part is ever copied: the rest is received straight into it, so
/// that record batches reach the application without another copy.
///
/// Confined to the connection's queue.
final class FrameReader {
    /// Bytes of the shared buffer. What a large frame shares with it is copied once.
    private static let bufferBytes = 32 * 1024

    private let pool: SlabPool
    private let buffer: ByteSlab
    private var decoder: FrameDecoder
    /// Bytes of the buffer that were handed out already.
    private var consumed = 0
    private var large: ByteSlab?
    private var largeBytes = 0
    /// The socket had less than there was room for.
    private(set) var lastReceiveWasShort = false

    /// - Parameter frameBytesMax: the largest value of a frame's length field.
    init(pool: SlabPool, frameBytesMax: Int) {
        self.pool = pool
        buffer = pool.take(atLeast: Self.bufferBytes)
        decoder = FrameDecoder(frameBytesMax: frameBytesMax)
    }

    deinit {
        pool.give(buffer)
        if let large { pool.give(large) }
    }

    var frameBytesMax: Int {
        get { decoder.frameBytesMax }
        set { decoder.frameBytesMax = newValue }
    }

    /// Receives once. Call `next` until it returns nil before the next call.
    func receive(from socket: Socket) throws(SystemError) -> IOResult {
        var result = IOResult.wouldBlock
        let target: ByteSlab
        let room: Int
        if let large {
            target = large
            room = largeBytes - large.count
        } else {
            buffer.removePrefix(consumed)
            consumed = 0
            target = buffer
            room = buffer.freeCapacity
        }
        try unsafe target.fill(atMost: room) { free throws(SystemError) -> Int in
            result = try unsafe socket.receive(into: free)
            guard case .count(let count) = result else { return 0 }
            lastReceiveWasShort = count < free.count
            return count
        }
        return result
    }

    /// The next whole frame; nil when more bytes are needed.
    func next() throws(WireError) -> ReplyFrame? {
        if let slab = large {
            guard slab.count == largeBytes else { return nil }
            large = nil
            guard case .frame(let header, let payload) = try decoder.step(in: slab.bytes, at: 0)
            else { preconditionFailure("a frame of \(slab.count) bytes is not whole") }
            return ReplyFrame(
                header: header, slab: slab, payload: payload, ownsSlab: true, pool: pool)
        }
        // A span borrows from a name, and a property is none.
        let buffer = buffer
        switch try decoder.step(in: buffer.bytes, at: consumed) {
        case .frame(let header, let payload):
            consumed = payload.upperBound
            return ReplyFrame(
                header: header, slab: buffer, payload: payload, ownsSlab: false, pool: pool)
        case .needBytes(let needed):
            if needed > buffer.capacity { startLarge(needed) }
            return nil
        }
    }

    private func startLarge(_ frameBytes: Int) {
        let slab = pool.take(atLeast: frameBytes)
        let buffer = buffer
        slab.append(buffer.span(consumed..<buffer.count))
        buffer.clear()
        consumed = 0
        large = slab
        largeBytes = frameBytes
    }
}
