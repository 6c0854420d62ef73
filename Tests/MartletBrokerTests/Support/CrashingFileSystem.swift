import Glibc
import MartletSystem
import Synchronization

/// The real file system until a disk operation that a test chooses: from then on nothing more comes to
/// the disk, as if the process had ended right before it. What was written stays, as after `kill -9`.
final class CrashingFileSystem: ForwardingFileSystem {
    private struct State {
        var left = Int.max
        var done = 0
        var locks: [any FileLock] = []
    }

    let base = PosixFileSystem()
    private let state = Mutex(State())

    /// So many more operations are done.
    func crash(after operations: Int) {
        state.withLock { ($0.left, $0.done) = (operations, 0) }
    }

    var hasCrashed: Bool { state.withLock { $0.left < 0 } }
    /// Operations since the last `crash(after:)`.
    var done: Int { state.withLock { $0.done } }

    fileprivate func step(_ call: String, _ path: String) throws(SystemError) {
        let isAlive = state.withLock { state in
            if state.left == .max { return true }
            state.left = max(-1, state.left - 1)
            if state.left >= 0 { state.done += 1 }
            return state.left >= 0
        }
        guard isAlive else { throw SystemError(call: call, code: EIO, subject: path) }
    }

    func open(_ path: String, _ mode: FileOpenMode) throws(SystemError) -> any File {
        switch mode {
        case .createNew, .createOrOpen: try step("open", path)
        case .readOnly, .readWrite: break
        }
        return CrashingFile(try base.open(path, mode), self)
    }

    func makeDirectory(_ path: String) throws(SystemError) {
        try step("mkdir", path)
        try base.makeDirectory(path)
    }

    func rename(_ from: String, to: String) throws(SystemError) {
        try step("rename", from)
        try base.rename(from, to: to)
    }

    func removeFile(_ path: String) throws(SystemError) {
        try step("unlink", path)
        try base.removeFile(path)
    }

    func syncDirectory(_ path: String) throws(SystemError) {
        try step("fsync", path)
        try base.syncDirectory(path)
    }

    func lock(_ path: String) throws(SystemError) -> (any FileLock)? {
        guard let lock = try base.lock(path) else { return nil }
        state.withLock { $0.locks.append(lock) }
        return lock
    }

    /// What the end of a process does with its locks.
    func releaseLocks() {
        for lock in state.withLock({ $0.locks }) { lock.release() }
    }
}

private final class CrashingFile: ForwardingFile {
    let base: any File
    private let system: CrashingFileSystem

    init(_ base: any File, _ system: CrashingFileSystem) {
        self.base = base
        self.system = system
    }

    func write(_ bytes: UnsafeRawBufferPointer, at position: Int64) throws(SystemError) {
        try system.step("pwrite", path)
        try unsafe base.write(bytes, at: position)
    }

    func sync() throws(SystemError) {
        try system.step("fdatasync", path)
        try base.sync()
    }

    func syncFileSystem() throws(SystemError) {
        try system.step("syncfs", path)
        try base.syncFileSystem()
    }

    func truncate(to size: Int64) throws(SystemError) {
        try system.step("ftruncate", path)
        try base.truncate(to: size)
    }
}
