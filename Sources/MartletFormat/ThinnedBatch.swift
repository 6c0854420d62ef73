/// A copy of a batch without some of its records: what stays keeps its offset, and the header its
/// offsets, times and sequences, so that neither readers nor retries meet anything unexpected.
package struct ThinnedBatch {
    package let slab: ByteSlab
    package private(set) var records: Int32 = 0
    package private(set) var dropped: Int32 = 0

    /// Copies the batch that `batch` begins with, without the records that `keeps` is false for. One
    /// that loses none stays what it was.
    ///
    /// - Parameter marking: the copy's attributes say when records are missing (`thinnedBit`).
    /// - Throws: the batch cannot be read.
    package init(
        _ batch: RawSpan, _ header: RecordBatchHeader, marking: Bool = false,
        keeping keeps: (RecordFields) -> Bool
    ) throws(FormatError) {
        slab = ByteSlab(capacity: max(batch.byteCount, RecordBatch.headerBytes))
        slab.append(batch.extracting(0..<RecordBatch.headerBytes))
        var cursor = RecordCursor(header)
        var start = cursor.position
        while let record = try cursor.next(in: batch) {
            if keeps(record) {
                slab.append(batch.extracting(start..<cursor.position))
                records += 1
            } else {
                dropped += 1
            }
            start = cursor.position
        }
        guard dropped > 0 else { return }
        if marking { RecordBatch.markThinned(slab) }
        RecordBatch.reseal(slab, recordCount: records)
    }
}
