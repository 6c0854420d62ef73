package import MartletSystem

/// What kind of storage failure it is; decides what the broker answers.
package enum StorageErrorCode: Sendable {
    /// A system call failed in a way that says nothing about data already acknowledged.
    case ioFailed
    /// `fdatasync`, a directory sync or a truncation failed, or a rename for another reason than want
    /// of space: final for the process.
    case syncFailed
    /// No space for what was asked, bytes or a name; nothing of it was done.
    case diskFull
    /// No free descriptor for what was asked; nothing was done, and another try may succeed.
    case noDescriptors
    /// Bytes that must be right are not, and are kept as they are.
    case corrupt
    /// The data directory belongs to another process or another format version.
    case notUsable
    case topicExists
    case unknownTopic
    case invalidName
    case invalidSetting
    case limitReached
    /// The topic or partition cannot be served; its data is untouched.
    case offline
    case offsetOutOfRange
    /// Retention or compaction took the file away while it was asked for.
    case removed
}

/// Why storage could not do what it was asked.
package struct StorageError: Error, Sendable, CustomStringConvertible {
    package let code: StorageErrorCode
    package let message: String

    package init(_ code: StorageErrorCode, _ message: String) {
        self.code = code
        self.message = message
    }

    package init(_ error: SystemError, _ what: String) {
        let code: StorageErrorCode =
            error.isNoSpace ? .diskFull : error.isTooManyFiles ? .noDescriptors : .ioFailed
        self.init(code, "\(what): \(error)")
    }

    /// For calls whose failure leaves the state of the disk unknown.
    package static func fatal(_ error: SystemError, _ what: String) -> StorageError {
        StorageError(.syncFailed, "\(what): \(error)")
    }

    /// For calls that give something its name. A directory that finds no room for one (ENOSPC, EDQUOT)
    /// is as it was, and another try may find some: the disk is full. Any other failure is final.
    static func naming(_ error: SystemError, _ what: String) -> StorageError {
        error.isNoSpace ? StorageError(error, what) : .fatal(error, what)
    }

    package var isFatal: Bool { code == .syncFailed }
    package var description: String { message }
}

/// Runs `body` and turns its `SystemError` into a `StorageError` that says what was being done.
func storage<R>(
    _ what: @autoclosure () -> String, _ body: () throws(SystemError) -> R
) throws(StorageError) -> R {
    do {
        return try body()
    } catch {
        throw StorageError(error, what())
    }
}

/// As `storage`, for a call whose failure is final for the process (reliability: fsyncgate).
func storageFatal<R>(
    _ what: @autoclosure () -> String, _ body: () throws(SystemError) -> R
) throws(StorageError) -> R {
    do {
        return try body()
    } catch {
        throw StorageError.fatal(error, what())
    }
}

/// As `storageFatal`, for a rename: it alone may find the disk full, a sync beside it never may.
func storageNaming(
    _ what: @autoclosure () -> String, _ body: () throws(SystemError) -> Void
) throws(StorageError) {
    do {
        try body()
    } catch {
        throw StorageError.naming(error, what())
    }
}

extension FileSystem {
    /// Opens a directory before anything in it is changed, so that a want of descriptors is told
    /// while another try may still do it all.
    func directory(_ path: String) throws(StorageError) -> any OpenDirectory {
        try storage("opening \(path)") { () throws(SystemError) in try openDirectory(path) }
    }
}
