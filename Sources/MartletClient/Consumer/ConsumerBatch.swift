import MartletFormat

/// Consecutive records of one partition, decoded while they are looped over: no allocation, no
/// suspension per record.
///
/// The data was checked before it got here: checksums, and that no offset is missing.
public struct ConsumerBatch: Sequence, Sendable {
    /// What it is a sequence of.
    public typealias Element = ConsumedRecord

    let run: FetchedRun

    /// The topic's name.
    public var topic: String { run.partition.topic }

    /// The partition's number.
    public var partition: Int32 { run.partition.partition }

    /// Where the batch begins: no record of it has a smaller offset.
    public var firstOffset: Int64 { run.from }

    /// Where the next batch of the partition begins.
    public var nextOffset: Int64 { run.nextOffset }

    /// The end of what readers could see when the batch was fetched.
    public var highWatermark: Int64 { run.highWatermark }

    /// Whether the batch held the partition's newest records when it was fetched.
    public var isCaughtUp: Bool { run.nextOffset >= run.highWatermark }

    /// Bytes of the batch as it came.
    public var byteCount: Int { run.range.count }

    /// Reads the records in order.
    ///
    /// - Returns: the reader.
    public func makeIterator() -> Iterator { Iterator(run) }

    /// Reads the records in order.
    public struct Iterator: IteratorProtocol {
        private let run: FetchedRun
        private var position: Int
        private var cursor: RecordCursor?
        private var baseOffset: Int64 = 0
        private var baseTimestamp: Int64 = 0
        /// The time of all records of the batch, when the broker gave it.
        private var appendTimestamp: Int64?
        private var skips: SkippedOffsets

        init(_ run: FetchedRun) {
            self.run = run
            position = run.range.lowerBound
            skips = SkippedOffsets(run.skipped)
        }

        /// The next record.
        ///
        /// - Returns: the record; nil after the last one.
        public mutating func next() -> ConsumedRecord? {
            let slab = run.slab
            do {
                while true {
                    while let fields = try cursor?.next(in: slab.bytes) {
                        let offset = baseOffset &+ Int64(fields.offsetDelta)
                        if offset < run.from { continue }
                        if skips.contains(offset) { continue }
                        return ConsumedRecord(
                            run: run, offset: offset,
                            timestamp: appendTimestamp ?? baseTimestamp &+ fields.timestampDelta,
                            fields: fields)
                    }
                    guard try openBatch(slab) else { return nil }
                }
            } catch {
                position = run.range.upperBound
                cursor = nil
                run.reportMalformed(error)
                return nil
            }
        }

        /// Goes to the next batch of the run; false after the last one.
        private mutating func openBatch(_ slab: ByteSlab) throws(FormatError) -> Bool {
            cursor = nil
            while position < run.range.upperBound {
                let header = try RecordBatchHeader(reading: slab.bytes, at: position)
                let start = position
                position += header.byteCount
                if header.isControl { continue }
                cursor = RecordCursor(header, startingAt: start + RecordBatch.headerBytes)
                baseOffset = header.baseOffset
                baseTimestamp = header.baseTimestamp
                appendTimestamp = header.isLogAppendTime ? header.maxTimestamp : nil
                return true
            }
            return false
        }
    }
}

/// Ranges of offsets that are not handed out, for who goes over the offsets in order.
struct SkippedOffsets {
    private let ranges: [Range<Int64>]
    private var next: Range<Int64>
    private var index = 0

    private static let nothing = Int64.max..<Int64.max

    /// - Parameter ranges: in order, apart from each other.
    init(_ ranges: [Range<Int64>]) {
        self.ranges = ranges
        next = ranges.first ?? Self.nothing
    }

    /// - Parameter offset: not below those asked about before.
    mutating func contains(_ offset: Int64) -> Bool {
        if offset < next.lowerBound { return false }
        while offset >= next.upperBound, index < ranges.count {
            index += 1
            next = index < ranges.count ? ranges[index] : Self.nothing
        }
        return next.contains(offset)
    }
}
