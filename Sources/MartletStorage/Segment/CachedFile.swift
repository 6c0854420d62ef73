import MartletSystem
import Synchronization

/// A file of a segment that is opened when it is needed and closed when the broker holds too many.
///
/// A reader keeps the `File` it was given, so closing here never closes it under a reader: the
/// descriptor goes with the last reference. A file with un-synced data is held by the partition's
/// list of un-synced segments, so that a write-back error is reported on a description that we hold.
final class CachedFile: Evictable {
    private struct Place {
        var path: String
        var isRemoved = false
    }

    /// Descriptors that are freed when the process has none.
    static let relief = 16

    private let fileSystem: any FileSystem
    private let pool: EvictionPool
    private let makes: Bool
    private let use = Atomic<UInt64>(0)
    /// Held while the disk is asked, so never on a loop.
    private let place: Mutex<Place>
    /// Never held while anyone waits for the disk.
    private let file: Mutex<(any File)?>

    /// - Parameters:
    ///   - file: The file when it is open: of the caller until `share`.
    ///   - makes: Whether the file is made when it is not there: an index can be rebuilt, a log
    ///     that is missing is an error.
    init(
        _ path: String, open file: (any File)? = nil, _ fileSystem: any FileSystem,
        _ pool: EvictionPool, makes: Bool = false
    ) {
        self.makes = makes
        self.fileSystem = fileSystem
        self.pool = pool
        place = Mutex(Place(path: path))
        self.file = Mutex(file)
    }

    var lastUse: UInt64 { use.load(ordering: .relaxed) }
    var path: String { place.withLock { $0.path } }

    /// The file when it is open, without asking the disk.
    var openFile: (any File)? {
        use.store(pool.tick(), ordering: .relaxed)
        return file.withLock { $0 }
    }

    /// Opens the file if it is not open. Blocks.
    /// - Throws: `removed` when it was unlinked: the segments of the log are others now.
    func open() throws(StorageError) -> any File {
        if let file = openFile { return file }
        return try place.withLock { place throws(StorageError) -> any File in
            if let file = openFile { return file }
            let path = place.path
            guard !place.isRemoved else {
                throw StorageError(.removed, "\(path) was removed")
            }
            let opened = try openOrRelieve(path)
            file.withLock { $0 = opened }
            pool.didLoad(self, cost: 1)
            return opened
        }
    }

    private func openOrRelieve(_ path: String) throws(StorageError) -> any File {
        do throws(StorageError) {
            return try openNow(path)
        } catch {
            guard error.code == .noDescriptors else { throw error }
            // The process has fewer than the pool may hold; files that nobody reads go at once.
            pool.relieve(Self.relief)
            return try openNow(path)
        }
    }

    private func openNow(_ path: String) throws(StorageError) -> any File {
        try storage("opening \(path)") { () throws(SystemError) in
            try fileSystem.open(path, makes ? .createOrOpen : .readWrite)
        }
    }

    /// Somebody keeps the file open: it is theirs to count.
    func hold() { pool.forget(self) }

    /// Nobody keeps it open any more but this.
    func share() {
        if file.withLock({ $0 != nil }) { pool.didLoad(self, cost: 1) }
    }

    /// Who kept it open has closed it.
    func release() {
        // Not while it is being opened: what the pool does not know of is never closed.
        place.withLock { _ in
            evict()
            pool.forget(self)
        }
    }

    /// Renames the file; open references stay good.
    func rename(to path: String) throws(SystemError) {
        try place.withLock { place throws(SystemError) in
            // A second try at several names begins with those that were given.
            if place.path == path { return }
            try fileSystem.rename(place.path, to: path)
            place.path = path
        }
    }

    /// Unlinks the file. Readers that hold it go on.
    func remove() throws(SystemError) {
        try place.withLock { place throws(SystemError) in
            // Whoever opens it from now on would keep the space of a file that nobody can read.
            place.isRemoved = true
            evict()
            pool.forget(self)
            do throws(SystemError) {
                try fileSystem.removeFile(place.path)
            } catch {
                // An index that was never made, or a removal that a crash repeated.
                guard error.isNotFound else { throw error }
            }
        }
    }

    func evict() {
        // The last reference closes it, which may take its time: not under the lock.
        _ = file.withLock { file in
            defer { file = nil }
            return file
        }
    }
}
