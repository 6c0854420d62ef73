import Glibc
import MartletFormat
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// Records that handlers fail with, over the wire, with the real broker.
@Suite struct DeadLetterTests {
    @Test func `what fails for ever becomes a dead letter with all that it had`() throws {
        let bench = try Bench(records: 3)
        let queue = bench.queue
        let delivered = try #require(try queue.receive().first)
        #expect(delivered.range == OffsetRange(0, 3))
        #expect(try queue.fail(delivered, 1, verb: 6, "Broken", "it is") == .none)
        #expect(try queue.settle(delivered, 0..<1) == .none)
        #expect(try queue.settle(delivered, 2..<3) == .none)
        let letter = try queue.waitForStored()
        #expect(letter.number == 1 && letter.offset == 1 && letter.reason == 1)
        #expect(letter.attempts == 1 && letter.deaths == 1 && letter.state == 0)
        let line = try queue.line()
        #expect(line.acked == 2 && line.dead == 1 && line.lag == 0 && line.floor == 3)
        let record = try queue.letterRecord(letter)
        let original = try queue.record(bench.topic, 1)
        #expect(record.key == original.key && record.value == original.value)
        #expect(record.headers.count == original.headers.count + 1)
        #expect(record.timestamp == original.timestamp)
    }

    @Test func `the trace of a record is a field of its dead letter, also when it dies again`()
        throws
    {
        let (trace, parent) = (String(repeating: "0af7", count: 8), "b7ad6b7169203331")
        let right = "00-\(trace)-\(parent)-01"
        let slab = ByteSlab(capacity: 4_096)
        let builder = RecordBatchBuilder(slab: slab)
        for values in [[right], [right.uppercased()], [right, right], [], [right]] {
            let headers = values.map { (key: "traceparent", value: Array($0.utf8) as [UInt8]?) }
            let isIn = builder.append(
                key: nil, value: nil, headers: [("a", [1])] + headers, timestamp: 1)
            #expect(isIn)
        }
        _ = builder.finish()
        let bench = try Bench(unsafe slab.withUnsafeBytes(0..<slab.count) { unsafe [UInt8]($0) })
        let queue = bench.queue
        for delivered in try queue.receiveAll(5) {
            for offset in delivered.range.from..<delivered.range.to {
                #expect(try queue.fail(delivered, offset, verb: 6, "Broken", "it is") == .none)
            }
        }
        _ = try queue.waitForStored()
        func traces() throws -> [String?] {
            try queue.letters().map { letter in
                let record = try queue.letterRecord(letter)
                let note = String(decoding: try #require(record.headers.last?.value), as: UTF8.self)
                if note.contains("\"traceID\":\"\(trace)\"") { return trace }
                return note.contains("traceID") ? note : nil
            }
        }
        #expect(try traces() == [trace, nil, nil, nil, trace])
        #expect(try queue.replay([1]) == [.none])
        let again = try #require(try queue.receive(wait: 5_000).first)
        #expect(try queue.fail(again, again.range.from, verb: 6, "Broken", "again") == .none)
        _ = try queue.waitForStored()
        #expect(try queue.letters().first?.deaths == 2)
        #expect(try traces().first == trace)
    }

    @Test(arguments: [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
        ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false),
        ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01", false),
        ("00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01", false),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", false), ("", false),
        ("----", false), ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0é", false),
    ])
    func `a trace is read only where it is written rightly`(_ text: String, _ isRight: Bool) {
        let found = TraceParent.traceID(in: Array(text.utf8))
        #expect(found == (isRight ? "0af7651916cd43dd8448eb211c80319c" : nil))
    }

