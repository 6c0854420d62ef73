import MartletSystem
import Synchronization

/// The machine's file system, except that something else happens in the middle of a call: what
/// another thread would do there, in one thread.
final class InterruptingFileSystem: ForwardingFileSystem {
    enum Call: Hashable {
        case open, rename, size, truncate, sync, syncDirectory
    }

    private struct Interruption {
        let call: Call
        let path: String
        let code: CInt
        let body: @Sendable () -> Void
    }

    let base = PosixFileSystem()
    private let next = Mutex<Interruption?>(nil)

    /// Runs `body` once, in the next such call for a path with this end, which then fails with
    /// `errno` unless that is 0.
    func interrupt(
        _ call: Call, _ path: String, errno: CInt = 0, _ body: @escaping @Sendable () -> Void = {}
    ) {
        next.withLock { $0 = Interruption(call: call, path: path, code: errno, body: body) }
    }

    /// Whether the interruption is still to come.
    var isWaiting: Bool { next.withLock { $0 != nil } }

    fileprivate func called(_ call: Call, _ path: String) throws(SystemError) {
        let due = next.withLock { next -> Interruption? in
            guard let found = next, found.call == call, path.hasSuffix(found.path) else {
                return nil
            }
            next = nil
            return found
        }
        guard let due else { return }
        due.body()
        if due.code != 0 { throw SystemError(call: "\(call)", code: due.code, subject: path) }
    }

    func open(_ path: String, _ mode: FileOpenMode) throws(SystemError) -> any File {
        try called(.open, path)
        return InterruptingFile(try base.open(path, mode), self)
    }

    func rename(_ from: String, to: String) throws(SystemError) {
        try called(.rename, from)
        try base.rename(from, to: to)
    }

    func syncDirectory(_ path: String) throws(SystemError) {
        try called(.syncDirectory, path)
        try base.syncDirectory(path)
    }
}

private final class InterruptingFile: ForwardingFile {
    let base: any File
    private let owner: InterruptingFileSystem

    init(_ base: any File, _ owner: InterruptingFileSystem) {
        self.base = base
        self.owner = owner
    }

    func size() throws(SystemError) -> Int64 {
        try owner.called(.size, path)
        return try base.size()
    }

    func truncate(to size: Int64) throws(SystemError) {
        try owner.called(.truncate, path)
        try base.truncate(to: size)
    }

    func sync() throws(SystemError) {
        try owner.called(.sync, path)
        try base.sync()
    }
}
