import MartletFormat
import MartletTestSupport

/// One flipped byte of a batch that was acknowledged, on a disk that nobody is using.
struct Rot: Sendable {
    let log: LogName
    let offsets: Range<Int64>

    /// Flips a byte that the batch's checksum covers; nil when there is nothing to flip.
    static func make(
        in disk: inout DiskState, _ model: Model, _ random: inout SeededRandom
    ) -> Rot? {
        var found: [(rot: Rot, node: Int, bytes: Range<Int>)] = []
        for (name, known) in model.logs.sorted(by: { $0.key < $1.key }) {
            guard model.topics[name.topic]?.phase == .there else { continue }
            let folder = "data/topics/\(name.topic)/\(name.partition)"
            guard let directory = find(folder, disk) else { continue }
            for (file, node) in (disk.nodes[directory]?.entries ?? [:]).sorted(by: {
                $0.key < $1.key
            })
            where file.hasSuffix(".log") && file.utf8.count == 24 {
                for (offsets, bytes) in batches(disk.nodes[node]?.cached ?? [])
                where offsets.allSatisfy({ known.fixed[$0] != nil && $0 >= known.logStart }) {
                    found.append((Rot(log: name, offsets: offsets), node, bytes))
                }
            }
        }
        guard !found.isEmpty else { return nil }
        let chosen = found[random.below(found.count)]
        let covered = (chosen.bytes.lowerBound + RecordBatch.crcStart)..<chosen.bytes.upperBound
        let at = covered.lowerBound + random.below(covered.count)
        let mask = UInt8(1 << random.below(8))
        guard var node = disk.nodes[chosen.node] else { return nil }
        node.cached[at] ^= mask
        node.durable = node.cached
        node.pending = []
        disk.nodes[chosen.node] = node
        return chosen.rot
    }

    private static func find(_ path: String, _ disk: DiskState) -> Int? {
        var node = 0
        for part in path.split(separator: "/") {
            guard let next = disk.nodes[node]?.entries[String(part)] else { return nil }
            node = next
        }
        return node
    }

    /// The batches of a log file, as far as they follow each other.
    static func batches(_ content: [UInt8]) -> [(offsets: Range<Int64>, bytes: Range<Int>)] {
        let slab = ByteSlab(capacity: max(1, content.count))
        unsafe slab.append(content.span.bytes)
        var result: [(offsets: Range<Int64>, bytes: Range<Int>)] = []
        var at = 0
        do {
            while at + RecordBatch.headerBytes <= content.count {
                let header = try RecordBatchHeader(reading: slab.bytes, at: at)
                guard at + header.byteCount <= content.count else { break }
                result.append((header.baseOffset..<header.nextOffset, at..<(at + header.byteCount)))
                at += header.byteCount
            }
        } catch {
            return result  // zeros, or a torn tail
        }
        return result
    }
}
