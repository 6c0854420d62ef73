import MartletSystem
import Synchronization

/// The machine's file system, except that something else happens in the middle of a call: what
/// another thread would do there, in one thread.
final class InterruptingFileSystem: FileSystem {
    enum Call: Hashable {
        case open, rename, size, truncate
    }

    private struct Interruption {
        let call: Call
        let path: String
        let body: @Sendable () -> Void
    }

    private let base = PosixFileSystem()
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

    func status(_ path: String) throws(SystemError) -> FileStatus? { try base.status(path) }
    func list(_ directory: String) throws(SystemError) -> [String] { try base.list(directory) }
    func makeDirectory(_ path: String) throws(SystemError) { try base.makeDirectory(path) }
    func removeFile(_ path: String) throws(SystemError) { try base.removeFile(path) }
    func removeDirectory(_ path: String) throws(SystemError) { try base.removeDirectory(path) }
    func syncDirectory(_ path: String) throws(SystemError) { try base.syncDirectory(path) }
    func lock(_ path: String) throws(SystemError) -> (any FileLock)? { try base.lock(path) }
    func space(at path: String) throws(SystemError) -> FileSystemSpace {
        try base.space(at: path)
    }
    func hardLink(_ existing: String, to new: String) throws(SystemError) {
        try base.hardLink(existing, to: new)
    }
}

private final class InterruptingFile: File {
    private let base: any File
    private let owner: InterruptingFileSystem

    init(_ base: any File, _ owner: InterruptingFileSystem) {
        self.base = base
        self.owner = owner
    }

    var path: String { base.path }
    var descriptor: CInt? { base.descriptor }

    func size() throws(SystemError) -> Int64 {
        owner.called(.size, path)
        return try base.size()
    }

    func truncate(to size: Int64) throws(SystemError) {
        owner.called(.truncate, path)
        try base.truncate(to: size)
    }

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

    func sync() throws(SystemError) { try base.sync() }
    func dropCache(from position: Int64) { base.dropCache(from: position) }
    func syncFileSystem() throws(SystemError) { try base.syncFileSystem() }
    func close() throws(SystemError) { try base.close() }
}
