import MartletSystem
import Synchronization

/// The machine's file system, except that a test can make its next sync fail.
final class FaultyFileSystem: ForwardingFileSystem {
    /// errno of a device that lost data: EIO.
    private static let ioError: CInt = 5

    let base = PosixFileSystem()
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

private final class FaultyFile: ForwardingFile {
    let base: any File
    private let owner: FaultyFileSystem

    init(_ base: any File, _ owner: FaultyFileSystem) {
        self.base = base
        self.owner = owner
    }

    func sync() throws(SystemError) {
        try owner.checkSync(path)
        try base.sync()
    }

    func syncFileSystem() throws(SystemError) {
        try owner.checkSync(path)
        try base.syncFileSystem()
    }
}
