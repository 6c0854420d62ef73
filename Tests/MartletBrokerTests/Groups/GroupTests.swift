import MartletBroker
import MartletConfiguration
import MartletFormat
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

/// Stream groups over the wire, with the real broker.
@Suite struct GroupTests {
    @Test func `partitions pass to a new member only once they were given up`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, partitions: 4)
        for partition in Int32(0)..<4 {
            _ = try client.produce(topic, makeBatch(18), partition: partition)
        }
        let first = RawMember(client, 1)
        #expect(try first.join() == .none)
        try first.waitForChange()
        #expect(first.owned.count == 4 && first.owned.allSatisfy { $0.owned.topic == topic })
        let before = first.owned
        let second = RawMember(try harness.hello(), 2)
        #expect(try second.join() == .none)
        try second.beat()
        #expect(second.owned.isEmpty)
        // A heartbeat that waits hears of it.
        try first.waitForChange()
        #expect(first.owned.count == 2)
        let kept = Set(first.owned.map(\.owned.partition))
        let leaving = before.filter { !kept.contains($0.owned.partition) }
        #expect(try first.commit(leaving[0], 17) == .none)
        try second.client.send(try second.heartbeat(wait: 20_000).frame(correlation: 5))
        try first.beat(released: leaving)
        second.take(try second.client.receive(HeartbeatReply.self).reply)
        #expect(second.owned.count == 2)
        let taken = try #require(
            second.owned.first { $0.owned.partition == leaving[0].owned.partition })
        #expect(taken.owned.epoch == leaving[0].owned.epoch + 1)
        #expect(taken.committed.offset == 17 && taken.committed.metadata == "at 17")
        #expect(try first.commit(leaving[0], 18) == .staleMemberEpoch)
        #expect(try second.commit(taken, 18) == .none)
        try harness.stop()
    }

    @Test func `a group that nobody comes back to goes, with a word`() throws {
        let (clock, sink) = (ManualClock(), LogCapture())
        let directory = try TemporaryDirectory("expiry")
        func start() throws -> BrokerHarness {
            try BrokerHarness(
                directory: directory,
                configure: { $0.storage.groupExpiryMilliseconds = 3_600_000 },
                setUp: {
                    $0.takeJumpingClock(clock)
                    $0.logger = Logger(label: "test", level: .notice, sink: sink)
                })
        }
        var harness = try start()
        var client = try harness.hello()
        _ = try harness.makeTopic(client)
        let member = RawMember(client, 1)
        try member.join()
        try member.waitForChange()
        #expect(try member.commit(member.owned[0], 0) == .none)
        var leave = LeaveGroupRequest()
        leave.group = "g"
        leave.member = member.id
        #expect(try client.ask(leave).error == .none)
        clock.advance(seconds: 3_599)
        try harness.stop()
        harness = try start()
        client = try harness.hello()
        #expect(try client.ask(ListGroupsRequest()).groups.map(\.group) == ["g"])
        clock.advance(seconds: 1)
        // Its part of the broker looks at the time when it is asked anything; a log that was just
        // opened may put the first append off for a while.
        let late = RawMember(client, 1)
        #expect(
            try eventually {
                clock.advance(milliseconds: 100)
                return try late.beat() == .unknownGroup
            })
        #expect(try client.ask(ListGroupsRequest()).groups.isEmpty)
        #expect(sink.lines.contains { $0.contains("GROUP_EXPIRED") && $0.contains("group=g") })
        let metrics = PrometheusText.render(harness.registry)
        #expect(metrics.contains("martlet_group_expiries_total 1"))
        try harness.stop()
    }

    @Test func `a partition that is taken because its owner is slow is told`() throws {
        let (clock, sink) = (ManualClock(), LogCapture())
        let harness = try BrokerHarness(setUp: {
            $0.takeJumpingClock(clock)
            $0.logger = Logger(label: "test", level: .warning, sink: sink)
        })
        let client = try harness.hello()
        _ = try harness.makeTopic(client, partitions: 2)
        let first = RawMember(client, 1)
        try first.join(session: 300_000)
        try first.waitForChange()
        let second = RawMember(try harness.hello(), 2)
        try second.join(session: 300_000)
        try first.waitForChange()
        let metric = "martlet_group_drain_overruns_total"
        #expect(PrometheusText.render(harness.registry).contains("\(metric) 0"))
        clock.advance(seconds: 30)
        try second.beat()
        #expect(second.owned.count == 1)
        // Told in its own time, once it is on the disk.
        #expect(eventually { sink.lines.contains { $0.contains("MEMBER_SLOW_TO_DRAIN") } })
        let line = try #require(sink.lines.first { $0.contains("MEMBER_SLOW_TO_DRAIN") })
        let partition = try #require(second.owned.first).owned.partition
        #expect(line.contains("group=g") && line.contains("member=\(first.id)"))
        #expect(line.contains("topic=t") && line.contains("partition=\(partition)"))
        #expect(PrometheusText.render(harness.registry).contains("\(metric) 1"))
        try harness.stop()
    }

    @Test func `who does not own a partition reads nothing of it as a member`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(3))
        let member = RawMember(client, 1)
        try member.join()
        try member.waitForChange()
        let owned = try #require(member.owned.first)
        #expect(try member.fetch(owned, from: 0).recordsLength > 0)
        var stale = owned
        stale.owned.epoch -= 1
        #expect(try member.fetch(stale, from: 0).error == .staleMemberEpoch)
        let stranger = RawMember(client, 2)
        #expect(try stranger.fetch(owned, from: 0).error == .fencedMember)
        let other = RawMember(client, 1, group: "other")
        #expect(try other.fetch(owned, from: 0).error == .unknownGroup)
        try harness.stop()
    }

    @Test func `a fetch that waited while its partition passed to another is refused`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        let member = RawMember(try harness.hello(), 1)
        try member.join()
        try member.waitForChange()
        let owned = try #require(member.owned.first)
        var request = fetchRequest(topic, from: 0, wait: 20_000)
        request.group = "g"
        request.member = member.id
        request.partitions[0].epoch = owned.owned.epoch
        try member.client.send(try request.frame(correlation: 77))
        var leave = LeaveGroupRequest()
        leave.group = "g"
        leave.member = member.id
        #expect(try client.ask(leave).error == .none)
        _ = try client.produce(topic, makeBatch(3))
        let (correlation, reply, records) = try member.client.receive(FetchReply.self)
        #expect(correlation == 77 && records.count == 0)
        #expect(reply.partitions.first?.error == .fencedMember)
        try harness.stop()
    }

    @Test func `commits, owners and epochs are there again after a restart`() throws {
        let directory = try TemporaryDirectory("groups")
        var harness = try BrokerHarness(directory: directory)
        var client = try harness.hello()
        let topic = try harness.makeTopic(client, partitions: 2)
        for partition in Int32(0)..<2 {
            _ = try client.produce(topic, makeBatch(9), partition: partition)
        }
        let member = RawMember(client, 1)
        try member.join()
        try member.waitForChange()
        let owned = member.owned
        let revision = member.revision
        #expect(try member.commit(owned[0], 5) == .none)
        try harness.stop()

        harness = try BrokerHarness(directory: directory)
        client = try harness.hello()
        let again = RawMember(client, 1)
        #expect(try again.beat() == .none)
        #expect(again.owned.map(\.owned) == owned.map(\.owned))
        #expect(again.owned.map(\.committed.offset) == [5, -1])
        #expect(again.revision != revision)
        #expect(try again.commit(owned[1], 9) == .none)
        try harness.stop()
    }

    @Test func `a member without heartbeats is fenced, and its partitions go to the others`() throws
    {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        _ = try harness.makeTopic(client, partitions: 2)
        let dead = RawMember(client, 1)
        try dead.join(session: 1_000)
        try dead.waitForChange()
        let live = RawMember(try harness.hello(), 2)
        try live.join()
        try live.waitForChange()
        while live.owned.count < 2 { try live.waitForChange() }
        #expect(try dead.commit(dead.owned[0], 3) == .fencedMember)
        #expect(try dead.beat() == .fencedMember)
        try harness.stop()
    }

    @Test func `only the last heartbeat of a member waits, and a lost connection ends none`() throws
    {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        _ = try harness.makeTopic(client)
        let member = RawMember(client, 1)
        try member.join()
        try member.waitForChange()
        try client.send(try member.heartbeat(wait: 20_000).frame(correlation: 1))
        let other = try harness.hello()
        try other.send(try member.heartbeat(wait: 20_000).frame(correlation: 2))
        let (correlation, reply, _) = try client.receive(HeartbeatReply.self)
        #expect(correlation == 1 && reply.revision == member.revision && reply.partitions.isEmpty)
        other.close()
        #expect(try member.beat() == .none)
        try harness.stop()
    }

    @Test func `a stop answers heartbeats that wait`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        _ = try harness.makeTopic(client)
        let member = RawMember(client, 1)
        try member.join()
        try member.waitForChange()
        try client.send(try member.heartbeat(wait: 60_000).frame(correlation: 1))
        #expect(try harness.hello().ask(PingRequest()).error == .none)
        try harness.stop()
        let reply = try client.receive(HeartbeatReply.self).reply
        #expect(reply.error == .none && reply.revision == member.revision)
    }

    @Test func `new topics of a pattern and new partitions are handed out`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let member = RawMember(try harness.hello(), 1)
        try member.join(["t*"])
        try member.beat()
        #expect(member.owned.isEmpty)
        let topic = try harness.makeTopic(client, "t1")
        try member.waitForChange()
        #expect(member.owned.count == 1)
        var request = AddPartitionsRequest()
        request.id = topic
        request.total = 3
        #expect(try client.ask(request).error == .none)
        try member.waitForChange()
        #expect(member.owned.count == 3)
        try harness.stop()
    }

    @Test func `a topic that is deleted leaves nothing behind in a group`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        let member = RawMember(try harness.hello(), 1)
        try member.join()
        try member.waitForChange()
        let before = try #require(member.owned.first)
        _ = try client.produce(topic, makeBatch(3))
        #expect(try member.commit(before, 3) == .none)
        var delete = DeleteTopicRequest()
        delete.id = topic
        #expect(try client.ask(delete).error == .none)
        try member.waitForChange()
        #expect(member.owned.isEmpty)
        #expect(try member.commit(before, 4) == .staleMemberEpoch)
        // One of the same name is another topic.
        _ = try harness.makeTopic(client)
        try member.waitForChange()
        #expect(member.owned.map(\.committed.offset) == [-1])
        var describe = DescribeGroupRequest()
        describe.group = "g"
        #expect(try client.ask(describe).partitions.count == 1)
        try harness.stop()
    }

    @Test func `a group tells its lag, also without members`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, partitions: 2)
        _ = try client.produce(topic, makeBatch(10))
        let member = RawMember(client, 1)
        try member.join()
        try member.waitForChange()
        #expect(try member.commit(member.owned[0], 4) == .none)
        var leave = LeaveGroupRequest()
        leave.group = "g"
        leave.member = member.id
        #expect(try client.ask(leave).error == .none)
        var describe = DescribeGroupRequest()
        describe.group = "g"
        let group = try client.ask(describe)
        #expect(group.lag == 6 && group.members.isEmpty)
        #expect(group.partitions.map(\.lag) == [6, 0])
        let list = try client.ask(ListGroupsRequest())
        #expect(list.groups.map(\.group) == ["g"] && list.groups.map(\.lag) == [6])
        let metrics = PrometheusText.render(harness.registry)
        #expect(metrics.contains("martlet_group_lag_records{group=\"g\",topic=\"t\"} 6"))
        #expect(metrics.contains("martlet_group_members{group=\"g\"} 0"))
        try harness.stop()
    }

    @Test func `more is granted and committed at once than a batch holds`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, partitions: 1_200)
        let member = RawMember(client, 1)
        try member.join()
        try member.waitForChange()
        #expect(member.owned.count == 1_200)
        var request = CommitOffsetsRequest()
        request.group = "g"
        request.member = member.id
        request.entries = member.owned.map { owned in
            var entry = CommitEntry()
            entry.owned = owned.owned
            entry.position.offset = 0
            entry.position.metadata = String(repeating: "m", count: 4_096)
            return entry
        }
        let reply = try client.ask(request)
        #expect(reply.error == .none && reply.results.allSatisfy { $0.error == .none })
        #expect(reply.results.count == 1_200)
        #expect(member.owned.allSatisfy { $0.owned.topic == topic })
        try harness.stop()
    }

    @Test func `groups are made and deleted by name`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        func create(_ name: String) throws -> ErrorCode {
            var request = CreateGroupRequest()
            request.group = name
            return try client.ask(request).error
        }
        func delete(_ name: String) throws -> ErrorCode {
            var request = DeleteGroupRequest()
            request.group = name
            return try client.ask(request).error
        }
        #expect(try create("g") == .none)
        #expect(try create("g") == .groupExists)
        for name in ["", "$g", "a b", "x.dlq"] { #expect(try create(name) == .invalidGroupName) }
        #expect(try delete("g") == .none)
        #expect(try delete("g") == .unknownGroup)
        try harness.stop()
    }
}
