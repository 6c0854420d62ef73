import Testing

@testable import MartletClient

/// The vectors are those of Kafka's own tests of its murmur2, so that a key keeps its partition
/// whichever client wrote it. They must never change.
struct PartitionerTests {
    @Test(arguments: [
        ("21", -973_932_308), ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971), ("abc", 479_470_107),
    ])
    func `hash of a key`(key: String, expected: Int32) {
        let bytes = Array(key.utf8)
        let hash = unsafe Partitioner.murmur2(bytes.span.bytes)
        #expect(Int32(bitPattern: hash) == expected)
    }

    @Test(arguments: [
        ("", 4, 1), ("21", 4, 0), ("foobar", 4, 2), ("abc", 4, 3), ("N14228", 4, 0),
        ("foobar", 1, 0), ("foobar", 1_000, 166),
    ])
    func `partition of a key`(key: String, partitions: Int, expected: Int32) {
        let found = Partitioner.partition(forKey: Array(key.utf8), partitions: partitions)
        #expect(found == expected, "\(key) over \(partitions)")
    }

    @Test func `every partition gets keys`() {
        var counts = [Int](repeating: 0, count: 16)
        for number in 0..<16_000 {
            counts[
                Int(Partitioner.partition(forKey: Array("key-\(number)".utf8), partitions: 16))] +=
                1
        }
        #expect(counts.allSatisfy { (700...1_300).contains($0) }, "\(counts)")
    }
}