    @Test func `F-51 what always fails is tried so often and then set aside`() throws {
        let bench = try Bench(records: 3)
        let queue = bench.queue
        #expect(try queue.setPolicy(attempts: 3, backoff: 1, factor: 200) == .none)
        for attempt in 0..<3 {
            let delivered = try #require(try queue.receive(wait: 5_000).first)
            #expect(delivered.attempts == UInt32(attempt))
            if attempt == 0 { #expect(try queue.settle(delivered, 1..<3) == .none) }
            #expect(try queue.fail(delivered, 0, verb: 5, "Timeout", "no \(attempt)") == .none)
        }
        let letter = try queue.waitForStored()
        #expect(letter.reason == 2 && letter.attempts == 3)
        #expect(try queue.receive().isEmpty)
    }

    @Test func `a replay comes beside the flow, and is handled or dies again`() throws {
        let bench = try Bench(records: 2)
        let queue = bench.queue
        let delivered = try #require(try queue.receive().first)
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "first") == .none)
        #expect(try queue.fail(delivered, 1, verb: 7, "Aside", "second") == .none)
        var letter = try queue.waitForStored()
        #expect(try queue.replay([1, 9]) == [.none, .unknownDeadLetter])
        let again = try #require(try queue.receive(wait: 5_000).first)
        #expect(again.topic != bench.topic && again.attempts == 0)
        #expect(try queue.line().inFlight == 1)
        #expect(try queue.fail(again, again.range.from, verb: 6, "Broken", "again") == .none)
        letter = try queue.waitForStored()
        #expect(letter.number == 1 && letter.deaths == 2 && letter.replays == 1)
        #expect(try queue.replay([1], max: 1) == [.deadLetterQuarantined])
        #expect(try queue.replay([1, 2]) == [.none, .none])
        for delivered in try queue.receiveAll(2) {
            #expect(try queue.settle(delivered, delivered.range.from..<delivered.range.to) == .none)
        }
        let line = try queue.line()
        #expect(line.acked == 2 && line.dead == 0 && line.inFlight == 0)
        #expect(try queue.letters().isEmpty)
    }

    @Test func `a crash between the two writes of a dead letter loses nothing and shows it once`()
        throws
    {
        let bench = try Bench(records: 2)
        let queue = bench.queue
        let delivered = try #require(try queue.receive().first)
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "first") == .none)
        _ = try queue.waitForStored()
        // The topic gets the second one, and `$groups` cannot say so.
        let state = try queue.topic("$groups")
        let letters = try queue.topic("q.dlq")
        bench.fill(letters.id)
        #expect(try queue.fail(delivered, 1, verb: 6, "Broken", "second") == .none)
        #expect(try queue.letters().count == 2)
        bench.fill(state.id)
        try queue.waitForEnd(of: letters.id, 2)
        #expect(try queue.letters().map(\.place) == [0, -1])
        try bench.harness.stop()
        bench.makeRoom()
        let again = try Self.harness(bench.files, bench.harness.directory)
        let after = try RawLetters(try again.hello())
        _ = try after.waitForStored()
        #expect(try after.letters().map(\.place) == [0, 1])
        #expect(try after.end(of: letters.id) == 2)
        try again.stop()
    }

    @Test func `F-50 with no room for the decision the record stays with its member`() throws {
        let bench = try Bench(records: 1)
        let queue = bench.queue
        let delivered = try #require(try queue.receive().first)
        let state = try queue.topic("$groups")
        bench.fill(state.id)
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "it is") == .diskFull)
        let line = try queue.line()
        #expect(line.dead == 0 && line.inFlight == 1)
        bench.makeRoom()
        try queue.waitForRoom()
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "it is") == .none)
        #expect(try queue.waitForStored().offset == 0)
        try bench.harness.stop()
    }

    @Test func `F-50 with no room in their topic dead letters wait, and count`() throws {
        let bench = try Bench(records: 2)
        let queue = bench.queue
        let delivered = try #require(try queue.receive().first)
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "first") == .none)
        _ = try queue.waitForStored()
        let letters = try queue.topic("q.dlq")
        bench.fill(letters.id)
        #expect(try queue.fail(delivered, 1, verb: 6, "Broken", "second") == .none)
        let line = try queue.line()
        #expect(line.dead == 2 && line.inFlight == 0 && line.lag == 0)
        #expect(try queue.replay([2]) == [.deadLetterBusy])
        bench.makeRoom()
        _ = try queue.waitForStored()
        #expect(try queue.letters().map(\.place) == [0, 1])
        try bench.harness.stop()
    }

    @Test func `the largest record dies whole`() throws {
        let batch = makeBatch(1, bytes: (8 << 20) - 200)
        let bench = try Bench(batch, settings: [("batch.bytes.max", "8MiB")])
        let queue = bench.queue
        let delivered = try #require(try queue.receive().first)
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "it is") == .none)
        let letter = try queue.waitForStored()
        #expect(try queue.letterRecord(letter).value?.count == (8 << 20) - 200)
        try bench.harness.stop()
    }

    /// A queue over a topic with records, on a disk that can be told to fail.
    private struct Bench {
        let files = FaultyFileSystem()
        let harness: BrokerHarness
        let topic: TopicID
        let queue: RawLetters

        init(records: Int) throws { try self.init(makeBatch(records)) }

        init(_ batch: [UInt8], settings: [(String, String)] = []) throws {
            harness = try DeadLetterTests.harness(files)
            let client = try harness.hello()
            topic = try harness.makeTopic(client, settings: settings)
            try #require(try client.produce(topic, batch).error == .none)
            queue = try RawLetters(client)
        }

        /// What is written to the topic finds no room.
        func fill(_ topic: TopicID) {
            files.set { ($0.writePath, $0.writeCode) = ("\(topic)", ENOSPC) }
        }

        func makeRoom() { files.set { $0.writeCode = 0 } }
    }

    private static func harness(
        _ files: FaultyFileSystem, _ directory: TemporaryDirectory? = nil
    ) throws -> BrokerHarness {
        try BrokerHarness(directory: directory, setUp: { $0.fileSystem = files })
    }
}
