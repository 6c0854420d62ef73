/// A file system that hands every call on to the machine's, for tests: it states only what it does
/// otherwise. `openDirectory` stays the one of `FileSystem`, which syncs by `syncDirectory`.
package protocol ForwardingFileSystem: FileSystem {
    var base: PosixFileSystem { get }
}

extension ForwardingFileSystem {
    package func open(_ path: String, _ mode: FileOpenMode) throws(SystemError) -> any File {
        try base.open(path, mode)
    }

    package func status(_ path: String) throws(SystemError) -> FileStatus? {
        try base.status(path)
    }

    package func list(_ directory: String) throws(SystemError) -> [String] {
        try base.list(directory)
    }

    package func makeDirectory(_ path: String) throws(SystemError) {
        try base.makeDirectory(path)
    }

    package func rename(_ from: String, to: String) throws(SystemError) {
        try base.rename(from, to: to)
    }

    package func removeFile(_ path: String) throws(SystemError) { try base.removeFile(path) }

    package func removeDirectory(_ path: String) throws(SystemError) {
        try base.removeDirectory(path)
    }

    package func hardLink(_ existing: String, to new: String) throws(SystemError) {
        try base.hardLink(existing, to: new)
    }

    package func syncDirectory(_ path: String) throws(SystemError) {
        try base.syncDirectory(path)
    }

    package func space(at path: String) throws(SystemError) -> FileSystemSpace {
        try base.space(at: path)
    }

    package func lock(_ path: String) throws(SystemError) -> (any FileLock)? {
        try base.lock(path)
    }
}

/// The same for an open file.
package protocol ForwardingFile: File {
    var base: any File { get }
}

extension ForwardingFile {
    package var path: String { base.path }
    package var descriptor: CInt? { base.descriptor }

    package func read(
        into buffer: UnsafeMutableRawBufferPointer, at position: Int64
    ) throws(SystemError) -> Int {
        try unsafe base.read(into: buffer, at: position)
    }

    package func readIfCached(
        into buffer: UnsafeMutableRawBufferPointer, at position: Int64
    ) throws(SystemError) -> Int? {
        try unsafe base.readIfCached(into: buffer, at: position)
    }

    package func write(_ bytes: UnsafeRawBufferPointer, at position: Int64) throws(SystemError) {
        try unsafe base.write(bytes, at: position)
    }

    package func sync() throws(SystemError) { try base.sync() }
    package func size() throws(SystemError) -> Int64 { try base.size() }
    package func truncate(to size: Int64) throws(SystemError) { try base.truncate(to: size) }
    package func dropCache(from position: Int64) { base.dropCache(from: position) }
    package func syncFileSystem() throws(SystemError) { try base.syncFileSystem() }
    package func checkWrites() throws(SystemError) { try base.checkWrites() }
    package func close() throws(SystemError) { try base.close() }
}
