import MartletSystem
import Synchronization

/// A file of a segment that is opened when it is needed and closed when the broker holds too many.
///
/// A reader keeps the `File` it was given, so closing here never closes it under a reader: the
/// descriptor goes with the last reference. A file with un-synced data is held by the partition's
/// list of un-synced segments, so that a write-back error is reported on a description that we hold.
final class CachedFile: Evictable {
    private struct State {
        var path: String
        var file: (any File)?
    }

    private let fileSystem: any FileSystem
    private let pool: EvictionPool
    private let makes: Bool
    private let use = Atomic<UInt64>(0)
    private let state: Mutex<State>

    /// - Parameter makes: Whether the file is made when it is not there: an index can be rebuilt,
    ///   a log that is missing is an error.
    init(
        _ path: String, open file: (any File)? = nil, _ fileSystem: any FileSystem,
        _ pool: EvictionPool, makes: Bool = false
    ) {
        self.makes = makes
        self.fileSystem = fileSystem
        self.pool = pool
        state = Mutex(State(path: path, file: file))
        if file != nil { pool.didLoad(self, cost: 1) }
    }

    var lastUse: UInt64 { use.load(ordering: .relaxed) }
    var path: String { state.withLock { $0.path } }

    /// The file when it is open, without asking the disk.
    var openFile: (any File)? {
        use.store(pool.tick(), ordering: .relaxed)
        return state.withLock { $0.file }
    }

    /// Opens the file if it is not open. Blocks.
    func open() throws(StorageError) -> any File {
        if let file = openFile { return file }
        let file = try state.withLock { state throws(StorageError) -> any File in
            if let file = state.file { return file }
            let path = state.path
            let file = try storage("opening \(path)") { () throws(SystemError) in
                try fileSystem.open(path, makes ? .createOrOpen : .readWrite)
            }
            state.file = file
            return file
        }
        pool.didLoad(self, cost: 1)
        return file
    }

    /// Renames the file; open references stay good.
    func rename(to path: String) throws(SystemError) {
        try state.withLock { state throws(SystemError) in
            try fileSystem.rename(state.path, to: path)
            state.path = path
        }
    }

    /// Unlinks the file. Readers that hold it go on.
    func remove() throws(SystemError) {
        evict()
        pool.forget(self)
        do {
            try fileSystem.removeFile(path)
        } catch  where error.isNotFound {
            return  // an index that was never made, or a removal that a crash repeated
        }
    }

    func evict() {
        state.withLock { $0.file = nil }
    }
}
