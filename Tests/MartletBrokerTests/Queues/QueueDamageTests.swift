import MartletBroker
import MartletFormat
import MartletWire
import Synchronization
import Testing

@testable import MartletStorage

/// Damage that somebody has met, in what members of a queue are handed.
@Suite struct QueueDamageTests {
    @Test func `known damage is handed to nobody until a person lets readers pass it`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        for _ in 0..<3 { _ = try client.produce(topic, makeBatch(2)) }
        let log = try #require(harness.broker.engine.topic(id: topic)?.partition(0))
        log.state.withLock { state in
            state.damaged.append(
                DamagedRange(offsets: 2..<4, base: 0, positions: 0..<1, reason: "test"))
        }
        let queue = try RawLetters(client)
        let found = try queue.receiveAll(4)
        #expect(found.map(\.range) == [OffsetRange(0, 2), OffsetRange(4, 6)])
        for one in found {
            #expect(try queue.settle(one, one.range.from..<one.range.to) == .none)
        }
        var line = try queue.line()
        #expect(line.acked == 4 && line.ready == 2 && line.lag == 2)
        var skip = SkipDamageRequest()
        (skip.topic, skip.from, skip.to, skip.execute) = (topic, 2, 4, true)
        #expect(try client.ask(skip).error == .none)
        #expect(try queue.receive().isEmpty)
        line = try queue.line()
        #expect(line.acked == 4 && line.ready == 0 && line.lag == 0)
        try harness.stop()
    }
}
