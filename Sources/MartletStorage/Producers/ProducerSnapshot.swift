import MartletFormat
import MartletSystem

/// `<offset>.producers`: the producers' state as of `offset`, so that a start replays only what
/// lies above. Not synced, carries a CRC; a file that does not check, or is newer than the log, is
/// thrown away and the state rebuilt from the log.
///
/// ```
/// magic 8 "MRTLPRD1" | offset 8 | count 4 | per producer: id 8, epoch 2, append time 8, batches 1,
///   per batch: base sequence 4, last sequence 4, base offset 8, next offset 8, leader epoch 4 | CRC-32C 4
/// ```
enum ProducerSnapshot {
    private static let magic: UInt64 = 0x4D52_544C_5052_4431
    private static let headerBytes = 20
    private static let producerBytes = 19
    private static let batchBytes = 28
    /// Largest file that is read: as many producers as a table has, with full windows.
    private static let bytesMax = Int64(byteCount(LogLimits.producersMax))

    private static func byteCount(_ producers: Int) -> Int {
        headerBytes + 4 + producers * (producerBytes + ProducerState.windowCount * batchBytes)
    }

    static func encode(_ table: ProducerTable, offset: Int64) -> ByteSlab {
        let slab = ByteSlab(capacity: byteCount(table.producers.count))
        slab.append(magic)
        slab.append(offset)
        slab.append(UInt32(table.producers.count))
        for (id, state) in table.producers.sorted(by: { $0.key < $1.key }) {
            slab.append(id)
            slab.append(state.epoch)
            slab.append(state.lastAppendTime)
            slab.append(UInt8(state.batches.count))
            for batch in state.batches {
                slab.append(batch.baseSequence)
                slab.append(batch.lastSequence)
                slab.append(batch.baseOffset)
                slab.append(batch.nextOffset)
                slab.append(batch.leaderEpoch)
            }
        }
        slab.append(CRC32C.checksum(slab.bytes))
        return slab
    }

    /// nil when the bytes are not a whole snapshot for `offset`.
    static func decode(_ bytes: RawSpan, offset: Int64) -> ProducerTable? {
        guard bytes.byteCount >= headerBytes + 4 else { return nil }
        let body = bytes.extracting(0..<(bytes.byteCount - 4))
        do {
            var at = bytes.byteCount - 4
            guard try bytes.readUInt32("crc", at: &at) == CRC32C.checksum(body) else { return nil }
            at = 0
            guard try body.readUInt64("magic", at: &at) == magic,
                try body.readInt64("offset", at: &at) == offset
            else { return nil }
            let count = Int(try body.readUInt32("count", at: &at))
            guard count <= (body.byteCount - at) / producerBytes else { return nil }
            var table = ProducerTable()
            for _ in 0..<count {
                guard try readProducer(body, &at, &table) else { return nil }
            }
            return at == body.byteCount ? table : nil
        } catch {
            return nil  // shorter than it says: not a whole snapshot
        }
    }

    /// False when the window is larger than any that is kept: `encode` counts on that.
    private static func readProducer(
        _ body: RawSpan, _ at: inout Int, _ table: inout ProducerTable
    ) throws(FormatError) -> Bool {
        let id = try body.readInt64("producerID", at: &at)
        let epoch = try body.readInt16("epoch", at: &at)
        let appendTime = try body.readInt64("appendTime", at: &at)
        let batches = Int(try body.readUInt8("batches", at: &at))
        guard batches <= ProducerState.windowCount else { return false }
        var state = ProducerState(epoch: epoch, batches: [], lastAppendTime: appendTime)
        for _ in 0..<batches {
            state.batches.append(
                ProducedBatch(
                    baseSequence: try body.readInt32("baseSequence", at: &at),
                    lastSequence: try body.readInt32("lastSequence", at: &at),
                    baseOffset: try body.readInt64("baseOffset", at: &at),
                    nextOffset: try body.readInt64("nextOffset", at: &at),
                    leaderEpoch: try body.readInt32("leaderEpoch", at: &at)))
        }
        table.producers[id] = state
        return true
    }

