import MartletFormat
package import MartletSystem
import MartletTelemetry

/// Where things lie in a data directory.
///
/// ```
/// format.version                 "martlet-data 1"
/// martlet.lock                   held while a broker runs
/// reserve                        space given back when the disk is full
/// marks-<generation>.log         see MarksFileFormat
/// topics/<id>/topic.meta         see TopicMetadataText
/// topics/<id>/<partition>/...    see LogFileNames
/// topics/<id>.creating           a topic that is being made; removed at start
/// topics/<id>.deleted-<ms>       a deleted topic whose files are going
/// ```
package struct DataDirectory: Sendable {
    package let path: String
    package let fileSystem: any FileSystem

    private static let formatVersion = 1
    private static let formatName = "martlet-data"
    /// What `format.version` holds.
    package static let format = "\(formatName) \(formatVersion)"
    static let creatingSuffix = ".creating"
    static let deletedInfix = ".deleted-"

    package init(_ path: String, _ fileSystem: any FileSystem) {
        self.path = path
        self.fileSystem = fileSystem
    }

    var topics: String { "\(path)/topics" }
    var reserve: String { "\(path)/reserve" }
    func topic(_ id: TopicID) -> String { "\(topics)/\(id)" }
    func partition(_ key: PartitionKey) -> String { "\(topic(key.topic))/\(key.partition)" }

    /// Takes the lock and makes what is missing.
    /// - Throws: `notUsable` when another broker holds it or its format is a newer one.
    func open(_ logger: Logger = .disabled) throws(StorageError) -> any FileLock {
        try storage("making \(path)") { () throws(SystemError) in
            if try fileSystem.status(path) == nil {
                try fileSystem.makeDirectory(path)
                try fileSystem.syncDirectory(Self.parent(of: path))
                // A mistyped path, or none at all, is not to pass for an empty broker in silence.
                logger.notice(
                    "DATA_DIRECTORY_MADE", "there was no data directory: made one",
                    [("path", .string(path))])
            }
        }
        let lock = try storage("locking \(path)") { () throws(SystemError) in
            try fileSystem.lock("\(path)/martlet.lock")
        }
        guard let lock else {
            throw StorageError(
                .notUsable,
                "\(path) is in use by another martletd; stop it, or choose another --data")
        }
        try checkFormat()
        try storage("making \(topics)") { () throws(SystemError) in
            if try fileSystem.status(topics) == nil {
                try fileSystem.makeDirectory(topics)
                try fileSystem.syncDirectory(path)
            }
        }
        return lock
    }

    private var formatFile: String { "\(path)/format.version" }
    private static let formatText = "\(format)\n"

    /// - Throws: `notUsable` when this is no data directory, or one of another format.
    func requireFormat() throws(StorageError) {
        guard try hasFormat() else {
            throw StorageError(
                .notUsable, "\(path) is no Martlet data directory: no format.version")
        }
    }

    static func parent(of path: String) -> String {
        var parts = path.split(separator: "/")
        if !parts.isEmpty { parts.removeLast() }
        let joined = parts.joined(separator: "/")
        if path.hasPrefix("/") { return "/" + joined }
        return joined.isEmpty ? "." : joined
    }

    private func checkFormat() throws(StorageError) {
        if try hasFormat() { return }
        try refuseStrangers()
        try writeFormat()
    }

    func writeFormat() throws(StorageError) {
        try fileSystem.replace(formatFile, with: Array(Self.formatText.utf8), in: path)
    }

    /// False when there is no version file; throws when it is another version.
    private func hasFormat() throws(StorageError) -> Bool {
        let found = try storage("reading \(formatFile)") { () throws(SystemError) -> [UInt8]? in
            guard try fileSystem.status(formatFile) != nil else { return nil }
            return try fileSystem.contents(of: formatFile, atMost: 256)
        }
        guard let found else { return false }
        guard found == Array(Self.formatText.utf8) else {
            let text = String(decoding: found, as: UTF8.self).filter { $0 != "\n" }
            throw StorageError(
                .notUsable,
                "\(path) has format \"\(text)\"; this martletd reads and writes \"\(Self.format)\". Nothing was touched"
            )
        }
        return true
    }

    /// A directory without a version file must be empty but for what we make first ourselves.
    /// Topics are not among that: a copy that was cut short has them without a version file.
    private func refuseStrangers() throws(StorageError) {
        let ours: Set<String> = ["martlet.lock", "lost+found", "format.version.tmp"]
        let names = try storage("listing \(path)") { () throws(SystemError) in
            try fileSystem.list(path)
        }
        guard let stranger = names.first(where: { !ours.contains($0) }) else { return }
        guard stranger != "topics" else {
            throw StorageError(
                .notUsable,
                "\(path) has topics but no format.version, which comes last: a backup or a restore into it did not end; empty it and begin again"
            )
        }
        throw StorageError(
            .notUsable,
            "\(path) has no format.version but holds \"\(stranger)\": it is not an empty directory and not a Martlet data directory"
        )
    }
}

extension FileSystem {
    /// Removes a file that could not be written to its end, most often for want of space: what there
    /// is of it is worth nothing.
    func removeUnfinished(_ path: String) {
        do {
            try removeFile(path)
        } catch {
            return  // it was never made, or stays until a start or a person removes it
        }
    }

    /// The whole of a small file.
    func contents(of path: String, atMost limit: Int) throws(SystemError) -> [UInt8] {
        let file = try open(path, .readOnly)
        let slab = ByteSlab(capacity: max(1, Int(min(Int64(limit), try file.size()))))
        try file.readAll(into: slab, at: 0)
        return unsafe slab.withUnsafeBytes(0..<slab.count) { unsafe Array($0) }
    }

    /// Gives a file that was made beside it the place of `path`. Without room for the name the file
    /// goes again: a full disk is not to be fuller for it.
    func rename(unfinished temporary: String, to path: String) throws(StorageError) {
        do throws(StorageError) {
            try storageNaming("naming \(path)") { () throws(SystemError) in
                try rename(temporary, to: path)
            }
        } catch {
            if !error.isFatal { removeUnfinished(temporary) }
            throw error
        }
    }

    /// Replaces a small file as a whole: tmp, sync, rename, directory sync. After the write every
    /// failure but a want of space is final (fsyncgate); a full disk leaves the old file as it was.
    func replace(
        _ path: String, with bytes: [UInt8], in directory: String
    ) throws(StorageError) {
        let temporary = path + LogFileNames.temporarySuffix
        let home = try self.directory(directory)
        let file = try storage("writing \(temporary)") { () throws(SystemError) -> any File in
            let file = try open(temporary, .createOrOpen)
            try file.truncate(to: 0)
            let slab = ByteSlab(capacity: max(1, bytes.count))
            unsafe slab.append(bytes.span.bytes)
            try file.write(slab, at: 0)
            return file
        }
        try storageFatal("syncing \(temporary)") { () throws(SystemError) in try file.sync() }
        try rename(unfinished: temporary, to: path)
        try storageFatal("replacing \(path)") { () throws(SystemError) in try home.sync() }
    }
}
