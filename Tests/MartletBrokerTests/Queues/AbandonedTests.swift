import MartletFormat
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// Records whose handlers begin and never say what became of them, over the wire, with the real
/// broker.
@Suite struct AbandonedTests {
    /// A member of `q` that takes one record, begins with it, and says nothing more.
    private struct Doomed {
        let client: RawClient
        let member: RawMember

        init(_ harness: BrokerHarness, _ number: UInt64, session: Int32 = 30_000) throws {
            client = try harness.hello()
            member = RawMember(client, number, group: "q")
            #expect(try member.join(session: session, kind: 1) == .none)
        }

        func begin(lease: Int32 = 60_000) throws -> DeliveredRange {
            var request = ReceiveRequest()
            request.group = "q"
            request.member = member.id
            request.maxRecords = 1
            request.leaseMilliseconds = lease
            request.maxWaitMilliseconds = 20_000
            let delivered = try #require(try client.ask(request).delivered.first)
            var entry = SettleEntry()
            (entry.topic, entry.partition) = (delivered.topic, delivered.partition)
            (entry.range, entry.delivery, entry.verb) = (delivered.range, delivered.delivery, 4)
            var settle = SettleRequest()
            settle.group = "q"
            settle.entries = [entry]
            #expect(try client.ask(settle).results.map(\.error) == [.none])
            return delivered
        }

        func leave() throws {
            var request = LeaveGroupRequest()
            request.group = "q"
            request.member = member.id
            #expect(try client.ask(request).error == .none)
        }
    }

    private func harness(_ directory: TemporaryDirectory? = nil) throws -> BrokerHarness {
        try BrokerHarness(directory: directory)
    }

    /// Asks until the broker has found what it has to decide, and has decided.
    private func waitForLetter(_ queue: RawLetters) throws -> DeadLetterLine {
        var found: [DeliveredRange] = []
        #expect(
            try eventually(seconds: 20) {
                found += try queue.receive()
                return try !queue.letters().isEmpty
            })
        for delivered in found {
            // The others flow on.
            let range = delivered.range.from..<delivered.range.to
            #expect(range == 1..<3)
            #expect(try queue.settle(delivered, range) == .none)
        }
        return try queue.waitForStored()
    }

    private func check(_ letter: DeadLetterLine, _ kind: String, _ queue: RawLetters) throws {
        #expect(letter.number == 1 && letter.offset == 0 && letter.reason == 2)
        #expect(letter.attempts == 3 && letter.deaths == 1)
        let line = try queue.line()
        #expect(line.acked == 2 && line.dead == 1 && line.inFlight == 0 && line.ready == 0)
        #expect(line.lag == 0 && line.floor == 3 && line.delayed == 0)
        let record = try queue.letterRecord(letter)
        let original = try queue.record(try queue.topic("t").id, 0)
        #expect(record.key == original.key && record.value == original.value)
        let note = String(decoding: record.headers.last?.value ?? [], as: UTF8.self)
        #expect(note.contains("\"kind\":\"\(kind)\""), "\(note)")
        // Nobody gets it again.
        #expect(try queue.receive(wait: 200).isEmpty)
        #expect(try queue.letters().count == 1)
    }

    @Test func `a record that each of its members ends with is set aside, and the others flow`()
        throws
    {
        let harness = try harness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(1))
        // Its lease runs out.
        let first = try Doomed(harness, 11)
        let once = try first.begin(lease: 200)
        #expect(once.attempts == 0 && !once.isSuspect && once.range == OffsetRange(0, 1))
        // It leaves, and says nothing.
        let second = try Doomed(harness, 12)
        let twice = try second.begin()
        #expect(twice.attempts == 1 && twice.isSuspect && twice.range == OffsetRange(0, 1))
        try second.leave()
        // It is gone.
        let third = try Doomed(harness, 13, session: 1_000)
        #expect(try third.begin().attempts == 2)
        third.client.close()
        _ = try client.produce(topic, makeBatch(2))
        let queue = try RawLetters(client)
        try check(try waitForLetter(queue), "MemberGone", queue)
        try harness.stop()
    }

    @Test func `what used up its attempts before a restart is decided after it`() throws {
        let harness = try harness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(1))
        let member = try Doomed(harness, 11)
        for attempt in 0..<3 {
            #expect(try member.begin(lease: 200).attempts == UInt32(attempt))
        }
        _ = try client.produce(topic, makeBatch(2))
        try harness.stop()
        let again = try self.harness(harness.directory)
        let queue = try RawLetters(try again.hello())
        try check(try waitForLetter(queue), "NoOutcome", queue)
        try again.stop()
    }

    @Test func `a record that was never begun is handed out again, however often`() throws {
        let harness = try harness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(1))
        for number in 0..<5 {
            let queue = RawMember(client, UInt64(20 + number), group: "q")
            #expect(try queue.join(kind: 1) == .none)
            var request = ReceiveRequest()
            request.group = "q"
            request.member = queue.id
            request.maxRecords = 1
            request.leaseMilliseconds = 100
            request.maxWaitMilliseconds = 20_000
            let delivered = try #require(try client.ask(request).delivered.first)
            #expect(delivered.attempts == 0 && delivered.isSuspect == (number > 0))
        }
        try harness.stop()
    }
}
