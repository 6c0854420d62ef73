import Glibc
import MartletSystem
import Synchronization

/// Files in memory, for storage under a fuzzer. Nothing is ever lost and nothing fails, except that
/// a file may not grow beyond a bound: a damaged position must not become an allocation.
final class MemoryFileSystem: FileSystem {
    private static let fileBytesMax: Int64 = 64 << 20

    final class Content: Sendable {
        let bytes: Mutex<[UInt8]>
        init(_ bytes: [UInt8]) { self.bytes = Mutex(bytes) }
    }

    final class Handle: File {
        let path: String
        private let content: Content

        init(_ path: String, _ content: Content) {
            self.path = path
            self.content = content
        }

        var descriptor: CInt? { nil }

        func read(
            into buffer: UnsafeMutableRawBufferPointer, at position: Int64
        ) throws(SystemError) -> Int {
            guard position >= 0 else { throw error("pread", EINVAL) }
            return content.bytes.withLock { bytes in
                guard position < bytes.count else { return 0 }
                let start = Int(position)
                let end = min(bytes.count, start + buffer.count)
                buffer.copyBytes(from: bytes[start..<end])
                return end - start
            }
        }

        func readIfCached(
            into buffer: UnsafeMutableRawBufferPointer, at position: Int64
        ) throws(SystemError) -> Int? {
            try read(into: buffer, at: position)
        }

        func write(_ source: UnsafeRawBufferPointer, at position: Int64) throws(SystemError) {
            guard position >= 0 else { throw error("pwrite", EINVAL) }
            guard position <= MemoryFileSystem.fileBytesMax - Int64(source.count) else {
                throw error("pwrite", EFBIG)
            }
            content.bytes.withLock { bytes in
                let start = Int(position)
                let end = start + source.count
                if start >= bytes.count, Self.isWrittenAhead(source) { return }
                if bytes.count < end {
                    bytes += repeatElement(0, count: end - bytes.count)
                }
                bytes.withUnsafeMutableBytes { target in
                    UnsafeMutableRawBufferPointer(rebasing: target[start..<end])
                        .copyMemory(from: source)
                }
            }
        }

        /// Space written ahead is not kept: a megabyte of zeros in each start would slow the fuzzer
        /// down, and storage must do without it after a crash anyway.
        private static func isWrittenAhead(_ source: UnsafeRawBufferPointer) -> Bool {
            guard source.count >= 1 << 16, let start = source.baseAddress, source[0] == 0 else {
                return false
            }
            return memcmp(start, start + 1, source.count - 1) == 0
        }

        func sync() throws(SystemError) {}
        func syncFileSystem() throws(SystemError) {}
        func checkWrites() throws(SystemError) {}
        func dropCache(from position: Int64) {}
        func close() throws(SystemError) {}
        func size() throws(SystemError) -> Int64 { content.bytes.withLock { Int64($0.count) } }

        func truncate(to size: Int64) throws(SystemError) {
            guard size >= 0 else { throw error("ftruncate", EINVAL) }
            guard size <= MemoryFileSystem.fileBytesMax else { throw error("ftruncate", EFBIG) }
            content.bytes.withLock { bytes in
                if bytes.count > size {
                    bytes.removeLast(bytes.count - Int(size))
                } else {
                    bytes += repeatElement(0, count: Int(size) - bytes.count)
                }
            }
        }

        private func error(_ call: String, _ code: CInt) -> SystemError {
            SystemError(call: call, code: code, subject: path)
        }
    }

    private final class Lock: FileLock {
        func release() {}
    }

    private struct State {
        var files: [String: Content] = [:]
        var directories: Set<String> = []
    }

    private let state = Mutex(State())

    /// Puts a file and the directories above it there.
    func put(_ path: String, _ bytes: [UInt8]) {
        let parts = path.split(separator: "/")
        for count in 1..<max(parts.count, 1) { makeParent("/" + parts[..<count].joined(separator: "/")) }
        state.withLock { $0.files[path] = Content(bytes) }
    }

    private func makeParent(_ path: String) { state.withLock { _ = $0.directories.insert(path) } }

