import MartletFormat
import MartletSystem
import Synchronization

/// The sparse index of one segment: an entry each 64 KiB of log (or what the options say), in a file that can be rebuilt
/// from the log at any time and is therefore never synced on its own.
///
/// In memory it is the whole array of entries or nothing; `EvictionPool` bounds the sum.
final class SparseIndex: Evictable {
    /// No entry stands closer to the one before than a batch is long.
    private static let smallestInterval = Int64(RecordBatch.headerBytes)

    private struct State {
        var entries: [IndexEntry] = []
        var isLoaded = false
        /// While a writer appends, the entries stay.
        var isPinned = false
    }

    let header: IndexHeader
    let file: CachedFile
    private let pool: EvictionPool
    private let use = Atomic<UInt64>(0)
    private let state = Mutex(State())

    init(_ header: IndexHeader, _ file: CachedFile, _ pool: EvictionPool) {
        self.header = header
        self.file = file
        self.pool = pool
    }

    var lastUse: UInt64 { use.load(ordering: .relaxed) }
    var isLoaded: Bool { state.withLock { $0.isLoaded } }

    /// Runs `body` on the entries; nil when they are not in memory.
    func withEntries<R>(_ body: ([IndexEntry]) -> R) -> R? {
        use.store(pool.tick(), ordering: .relaxed)
        return state.withLock { $0.isLoaded ? body($0.entries) : nil }
    }

    /// Takes entries into memory.
    func install(_ entries: [IndexEntry], pinned: Bool) {
        state.withLock { state in
            // A writer's entries are newer than what a reader found in the file.
            if state.isPinned, !pinned { return }
            state.entries = entries
            state.isLoaded = true
            state.isPinned = pinned
        }
        pool.didLoad(self, cost: 64 + entries.count * MemoryLayout<IndexEntry>.stride)
    }

    func unpin() {
        let count = state.withLock { state in
            state.isPinned = false
            return state.isLoaded ? state.entries.count : 0
        }
        pool.didLoad(self, cost: 64 + count * MemoryLayout<IndexEntry>.stride)
    }

    func evict() {
        state.withLock { state in
            guard !state.isPinned else { return }
            state.entries = []
            state.isLoaded = false
        }
    }

    /// Appends an entry in memory and to the open file. A failed write only costs a rebuild later.
    func append(_ entry: IndexEntry, to open: (any File)?) throws(SystemError) {
        let ordinal = state.withLock { state in
            state.entries.append(entry)
            return state.entries.count - 1
        }
        guard let open else { return }
        let slab = ByteSlab(capacity: IndexEntry.byteCount)
        entry.encode(into: slab)
        let position = Int64(IndexHeader.byteCount + ordinal * IndexEntry.byteCount)
        try open.write(slab, at: position)
    }

    /// Replaces the file's content by `entries`. Blocks.
    func rewrite(_ entries: [IndexEntry], in open: any File) throws(StorageError) {
        let slab = ByteSlab(
            capacity: IndexHeader.byteCount + entries.count * IndexEntry.byteCount)
        header.encode(into: slab)
        for entry in entries { entry.encode(into: slab) }
        try storage("writing \(open.path)") { () throws(SystemError) in
            try open.truncate(to: 0)
            try open.write(slab, at: 0)
        }
    }

    /// What the file holds, or nothing: an index that cannot be opened or read is as good as none.
    /// - Throws: `noDescriptors`: that passes, and to read a whole log instead would be dear.
    func stored(end: Int64) throws(StorageError) -> [IndexEntry] {
        do throws(StorageError) {
            return try Self.readEntries(header, from: try file.open(), end: end)
        } catch {
            guard error.code != .noDescriptors else { throw error }
            return []  // the log itself is read then, and says so if it cannot be
        }
    }

    /// The entries of the file that hold together, up to the first that does not. Blocks.
    static func readEntries(
        _ header: IndexHeader, from open: any File, end: Int64
    ) throws(StorageError) -> [IndexEntry] {
        let size = try storage("reading \(open.path)") { () throws(SystemError) in
            try open.size()
        }
        // An entry stands for a batch at least, so a longer file is not ours; the bound also keeps
        // a damaged size from becoming an allocation.
        let most =
            Int64(IndexHeader.byteCount)
            + (end / smallestInterval + 3) * Int64(IndexEntry.byteCount)
        let slab = ByteSlab(capacity: max(1, Int(min(size, most))))
        try storage("reading \(open.path)") { () throws(SystemError) in
            try open.readAll(into: slab, at: 0)
        }
        guard header.matches(slab.bytes) else { return [] }
        var entries: [IndexEntry] = []
        var at = IndexHeader.byteCount
        while let entry = IndexEntry.read(slab.bytes, at: at), entry.position <= end,
            Self.follows(entry, entries.last, header.base)
        {
            entries.append(entry)
            at += IndexEntry.byteCount
        }
        return entries
    }

    /// Where the file says that its segment ends, however long that is now; nil when it does not.
    func storedSeal() -> IndexEntry? {
        do {
            let open = try file.open()
            let size = try open.size()
            let slab = ByteSlab(capacity: IndexHeader.byteCount)
            guard size >= Int64(IndexHeader.byteCount + IndexEntry.byteCount) else { return nil }
            try open.readAll(into: slab, at: 0)
            guard header.matches(slab.bytes) else { return nil }
            let last = ByteSlab(capacity: IndexEntry.byteCount)
            try open.readAll(into: last, at: size - Int64(IndexEntry.byteCount))
            return IndexEntry.read(last.bytes, at: 0).flatMap { $0.isSeal ? $0 : nil }
        } catch {
            return nil  // the log itself is read then
        }
    }

    /// Length of a file with these entries.
    static func length(of entries: [IndexEntry]) -> Int64 {
        entries.isEmpty
            ? 0 : Int64(IndexHeader.byteCount) + Int64(entries.count) * Int64(IndexEntry.byteCount)
    }

    private static func follows(_ entry: IndexEntry, _ last: IndexEntry?, _ base: Int64) -> Bool {
        guard let last else { return entry.position == 0 && entry.offset == base }
        return entry.position > last.position && entry.offset > last.offset
            && entry.appendTime >= last.appendTime && entry.maxEventTime >= last.maxEventTime
            || (entry.isSeal && entry.position == last.position && entry.offset == last.offset)
    }
}

extension [IndexEntry] {
    /// Append time of the first batch of a log whose last one has `last`: the entry behind the first
    /// batch tells it.
    func firstAppendTime(last: Int64) -> Int64 { dropFirst().first?.appendTime ?? last }

    /// Index of the last entry for which `isAtOrBelow` holds (it must hold for a prefix).
    func lastIndex(where isAtOrBelow: (IndexEntry) -> Bool) -> Int? {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if isAtOrBelow(self[middle]) { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : low - 1
    }
}
