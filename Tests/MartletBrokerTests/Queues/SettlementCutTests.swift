import MartletFormat
import MartletSystem
import MartletTestSupport
import MartletWire
import Synchronization
import Testing

@testable import MartletBroker

/// A settlement with which many records die is taken in pieces of 1 MiB: what is cut off in between
/// is neither lost nor counted twice.
@Suite(.timeLimit(.minutes(5))) struct SettlementCutTests {
    private static let records: Int64 = 6

    /// Records of which two are a piece, all of them with a member, and a disk whose reads wait.
    private struct Bench {
        let files = FaultyFileSystem()
        let harness: BrokerHarness
        let queue: RawLetters
        /// What the member has.
        let delivered: [DeliveredRange]

        init() throws {
            let files = files
            harness = try BrokerHarness(setUp: { $0.fileSystem = files })
            let client = try harness.hello()
            let topic = try harness.makeTopic(client, settings: [("batch.bytes.max", "2MiB")])
            for _ in 0..<SettlementCutTests.records {
                let batch = makeBatch(1, bytes: 600_000)
                try #require(try client.produce(topic, batch).error == .none)
            }
            queue = try RawLetters(client)
            delivered = try queue.receiveAll(Int(SettlementCutTests.records))
        }

        /// Says that all failed for ever, and waits for no answer.
        func failAll(_ gate: Latch) throws {
            files.set { ($0.isCold, $0.readGate) = (true, gate) }
            var request = SettleRequest()
            request.group = "q"
            request.entries = delivered.flatMap { range in
                (range.range.from..<range.range.to).map {
                    queue.failed(range, $0, verb: 6, "Broken", "it is")
                }
            }
            try queue.client.send(try request.frame(correlation: 7))
            #expect(eventually { !files.reads.isEmpty })
        }

        /// Lets so many reads go, and holds the next one.
        func step(_ reads: Int, _ gate: Latch) -> Latch {
            var gate = gate
            for _ in 0..<reads {
                let (next, seen) = (Latch(), files.reads.count)
                files.set { $0.readGate = next }
                gate.arrive()
                gate = next
                // The last piece may have been the last read.
                guard eventually(seconds: 2, { files.reads.count > seen }) else { break }
            }
            return gate
        }

        func letReads(_ gate: Latch) {
            files.set { ($0.isCold, $0.readGate) = (false, nil) }
            gate.arrive()
        }
    }

    /// All adds up, and each record that is dead is listed once.
    private func check(_ queue: RawLetters, _ words: String) throws -> Int64 {
        var (line, letters) = (try queue.line(), try queue.letters())
        // Something may die between the two questions.
        while try queue.line() != line {
            (line, letters) = (try queue.line(), try queue.letters())
        }
        let sum = line.acked + line.dead + line.inFlight + line.delayed + line.ready
        #expect(sum == Self.records && line.expired == 0 && line.parked == 0, "\(words): \(line)")
        #expect(Set(letters.map(\.offset)).count == letters.count, "\(words)")
        #expect(letters.count == line.dead, "\(words): \(letters.count), \(line)")
        return line.dead
    }

    /// What is not dead yet fails once more, as another member's.
    private func finish(_ queue: RawLetters, _ words: String) throws {
        let rest = Self.records - (try check(queue, words))
        for delivered in try queue.receiveAll(Int(rest)) {
            for offset in delivered.range.from..<delivered.range.to {
                #expect(try queue.fail(delivered, offset, verb: 6, "Broken", "it is") == .none)
            }
        }
        _ = try queue.waitForStored()
        #expect(try check(queue, words) == Self.records)
        let letters = try queue.letters()
        #expect(letters.map(\.offset).sorted() == Array(0..<Self.records), "\(words)")
        let dead = try queue.topic("q.dlq")
        #expect(try queue.end(of: dead.id) == Self.records, "\(words)")
    }

    @Test(arguments: [0, 1, 3, 5])
    func `a connection that breaks in the middle of a settlement loses and doubles no dead letter`(
        _ reads: Int
    ) throws {
        let bench = try Bench()
        let gate = Latch()
        try bench.failAll(gate)
        let last = bench.step(reads, gate)
        bench.queue.client.reset()
        bench.letReads(last)
        let words = "broken after \(reads) reads"
        let client = try bench.harness.hello()
        // The member of before is gone: what it had goes on.
        var leave = LeaveGroupRequest()
        (leave.group, leave.member) = ("q", bench.queue.member.id)
        #expect(try client.ask(leave).error == .none)
        try finish(try RawLetters(client), words)
        try bench.harness.stop()
    }

    @Test(arguments: [0, 1, 3, 5])
    func `a stop in the middle of a settlement loses and doubles no dead letter`(
        _ reads: Int
    ) throws {
        let bench = try Bench()
        let gate = Latch()
        try bench.failAll(gate)
        let last = bench.step(reads, gate)
        let stopped = Latch()
        let broker = bench.harness.broker
        DetachedThread.start("stop") {
            #expect(throws: Never.self) { try broker.stop() }
            stopped.arrive()
        }
        bench.letReads(last)
        #expect(stopped.wait())
        let again = try BrokerHarness(directory: bench.harness.directory)
        try finish(try RawLetters(try again.hello()), "stopped after \(reads) reads")
        try again.stop()
    }
}