    func bytes(_ path: String) -> [UInt8]? {
        state.withLock { $0.files[path] }?.bytes.withLock { $0 }
    }

    private static func failure(_ call: String, _ code: CInt, _ path: String) -> SystemError {
        SystemError(call: call, code: code, subject: path)
    }

    func open(_ path: String, _ mode: FileOpenMode) throws(SystemError) -> any File {
        let content = try state.withLock { state throws(SystemError) -> Content in
            switch (mode, state.files[path]) {
            case (.createNew, .some): throw Self.failure("open", EEXIST, path)
            case (_, .some(let content)): return content
            case (.readOnly, nil), (.readWrite, nil): throw Self.failure("open", ENOENT, path)
            case (.createNew, nil), (.createOrOpen, nil):
                let content = Content([])
                state.files[path] = content
                return content
            }
        }
        return Handle(path, content)
    }

    func status(_ path: String) throws(SystemError) -> FileStatus? {
        state.withLock { state in
            if let content = state.files[path] {
                return FileStatus(kind: .file, size: content.bytes.withLock { Int64($0.count) })
            }
            return state.directories.contains(path) ? FileStatus(kind: .directory, size: 0) : nil
        }
    }

    func list(_ directory: String) throws(SystemError) -> [String] {
        let prefix = directory + "/"
        let (found, isThere) = state.withLock { state in
            let paths = Array(state.files.keys) + Array(state.directories)
            return (paths.filter { $0.hasPrefix(prefix) }, state.directories.contains(directory))
        }
        guard isThere else { throw Self.failure("opendir", ENOENT, directory) }
        return found.map { String($0.dropFirst(prefix.count)) }.filter { !$0.contains("/") }.sorted()
    }

    func makeDirectory(_ path: String) throws(SystemError) {
        let isNew = state.withLock { $0.directories.insert(path).inserted }
        guard isNew else { throw Self.failure("mkdir", EEXIST, path) }
    }

    func rename(_ from: String, to: String) throws(SystemError) {
        let isDone = state.withLock { state in
            if let content = state.files.removeValue(forKey: from) {
                state.files[to] = content
                return true
            }
            guard state.directories.remove(from) != nil else { return false }
            state.directories.insert(to)
            for path in state.directories where path.hasPrefix(from + "/") {
                state.directories.remove(path)
                state.directories.insert(to + path.dropFirst(from.count))
            }
            for path in Array(state.files.keys) where path.hasPrefix(from + "/") {
                state.files[to + path.dropFirst(from.count)] = state.files.removeValue(forKey: path)
            }
            return true
        }
        guard isDone else { throw Self.failure("rename", ENOENT, from) }
    }

    func removeFile(_ path: String) throws(SystemError) {
        let isThere = state.withLock { $0.files.removeValue(forKey: path) != nil }
        guard isThere else { throw Self.failure("unlink", ENOENT, path) }
    }

    func removeDirectory(_ path: String) throws(SystemError) {
        let isThere = state.withLock { $0.directories.remove(path) != nil }
        guard isThere else { throw Self.failure("rmdir", ENOENT, path) }
    }

    func hardLink(_ existing: String, to new: String) throws(SystemError) {
        let isThere = state.withLock { state in
            state.files[new] = state.files[existing]
            return state.files[new] != nil
        }
        guard isThere else { throw Self.failure("link", ENOENT, existing) }
    }

    func syncDirectory(_ path: String) throws(SystemError) {}

    func space(at path: String) throws(SystemError) -> FileSystemSpace {
        FileSystemSpace(total: 1 << 40, available: 1 << 39)
    }

    func lock(_ path: String) throws(SystemError) -> (any FileLock)? { Lock() }
}

/// Runs jobs at once; what is for later is dropped, or an engine would keep itself alive.
struct InlineExecutor: Executor {
    func execute(_ job: @escaping @Sendable () -> Void) { job() }
    func execute(after nanoseconds: Int64, _ job: @escaping @Sendable () -> Void) {}
}

/// A clock that always says the same, so that an input always does the same.
struct FixedClock: Clock {
    func monotonicNanoseconds() -> Int64 { 1_000_000_000_000 }
    func wallMilliseconds() -> Int64 { 1_750_000_000_000 }
}
