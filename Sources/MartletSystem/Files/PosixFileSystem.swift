import Glibc

/// The file system of the operating system.
package struct PosixFileSystem: FileSystem {
    package init() {}

    package func open(_ path: String, _ mode: FileOpenMode) throws(SystemError) -> any File {
        let flags: CInt
        switch mode {
        case .readOnly: flags = O_RDONLY
        case .readWrite: flags = O_RDWR
        case .createNew: flags = O_RDWR | O_CREAT | O_EXCL
        case .createOrOpen: flags = O_RDWR | O_CREAT
        }
        return PosixFile(path: path, descriptor: try Self.openDescriptor(path, flags))
    }

    package func status(_ path: String) throws(SystemError) -> FileStatus? {
        var status = stat()
        let result = SystemCall.retrying { unsafe stat(path, &status) }
        if result == -1 {
            let code = errno
            if code == ENOENT || code == ENOTDIR { return nil }
            throw SystemError(call: "stat", code: code, subject: path)
        }
        let kind: FileKind
        switch status.st_mode & S_IFMT {
        case S_IFREG: kind = .file
        case S_IFDIR: kind = .directory
        default: kind = .other
        }
        return FileStatus(kind: kind, size: Int64(status.st_size))
    }

    package func list(_ directory: String) throws(SystemError) -> [String] {
        let number = try Self.openDescriptor(directory, O_RDONLY | O_DIRECTORY)
        guard let stream = unsafe fdopendir(number) else {
            let code = errno
            _ = Glibc.close(number)
            throw SystemError(call: "fdopendir", code: code, subject: directory)
        }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        while true {
            // Null means the end or an error; only `errno` tells which.
            errno = 0
            guard let entry = unsafe readdir(stream) else {
                let code = errno
                if code != 0 {
                    throw SystemError(call: "readdir", code: code, subject: directory)
                }
                return names.sorted()
            }
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
    }

    package func makeDirectory(_ path: String) throws(SystemError) {
        try SystemCall.check("mkdir", path) { unsafe mkdir(path, 0o700) }
    }

    package func rename(_ from: String, to: String) throws(SystemError) {
        try SystemCall.check("rename", "\(from) -> \(to)") { unsafe Glibc.rename(from, to) }
    }

    package func removeFile(_ path: String) throws(SystemError) {
        try SystemCall.check("unlink", path) { unsafe unlink(path) }
    }

    package func removeDirectory(_ path: String) throws(SystemError) {
        try SystemCall.check("rmdir", path) { unsafe rmdir(path) }
    }

    package func hardLink(_ existing: String, to new: String) throws(SystemError) {
        try SystemCall.check("link", "\(existing) -> \(new)") { unsafe link(existing, new) }
    }

    package func syncDirectory(_ path: String) throws(SystemError) {
        try openDirectory(path).sync()
    }

    package func openDirectory(_ path: String) throws(SystemError) -> any OpenDirectory {
        PosixDirectory(
            path: path,
            handle: Descriptor(try Self.openDescriptor(path, O_RDONLY | O_DIRECTORY)))
    }

    package func space(at path: String) throws(SystemError) -> FileSystemSpace {
        var space = statvfs()
        try SystemCall.check("statvfs", path) { unsafe statvfs(path, &space) }
        let unit = UInt64(space.f_frsize)
        return FileSystemSpace(
            total: Self.bytes(UInt64(space.f_blocks), unit),
            available: Self.bytes(UInt64(space.f_bavail), unit)
        )
    }

    package func lock(_ path: String) throws(SystemError) -> (any FileLock)? {
        let handle = Descriptor(try Self.openDescriptor(path, O_RDWR | O_CREAT))
        if SystemCall.retrying({ flock(handle.value, LOCK_EX | LOCK_NB) }) == -1 {
            let code = errno
            if code == EWOULDBLOCK { return nil }
            throw SystemError(call: "flock", code: code, subject: path)
        }
        return PosixFileLock(handle)
    }

    private static func openDescriptor(
        _ path: String, _ flags: CInt
    ) throws(SystemError) -> CInt {
        try SystemCall.check("open", path) {
            unsafe Glibc.open(path, flags | O_CLOEXEC, mode_t(0o600))
        }
    }

    /// Some file systems report absurd block counts; a number that is too big is not a trap.
    private static func bytes(_ blocks: UInt64, _ unit: UInt64) -> Int64 {
        let (product, overflow) = blocks.multipliedReportingOverflow(by: unit)
        return overflow ? .max : Int64(clamping: product)
    }
}

/// Held as long as the descriptor is open; the kernel lets go when the process ends.
private final class PosixFileLock: FileLock {
    private let handle: Descriptor

    init(_ handle: Descriptor) {
        self.handle = handle
    }

    func release() {
        do {
            try handle.close("lock")
        } catch {
            // Closing released the lock even when close reports an error.
        }
    }
}

private struct PosixDirectory: OpenDirectory {
    let path: String
    let handle: Descriptor

    func sync() throws(SystemError) {
        try SystemCall.check("fsync", path) { fsync(handle.value) }
    }
}