    /// Writes the snapshot beside the log and removes the older ones but one, and those in `kept`.
    /// A failure is not an error of the log: without a snapshot the next start replays more.
    static func write(
        _ table: ProducerTable, offset: Int64, keeping kept: [Int64], syncs: Bool,
        directory: String, _ fileSystem: any FileSystem
    ) throws(StorageError) {
        let path = "\(directory)/\(LogFileNames.producers(offset))"
        let temporary = path + LogFileNames.temporarySuffix
        let home = syncs ? try fileSystem.directory(directory) : nil
        let slab = encode(table, offset: offset)
        let file: any File
        do throws(StorageError) {
            file = try storage("writing \(temporary)") { () throws(SystemError) -> any File in
                let file = try fileSystem.open(temporary, .createOrOpen)
                try file.truncate(to: 0)
                try file.write(slab, at: 0)
                return file
            }
        } catch {
            // The next one has another name: each try on a full disk would take more of it.
            fileSystem.removeUnfinished(temporary)
            throw error
        }
        if let home {
            try storageFatal("syncing \(temporary)") { () throws(SystemError) in try file.sync() }
            try fileSystem.rename(unfinished: temporary, to: path)
            try storageFatal("saving \(path)") { () throws(SystemError) in try home.sync() }
        } else {
            do throws(StorageError) {
                try storage("saving \(path)") { () throws(SystemError) in
                    try fileSystem.rename(temporary, to: path)
                }
            } catch {
                fileSystem.removeUnfinished(temporary)
                throw error
            }
        }
        try storage("removing older snapshots of producers") { () throws(SystemError) in
            // The one before stays: this one is not synced and may not survive a power cut.
            let older = try fileSystem.list(directory).filter { other in
                guard case .producers(let old)? = LogFileNames.parse(other) else { return false }
                return old < offset && !kept.contains(old)
            }
            for other in older.dropLast() { try fileSystem.removeFile("\(directory)/\(other)") }
        }
    }

    /// The newest usable snapshot at or below `end`; a table without producers at `start` when
    /// there is none.
    ///
    /// A snapshot is of the log's end when it was made, which a power cut may have taken back: one
    /// from above `end`, or from inside a gap, tells of batches that are lost. It goes, on disk,
    /// before the log can grow over its offset with others.
    static func load(
        directory: String, from start: Int64, to end: Int64, gaps: [Range<Int64>],
        _ fileSystem: any FileSystem
    ) throws(StorageError) -> (table: ProducerTable, offset: Int64, isFile: Bool) {
        let names = try storage("listing \(directory)") { () throws(SystemError) in
            try fileSystem.list(directory)
        }
        for name in names.reversed() {
            guard case .producers(let offset)? = LogFileNames.parse(name) else { continue }
            let isLost = gaps.contains { $0.lowerBound < offset && offset < $0.upperBound }
            guard offset <= end, !isLost else {
                let home = try fileSystem.directory(directory)
                try storageFatal("removing \(name)") { () throws(SystemError) in
                    try fileSystem.removeFile("\(directory)/\(name)")
                    try home.sync()
                }
                continue
            }
            if let table = try read("\(directory)/\(name)", offset, fileSystem) {
                return (table, offset, true)
            }
        }
        return (ProducerTable(), start, false)
    }

    /// Brings a snapshot that was found onto the disk.
    static func sync(
        _ offset: Int64, directory: String, _ fileSystem: any FileSystem
    ) throws(StorageError) {
        let path = "\(directory)/\(LogFileNames.producers(offset))"
        let file = try storage("opening \(path)") { () throws(SystemError) in
            try fileSystem.open(path, .readWrite)
        }
        let home = try fileSystem.directory(directory)
        try storageFatal("syncing \(path)") { () throws(SystemError) in
            try file.sync()
            try home.sync()
        }
    }

    private static func read(
        _ path: String, _ offset: Int64, _ fileSystem: any FileSystem
    ) throws(StorageError) -> ProducerTable? {
        let slab = try storage("reading \(path)") { () throws(SystemError) -> ByteSlab? in
            let file = try fileSystem.open(path, .readOnly)
            let size = try file.size()
            guard size <= bytesMax else { return nil }
            let slab = ByteSlab(capacity: max(1, Int(size)))
            try file.readAll(into: slab, at: 0)
            return slab
        }
        guard let slab else { return nil }
        return decode(slab.bytes, offset: offset)
    }
}
