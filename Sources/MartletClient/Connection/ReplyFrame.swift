import MartletFormat
import MartletWire

/// One frame from the broker, lent to its handler.
///
/// Small frames lie in the connection's read buffer and are valid only during the call; a large one
/// has a slab to itself. `takePayload` gives the bytes away in both cases.
final class ReplyFrame {
    let header: FrameHeader
    private let slab: ByteSlab
    private let payload: Range<Int>
    private let pool: SlabPool
    /// True: the slab holds nothing but this frame and goes back to the pool with it.
    private var ownsSlab: Bool

    init(
        header: FrameHeader, slab: ByteSlab, payload: Range<Int>, ownsSlab: Bool, pool: SlabPool
    ) {
        self.header = header
        self.slab = slab
        self.payload = payload
        self.ownsSlab = ownsSlab
        self.pool = pool
    }

    deinit {
        if ownsSlab { pool.give(slab) }
    }

    func decode<Reply: WireReply>(
        _ type: Reply.Type
    ) throws(WireError) -> (message: Reply, attachment: Range<Int>) {
        try Reply.decode(slab, payload, version: header.version)
    }

    /// Gives `range` of the frame's bytes away: the slab that holds them and where they are in it.
    func take(_ range: Range<Int>) -> (slab: SlabLease, range: Range<Int>) {
        if ownsSlab {
            ownsSlab = false
            return (SlabLease(slab, pool), range)
        }
        let copy = pool.take(atLeast: range.count)
        let slab = slab
        copy.append(slab.span(range))
        return (SlabLease(copy, pool), 0..<range.count)
    }

}

/// A slab that goes back to its pool when the last reader lets go of it. Nobody writes to it.
final class SlabLease: Sendable {
    let slab: ByteSlab
    private let pool: SlabPool

    init(_ slab: ByteSlab, _ pool: SlabPool) {
        self.slab = slab
        self.pool = pool
    }

    deinit {
        pool.give(slab)
    }
}
