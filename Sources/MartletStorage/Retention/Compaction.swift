import MartletFormat
import MartletSystem
import MartletTelemetry
import Synchronization

/// Rewrites closed segments of a compacted topic so that only the newest record of each key stays.
///
/// Offsets stay, the order stays, records without a newer one of their key stay. A tombstone (null
/// value) stays for `tombstone.retention.ms` after its segment was closed. A batch that loses all its
/// records stays as an empty one when it is among the last of a producer, so that duplicates are
/// still recognised. A segment with a damaged range is left alone.
struct Compaction {
    /// Memory for the newest offset of each key; what does not fit waits for the next run.
    var keyBytesMax = 64 << 20
    private static let keyOverhead = 64

    let settings: TopicSettings
    let segments: [Segment]
    /// Everything at or above is left alone.
    let limit: Int64
    /// Tombstones in segments closed before this are dropped, ms.
    let tombstoneHorizon: Int64
    /// A planted bug: what no checksum covers is believed.
    var isUnchecked = false
    /// Below, earlier runs have left one record of each key.
    var start: Int64 = 0
    /// Asked before each batch: a topic that is deleted waits for the run to end.
    var isWanted: () -> Bool = { true }

    /// The newest offset of each key, exact: no hash stands for a key.
    struct Newest {
        var offsets: [[UInt8]: Int64] = [:]
        var bytes = 0
        /// The last batches of each producer: what stands above them may be lost in a power cut.
        var producers = ProducerTable(limit: .max)
        /// Records at or above were not looked at.
        var end: Int64 = 0

        func remembers(_ header: RecordBatchHeader) -> Bool {
            producers.producers[header.producerID]?.batches.contains {
                $0.baseOffset == header.baseOffset
            } ?? false
        }
    }

    /// Finds the newest offset of each key from `start` on, and the last batches of each producer
    /// from the first segment on.
    /// - Throws: `offline` when it is not wanted any more, and
    ///   `corrupt` when a segment is not what was written: also when only bytes are wrong
    ///   that no batch's own checksum covers, for a rewritten segment would make them look right.
    func newest() throws(StorageError) -> Newest {
        var newest = Newest()
        newest.end = start
        var next = segments.first?.base ?? 0
        for segment in segments {
            let file = try segment.log.open()
            var scanner = BatchScanner(file, from: 0, to: segment.bytes, checksBody: true)
            var chain: UInt32 = 0
            var isFull = false
            loop: while true {
                switch try scanner.next() {
                case .batch(let header, _):
                    guard isWanted() else { throw Self.unwanted }
                    chain = RecordBatch.prefixChecksum(scanner.bytes, continuing: chain)
                    newest.producers.record(header, appendTime: 0)
                    guard isUnchecked || header.baseOffset >= next else { throw damaged(segment) }
                    next = header.nextOffset
                    // What is not noted is checked all the same: it is written anew.
                    isFull = isFull || newest.bytes >= keyBytesMax
                    if isFull || header.nextOffset <= start { continue }
                    try note(header, scanner.bytes, &newest)
                    newest.end = header.nextOffset
                case .bad, .zeros: throw damaged(segment)
                case .end: break loop
                }
            }
            guard isUnchecked || chain == segment.end?.checksum else { throw damaged(segment) }
            if isFull { return newest }
        }
        newest.end = limit
        return newest
    }

    private func note(
        _ header: RecordBatchHeader, _ bytes: RawSpan, _ newest: inout Newest
    ) throws(StorageError) {
        var cursor = RecordCursor(header)
        do throws(FormatError) {
            while let record = try cursor.next(in: bytes) {
                guard let range = record.key else { continue }
                let key = bytes.copy(range)
                let offset = header.baseOffset + Int64(record.offsetDelta)
                if newest.offsets.updateValue(offset, forKey: key) == nil {
                    newest.bytes += key.count + Self.keyOverhead
                }
            }
        } catch {
            throw StorageError(.corrupt, "batch \(header.baseOffset): \(error)")
        }
    }

    private static let unwanted = StorageError(.offline, "the partition went offline")

    private func damaged(_ segment: Segment) -> StorageError {
        StorageError(.corrupt, "segment \(segment.base) is damaged and is not compacted")
    }

    /// Writes `segment` anew into `target`. Returns how many records were dropped.
    func rewrite(
        _ segment: Segment, _ newest: Newest, producers alive: Set<Int64>, into target: any File
    ) throws(StorageError) -> Int {
        let file = try segment.log.open()
        let dropsTombstones = (segment.end?.appendTime ?? .max) < tombstoneHorizon
        var scanner = BatchScanner(file, from: 0, to: segment.bytes, checksBody: true)
        var position: Int64 = 0
        var dropped = 0
        while true {
            switch try scanner.next() {
            case .batch(let header, _):
                guard isWanted() else { throw Self.unwanted }
                let mustStay =
                    alive.contains(header.producerID) && newest.remembers(header)
                let kept: ThinnedBatch
                do throws(FormatError) {
                    let bytes = scanner.bytes
                    kept = try ThinnedBatch(bytes, header) {
                        newest.keeps($0, of: header, bytes, dropsTombstones: dropsTombstones)
                    }
                } catch {
                    throw StorageError(.corrupt, "batch \(header.baseOffset): \(error)")
                }
                dropped += Int(kept.dropped)
                guard kept.records > 0 || mustStay else { continue }
                let slab = kept.slab
                try storage("writing \(target.path)") { () throws(SystemError) in
                    try target.write(slab, at: position)
                }
                position += Int64(slab.count)
            case .bad, .zeros: throw damaged(segment)
            case .end: return dropped
            }
        }
    }
}

extension Compaction.Newest {
    /// Whether a record of a batch is still there after compaction.
    fileprivate func keeps(
        _ record: RecordFields, of header: RecordBatchHeader, _ bytes: RawSpan,
        dropsTombstones: Bool
    ) -> Bool {
        guard let key = record.key else { return true }
        let offset = header.baseOffset + Int64(record.offsetDelta)
        // Not looked at: an older value of its key may be below the end, and would come back.
        if offset >= end { return true }
        if let newer = offsets[bytes.copy(key)], newer > offset { return false }
        return record.value != nil || !dropsTombstones
    }
}

extension RawSpan {
    /// The bytes of a range as an array of their own.
    func copy(_ range: Range<Int>) -> [UInt8] {
        unsafe extracting(range).withUnsafeBytes { unsafe Array($0) }
    }
}
