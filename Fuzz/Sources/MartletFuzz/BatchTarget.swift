import MartletFormat

/// The record batch. Input: flags u8 (1: repair the checksum), the batch.
///
/// Oracle: what `validateForAppend` lets in is walked to its end, every part inside its record, and
/// the builder writes a batch from it that reads the same. What it refuses is walked too, with any
/// result but a trap.
enum BatchTarget: FuzzTarget {
    static let name = "batch"

    static func run(_ input: [UInt8]) {
        var feed = Feed(input)
        let flags = feed.byte()
        var bytes = feed.remainder()
        if flags & 1 != 0 { bytes.repairBatches() }
        let slab = bytes.slab
        do {
            let header = try RecordBatch.validateForAppend(slab.bytes)
            checkSound(slab, header)
        } catch {
            require(!error.description.isEmpty, "an error without a text")
            walkDamaged(slab)
        }
        varints(bytes, slab)
    }

    private static func checkSound(_ slab: ByteSlab, _ header: RecordBatchHeader) {
        do {
            let records = try walk(slab, header)
            require(records.count == Int(header.recordCount), "\(records.count) records")
            let copy = rebuild(slab, header, records)
            let again = try RecordBatch.validateForAppend(copy.bytes)
            require(again.maxTimestamp == header.maxTimestamp, "time changed")
            let second = try walk(copy, again)
            require(second.count == records.count, "count changed")
            for (old, new) in zip(records, second) {
                let isSame =
                    content(slab, old.key) == content(copy, new.key)
                    && content(slab, old.value) == content(copy, new.value)
                    && old.headerCount == new.headerCount
                    && header.baseTimestamp + old.timestampDelta == again.baseTimestamp
                        + new.timestampDelta
                require(isSame, "record \(old.offsetDelta) changed")
            }
        } catch {
            require(false, "was let in and does not read: \(error)")
        }
    }

    private static func walk(
        _ slab: ByteSlab, _ header: RecordBatchHeader
    ) throws(FormatError) -> [RecordFields] {
        var records: [RecordFields] = []
        var cursor = RecordCursor(header)
        var before = RecordBatch.headerBytes
        while let record = try cursor.next(in: slab.bytes) {
            let parts = [record.key, record.value, record.headers].compactMap { $0 }
            for part in parts {
                require(part.lowerBound >= before, "parts overlap")
                require(part.upperBound <= slab.count, "a part behind the end")
                before = part.upperBound
            }
            var headers = HeaderCursor(record)
            while let header = try headers.next(in: slab.bytes) {
                require(record.headers.contains(header.key.lowerBound - 1), "header key outside")
                require(header.key.upperBound <= record.headers.upperBound, "key too long")
                require(
                    (header.value?.upperBound ?? 0) <= record.headers.upperBound, "value too long")
            }
            records.append(record)
        }
        return records
    }

    private static func walkDamaged(_ slab: ByteSlab) {
        do {
            let header = try RecordBatchHeader(reading: slab.bytes)
            require(header.nextOffset > header.baseOffset, "offsets overflow")
            require(try walk(slab, header).count <= slab.count, "more records than bytes")
        } catch {
            require(!error.description.isEmpty, "an error without a text")
        }
    }

    private static func rebuild(
        _ slab: ByteSlab, _ header: RecordBatchHeader, _ records: [RecordFields]
    ) -> ByteSlab {
        let copy = ByteSlab(capacity: slab.count + 64 + records.count * 32)
        let builder = RecordBatchBuilder(slab: copy)
        for record in records {
            var headers: [(key: String, value: [UInt8]?)] = []
            do {
                var cursor = HeaderCursor(record)
                while let header = try cursor.next(in: slab.bytes) {
                    let key = String(decoding: content(slab, header.key) ?? [], as: UTF8.self)
                    headers.append((key, content(slab, header.value)))
                }
            } catch {
                require(false, "headers read differently: \(error)")
            }
            let key = content(slab, record.key)
            let value = content(slab, record.value)
            let fits = builder.append(
                key: key?.span.bytes, value: value?.span.bytes, headers: headers,
                timestamp: header.baseTimestamp + record.timestampDelta)
            require(fits, "does not fit into its own size")
        }
        let hasProducer = header.producerID >= 0
        _ = builder.finish(
            producerID: header.producerID, producerEpoch: hasProducer ? header.producerEpoch : -1,
            baseSequence: hasProducer ? header.baseSequence : -1)
        return copy
    }

    private static func content(_ slab: ByteSlab, _ range: Range<Int>?) -> [UInt8]? {
        range.map { slab.withUnsafeBytes($0) { Array($0) } }
    }

    /// The same varint by the quick way and by the slow one near the end of the bytes.
    private static func varints(_ bytes: [UInt8], _ slab: ByteSlab) {
        var quick = 0
        var slow = 0
        let short = Array(bytes.prefix(10)).slab
        let first = try? slab.bytes.readVarint("a", at: &quick)
        let second = try? short.bytes.readVarint("a", at: &slow)
        require(first == second && quick == slow, "varint \(first as Any) \(second as Any)")
    }

    static var seeds: [(name: String, bytes: [UInt8])] {
        Samples.batches.map { ($0.name, [1] + $0.bytes) }
    }
}
