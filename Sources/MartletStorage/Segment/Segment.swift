import MartletFormat
import MartletSystem
import Synchronization

/// One segment: a log file from `base` on, and its index. Its bytes below the high watermark never
/// change; compaction makes a new segment with the next generation.
final class Segment: Sendable {
    let key: PartitionKey
    let base: Int64
    let generation: UInt32
    let log: CachedFile
    let index: SparseIndex
    /// What the log was when the segment was closed; nil while it is open or not yet looked up.
    private let sealed: Mutex<IndexEntry?>
    /// Bytes of the log file, for sums; exact for sealed segments.
    private let size: Atomic<Int64>
    private let firstTime = Atomic<Int64>(.max)
    /// False until the prepared files have the names of this segment, on disk.
    private let named: Atomic<Bool>

    init(
        key: PartitionKey, base: Int64, generation: UInt32, log: CachedFile, index: SparseIndex,
        size: Int64, isNamed: Bool
    ) {
        self.key = key
        self.base = base
        self.generation = generation
        self.log = log
        self.index = index
        sealed = Mutex(nil)
        self.size = Atomic(size)
        named = Atomic(isNamed)
    }

    var bytes: Int64 {
        get { size.load(ordering: .relaxed) }
        set { size.store(newValue, ordering: .relaxed) }
    }

    /// Append time of the first batch, ms; `Int64.max` when it is not known.
    var firstAppendTime: Int64 {
        get { firstTime.load(ordering: .relaxed) }
        set { firstTime.store(newValue, ordering: .relaxed) }
    }

    var isNamed: Bool { named.load(ordering: .acquiring) }
    func didName() { named.store(true, ordering: .releasing) }

    /// The state of the log at the end of this segment, when it is closed and known.
    var end: IndexEntry? { sealed.withLock { $0 } }

    func seal(_ end: IndexEntry) {
        var entry = end
        entry.isSeal = true
        let sealed = entry
        self.sealed.withLock { $0 = sealed }
        bytes = sealed.position
    }
}
