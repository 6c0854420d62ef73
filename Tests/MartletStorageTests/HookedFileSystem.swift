import MartletSystem
import Synchronization

/// The real file system with a word before calls that name a path.
final class HookedFileSystem: FileSystem {
    enum Call { case open, openDirectory, remove }

    /// Returns the `errno` of the call; 0: it is made.
    typealias Hook = @Sendable (_ call: Call, _ path: String) -> CInt

    private let base = PosixFileSystem()
    private let hook = Mutex<Hook?>(nil)

    func set(_ new: Hook?) { hook.withLock { $0 = new } }

    private func ask(_ call: Call, _ path: String) throws(SystemError) {
        // Not under the lock: the hook may use this file system.
        let code = hook.withLock { $0 }?(call, path) ?? 0
        if code != 0 { throw SystemError(call: "\(call)", code: code, subject: path) }
    }

    func open(_ path: String, _ mode: FileOpenMode) throws(SystemError) -> any File {
        try ask(.open, path)
        return try base.open(path, mode)
    }
    func openDirectory(_ path: String) throws(SystemError) -> any OpenDirectory {
        try ask(.openDirectory, path)
        return try base.openDirectory(path)
    }
    func removeFile(_ path: String) throws(SystemError) {
        try ask(.remove, path)
        try base.removeFile(path)
    }
    func status(_ path: String) throws(SystemError) -> FileStatus? { try base.status(path) }
    func list(_ directory: String) throws(SystemError) -> [String] { try base.list(directory) }
    func makeDirectory(_ path: String) throws(SystemError) { try base.makeDirectory(path) }
    func rename(_ from: String, to: String) throws(SystemError) { try base.rename(from, to: to) }
    func removeDirectory(_ path: String) throws(SystemError) { try base.removeDirectory(path) }
    func hardLink(_ existing: String, to new: String) throws(SystemError) {
        try base.hardLink(existing, to: new)
    }
    func syncDirectory(_ path: String) throws(SystemError) { try base.syncDirectory(path) }
    func space(at path: String) throws(SystemError) -> FileSystemSpace { try base.space(at: path) }
    func lock(_ path: String) throws(SystemError) -> (any FileLock)? { try base.lock(path) }
}
