import MartletFormat
package import MartletSystem

/// A copy of a data directory, also of one that a broker is using.
///
/// Closed segments never change, so they are hard-linked (copied where the target is another file
/// system); the open segment of each partition is copied up to its last mark, which says that all
/// below was on disk and whole. The marks are read once, and each of a `durable` topic was written
/// before anybody was told of what it covers: so nothing in the copy tells of what another topic
/// lacks, as a group of records that it has had. There are two exceptions, and a start on the copy
/// goes on above the offsets that are told of in both. Records of a `written` topic are told of before
/// their mark is written. And a mark that a full disk had no room for is missing until there is some.
///
/// The broker's own topics are copied first: they are short, and what their newest snapshots replace
/// goes at once. The copy is a data directory itself: a broker that starts on it takes it for one after
/// an unclean stop.
package struct Backup {
    package struct Report: Sendable {
        package var topics = 0
        package var partitions = 0
        package var linkedBytes: Int64 = 0
        package var copiedBytes: Int64 = 0
    }

    /// Retention or compaction may take a file away while it is copied: the partition is listed
    /// again so many times.
    private static let attempts = 20

    let source: DataDirectory
    let target: DataDirectory
    let fileSystem: any FileSystem
    /// Whether closed segments may share their files with the source.
    let links: Bool
    /// Where the ids of producers go on in the copy; nil: where they ended.
    var producerIDs: Int64?

    /// - Parameters:
    ///   - source: A data directory or a backup.
    ///   - target: A folder that does not exist, or is empty.
    ///   - links: False for a restore, so that the backup stays apart.
    package init(from source: String, to target: String, _ fileSystem: any FileSystem, links: Bool)
    {
        self.source = DataDirectory(source, fileSystem)
        self.target = DataDirectory(target, fileSystem)
        self.fileSystem = fileSystem
        self.links = links
    }

    /// Blocks until the copy is on disk.
    /// - Throws: `notUsable` when the source is no data directory or the target is not empty;
    ///   `removed` when the broker removed what belongs to the copy before it was copied.
    package func run() throws(StorageError) -> Report {
        try source.requireFormat()
        try makeTarget()
        let topics = try listTopics()
        var table = try loadMarks()
        var report = Report()
        for id in topics.inOrder {
            if PlantedBugs.has(.backupByTopic) {
                table.takeOver(from: try loadMarks()) { $0.topic == id }
            }
            try copyTopic(id, &table, topics, &report)
            report.topics += 1
        }
        try finish(table)
        return report
    }

    private func makeTarget() throws(StorageError) {
        try storage("making \(target.path)") { () throws(SystemError) in
            if try fileSystem.status(target.path) == nil {
                try fileSystem.makeDirectory(target.path)
                try fileSystem.syncDirectory(DataDirectory.parent(of: target.path))
            }
        }
        let names = try storage("listing \(target.path)") { () throws(SystemError) in
            try fileSystem.list(target.path)
        }
        guard names.isEmpty else {
            throw StorageError(.notUsable, "\(target.path) is not empty")
        }
        try storage("making \(target.topics)") { () throws(SystemError) in
            try fileSystem.makeDirectory(target.topics)
        }
    }

    /// The marks of a running broker may be replaced by a new generation while they are read.
    private func loadMarks() throws(StorageError) -> MarkTable {
        var last: StorageError?
        for _ in 0..<Self.attempts {
            do {
                return try MarksLoader(fileSystem: fileSystem, directory: source.path).load().table
            } catch {
                last = error
            }
        }
        throw last ?? StorageError(.ioFailed, "marks of \(source.path) cannot be read")
    }

    private func copyTopic(
        _ id: TopicID, _ table: inout MarkTable, _ topics: Topics, _ report: inout Report
    ) throws(StorageError) {
        let copy = target.topic(id)
        let (meta, metadata) = try metadataOfCopy(id, table)
        try storage("making \(copy)") { () throws(SystemError) in
            try fileSystem.makeDirectory(copy)
        }
        try fileSystem.replace("\(copy)/topic.meta", with: meta, in: copy)
        for partition in 0..<metadata.partitions {
            let key = PartitionKey(topic: id, partition: partition)
            let directory = target.partition(key)
            try storage("making \(directory)") { () throws(SystemError) in
                try fileSystem.makeDirectory(directory)
            }
            try copyPartition(key, &table, topics, &report)
            report.partitions += 1
        }
        try storage("syncing \(copy)") { () throws(SystemError) in
            try fileSystem.syncDirectory(copy)
        }
    }

    private func copyPartition(
        _ key: PartitionKey, _ table: inout MarkTable, _ topics: Topics, _ report: inout Report
    ) throws(StorageError) {
        var before = topics.segments[key] ?? [:]
        var last: StorageError?
        for _ in 0..<Self.attempts {
            guard let marks = table.partitions[key], let end = marks.end else { return }
            do {
                var copied = report
                try copyFiles(key, end, &copied)
                let segments = try segments(in: target.partition(key))
                guard !segments.areCompacted(since: before) else {
                    // Compaction drops a record when a newer one of its key is below a mark, and that
                    // mark may be above ours. One that is read after the files were listed is not older.
                    before = try self.segments(in: source.partition(key))
                    table.takeOver(from: try loadMarks()) { $0 == key }
                    continue
                }
                let floor = topics.floor(key).map { max($0, marks.start?.offset ?? 0) }
                try requireWhole(key, segments, end, floor)
                report = copied
                return
            } catch {
                last = error  // a file went away: list again
            }
        }
        throw last
            ?? StorageError(
                .removed,
                "\(source.partition(key)) was compacted again and again while it was copied: take the backup again"
            )
    }

    private func copyFiles(
        _ key: PartitionKey, _ end: MarkEntry, _ report: inout Report
    ) throws(StorageError) {
        let from = source.partition(key)
        let to = target.partition(key)
        try storage("copying \(from)") { () throws(SystemError) in
            for stale in try fileSystem.list(to) { try fileSystem.removeFile("\(to)/\(stale)") }
            for name in try fileSystem.list(from) {
                switch LogFileNames.parse(name) {
                case .log(let base, _)? where base < end.segmentBase:
                    try link("\(from)/\(name)", "\(to)/\(name)", &report)
                case .log(let base, _)? where base == end.segmentBase:
                    try copy("\(from)/\(name)", "\(to)/\(name)", upTo: end.position, &report)
                case .index(let base, _)? where base <= end.segmentBase:
                    try copy("\(from)/\(name)", "\(to)/\(name)", upTo: .max, &report)
                case .log?, .index?, .producers?, .prepared?, .temporary?, .torn?, nil:
                    continue  // above the mark, rebuildable, or not part of the log
                }
            }
            try fileSystem.syncDirectory(to)
        }
    }

    private func link(
        _ from: String, _ to: String, _ report: inout Report
    ) throws(SystemError) {
        if links {
            do {
                try fileSystem.hardLink(from, to: to)
                report.linkedBytes += try fileSystem.status(to)?.size ?? 0
                return
            } catch  where !error.isNotFound {
                // Another file system, or one without links: copy.
            }
        }
        try copy(from, to, upTo: .max, &report)
    }

    private func copy(
        _ from: String, _ to: String, upTo limit: Int64, _ report: inout Report
    ) throws(SystemError) {
        let input = try fileSystem.open(from, .readOnly)
        let output = try fileSystem.open(to, .createNew)
        let slab = ByteSlab(capacity: 1 << 20)
        var position: Int64 = 0
        while position < limit {
            slab.clear()
            let wanted = Int(min(Int64(slab.capacity), limit - position))
            if try input.read(into: slab, atMost: wanted, at: position) == 0 { break }
            try output.write(slab, at: position)
            position += Int64(slab.count)
        }
        try output.sync()
        report.copiedBytes += position
    }

    /// Marks and the format version come last: without them the copy is not taken for whole.
    private func finish(_ table: MarkTable) throws(StorageError) {
        let entries = table.entries
        let slab = ByteSlab(capacity: (entries.count + 1) * MarkEntry.byteCount)
        MarksFileFormat.encodeHeader(1, into: slab)
        for entry in entries { entry.encode(into: slab) }
        let bytes = unsafe slab.withUnsafeBytes(0..<slab.count) { unsafe Array($0) }
        try storage("finishing \(target.path)") { () throws(SystemError) in
            try fileSystem.syncDirectory(target.topics)
        }
        try fileSystem.replace(
            "\(target.path)/\(MarksFileFormat.name(1))", with: bytes, in: target.path)
        try target.writeFormat()
    }
}

extension MarkTable {
    /// Says of some partitions what `newer` says.
    fileprivate mutating func takeOver(
        from newer: MarkTable, where isTaken: (PartitionKey) -> Bool
    ) {
        for (key, marks) in newer.partitions where isTaken(key) { partitions[key] = marks }
    }
}
