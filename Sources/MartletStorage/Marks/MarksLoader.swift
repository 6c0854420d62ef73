import MartletFormat
import MartletSystem

/// Names and header of `marks-<generation>.log`.
///
/// The first 80-byte slot is a header: the magic `MRTLMRK1`, the generation and a CRC-32C; marks
/// follow, one a slot; zeros are space written ahead.
enum MarksFileFormat {
    static let magic: UInt64 = 0x4D52_544C_4D52_4B31
    static let prefix = "marks-"
    static let suffix = ".log"

    static func name(_ generation: UInt64) -> String { "\(prefix)\(generation)\(suffix)" }

    static func generation(_ name: String) -> UInt64? {
        guard name.hasPrefix(prefix), name.hasSuffix(suffix) else { return nil }
        // Only as a broker writes it: not `marks-01.log`.
        return UInt64(name.dropFirst(prefix.count).dropLast(suffix.count))
            .flatMap { Self.name($0) == name ? $0 : nil }
    }

    static func encodeHeader(_ generation: UInt64, into slab: ByteSlab) {
        let start = slab.count
        slab.append(magic)
        slab.append(generation)
        slab.append(CRC32C.checksum(slab.span(start..<(start + 16))))
        while slab.count < start + MarkEntry.byteCount { slab.append(UInt8(0)) }
    }
}

/// Reads every marks file of a data directory and puts the entries in their order.
///
/// A slot that does not check is passed over: a lost mark only makes the part that recovery scans
/// longer. Older generations are read too, because a crash may have come before their removal.
struct MarksLoader {
    let fileSystem: any FileSystem
    let directory: String

    struct Result {
        var table = MarkTable()
        var generations: [UInt64] = []
        /// Slots that held something unreadable.
        var damagedSlots = 0
    }

    func load() throws(StorageError) -> Result {
        let names = try storage("listing \(directory)") { () throws(SystemError) in
            try fileSystem.list(directory)
        }
        var result = Result()
        result.generations = names.compactMap(MarksFileFormat.generation).sorted()
        var entries: [MarkEntry] = []
        for generation in result.generations {
            let path = "\(directory)/\(MarksFileFormat.name(generation))"
            // A start begins a new file, so only the newest one can say how the last run ended; an
            // older one may have come back after a power cut.
            entries.removeAll { $0.kind == .clean }
            try read(path, into: &entries, damaged: &result.damagedSlots)
        }
        entries.sort { $0.sequence < $1.sequence }
        for entry in entries { result.table.apply(entry) }
        return result
    }

    private func read(
        _ path: String, into entries: inout [MarkEntry], damaged: inout Int
    ) throws(StorageError) {
        let file = try storage("opening \(path)") { () throws(SystemError) in
            try fileSystem.open(path, .readOnly)
        }
        let chunk = ByteSlab(capacity: MarkEntry.byteCount * 4096)
        var position: Int64 = Int64(MarkEntry.byteCount)
        while true {
            chunk.clear()
            let count = try storage("reading \(path)") { () throws(SystemError) in
                try file.read(into: chunk, at: position)
            }
            if count < MarkEntry.byteCount { return }
            for slot in 0..<(count / MarkEntry.byteCount) {
                let start = slot * MarkEntry.byteCount
                if let entry = MarkEntry(reading: chunk.bytes, at: start) {
                    entries.append(entry)
                } else if !Self.isZero(chunk.bytes, start..<(start + MarkEntry.byteCount)) {
                    damaged += 1
                }
            }
            position += Int64(count / MarkEntry.byteCount * MarkEntry.byteCount)
        }
    }

    static func isZero(_ bytes: RawSpan, _ range: Range<Int>) -> Bool {
        for index in range {
            if unsafe bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self) != 0 { return false }
        }
        return true
    }
}
