import MartletSystem
import Synchronization

/// The real file system with a word before calls that name a path.
final class HookedFileSystem: ForwardingFileSystem {
    enum Call { case open, openDirectory, remove, rename }

    /// Returns the `errno` of the call; 0: it is made.
    typealias Hook = @Sendable (_ call: Call, _ path: String) -> CInt

    let base = PosixFileSystem()
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
    func rename(_ from: String, to: String) throws(SystemError) {
        try ask(.rename, from)
        try base.rename(from, to: to)
    }
}
