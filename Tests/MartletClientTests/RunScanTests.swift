import MartletFormat
import MartletWire
import Testing

@testable import MartletClient

/// What the fuzzers found in the way of a client through a fetch's batches.
@Suite struct RunScanTests {
    @Test func `the last offset there is does not trap`() throws {
        let slab = ByteSlab(capacity: 4096)
        let builder = RecordBatchBuilder(slab: slab)
        let isAppended = builder.append(key: nil, value: nil, timestamp: 0)
        #expect(isAppended)
        _ = builder.finish(producerID: -1, producerEpoch: -1, baseSequence: -1)
        for bytes in [slab.count, slab.count - 1] {
            slab.truncate(to: bytes)
            var scan = RunScan(expected: .max, isCompacted: false, result: FetchResult())
            #expect(throws: RunProblem.self) { try scan.run(slab.bytes) }
        }
    }
}
