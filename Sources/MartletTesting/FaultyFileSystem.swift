import MartletSystem
import Synchronization

/// The machine's file system, except that a test can make its next sync fail.
final class FaultyFileSystem: FileSystem {
    /// errno of a device that lost data: EIO.
    private static let ioError: CInt = 5

    private let base = PosixFileSystem()
    private let syncsToFail = Atomic(0)
    private let locks = Mutex<[any FileLock]>([])

    func failSyncs(_ count: Int) {
        syncsToFail.store(count, ordering: .sequentiallyConsistent)
    }

    func checkSync(_ path: String) throws(SystemError) {
        var left = syncsToFail.load(ordering: .sequentiallyConsistent)
        while left > 0 {
            let (done, found) = syncsToFail.compareExchange(
                expected: left, desired: left - 1, ordering: .sequentiallyConsistent)
            if done { throw SystemError(call: "fdatasync", code: Self.ioError, subject: path) }
            left = found
        }
    }

    func open(_ path: String, _ mode: FileOpenMode) throws(SystemError) -> any File {
        FaultyFile(try base.open(path, mode), self)
    }

    func status(_ path: String) throws(SystemError) -> FileStatus? { try base.status(path) }

    func list(_ directory: String) throws(SystemError) -> [String] { try base.list(directory) }

    func makeDirectory(_ path: String) throws(SystemError) { try base.makeDirectory(path) }

    func rename(_ from: String, to: String) throws(SystemError) {
        try base.rename(from, to: to)
    }

    func removeFile(_ path: String) throws(SystemError) { try base.removeFile(path) }

    func removeDirectory(_ path: String) throws(SystemError) { try base.removeDirectory(path) }

    func hardLink(_ existing: String, to new: String) throws(SystemError) {
        try base.hardLink(existing, to: new)
    }

    func syncDirectory(_ path: String) throws(SystemError) { try base.syncDirectory(path) }

    func space(at path: String) throws(SystemError) -> FileSystemSpace {
        try base.space(at: path)
    }

    func lock(_ path: String) throws(SystemError) -> (any FileLock)? {
        guard let lock = try base.lock(path) else { return nil }
        locks.withLock { $0.append(lock) }
        return lock
    }

    /// What the end of a process does with the locks of a broker that could not close in order.
    func releaseLocks() {
        for lock in locks.withLock({ locks in
            defer { locks = [] }
            return locks
        }) { lock.release() }
    }
}

private final class FaultyFile: File {
    private let base: any File
    private let owner: FaultyFileSystem

    init(_ base: any File, _ owner: FaultyFileSystem) {
        self.base = base
        self.owner = owner
    }

    var path: String { base.path }
    var descriptor: CInt? { base.descriptor }

    func read(
        into buffer: UnsafeMutableRawBufferPointer, at position: Int64
    ) throws(SystemError) -> Int {
        try unsafe base.read(into: buffer, at: position)
    }

    func readIfCached(
        into buffer: UnsafeMutableRawBufferPointer, at position: Int64
    ) throws(SystemError) -> Int? {
        try unsafe base.readIfCached(into: buffer, at: position)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at position: Int64) throws(SystemError) {
        try unsafe base.write(bytes, at: position)
    }

    func sync() throws(SystemError) {
        try owner.checkSync(path)
        try base.sync()
    }

    func size() throws(SystemError) -> Int64 { try base.size() }

    func truncate(to size: Int64) throws(SystemError) { try base.truncate(to: size) }

    func dropCache(from position: Int64) { base.dropCache(from: position) }

    func syncFileSystem() throws(SystemError) {
        try owner.checkSync(path)
        try base.syncFileSystem()
    }

    func close() throws(SystemError) { try base.close() }
}
