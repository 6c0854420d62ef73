@testable import MartletClient
import MartletFormat
import MartletWire

/// What a client does with the batches of a fetch. Input: flags u8 (1: repair the checksums, 2: the
/// right prefix checksum, 4: compacted), the offset asked for i64, a count of gaps u8 and from i64,
/// to i64 for each (an odd one is damage), the batches.
///
/// Oracle: the position moves forward, and every record that is handed out lies below it, at rising
/// offsets.
enum ConsumeTarget: FuzzTarget {
    static let name = "consume"

    static func run(_ input: [UInt8]) {
        var feed = Feed(input)
        let flags = feed.byte()
        let asked = feed.integer(Int64.self)
        guard asked >= 0 else { return }
        var result = FetchResult()
        for index in 0..<(feed.byte() % 8) {
            let range = OffsetRange(feed.integer(), feed.integer())
            if index % 2 == 0 { result.gaps.append(range) } else { result.damaged.append(range) }
        }
        var bytes = feed.remainder()
        if flags & 1 != 0 { bytes.repairBatches() }
        let slab = bytes.slab
        if flags & 2 != 0 { result.endChecksum = chain(slab) }
        var scan = RunScan(expected: asked, isCompacted: flags & 4 != 0, result: result)
        do {
            try scan.run(slab.bytes)
        } catch {
            if case .damaged(let range, _) = error {
                require(!range.isEmpty || range.lowerBound == .max, "nothing is damaged")
            }
            return
        }
        require(scan.expected >= asked, "went back from \(asked) to \(scan.expected)")
        iterate(slab, asked, scan.expected)
    }

    private static func chain(_ slab: ByteSlab) -> UInt32 {
        var position = 0
        var checksum: UInt32 = 0
        while let header = try? RecordBatchHeader(reading: slab.bytes, at: position) {
            let end = position + header.byteCount
            guard end <= slab.count else { break }
            checksum = RecordBatch.prefixChecksum(slab.span(position..<end), continuing: checksum)
            position = end
        }
        return checksum
    }

    private static func iterate(_ slab: ByteSlab, _ from: Int64, _ next: Int64) {
        let run = FetchedRun(
            partition: TopicPartition("t", 0), lease: SlabLease(slab, pool),
            range: 0..<slab.count, from: from, nextOffset: next, highWatermark: next, shelf: nil)
        var before = from - 1
        for record in ConsumerBatch(run: run) {
            if record.headers.count > slab.count { require(false, "more headers than bytes") }
            _ = record.keyString
            _ = record.valueBytes
            if record.offset <= before { break }  // checked by the checksum, not here
            before = record.offset
        }
    }

    private static let pool = SlabPool(retainedBytesMax: 0)

    static var seeds: [(name: String, bytes: [UInt8])] {
        var gap: [UInt8] = [3, 0, 0, 0, 0, 0, 0, 0, 4, 1]
        gap.append(bigEndian: Int64(8))
        gap.append(bigEndian: Int64(20))
        gap += Samples.run(from: 4, count: 2) + Samples.run(from: 20, count: 2, leaderEpoch: 2)
        return [
            ("run", [3, 0, 0, 0, 0, 0, 0, 0, 5, 0] + Samples.run(from: 4, count: 3)),
            ("compacted", [7, 0, 0, 0, 0, 0, 0, 0, 0, 0] + Samples.run(from: 4, count: 1)),
            ("gap", gap),
            ("far", [3, 0x7F, 255, 255, 255, 255, 255, 255, 255, 0] + Samples.run(from: 4, count: 1)),
        ]
    }
}
