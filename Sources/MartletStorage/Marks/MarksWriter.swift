import MartletFormat
import MartletSystem
import Synchronization

/// How the marks file is kept.
struct MarksOptions: Sendable {
    /// How much the file may grow before it is rewritten.
    var rewriteBytes: Int64 = 8 << 20
    /// Zeros written ahead at a time.
    var aheadBytes = 1 << 20
}

/// The append-only file of marks (reliability: recovery by marks).
///
/// `record` only writes into the page cache and never waits for the disk; a background job syncs
/// the file within `syncDelayNanoseconds`. `recordAndSync` is for marks that must be on disk before
/// something else happens (reserve, epoch, start, clean).
// Sendable: all state is behind `state`; `syncLock` orders the calls that sync or replace the file.
final class MarksWriter: Sendable {
    private static let syncDelayNanoseconds: Int64 = 100_000_000

    private struct State {
        var file: any File
        var generation: UInt64
        var position: Int64
        var aheadEnd: Int64
        /// Where the next rewrite is due.
        var rewriteAt: Int64
        var table: MarkTable
        var syncIsScheduled = false
        /// The table has entries that found no room in the file.
        var isBehind = false
        /// While the file is being rewritten: the new file, its own position, and whether entries
        /// found no room in it.
        var successor: (file: any File, position: Int64, isBehind: Bool)?
    }

    private let fileSystem: any FileSystem
    private let directory: String
    private let options: MarksOptions
    private let executor: any Executor
    private let onFatal: @Sendable (StorageError) -> Void
    private let state: Mutex<State>
    /// Holds the failure after which the file is not asked again: the second answer would be success.
    private let syncLock = Mutex<StorageError?>(nil)

    /// Begins a new generation that holds all that `loaded` says, and removes the older ones.
    init(
        fileSystem: any FileSystem, directory: String, options: MarksOptions,
        executor: any Executor, loaded: MarksLoader.Result,
        onFatal: @escaping @Sendable (StorageError) -> Void
    ) throws(StorageError) {
        self.fileSystem = fileSystem
        self.directory = directory
        self.options = options
        self.executor = executor
        self.onFatal = onFatal
        let generation = (loaded.generations.last ?? 0) &+ 1
        var table = loaded.table
        table.isClean = false
        let made = try Self.makeFile(fileSystem, directory, generation, table, options)
        state = Mutex(
            State(
                file: made.file, generation: generation, position: made.position,
                aheadEnd: made.aheadEnd, rewriteAt: made.position + options.rewriteBytes,
                table: table))
        for old in loaded.generations {
            try storage("removing old marks") { () throws(SystemError) in
                try fileSystem.removeFile("\(directory)/\(MarksFileFormat.name(old))")
            }
        }
    }

    /// Writes entries to the page cache, but for ends that the file has gone past already: of two that
    /// flush the same log, the one that is told last may have seen less of it.
    /// - Throws: `diskFull` when the file cannot grow: until `catchUp`, or a later one of their kind,
    ///   the entries are missing in the file. A start is slower then, and a backup ends below them.
    func record(_ entries: [MarkEntry]) throws(StorageError) {
        let needsSync = try state.withLock { state throws(StorageError) in
            let news = entries.filter { !state.table.isPast($0) }
            guard !news.isEmpty else { return false }
            try write(news, &state)
            if state.syncIsScheduled { return false }
            state.syncIsScheduled = true
            return true
        }
        if needsSync {
            executor.execute(after: Self.syncDelayNanoseconds) { [weak self] in
                self?.backgroundSync()
            }
        }
    }

    /// Writes entries and returns when they, and all before them, are on disk. Blocks.
    func recordAndSync(_ entries: [MarkEntry]) throws(StorageError) {
        try state.withLock { state throws(StorageError) in try write(entries, &state) }
        try syncNow()
    }

    func syncNow() throws(StorageError) {
        try inTurn { () throws(StorageError) in try syncFiles() }
    }

