import MartletBroker
import MartletFormat
import MartletWire
import Testing

@testable import MartletStorage

/// A gap as an unclean stop leaves it in a `written` topic, in what a queue is told to have.
@Suite struct QueueGapTests {
    @Test func `a gap is not ready for a queue, and records around it are`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, settings: [("durability", "written")])
        _ = try client.produce(topic, makeBatch(5), acks: .written)
        let queue = try RawLetters(client)
        let first = try #require(try queue.receive(2, wait: 20_000).first)
        #expect(first.range == OffsetRange(0, 2))
        let engine = harness.broker.engine
        // Only of what is on the disk.
        let log = try #require(engine.topic(id: topic)?.partition(0))
        #expect(log.flush())
        let gaps = try engine.passOver(try #require(engine.topic(id: topic)), below: [0: 1_000])
        #expect(gaps == [0: 5..<1_000])
        var line = try queue.line()
        #expect(line.highWatermark == 1_000 && line.inFlight == 2 && line.ready == 3)
        #expect(line.lag == 5)
        #expect(try client.produce(topic, makeBatch(3), acks: .written).baseOffset == 1_000)
        line = try queue.line()
        #expect(line.inFlight == 2 && line.ready == 6 && line.lag == 8)
        // Nobody is handed the gap.
        for one in [first] + (try queue.receiveAll(6)) {
            #expect(one.range.to <= 5 || one.range.from >= 1_000)
            #expect(try queue.settle(one, one.range.from..<one.range.to) == .none)
        }
        line = try queue.line()
        #expect(line.acked == 8 && line.ready == 0 && line.inFlight == 0 && line.lag == 0)
        try harness.stop()
    }
}
