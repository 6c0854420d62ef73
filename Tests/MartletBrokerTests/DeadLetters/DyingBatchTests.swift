import MartletFormat
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// A handler that fails does so with all records of a batch.
@Suite struct DyingBatchTests {
    private static let batches: Int64 = 2
    private static let perBatch: Int64 = 60

    /// So large that a settlement of all is taken in several pieces.
    private func batch(from first: Int64) -> [UInt8] {
        let slab = ByteSlab(capacity: 1 << 20)
        let builder = RecordBatchBuilder(slab: slab)
        for number in first..<(first + Self.perBatch) {
            let value = ByteSlab(capacity: 15_000)
            for _ in 0..<15_000 { value.append(UInt8(number)) }
            _ = builder.append(key: nil, value: value.bytes, headers: [], timestamp: number)
        }
        _ = builder.finish()
        return unsafe slab.withUnsafeBytes(0..<slab.count) { unsafe [UInt8]($0) }
    }

    /// In the order of the log a batch is read once for each piece, with what finds it; in any other one the
    /// letters are the same.
    @Test(arguments: [false, true])
    func `each record of a batch becomes its own dead letter`(isReversed: Bool) throws {
        let files = FaultyFileSystem()
        let harness = try BrokerHarness(setUp: { $0.fileSystem = files })
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        for number in 0..<Self.batches {
            let batch = batch(from: number * Self.perBatch)
            #expect(try client.produce(topic, batch).error == .none)
        }
        let queue = try RawLetters(client)
        let all = Self.batches * Self.perBatch
        var entries: [SettleEntry] = []
        for delivered in try queue.receiveAll(Int(all)) {
            for offset in delivered.range.from..<delivered.range.to {
                var entry = queue.failed(delivered, offset, verb: 6, "Broken", "at \(offset)")
                // Some in between are handled.
                if offset % 7 == 3 { (entry.verb, entry.failure, entry.text) = (1, "", "") }
                entries.append(entry)
            }
        }
        let open = Latch(0)
        files.set { ($0.isCold, $0.readGate) = (true, open) }
        let results = try queue.send(isReversed ? entries.reversed() : entries)
        #expect(results.count == Int(all) && results.allSatisfy { $0 == .none })
        let reads = files.reads.filter { $0.contains("\(topic)") }.count
        if !isReversed { #expect(reads <= 12, "\(reads)") }
        files.set { ($0.isCold, $0.readGate) = (false, nil) }

        _ = try queue.waitForStored()
        let letters = try queue.letters()
        let dead = (0..<all).filter { $0 % 7 != 3 }
        #expect(letters.map(\.offset).sorted() == dead)
        for letter in letters {
            let record = try queue.letterRecord(letter)
            #expect(record.timestamp == letter.offset && record.value?.count == 15_000)
            #expect(record.value?.allSatisfy { $0 == UInt8(letter.offset) } == true)
        }
        let line = try queue.line()
        #expect(line.dead == Int64(dead.count) && line.acked == all - line.dead && line.lag == 0)
        try harness.stop()
    }
}