    /// Runs what syncs or replaces the file, one at a time, until it failed for good.
    private func inTurn(_ body: () throws(StorageError) -> Void) throws(StorageError) {
        try syncLock.withLock { failure throws(StorageError) in
            if let failure { throw failure }
            do throws(StorageError) {
                try body()
            } catch {
                if error.isFatal { failure = error }
                throw error
            }
        }
    }

    private func syncFiles() throws(StorageError) {
        let file = state.withLock { $0.file }
        try storageFatal("syncing the marks") { () throws(SystemError) in try file.sync() }
    }

    func forget(topic: TopicID) {
        state.withLock { $0.table.forget(topic: topic) }
    }

    /// Whether the file has, on disk or in the cache, all that was recorded: a full disk may have had no
    /// room for some of it.
    var isComplete: Bool { state.withLock { !$0.isBehind } }

    func marks(of key: PartitionKey) -> PartitionMarks {
        state.withLock { $0.table.partitions[key] ?? PartitionMarks() }
    }

    private func backgroundSync() {
        do {
            let isLarge = state.withLock { state in
                state.syncIsScheduled = false
                return state.position > state.rewriteAt
            }
            if isLarge { try rewrite() } else { try syncNow() }
        } catch {
            onFatal(error)
        }
    }

    /// Writes the whole table anew when the file lacks entries of it; for when there may be room again.
    func catchUp() {
        guard state.withLock({ $0.isBehind }) else { return }
        executor.execute { [weak self] in
            guard let self else { return }
            do throws(StorageError) {
                try rewrite()
            } catch {
                onFatal(error)
            }
        }
    }

    private func write(_ entries: [MarkEntry], _ state: inout State) throws(StorageError) {
        do throws(StorageError) {
            try append(entries, &state)
        } catch {
            state.isBehind = true
            state.successor?.isBehind = true
            throw error
        }
    }

    private func append(_ entries: [MarkEntry], _ state: inout State) throws(StorageError) {
        let slab = ByteSlab(capacity: max(1, entries.count) * MarkEntry.byteCount)
        for var entry in entries {
            // A reader takes no number above the bound. Only a foreign file can begin there.
            let next = state.table.sequence &+ 1
            state.table.sequence = min(next, UInt64(LogLimits.offsetMax))
            entry.sequence = state.table.sequence
            state.table.apply(entry)
            entry.encode(into: slab)
        }
        if state.position + Int64(slab.count) > state.aheadEnd {
            // From the end of this write on, never over what was written before.
            state.aheadEnd = try Self.writeAhead(
                state.file, from: state.position + Int64(slab.count), options.aheadBytes)
        }
        try Self.put(slab, state.file, at: state.position)
        state.position += Int64(slab.count)
        if let successor = state.successor {
            try Self.put(slab, successor.file, at: successor.position)
            state.successor?.position += Int64(slab.count)
        }
    }

    /// Replaces a file that has grown by one with the newest entry of each kind. Entries made
    /// meanwhile go to both files until the rename is on disk.
    private func rewrite() throws(StorageError) {
        try inTurn { () throws(StorageError) in
            let old = state.withLock { $0.generation }
            do throws(StorageError) {
                let home = try fileSystem.directory(directory)
                try beginSuccessor(old + 1)
                try nameSuccessor(old + 1, in: home)
            } catch {
                guard !error.isFatal else { throw error }
                // No room or descriptor for a second file: the one there is grows on, and has to be synced.
                state.withLock { state in
                    state.successor = nil
                    state.rewriteAt = state.position + options.rewriteBytes
                }
                try syncFiles()
                return
            }
            try replace(old)
        }
    }

    private func beginSuccessor(_ generation: UInt64) throws(StorageError) {
        let path = "\(directory)/\(MarksFileFormat.name(generation))\(LogFileNames.temporarySuffix)"
        let successor = try storage("making \(path)") { () throws(SystemError) in
            let file = try fileSystem.open(path, .createOrOpen)
            try file.truncate(to: 0)
            return file
        }
        try state.withLock { state throws(StorageError) in
            let position = try Self.fill(successor, generation, state.table)
            state.successor = (successor, position, isBehind: false)
        }
    }

