import MartletBroker
import MartletFormat
import MartletStorage
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

/// Pause, resume and reset over the wire.
@Suite struct GroupControlTests {
    private func pause(
        _ client: RawClient, _ isPaused: Bool, _ places: [GroupPlace] = []
    ) throws -> ErrorCode {
        var request = PauseGroupRequest()
        request.group = "g"
        request.isPaused = isPaused
        request.places = places
        return try client.ask(request).error
    }

    private func reset(
        _ client: RawClient, _ topic: TopicID, expected: Int64 = -2, _ offset: Int64,
        partition: Int32 = 0, isForced: Bool = false
    ) throws -> ResetGroupReply {
        var entry = ResetEntry()
        entry.topic = topic
        entry.partition = partition
        entry.expected = expected
        entry.offset = offset
        var request = ResetGroupRequest()
        request.group = "g"
        request.isForced = isForced
        request.entries = [entry]
        return try client.ask(request)
    }

    private func describe(_ client: RawClient) throws -> DescribeGroupReply {
        var request = DescribeGroupRequest()
        request.group = "g"
        return try client.ask(request)
    }

    @Test func `a pause reaches members that wait, holds over a restart, and ends by a word`()
        throws
    {
        let directory = try TemporaryDirectory("pause")
        var harness = try BrokerHarness(directory: directory)
        var client = try harness.hello()
        let topic = try harness.makeTopic(client, partitions: 2)
        let member = RawMember(try harness.hello(), 1)
        try member.join()
        try member.waitForChange()
        let before = member.owned
        #expect(before.count == 2)
        try member.client.send(try member.heartbeat(wait: 20_000).frame(correlation: 5))
        #expect(try pause(client, true) == .none)
        member.take(try member.client.receive(HeartbeatReply.self).reply)
        #expect(member.owned.isEmpty)
        #expect(try member.commit(before[0], 0) == .none)
        try member.beat(released: before)
        #expect(try member.fetch(before[0], from: 0).error == .staleMemberEpoch)
        #expect(try describe(client).partitions.allSatisfy { $0.isPaused && !$0.hasOwner })
        try harness.stop()

        harness = try BrokerHarness(directory: directory)
        client = try harness.hello()
        let pauses = try describe(client).pauses
        #expect(pauses.map(\.place.topic) == [.zero] && pauses.allSatisfy { $0.since > 0 })
        let again = RawMember(client, 1)
        try again.beat()
        #expect(again.owned.isEmpty)
        let part = GroupPlace(topic: topic, partition: 1)
        #expect(try pause(client, false, [part]) == .invalidRequest)
        #expect(try pause(client, true, [part]) == .none)
        #expect(try pause(client, false) == .none)
        try again.beat()
        #expect(again.owned.map(\.owned.epoch) == before.map { $0.owned.epoch + 1 })
        #expect(try describe(client).pauses.isEmpty)
        try harness.stop()
    }

    @Test func `a reset moves a group, is held to the log, and undone by no late commit`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(10))
        let member = RawMember(try harness.hello(), 1)
        try member.join()
        try member.waitForChange()
        let before = try #require(member.owned.first)
        #expect(try member.commit(before, 8) == .none)
        #expect(try reset(client, topic, 2).error == .groupNotEmpty)
        let forced = try reset(client, topic, 2, isForced: true)
        #expect(forced.error == .none && forced.results.map(\.offset) == [2])
        #expect(forced.results.map(\.isClamped) == [false])
        try member.waitForChange()
        let now = try #require(member.owned.first)
        #expect(now.owned.epoch > before.owned.epoch && now.committed.offset == 2)
        #expect(try member.commit(before, 9) == .staleMemberEpoch)
        #expect(try describe(client).lag == 8)
        #expect(try pause(client, true) == .none)
        #expect(try reset(client, topic, expected: 3, 0).error == .resetOutdated)
        let clamped = try reset(client, topic, expected: 2, 4_711)
        #expect(clamped.results.map(\.offset) == [10])
        #expect(clamped.results.map(\.isClamped) == [true])
        #expect(try reset(client, topic, 1, partition: 3).error == .unknownPartition)
        #expect(try reset(client, TopicID(high: 1, low: 1), 1).error == .unknownTopicID)
        let metrics = PrometheusText.render(harness.registry)
        #expect(metrics.contains("martlet_group_resets_total 2"))
        try harness.stop()
    }

    @Test func `groups are listed a page at a time`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let names = (0..<25).map { "g\($0 + 10)" }
        for name in names {
            var request = CreateGroupRequest()
            request.group = name
            #expect(try client.ask(request).error == .none)
        }
        var found: [String] = []
        var request = ListGroupsRequest()
        request.max = 10
        var pages = 0
        while true {
            let reply = try client.ask(request)
            pages += 1
            found += reply.groups.map(\.group)
            guard reply.hasMore, let last = found.last else { break }
            request.after = last
        }
        #expect(found == names && pages == 3)
        try harness.stop()
    }

    @Test func `what groups did not hear of a topic's end, they learn at the next start`() throws {
        let directory = try TemporaryDirectory("forget")
        var harness = try BrokerHarness(directory: directory)
        var client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(3))
        let member = RawMember(client, 1)
        try member.join()
        try member.waitForChange()
        #expect(try member.commit(member.owned[0], 3) == .none)
        // As if the broker had ended between the two steps.
        try harness.broker.engine.deleteTopic(topic)
        try harness.stop()
        harness = try BrokerHarness(directory: directory)
        client = try harness.hello()
        // The log may take its first records of a start a moment later.
        var known = try describe(client).partitions.count
        for _ in 0..<10_000 where known > 0 { known = try describe(client).partitions.count }
        #expect(known == 0)
        try harness.stop()
    }

    @Test func `a commit of a member that comes after a later one is refused`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        _ = try client.produce(try harness.makeTopic(client), makeBatch(20))
        let member = RawMember(client, 1)
        try member.join()
        try member.waitForChange()
        func commit(_ number: UInt64, _ offset: Int64) throws -> ErrorCode {
            var entry = CommitEntry()
            entry.owned = member.owned[0].owned
            entry.position.offset = offset
            var request = CommitOffsetsRequest()
            request.group = "g"
            request.member = member.id
            request.number = number
            request.entries = [entry]
            let reply = try client.ask(request)
            return reply.error == .none ? try #require(reply.results.first).error : reply.error
        }
        #expect(try commit(2, 20) == .none)
        #expect(try commit(1, 10) == .invalidRequest)
        #expect(try commit(2, 20) == .none)
        #expect(try describe(client).partitions.map(\.committed.offset) == [20])
        try harness.stop()
    }
}
