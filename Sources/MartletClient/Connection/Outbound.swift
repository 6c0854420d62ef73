import MartletFormat
import MartletSystem

/// Bytes that wait for the socket: frame heads and, behind them, the batches where they were built.
///
/// Confined to the connection's queue.
struct Outbound {
    struct Piece {
        var slab: ByteSlab
        var range: Range<Int>
        /// Keeps the slab from its pool while others use it too; nil: it is the outbound's own and
        /// goes to the outbound's pool once it was sent.
        var lease: SlabLease?
        /// For `takeSent`, once the last byte was handed to the kernel.
        var whenSent: (() -> Void)?
    }

    /// Pieces of one `writev`; below the kernel's limit of 1,024.
    private static let piecesPerCallMax = 128

    private let pool: SlabPool
    private var pieces = Fifo<Piece>()
    /// Bytes of the first piece that were sent already.
    private var sentOfFirst = 0
    private var sent: [() -> Void] = []

    init(pool: SlabPool) {
        self.pool = pool
    }

    var isEmpty: Bool { pieces.isEmpty }

    mutating func append(_ piece: Piece) {
        pieces.append(piece)
    }

    /// Sends until everything is gone (true) or the socket takes no more (false).
    mutating func send(to socket: Socket) throws(SystemError) -> Bool {
        while !pieces.isEmpty {
            let buffers = unsafe nextBuffers()
            switch try unsafe socket.send(buffers) {
            case .count(let count): drop(count)
            case .wouldBlock: return false
            case .endOfStream: return false
            }
        }
        return true
    }

    /// Whoever wants to know that a piece was sent: to be called outside, since they may send more.
    mutating func takeSent() -> [() -> Void] {
        if sent.isEmpty { return [] }
        let taken = sent
        sent = []
        return taken
    }

    /// Forgets everything; nothing of it will be sent.
    mutating func removeAll() {
        for piece in pieces.removeAll() where piece.lease == nil { pool.give(piece.slab) }
        sentOfFirst = 0
    }

    private func nextBuffers() -> [UnsafeRawBufferPointer] {
        var buffers: [UnsafeRawBufferPointer] = unsafe []
        var skip = sentOfFirst
        for piece in pieces.prefix(Self.piecesPerCallMax) {
            let range = piece.range.lowerBound + skip..<piece.range.upperBound
            skip = 0
            // The slab's memory does not move, and `pieces` keeps the slab until it was sent.
            unsafe buffers.append(piece.slab.withUnsafeBytes(range) { bytes in unsafe bytes })
        }
        return unsafe buffers
    }

    private mutating func drop(_ count: Int) {
        var left = count
        while let first = pieces.first {
            let rest = first.range.count - sentOfFirst
            guard left >= rest else {
                sentOfFirst += left
                return
            }
            left -= rest
            sentOfFirst = 0
            _ = pieces.popFirst()
            if first.lease == nil { pool.give(first.slab) }
            if let whenSent = first.whenSent { sent.append(whenSent) }
        }
    }
}