    private func nameSuccessor(
        _ generation: UInt64, in home: any OpenDirectory
    ) throws(StorageError) {
        let path = "\(directory)/\(MarksFileFormat.name(generation))"
        guard let successor = state.withLock({ $0.successor?.file }) else { return }
        try storageFatal("replacing the marks") { () throws(SystemError) in
            try successor.sync()
        }
        try fileSystem.rename(unfinished: path + LogFileNames.temporarySuffix, to: path)
        try storageFatal("replacing the marks") { () throws(SystemError) in try home.sync() }
    }

    private func replace(_ old: UInt64) throws(StorageError) {
        state.withLock { state in
            guard let grown = state.successor else { return }
            state.file = grown.file
            state.generation = old + 1
            state.position = grown.position
            state.aheadEnd = grown.position
            state.rewriteAt = grown.position + options.rewriteBytes
            // What found no room in either file since it was begun.
            state.isBehind = grown.isBehind
            state.successor = nil
        }
        try syncFiles()
        try storageFatal("replacing the marks") { () throws(SystemError) in
            try fileSystem.removeFile("\(directory)/\(MarksFileFormat.name(old))")
        }
    }

    private static func makeFile(
        _ fileSystem: any FileSystem, _ directory: String, _ generation: UInt64,
        _ table: MarkTable, _ options: MarksOptions
    ) throws(StorageError) -> (file: any File, position: Int64, aheadEnd: Int64) {
        let path = "\(directory)/\(MarksFileFormat.name(generation))"
        let temporary = path + LogFileNames.temporarySuffix
        let file = try storage("making \(path)") { () throws(SystemError) in
            let file = try fileSystem.open(temporary, .createOrOpen)
            try file.truncate(to: 0)
            return file
        }
        let position = try fill(file, generation, table)
        let aheadEnd = try writeAhead(file, from: position, options.aheadBytes)
        try storageFatal("making \(path)") { () throws(SystemError) in try file.sync() }
        try fileSystem.rename(unfinished: temporary, to: path)
        try storageFatal("making \(path)") { () throws(SystemError) in
            try fileSystem.syncDirectory(directory)
        }
        return (file, position, aheadEnd)
    }

    /// Writes the header and all of `table`; returns the position behind it.
    private static func fill(
        _ file: any File, _ generation: UInt64, _ table: MarkTable
    ) throws(StorageError) -> Int64 {
        let entries = table.entries
        let slab = ByteSlab(capacity: (entries.count + 1) * MarkEntry.byteCount)
        MarksFileFormat.encodeHeader(generation, into: slab)
        for entry in entries { entry.encode(into: slab) }
        try put(slab, file, at: 0)
        return Int64(slab.count)
    }

    /// Zeros behind `position`, so that a sync of later marks changes no size. Returns where they
    /// end; on a full disk that is `position`, because marks are worth more than speed.
    private static func writeAhead(
        _ file: any File, from position: Int64, _ count: Int
    ) throws(StorageError) -> Int64 {
        let zeros = ByteSlabZeros.megabyte
        do {
            try file.write(zeros, 0..<min(count, zeros.count), at: position)
        } catch {
            guard error.isNoSpace else { throw StorageError(error, "writing the marks") }
            return position
        }
        return position + Int64(min(count, zeros.count))
    }

    private static func put(
        _ slab: ByteSlab, _ file: any File, at position: Int64
    ) throws(StorageError) {
        try storage("writing the marks") { () throws(SystemError) in
            try file.write(slab, at: position)
        }
    }
}

extension ByteSlab {
    /// A slab of `byteCount` zero bytes.
    static func zeros(byteCount: Int) -> ByteSlab {
        let slab = ByteSlab(capacity: byteCount)
        unsafe slab.fill { space in
            unsafe space.initializeMemory(as: UInt8.self, repeating: 0)
            return space.count
        }
        return slab
    }
}

/// One shared megabyte of zeros: what is written ahead.
enum ByteSlabZeros {
    static let megabyte = ByteSlab.zeros(byteCount: 1 << 20)
}
