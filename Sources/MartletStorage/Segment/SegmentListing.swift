import MartletFormat
import MartletSystem
import MartletTelemetry

/// Finds the segments of a partition's directory, and puts right what a crash left half done.
struct SegmentListing {
    let key: PartitionKey
    let directory: String
    let context: StorageContext

    private var fileSystem: any FileSystem { context.fileSystem }

    /// Segments in order of their base offsets, each in its newest generation.
    func list(_ events: inout [RecoveryEvent]) throws(StorageError) -> [Segment] {
        let names = try storage("listing \(directory)") { () throws(SystemError) in
            try fileSystem.list(directory)
        }
        var newest: [Int64: UInt32] = [:]
        var old: [(base: Int64, generation: UInt32)] = []
        var indexes: [(base: Int64, generation: UInt32)] = []
        var hasPrepared = false
        for name in names {
            switch LogFileNames.parse(name) {
            case .log(let base, let generation)?:
                if let known = newest[base] {
                    old.append((base, min(known, generation)))
                    newest[base] = max(known, generation)
                } else {
                    newest[base] = generation
                }
            case .prepared?: hasPrepared = true
            case .temporary?:
                try storage("removing \(name)") { () throws(SystemError) in
                    try fileSystem.removeFile("\(directory)/\(name)")
                }
            case .index(let base, let generation)?: indexes.append((base, generation))
            case .producers?, .torn?: break
            case nil:
                events.append(
                    RecoveryEvent(
                        .stranger, partition: key.partition,
                        detail: "\(directory)/\(name) is not ours and was left alone"))
            }
        }
        for (base, generation) in old { try removeOld(base, generation, &events) }
        // An index without its log tells of batches that are lost.
        for (base, generation) in indexes where newest[base] != generation {
            try removeIfThere("\(directory)/\(LogFileNames.index(base, generation: generation))")
        }
        var segments: [Segment] = []
        for (base, generation) in newest.sorted(by: { $0.key < $1.key }) {
            segments.append(try segment(base, generation))
        }
        if hasPrepared { try settlePrepared(&segments, &events) }
        return segments
    }

    /// A compaction's older generation that it had no time to remove.
    private func removeOld(
        _ base: Int64, _ generation: UInt32, _ events: inout [RecoveryEvent]
    ) throws(StorageError) {
        for name in [
            LogFileNames.log(base, generation: generation),
            LogFileNames.index(base, generation: generation),
        ] {
            try removeIfThere("\(directory)/\(name)")
        }
        events.append(
            RecoveryEvent(
                .tidied, partition: key.partition, from: base,
                detail: "removed generation \(generation) of segment \(base), a newer one is there")
        )
    }

    /// `prepared.log` was either never used, or holds the newest batches and lacks its name.
    private func settlePrepared(
        _ segments: inout [Segment], _ events: inout [RecoveryEvent]
    ) throws(StorageError) {
        let log = "\(directory)/\(LogFileNames.preparedLog)"
        let index = "\(directory)/\(LogFileNames.preparedIndex)"
        if let base = try firstOffset(log), segments.last.map({ $0.base < base }) ?? true {
            let target = "\(directory)/\(LogFileNames.log(base, generation: 0))"
            try context.withReserve { () throws(StorageError) in
                try storageNaming("naming \(target)") { () throws(SystemError) in
                    try fileSystem.rename(log, to: target)
                }
            }
            try storageFatal("naming \(target)") { () throws(SystemError) in
                try fileSystem.syncDirectory(directory)
            }
            segments.append(try segment(base, 0))
            events.append(
                RecoveryEvent(
                    .tidied, partition: key.partition, from: base,
                    detail: "the segment \(base) was in use before it had its name"))
        } else {
            try setAside(log, &events)
        }
        try removeIfThere(index)
    }

    /// Whatever stands in a prepared segment that cannot be used is kept for a person.
    private func setAside(
        _ path: String, _ events: inout [RecoveryEvent]
    ) throws(StorageError) {
        let size = try storage("reading \(path)") { () throws(SystemError) in
            try fileSystem.status(path)?.size ?? 0
        }
        if size > 0 {
            let file = try storage("opening \(path)") { () throws(SystemError) in
                try fileSystem.open(path, .readOnly)
            }
            let kept = try TornTails(directory: directory, context: context)
                .keep(file, 0, from: 0, to: size)
            if kept > 0 {
                context.metrics.tornBytes.add(Int(kept))
                events.append(
                    RecoveryEvent(
                        .tornTail, partition: key.partition, bytes: kept,
                        detail:
                            "\(LogFileNames.preparedLog) does not continue the log; kept as a .torn file"
                    ))
            }
        }
        try removeIfThere(path)
    }

    /// The offset of the first batch of a file that begins with a whole one.
    private func firstOffset(_ path: String) throws(StorageError) -> Int64? {
        let found = try storage("reading \(path)") { () throws(SystemError) -> (any File, Int64)? in
            guard let status = try fileSystem.status(path) else { return nil }
            return (try fileSystem.open(path, .readOnly), status.size)
        }
        guard let (file, size) = found else { return nil }
        var scanner = BatchScanner(file, from: 0, to: size, checksBody: true)
        guard case .batch(let header, _) = try scanner.next() else { return nil }
        return header.baseOffset
    }

    private func removeIfThere(_ path: String) throws(StorageError) {
        try storage("removing \(path)") { () throws(SystemError) in
            if try fileSystem.status(path) != nil { try fileSystem.removeFile(path) }
        }
    }

    private func segment(_ base: Int64, _ generation: UInt32) throws(StorageError) -> Segment {
        let logPath = "\(directory)/\(LogFileNames.log(base, generation: generation))"
        let indexPath = "\(directory)/\(LogFileNames.index(base, generation: generation))"
        let size = try storage("opening \(logPath)") { () throws(SystemError) in
            try fileSystem.status(logPath)?.size ?? 0
        }
        let header = IndexHeader(
            topic: key.topic, partition: key.partition, base: base, generation: generation)
        return Segment(
            key: key, base: base, generation: generation,
            log: CachedFile(logPath, fileSystem, context.files),
            index: SparseIndex(
                header, CachedFile(indexPath, fileSystem, context.files, makes: true),
                context.indexes),
            size: size, isNamed: true)
    }

    /// Makes the first segment of a partition, on disk.
    func make(base: Int64) throws(StorageError) -> Segment {
        let path = "\(directory)/\(LogFileNames.log(base, generation: 0))"
        let file = try storage("making \(path)") { () throws(SystemError) in
            try fileSystem.open(path, .createOrOpen)
        }
        let home = try fileSystem.directory(directory)
        try storageFatal("making \(path)") { () throws(SystemError) in
            try file.sync()
            if !context.options.has(.dropDirectorySync) { try home.sync() }
        }
        return try segment(base, 0)
    }
}
