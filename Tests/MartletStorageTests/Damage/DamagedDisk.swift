import MartletFormat

@testable import MartletStorage

/// What was done to the files of a data directory, and what it may cost.
struct Damage: CustomStringConvertible {
    enum Kind: String, CaseIterable {
        case flip, zero, cut, swap
    }

    let kind: Kind
    let path: String
    let at: Range<Int>
    /// The file or place that it was exchanged with.
    var other = ""

    var description: String {
        "\(kind.rawValue) \(path) \(at)\(other.isEmpty ? "" : " with \(other)")"
    }
}

extension DiskState {
    /// The node behind a path.
    func find(_ path: String) -> Int? {
        var node = 0
        for part in path.split(separator: "/") {
            guard let next = nodes[node]?.entries[String(part)] else { return nil }
            node = next
        }
        return node
    }

    func content(_ path: String) -> [UInt8] {
        find(path).flatMap { nodes[$0]?.cached } ?? []
    }

    /// Changes a file under everyone's feet: nothing of it is pending any more.
    mutating func rot(_ path: String, _ change: (inout [UInt8]) -> Void) {
        guard let id = find(path), var node = nodes[id] else { return }
        change(&node.cached)
        node.durable = node.cached
        node.pending = []
        nodes[id] = node
    }

    /// Every file's path, in order.
    func files(below path: String = "") -> [String] {
        guard let id = find(path), let node = nodes[id] else { return [] }
        return node.entries.sorted { $0.key < $1.key }.flatMap { name, child in
            let inner = path.isEmpty ? name : "\(path)/\(name)"
            return nodes[child]?.isDirectory == true ? files(below: inner) : [inner]
        }
    }
}

extension [UInt8] {
    /// Without the zeros that were written ahead.
    var withoutZeros: ArraySlice<UInt8> {
        self[..<((lastIndex { $0 != 0 } ?? -1) + 1)]
    }
}

/// A place in a segment file: a batch, and what is around it.
struct LogPlace {
    let offsets: Range<Int64>
    let bytes: Range<Int>

    /// The batches of a log file.
    static func all(_ content: [UInt8]) -> [LogPlace] {
        Rot.batches(content).map { LogPlace(offsets: $0.offsets, bytes: $0.bytes) }
    }
}

/// Decides which offsets a damage to a segment may take with it.
struct DamageBound {
    let places: [LogPlace]
    /// Where readers find their way again: positions of index entries, and the end.
    let entries: [Int]

    init(_ disk: DiskState, log path: String) {
        let content = disk.content(path)
        places = LogPlace.all(content)
        let index = disk.content(String(path.dropLast(4)) + ".index")
        let slab = ByteSlab(capacity: Swift.max(1, index.count))
        unsafe slab.append(index.span.bytes)
        var found: [Int] = []
        var at = IndexHeader.byteCount
        while let entry = IndexEntry.read(slab.bytes, at: at) {
            found.append(Int(entry.position))
            at += IndexEntry.byteCount
        }
        entries = found + [content.count]
    }

    /// The offsets of the batches that the bytes lie in; with `toEntry`, of all between the index
    /// entries around them: where the chain of prefixes alone shows the damage.
    func offsets(_ bytes: Range<Int>, toEntry: Bool = false) -> Range<Int64>? {
        var bytes = bytes
        if toEntry {
            let low = entries.last { $0 <= bytes.lowerBound } ?? 0
            let high = entries.first { $0 >= bytes.upperBound } ?? Int.max
            bytes = low..<high
        }
        let hit = places.filter { $0.bytes.overlaps(bytes) }
        guard let first = hit.first, let last = hit.last else { return nil }
        return first.offsets.lowerBound..<last.offsets.upperBound
    }
}
