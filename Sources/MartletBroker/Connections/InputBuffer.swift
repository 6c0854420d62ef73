import MartletFormat
import MartletSystem

/// The bytes of one connection that have arrived and are not handled yet.
///
///     0 ≤ consumed ≤ slab.count ≤ slab.capacity
///
/// Memory follows what has really arrived: a slab is doubled only when it is full, so a peer that
/// announces a large frame and sends nothing holds the smallest slab there is. Frames larger than
/// `exactBytesMin` are received to their very end and no further, so that the next one begins at
/// the front of the slab and is never moved.
///
/// The smallest slab is every connection's own, whatever the others hold: so a hello, and any other
/// small request, gets through when the memory of all together is used up.
struct InputBuffer {
    /// What a connection that has said hello begins with; also the step of growth.
    static let slabBytes = 64 * 1_024
    /// What a connection begins with before its hello, and what none has to wait for.
    static let ownSlabBytes = SlabPool.slabBytesMin
    /// From this size on a frame is received exactly.
    private static let exactBytesMin = 64 * 1_024

    private(set) var slab: ByteSlab?
    private(set) var consumed = 0
    /// The frame at `consumed` is whole when so many bytes lie there.
    private var needed = FrameNeed.unknown
    /// Size of the last whole frame: the next one is most often as large.
    private var lastFrameBytes = 0
    private let pool: SlabPool
    private let budget: MemoryBudget

    private enum FrameNeed {
        case unknown
        case bytes(Int)
    }

    init(pool: SlabPool, budget: MemoryBudget) {
        self.pool = pool
        self.budget = budget
    }

    /// Bytes that wait to become a frame.
    var pendingBytes: Int { (slab?.count ?? 0) - consumed }

    /// Whether it holds memory that others could use.
    var holdsSharedMemory: Bool { (slab?.capacity ?? 0) > Self.ownSlabBytes }

    /// The frame at `consumed` needs this many bytes and does not have them.
    mutating func wait(for frameBytes: Int) {
        needed = .bytes(frameBytes)
    }

    /// The frame that ended at `end` is handled.
    mutating func consume(upTo end: Int) {
        lastFrameBytes = end - consumed
        consumed = end
        needed = .unknown
        guard let slab, consumed == slab.count else { return }
        slab.clear()
        consumed = 0
    }

    /// Forgets what arrived and is not wanted any more.
    mutating func discard() {
        slab?.clear()
        consumed = 0
        needed = .unknown
    }

    /// Makes room to receive into. False when the memory of all connections together is used up, or
    /// the system refuses more; then nothing has changed.
    mutating func makeRoom(initialBytes: Int) -> Bool {
        guard let slab else {
            slab = take(initialBytes) ?? take(Self.ownSlabBytes)
            return slab != nil
        }
        if slab.freeCapacity >= min(missing, InputBuffer.slabBytes), slab.freeCapacity > 0 {
            return true
        }
        if consumed > 0 {
            slab.removePrefix(consumed)
            consumed = 0
        }
        guard slab.freeCapacity == 0 else { return true }
        return grow(slab)
    }

    /// Receives once. Only after `makeRoom` said true. Returns with how much was asked for: less
    /// means that the socket is empty now.
    mutating func receive(
        from socket: Socket
    ) throws(SystemError) -> (result: IOResult, asked: Int) {
        guard let slab else { return (.wouldBlock, 0) }
        let asked = receiveBytes(slab)
        var result = IOResult.wouldBlock
        try unsafe slab.fill(atMost: asked) { (free) throws(SystemError) -> Int in
            result = try unsafe socket.receive(into: free)
            guard case .count(let count) = result else { return 0 }
            return count
        }
        return (result, asked)
    }

    /// Gives the memory back when nothing waits in it.
    mutating func release() {
        guard let slab, pendingBytes == 0 else { return }
        returnSlab(slab)
        self.slab = nil
        consumed = 0
    }

    /// Gives the memory back whatever is in it: the connection is closed.
    mutating func close() {
        discard()
        release()
    }

    /// Bytes that the frame at `consumed` still lacks; 1 when that is not known.
    private var missing: Int {
        switch needed {
        case .unknown: 1
        case .bytes(let count): max(count - pendingBytes, 1)
        }
    }

    private func receiveBytes(_ slab: ByteSlab) -> Int {
        switch needed {
        case .bytes where missing >= Self.exactBytesMin:
            return min(missing, slab.freeCapacity)
        case .unknown where slab.count == 0 && lastFrameBytes >= Self.exactBytesMin:
            return min(lastFrameBytes, slab.freeCapacity)
        case .bytes, .unknown:
            return slab.freeCapacity
        }
    }

    /// Doubles a full slab: never by more than what has arrived in it.
    private mutating func grow(_ old: ByteSlab) -> Bool {
        guard let new = take(old.capacity * 2) else { return false }
        new.append(old.bytes)
        slab = new
        returnSlab(old)
        return true
    }

    /// Nil when all connections together hold as much as they may, or the system has no more.
    private func take(_ bytes: Int) -> ByteSlab? {
        if bytes == Self.ownSlabBytes { return pool.takeIfPossible(atLeast: bytes) }
        guard budget.take(bytes) else { return nil }
        if let slab = pool.takeIfPossible(atLeast: bytes) { return slab }
        budget.give(bytes)
        return nil
    }

    private func returnSlab(_ slab: ByteSlab) {
        if slab.capacity > Self.ownSlabBytes { budget.give(slab.capacity) }
        pool.give(slab)
    }
}
