import MartletFormat
import MartletGroups
import MartletStorage
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// What heartbeats tell of a group beside the partitions of its members.
@Suite struct GroupNewsTests {
    private struct Bench {
        let client: RawClient
        let queue: RawLetters
        let waiting: RawClient

        init(_ harness: BrokerHarness) throws {
            client = try harness.hello()
            queue = try RawLetters(try harness.hello())
            waiting = try harness.hello()
            try queue.member.beat()
        }

        func request(_ news: UInt64, wait: UInt32) -> HeartbeatRequest {
            var request = queue.member.heartbeat(wait: wait)
            request.news = news
            return request
        }

        func ask(_ news: UInt64, wait: UInt32 = 0) throws -> HeartbeatReply {
            try client.ask(request(news, wait: wait))
        }

        /// What a heartbeat hears that waited when `step` was done.
        func hear(_ news: UInt64, _ step: () throws -> Void) throws -> HeartbeatReply {
            try waiting.send(try request(news, wait: 20_000).frame(correlation: 5))
            try step()
            let reply = try waiting.receive(HeartbeatReply.self).reply
            // It owns what it owned.
            #expect(reply.revision == queue.member.revision && reply.partitions.isEmpty)
            return reply
        }

        func pause(_ isPaused: Bool, _ places: [GroupPlace] = []) throws {
            var request = PauseGroupRequest()
            (request.group, request.isPaused, request.places) = ("q", isPaused, places)
            #expect(try client.ask(request).error == .none)
        }

        func openBreaker() throws {
            var request = SetBreakerRequest()
            (request.group, request.isOpen) = ("q", true)
            #expect(try client.ask(request).error == .none)
        }

        func deleteRecords(_ topic: TopicID, below offset: Int64) throws {
            var entry = DeleteRecordsEntry()
            (entry.topic, entry.before) = (topic, offset)
            var request = DeleteRecordsRequest()
            request.entries = [entry]
            #expect(try client.ask(request).error == .none)
        }
    }

    @Test func `what resets and snapshots write is read as it was`() throws {
        func read(_ record: GroupRecord) throws -> GroupRecord? {
            let (slab, header) = try InternalBatch.encode([GroupEntry(record)], time: 0)
            var cursor = RecordCursor(header)
            let fields = try #require(try cursor.next(in: slab.span(0..<slab.count)))
            return try GroupEntry(reading: slab, try #require(fields.value)).record
        }
        let keys = [0, 7].map { TopicPartition(TopicID(high: 1, low: 2), $0) }
        let restarts = keys.map { QueueRestart($0, at: 40) }
        let resets = keys.map { StreamReset($0, at: 40, epoch: 3) }
        for record in [
            GroupRecord.restarted(group: "q", restarts), .expired(group: "q", records: .max),
            .reset(group: "s", resets, at: 5),
        ] { #expect(try read(record) == record) }
        // No broker writes the last one.
        let damaged = restarts + [QueueRestart(keys[0], at: -1)]
        #expect(
            try read(.restarted(group: "q", damaged)) == .restarted(group: "q", restarts))
    }

    /// What is one batch is in the log whole or not at all.
    @Test func `the largest reset there can be is one record of one batch`() throws {
        let keys = (0..<WireLimits.partitionsPerRequestMax).map {
            TopicPartition(TopicID(high: .max, low: .max), Int32($0))
        }
        let name = String(repeating: "g", count: WireLimits.groupNameBytesMax)
        for record in [
            GroupRecord.restarted(group: name, keys.map { QueueRestart($0, at: .max) }),
            .reset(
                group: name, keys.map { StreamReset($0, at: .max, epoch: .max) }, at: .max),
        ] {
            let parts = try GroupBatch.parts([GroupEntry(record)])
            #expect(parts.count == 1)
            let (slab, _) = try InternalBatch.encode(parts[0], time: .max)
            #expect(Int64(slab.count) < TopicSettings().batchBytesMax)
        }
    }

    @Test func `heartbeats that wait tell of pauses, the breaker and records that expired`() throws
    {
        let directory = try TemporaryDirectory("news")
        var harness = try BrokerHarness(directory: directory)
        let topic = try harness.makeTopic(try harness.hello())
        var bench = try Bench(harness)
        var told = try bench.ask(1)
        #expect(told.news > 1 && told.pauses.isEmpty && told.expired == 0 && told.breaker == 0)
        // Who wants no news, or has them, waits for its time.
        for known in [0, told.news] { #expect(try bench.ask(known, wait: 20).news == known) }

        let place = GroupPlace(topic: topic, partition: 0)
        told = try bench.hear(told.news) { try bench.pause(true, [place]) }
        #expect(told.pauses.map(\.topic) == [topic] && told.pauses.map(\.partition) == [0])
        #expect(told.topics.map(\.name) == ["t"])
        told = try bench.hear(told.news) { try bench.pause(false) }
        #expect(told.pauses.isEmpty)

        _ = try bench.client.produce(topic, makeBatch(10))
        #expect(try bench.queue.receive(2).count == 1)
        told = try bench.hear(told.news) {
            try bench.deleteRecords(topic, below: 4)
            _ = try bench.queue.receive(1)
        }
        #expect(told.expired == 4)

        told = try bench.hear(told.news) { try bench.openBreaker() }
        #expect(told.breaker == 2 && told.expired == 4)
        try harness.stop()

        harness = try BrokerHarness(directory: directory)
        bench = try Bench(harness)
        let again = try bench.ask(told.news)
        #expect(again.news != told.news && again.expired == 4 && again.breaker == 2)
        try harness.stop()
    }
}
