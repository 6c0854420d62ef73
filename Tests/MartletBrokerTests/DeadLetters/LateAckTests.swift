import MartletFormat
import MartletGroups
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// What a member says of a record that has become a dead letter meanwhile, with the real broker.
@Suite struct LateAckTests {
    private func ack(
        _ queue: RawLetters, _ delivered: DeliveredRange, _ range: Range<Int64>, verb: UInt8 = 1
    ) throws -> CommitResult {
        var entry = SettleEntry()
        (entry.topic, entry.lane) = (delivered.topic, delivered.lane)
        entry.range = OffsetRange(range.lowerBound, range.upperBound)
        (entry.delivery, entry.verb) = (delivered.delivery, verb)
        if verb == 3 { entry.milliseconds = 1_000 }
        var request = SettleRequest()
        (request.group, request.entries) = ("q", [entry])
        return try #require(try queue.client.ask(request).results.first)
    }

    @Test func `who acks a dead letter is told that it is one, over a restart too`() throws {
        let directory = try TemporaryDirectory("late")
        var harness = try BrokerHarness(directory: directory)
        var client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(6))
        var queue = try RawLetters(client)
        let delivered = try #require(try queue.receive().first)
        #expect(try queue.fail(delivered, 2, verb: 6, "Broken", "it is") == .none)
        _ = try queue.waitForStored()
        for isAnew in [false, true] {
            for verb in [UInt8(1), 3, 4] {
                let late = try ack(queue, delivered, 2..<3, verb: verb)
                #expect(late.error == .leaseLost && late.message.contains("offset 2 is a dead"))
            }
            // What made it one may be said again.
            #expect(try queue.fail(delivered, 2, verb: 6, "Broken", "it is") == .none)
            #expect(try queue.letters().map(\.offset) == [2])
            if isAnew { break }
            #expect(try ack(queue, delivered, 0..<6).error == .leaseLost)
            #expect(try queue.line().acked == 0)
            #expect(try ack(queue, delivered, 0..<2).error == .none)
            try harness.stop()
            harness = try BrokerHarness(directory: directory)
            client = try harness.hello()
            queue = try RawLetters(client)
        }
        #expect(try ack(queue, delivered, 0..<2).error == .none)
        #expect(try ack(queue, delivered, 3..<6).error == .leaseLost)
        #expect(try queue.resolve([1]) == [.none])
        #expect(try ack(queue, delivered, 0..<3).error == .none)
        #expect(try queue.line().acked == 3)
        try harness.stop()
    }

    /// From a snapshot: what came before it is not read any more.
    @Test func `a letter in a snapshot says where its record was sent again, and where it died`()
        throws
    {
        var letter = Letter(
            number: 3, origin: RecordPlace(.replay(TopicPartition(TopicID(high: 1, low: 2), 0)), 9),
            reason: .rejected, attempts: 2, deaths: 3, diedAt: 5)
        letter.newest = 7
        (letter.isOriginOwed, letter.diedOnLane) = (true, [4, 6])
        #expect(try read(letter) == letter)
        letter.diedOnLane = Array(0..<Int64(Letter.lanePlacesMax))
        #expect(try read(letter) == letter)
        for odd in [Int64.min, -1, .max] {
            letter.diedOnLane = [odd]
            #expect(try read(letter) == nil)
        }
        letter.diedOnLane = Array(0...Int64(Letter.lanePlacesMax))
        #expect(throws: WireError.self) { try read(letter) }
    }

    private func read(_ letter: Letter) throws -> Letter? {
        let record = GroupRecord.letter(group: "q", .restored(letter))
        let (slab, header) = try InternalBatch.encode([GroupEntry(record)], time: 0)
        var cursor = RecordCursor(header)
        let fields = try #require(try cursor.next(in: slab.span(0..<slab.count)))
        let entry = try GroupEntry(reading: slab, try #require(fields.value))
        guard case .letter(_, .restored(let found)) = entry.record else { return nil }
        return found
    }
}
