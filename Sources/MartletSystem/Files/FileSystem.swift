/// How a file is opened. Every mode is close-on-exec; files are made with mode 0600.
package enum FileOpenMode: Sendable {
    /// The file must exist; reads only.
    case readOnly
    /// The file must exist; reads and writes.
    case readWrite
    /// Makes the file; fails with EEXIST when it is there.
    case createNew
    /// Opens the file, or makes it.
    case createOrOpen
}

package enum FileKind: Sendable {
    case file
    case directory
    case other
}

package struct FileStatus: Sendable {
    package let kind: FileKind
    /// Size in bytes.
    package let size: Int64

    package init(kind: FileKind, size: Int64) {
        self.kind = kind
        self.size = size
    }
}

/// Bytes of the file system that holds a path.
package struct FileSystemSpace: Sendable {
    package let total: Int64
    /// What an unprivileged process may still use.
    package let available: Int64

    package init(total: Int64, available: Int64) {
        self.total = total
        self.available = available
    }
}

/// An open file. Positions are byte positions from the start of the file.
///
/// One existential call per batch or per flush, never per record.
package protocol File: AnyObject, Sendable {
    var path: String { get }

    /// The descriptor for `sendfile` and `mmap`; nil for a simulated file.
    var descriptor: CInt? { get }

    /// Reads up to `buffer.count` bytes; returns how many (less only at the end of the file).
    func read(
        into buffer: UnsafeMutableRawBufferPointer, at position: Int64
    )
        throws(SystemError) -> Int

    /// Reads only what is in the page cache; nil when the disk would have to be asked.
    func readIfCached(
        into buffer: UnsafeMutableRawBufferPointer, at position: Int64
    )
        throws(SystemError) -> Int?

    /// Writes all of `bytes`. On an error some of them may have been written.
    func write(_ bytes: UnsafeRawBufferPointer, at position: Int64) throws(SystemError)

    /// `fdatasync`: after it returns, the content and the size are on the device. An error is
    /// final for this file: never call it again (the kernel may have dropped the pages).
    func sync() throws(SystemError)

    func size() throws(SystemError) -> Int64
    func truncate(to size: Int64) throws(SystemError)

    /// Asks the kernel to forget cached clean pages from `position` to the end of the file.
    func dropCache(from position: Int64)

    /// Flushes every dirty page of the file system that holds this file (`syncfs`).
    func syncFileSystem() throws(SystemError)

    /// Throws when writing this file back failed since it was opened, or since an error was last
    /// told through it (here or by `sync`). Syncs nothing and has the device flush nothing, which
    /// `sync` does also for a file that is clean.
    func checkWrites() throws(SystemError)

    /// Closes the file. Idempotent; the last reference closes it too, without a report.
    func close() throws(SystemError)
}

/// An exclusive advisory lock that another process can see; released by `release` or at exit.
package protocol FileLock: AnyObject, Sendable {
    func release()
}

/// A directory that is open already: no want of descriptors comes between a change in it and its sync.
package protocol OpenDirectory: Sendable {
    /// As `syncDirectory`.
    func sync() throws(SystemError)
}

/// Every file operation of the product goes through this seam, so that a test can stand in a
/// simulated disk that drops, tears and reorders what was not synced.
package protocol FileSystem: Sendable {
    func open(_ path: String, _ mode: FileOpenMode) throws(SystemError) -> any File
    /// nil when nothing is there.
    func status(_ path: String) throws(SystemError) -> FileStatus?
    /// Names in a directory without `.` and `..`, sorted.
    func list(_ directory: String) throws(SystemError) -> [String]
    /// Makes one directory with mode 0700; its parent must exist.
    func makeDirectory(_ path: String) throws(SystemError)
    /// Replaces `to` atomically. Durable only after `syncDirectory` of the parent.
    func rename(_ from: String, to: String) throws(SystemError)
    func removeFile(_ path: String) throws(SystemError)
    /// Removes an empty directory.
    func removeDirectory(_ path: String) throws(SystemError)
    func hardLink(_ existing: String, to new: String) throws(SystemError)
    /// `fsync` of a directory: makes creations, renames and removals in it durable.
    func syncDirectory(_ path: String) throws(SystemError)
    /// Opens a directory ahead of a change that it is to sync.
    func openDirectory(_ path: String) throws(SystemError) -> any OpenDirectory
    func space(at path: String) throws(SystemError) -> FileSystemSpace
    /// nil when another process holds it.
    func lock(_ path: String) throws(SystemError) -> (any FileLock)?
}

extension FileSystem {
    /// For a file system without descriptors.
    package func openDirectory(_ path: String) throws(SystemError) -> any OpenDirectory {
        NamedDirectory(fileSystem: self, path: path)
    }
}

private struct NamedDirectory: OpenDirectory {
    let fileSystem: any FileSystem
    let path: String

    func sync() throws(SystemError) { try fileSystem.syncDirectory(path) }
}
