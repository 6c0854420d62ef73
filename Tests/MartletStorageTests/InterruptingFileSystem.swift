import MartletSystem
import Synchronization

/// The machine's file system, except that something else happens in the middle of a call: what
/// another thread would do there, in one thread.
final class InterruptingFileSystem: ForwardingFileSystem {
    enum Call: Hashable {
        case open, rename, size, truncate
    }

    private struct Interruption {
        let call: Call
        let path: String
        let body: @Sendable () -> Void
    }

    let base = PosixFileSystem()
    private let next = Mutex<Interruption?>(nil)

    /// Runs `body` once, in the next such call for a path with this end.
    func interrupt(_ call: Call, _ path: String, _ body: @escaping @Sendable () -> Void) {
        next.withLock { $0 = Interruption(call: call, path: path, body: body) }
    }

    /// Whether the interruption is still to come.
    var isWaiting: Bool { next.withLock { $0 != nil } }

    fileprivate func called(_ call: Call, _ path: String) {
        let due = next.withLock { next -> Interruption? in
            guard let found = next, found.call == call, path.hasSuffix(found.path) else {
                return nil
            }
            next = nil
            return found
        }
        due?.body()
    }

    func open(_ path: String, _ mode: FileOpenMode) throws(SystemError) -> any File {
        called(.open, path)
        return InterruptingFile(try base.open(path, mode), self)
    }

    func rename(_ from: String, to: String) throws(SystemError) {
        called(.rename, from)
        try base.rename(from, to: to)
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
        owner.called(.size, path)
        return try base.size()
    }

    func truncate(to size: Int64) throws(SystemError) {
        owner.called(.truncate, path)
        try base.truncate(to: size)
    }
}
