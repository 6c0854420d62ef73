import MartletFormat
import Synchronization

/// What the replies of one connection hold in memory.
///
/// The first `ownBytes` are the connection's own, so a small reply gets out whatever the others
/// hold. The rest comes from the memory of all, and nobody takes more of it than he leaves to the
/// others.
final class ReplyMemory: Sendable {
    static let ownBytes = 16 * 1_024

    private let pool: SlabPool
    private let budget: MemoryBudget
    private let held = Mutex(0)

    init(pool: SlabPool, budget: MemoryBudget) {
        self.pool = pool
        self.budget = budget
    }

    /// Bytes that others could use.
    var sharedBytes: Int { held.withLock { Self.shared($0) } }

    /// It holds more than its share: what waits must be sent before more is asked for.
    var isOver: Bool {
        let shared = sharedBytes
        return shared > 0 && shared > budget.leftBytes
    }

    /// What could be taken at once.
    var allowance: Int {
        held.withLock { held in
            max(0, Self.ownBytes - held, (budget.leftBytes - Self.shared(held)) / 2)
        }
    }

    /// Nil when there is not so much for this connection now.
    func lend(_ bytes: Int) -> MemoryLoan? {
        take(bytes) ? MemoryLoan(self, bytes) : nil
    }

    /// An empty slab; nil when there is not so much for this connection now, or the system refuses
    /// it.
    func slab(atLeast bytes: Int) -> ReplySlab? {
        let size = SlabPool.capacity(for: bytes)
        guard let loan = lend(size) else { return nil }
        guard let slab = pool.takeIfPossible(atLeast: size) else { return nil }
        return ReplySlab(slab, loan, pool)
    }

    /// An empty slab for a reply that cannot be put off, however much is held.
    func slabDue(atLeast bytes: Int) -> ReplySlab {
        let size = SlabPool.capacity(for: bytes)
        held.withLock { held in
            budget.charge(Self.shared(held + size) - Self.shared(held))
            held += size
        }
        return ReplySlab(pool.take(atLeast: size), MemoryLoan(self, size), pool)
    }

    /// Gives what was read into `slab` its place; nil when it is larger than what was lent for it
    /// and there is not more.
    func slab(_ slab: ByteSlab, _ loan: consuming MemoryLoan) -> ReplySlab? {
        guard loan.resize(to: slab.capacity) else { return nil }
        return ReplySlab(slab, loan, pool)
    }

    fileprivate func take(_ bytes: Int) -> Bool {
        held.withLock { held in
            let shared = Self.shared(held + bytes)
            guard shared == 0 || budget.take(shared - Self.shared(held), leaving: shared) else {
                return false
            }
            held += bytes
            return true
        }
    }

    fileprivate func give(_ bytes: Int) {
        held.withLock { held in
            budget.give(Self.shared(held) - Self.shared(held - bytes))
            held -= bytes
        }
    }

    private static func shared(_ held: Int) -> Int { max(0, held - ownBytes) }
}

/// Memory that was taken for a reply; it goes back when the loan ends, on whatever way.
struct MemoryLoan: ~Copyable, Sendable {
    private let memory: ReplyMemory
    private(set) var bytes: Int

    fileprivate init(_ memory: ReplyMemory, _ bytes: Int) {
        self.memory = memory
        self.bytes = bytes
    }

    deinit { memory.give(bytes) }

    /// False when there is not so much, and then nothing has changed.
    mutating func resize(to size: Int) -> Bool {
        if size < bytes {
            memory.give(bytes - size)
        } else {
            guard memory.take(size - bytes) else { return false }
        }
        bytes = size
        return true
    }
}

/// A part of a reply that lies in memory.
// Sendable: like its slab, it has one owner at a time.
final class ReplySlab: @unchecked Sendable {
    let slab: ByteSlab
    private let pool: SlabPool
    private var loan: MemoryLoan?

    fileprivate init(_ slab: ByteSlab, _ loan: consuming MemoryLoan, _ pool: SlabPool) {
        self.slab = slab
        self.loan = consume loan
        self.pool = pool
    }

    deinit { end() }

    /// Gives everything back at once: the socket took it all, or nobody wants it any more.
    func end() {
        guard loan != nil else { return }
        loan = nil
        pool.give(slab)
    }
}
