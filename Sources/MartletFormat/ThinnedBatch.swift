/// A copy of a batch without some of its records: what stays keeps its offset, and the header its
/// offsets, times and sequences, so that neither readers nor retries meet anything unexpected.
package struct ThinnedBatch {
    package let slab: ByteSlab
    package private(set) var records: Int32 = 0
    package private(set) var dropped: Int32 = 0

    /// - Parameter batch: begins with the batch that is copied.
    package init(_ batch: RawSpan) {
        slab = ByteSlab(capacity: max(batch.byteCount, RecordBatch.headerBytes))
        slab.append(batch.extracting(0..<RecordBatch.headerBytes))
    }

    /// Takes the next record over.
    ///
    /// - Parameter record: all its bytes in `batch`, its length included.
    package mutating func keep(_ batch: RawSpan, _ record: Range<Int>) {
        slab.append(batch.extracting(record))
        records += 1
    }

    /// Leaves the next record out.
    package mutating func drop() { dropped += 1 }

    /// Makes it whole: length, count, checksum. A batch that lost nothing stays what it was.
    ///
    /// - Parameter marking: says in its attributes that records are missing (`thinnedBit`).
    package func seal(marking: Bool = false) {
        guard dropped > 0 else { return }
        if marking { RecordBatch.markThinned(slab) }
        RecordBatch.reseal(slab, recordCount: records)
    }
}
