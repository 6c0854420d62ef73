import MartletFormat
import MartletSystem
import MartletTelemetry

/// Keeps what recovery takes out of a log, for a person to look at.
struct TornTails {
    private static let chunkBytes = 1 << 20

    let directory: String
    let context: StorageContext

    private var fileSystem: any FileSystem { context.fileSystem }

    /// Cuts a log at `end` once a copy of what follows is on disk; returns how many bytes that were.
    func cut(
        _ file: any File, _ base: Int64, at end: Int64, size: Int64
    ) throws(StorageError) -> Int64 {
        let kept = try keep(file, base, from: end, to: size)
        context.metrics.tornBytes.add(Int(kept))
        try storageFatal("cutting \(file.path)") { () throws(SystemError) in
            try file.truncate(to: end)
            try file.sync()
        }
        return kept
    }

    /// Copies a torn tail without its trailing zeros into a file of its own, on disk; returns how
    /// many bytes that were.
    func keep(
        _ file: any File, _ base: Int64, from: Int64, to size: Int64
    ) throws(StorageError) -> Int64 {
        let end = try endOfContent(file, from: from, to: size)
        guard end > from else { return 0 }
        let path = try freePath(base)
        try context.withReserve { () throws(StorageError) in
            do throws(StorageError) {
                try storage("keeping a torn tail of \(file.path)") { () throws(SystemError) in
                    let target = try fileSystem.open(path, .createNew)
                    try file.copy(from: from, to: end, into: target, at: 0)
                }
            } catch {
                fileSystem.removeUnfinished(path)
                throw error
            }
        }
        // On disk before the original is cut.
        try storageFatal("keeping a torn tail of \(file.path)") { () throws(SystemError) in
            try fileSystem.open(path, .readWrite).sync()
            try fileSystem.syncDirectory(directory)
        }
        return end - from
    }

    /// Takes a whole segment out of the log; an empty one is removed. Returns how many bytes it has
    /// without trailing zeros.
    func setAside(_ segment: Segment) throws(StorageError) -> Int64 {
        let end = try endOfContent(try segment.log.open(), from: 0, to: segment.bytes)
        let path = try freePath(segment.base)
        if end > 0 {
            try context.withReserve { () throws(StorageError) in
                try storageNaming("setting \(segment.log.path) aside") { () throws(SystemError) in
                    try segment.log.rename(to: path)
                }
            }
        }
        try storageFatal("setting \(segment.log.path) aside") { () throws(SystemError) in
            if end == 0 { try segment.log.remove() }
            try segment.index.file.remove()
            try fileSystem.syncDirectory(directory)
        }
        return end
    }

    /// A name that is not taken: two recoveries may fall into one millisecond.
    private func freePath(_ base: Int64) throws(StorageError) -> String {
        var time = context.clock.wallMilliseconds()
        while true {
            let path = "\(directory)/\(LogFileNames.torn(base, at: time))"
            let isFree = try storage("looking for \(path)") { () throws(SystemError) in
                try fileSystem.status(path) == nil
            }
            if isFree { return path }
            time += 1
        }
    }

    /// Where the last byte that is not zero ends; `from` when there is none.
    private func endOfContent(
        _ file: any File, from: Int64, to size: Int64
    ) throws(StorageError) -> Int64 {
        let slab = ByteSlab(capacity: Int(min(Int64(Self.chunkBytes), max(1, size - from))))
        var end = from
        var position = from
        while position < size {
            slab.clear()
            let at = position
            let got = try storage("reading \(file.path)") { () throws(SystemError) in
                try file.read(into: slab, atMost: Int(min(Int64(slab.capacity), size - at)), at: at)
            }
            if got == 0 { break }
            if let found = Self.lastNonZero(slab.bytes) { end = position + Int64(found) + 1 }
            position += Int64(got)
        }
        return end
    }

    private static func lastNonZero(_ bytes: RawSpan) -> Int? {
        var index = bytes.byteCount - 1
        while index >= 0 {
            if unsafe bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self) != 0 { return index }
            index -= 1
        }
        return nil
    }
}

extension File {
    /// Copies the bytes from `from` up to `to` into `target` at `position`.
    func copy(
        from: Int64, to: Int64, into target: any File, at position: Int64
    ) throws(SystemError) {
        let slab = ByteSlab(capacity: Int(min(1 << 20, max(1, to - from))))
        var done: Int64 = 0
        while from + done < to {
            slab.clear()
            let got = try read(
                into: slab, atMost: Int(min(Int64(slab.capacity), to - from - done)),
                at: from + done)
            if got == 0 { return }
            try target.write(slab, at: position + done)
            done += Int64(got)
        }
    }
}
