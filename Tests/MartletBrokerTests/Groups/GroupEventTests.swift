import Glibc
import MartletConfiguration
import MartletFormat
import MartletGroups
import MartletJSON
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker
@testable import MartletStorage

/// What is written to `$group-events`, by the real broker.
@Suite(.timeLimit(.minutes(3))) struct GroupEventTests {
    /// Kind and actor of each, in order.
    private func story(_ events: [JSONValue]) -> [String] {
        events.map {
            "\($0["type"]?.stringValue ?? "?") by \($0["by"]?.stringValue ?? "?")"
        }
    }

    private func last(_ kind: String, _ events: [JSONValue]) throws -> JSONValue {
        try #require(events.last { $0["type"]?.stringValue == kind })
    }

    @Test func `what happens to a group and its members is told, in order, with who did it`() throws
    {
        let clock = ManualClock()
        let bench = try EventBench(clock: clock)
        let topic = try bench.harness.makeTopic(bench.client, partitions: 2)
        var create = CreateGroupRequest()
        create.group = "g"
        #expect(try bench.client.ask(create).error == .none)
        let first = RawMember(try bench.harness.hello(), 1)
        try first.join(instance: "a")
        try first.waitForChange()
        let second = RawMember(try bench.harness.hello(), 2)
        try second.join(session: 300_000)
        try first.waitForChange()
        try first.beat(released: [AssignedPartition()])
        // Its drain time is over, and then nobody has heard of it for its session.
        clock.advance(seconds: 29)
        try first.beat()
        clock.advance(seconds: 2)
        try second.beat()
        clock.advance(seconds: 30)
        try second.beat()
        try second.join(["t", "u"], session: 300_000)
        let idle = RawMember(try bench.harness.hello(), 5)
        try idle.join(session: 300_000, progress: 60_000)
        clock.advance(seconds: 61)
        try second.beat()

        let third = RawMember(bench.client, 3)
        try third.join(instance: "b")
        try third.beat()
        let fourth = RawMember(try bench.harness.hello(), 4)
        try fourth.join(instance: "b")
        try bench.pause("g", true)
        try bench.pause("g", false)
        try bench.pause("g", true, [GroupPlace(topic: topic, partition: 1)])
        try bench.setBreaker("g", isOpen: true)
        try bench.setBreaker("g", isOpen: false)
        try bench.setPolicy("g") { $0.last = 2 }
        try bench.reset("g", topic, to: 0)
        for member in [second, fourth] { try bench.leave(member) }
        var delete = DeleteGroupRequest()
        delete.group = "g"
        #expect(try bench.client.ask(delete).error == .none)

        let events = try bench.wait(for: "group.deleted")
        let told = story(events).filter { !$0.hasPrefix("partitions.assigned") }
        #expect(
            told == [
                "group.created by person", "member.joined by member", "member.joined by member",
                "partitions.taken by time", "member.timed-out by time", "member.changed by member",
                "member.joined by member", "member.stuck by time", "partitions.taken by time",
                "member.joined by member",
                "member.fenced by member",
                "member.joined by member", "group.paused by person", "group.resumed by person",
                "group.paused by person", "breaker.opened by person", "breaker.closed by person",
                "policy.set by person", "group.reset by person", "member.left by member",
                "member.left by member",
                "group.deleted by person",
            ])
        #expect(events.allSatisfy { $0["group"]?.stringValue == "g" })
        let numbers = events.compactMap { $0["number"]?.integerValue }
        #expect(numbers.count == events.count && numbers == numbers.sorted())
        let fenced = try last("member.fenced", events)
        #expect(fenced["instance"]?.stringValue == "b" && fenced["member"]?.stringValue != nil)
        #expect(fenced["reason"]?.stringValue == "\(fourth.id)")
        let paused = try last("group.paused", events)
        #expect(paused["topic"]?.stringValue == "t" && paused["partitions"] == [1])
        #expect(paused["topicID"]?.stringValue == "\(topic)")
        let assigned = try #require(
            events.first { $0["type"]?.stringValue == "partitions.assigned" })
        #expect(assigned["count"] == 2 && assigned["partitions"]?.arrayValue?.count == 2)
        let policy = try last("policy.set", events)
        #expect(policy["reason"]?.stringValue == "park-record")
        #expect(try last("group.reset", events)["to"] == 0)
        // One place tells the log, too.
        for code in ["MEMBER_DEAD", "MEMBER_STUCK", "MEMBER_SLOW_TO_DRAIN", "BREAKER_OPENED"] {
            #expect(bench.sink.lines.contains { $0.contains(code) && $0.contains("group=g") })
        }
        let opened = try #require(bench.sink.lines.first { $0.contains("BREAKER_OPENED") })
        #expect(opened.contains("somebody opened") && opened.contains("by=person"), "\(opened)")
        try bench.harness.stop()
    }

    @Test func `a hand-over, a move by a reset policy and the end of an empty group are told`()
        throws
    {
        let clock = ManualClock()
        let bench = try EventBench(clock: clock) {
            $0.groupLimits.groupExpiryMilliseconds = 3_600_000
        }
        _ = try bench.harness.makeTopic(bench.client, partitions: 2)
        let first = RawMember(try bench.harness.hello(), 1)
        try first.join()
        try first.waitForChange()
        let before = first.owned
        let second = RawMember(bench.client, 2)
        try second.join()
        try first.waitForChange()
        let kept = try #require(first.owned.first)
        let gone = before.filter { $0.owned.partition != kept.owned.partition }
        try first.beat(released: gone)
        var item = PolicyResetItem()
        (item.owned, item.reason, item.from, item.to) = (kept.owned, 2, 3, 7)
        var commit = CommitOffsetsRequest()
        (commit.group, commit.member, commit.resets) = ("g", first.id, [item])
        #expect(try first.client.ask(commit).error == .none)
        try bench.leave(first)
        try bench.leave(second)
        clock.advance(seconds: 3_601)
        #expect(try second.beat() == .unknownGroup)

        let events = try bench.wait(for: "group.expired")
        let given = try last("partitions.given-up", events)
        #expect(given["by"] == "member" && given["member"]?.stringValue == "\(first.id)")
        let reset = try last("group.reset", events)
        #expect(reset["by"] == "policy" && reset["reason"] == "gone")
        #expect(reset["from"] == 3 && reset["to"] == 7 && reset["topic"] == "t")
        #expect(try last("group.expired", events)["by"] == "time")
        #expect(bench.sink.lines.contains { $0.contains("GROUP_RESET_BY_POLICY") })
        #expect(bench.sink.lines.contains { $0.contains("GROUP_EXPIRED") })
        try bench.harness.stop()
    }

    @Test func `what becomes of the records of a queue is told with counts and ranges`() throws {
        let bench = try EventBench()
        let topic = try bench.harness.makeTopic(bench.client)
        _ = try bench.client.produce(topic, makeBatch(20))
        let queue = try RawLetters(bench.client)
        try bench.setPolicy("q") { _ in }
        // Four die, one of them is edited by nobody: two come again, one is resolved.
        let delivered = try #require(try queue.receive(4).first)
        for offset in Int64(0)..<4 {
            #expect(try queue.fail(delivered, offset, verb: 6, "Bad", "never") == .none)
        }
        _ = try queue.waitForStored()
        let numbers = try queue.letters().map(\.number)
        #expect(try queue.replay(Array(numbers.prefix(2))) == [.none, .none])
        #expect(try queue.resolve([numbers[3]]) == [.none])
        // Two are parked, and released.
        try bench.setPolicy("q") { $0.last = 2 }
        let parked = try #require(
            try queue.receive(2).first { $0.lane == 0 } ?? queue.receive(4).first { $0.lane == 0 })
        for offset in parked.range.from..<parked.range.to {
            #expect(try queue.fail(parked, offset, verb: 6, "Bad", "never") == .none)
        }
        var release = ReleaseParkedRequest()
        (release.group, release.releasesAll) = ("q", true)
        #expect(try bench.client.ask(release).error == .none)
        // The group stands still where the policy says so.
        try bench.setPolicy("q") { $0.last = 1 }
        let stopping = try #require(try queue.receive(4).first { $0.lane == 0 })
        #expect(try queue.fail(stopping, stopping.range.from, verb: 6, "Bad", "never") == .none)
        try bench.pause("q", false, [GroupPlace(topic: topic, partition: 0)])
        // What was handled comes again, and is taken back.
        var part = ReplayPartition()
        (part.topic, part.ranges) = (topic, [OffsetRange(4, 6)])
        var again = ReplayRecordsRequest()
        (again.group, again.partitions) = ("q", [part])
        let sent = try bench.client.ask(again)
        #expect(sent.error == .none, "\(sent.message)")
        var cancel = CancelReplayRequest()
        (cancel.group, cancel.partitions) = ("q", [GroupPlace(topic: topic, partition: 0)])
        #expect(try bench.client.ask(cancel).error == .none)
        #expect(try bench.deleteRecords(topic, below: 18) == .none)
        _ = try queue.receive(1)

        let events = try bench.wait(for: "records.expired")
        let dead = events.filter { $0["type"] == "records.dead-lettered" }
        #expect(bench.count(of: "records.dead-lettered", in: events) == 4)
        #expect(dead.first?["from"] == 0 && dead.last?["to"] == 4)
        #expect(dead.first?["reason"] == "permanent" && dead.first?["by"] == "policy")
        #expect(bench.count(of: "letters.replayed", in: events) == 2)
        #expect(bench.count(of: "letters.resolved", in: events) == 1)
        let count = parked.range.to - parked.range.from
        #expect(bench.count(of: "records.parked", in: events) == count)
        #expect(bench.count(of: "records.released", in: events) == count)
        #expect(try last("records.released", events)["by"] == "person")
        #expect(try last("group.paused", events)["by"] == "policy")
        #expect(try last("group.resumed", events)["by"] == "person")
        #expect(bench.count(of: "records.replayed", in: events) == sent.records)
        #expect(bench.count(of: "records.taken-back", in: events) == sent.records)
        #expect(bench.count(of: "records.expired", in: events) > 0)
        let stopped = bench.sink.lines.filter { $0.contains("GROUP_STOPPED") }
        #expect(stopped.count == 1 && stopped.allSatisfy { $0.contains("topic=t") })
        try bench.harness.stop()
    }

    @Test func `what people do is told with the program that they used`() throws {
        let bench = try EventBench()
        let topic = try bench.harness.makeTopic(bench.client)
        _ = try bench.client.produce(topic, makeBatch(3))
        let person = try bench.harness.connect()
        var hello = HelloRequest()
        hello.clientName = "tool"
        #expect(try person.ask(hello).error == .none)
        let queue = try RawLetters(person)
        try bench.setPolicy("q") { _ in }
        let delivered = try #require(try queue.receive(3).first)
        for offset in Int64(0)..<2 {
            #expect(try queue.fail(delivered, offset, verb: 6, "Bad", "never") == .none)
        }
        #expect(try queue.settle(delivered, 2..<3) == .none)
        _ = try queue.waitForStored()
        let numbers = try queue.letters().map(\.number)
        #expect(try queue.assign(numbers, to: "ops") == [.none, .none])
        #expect(try queue.comment([numbers[1]], "looks familiar") == [.none])
        #expect(try queue.edit(numbers[0], to: DeadRecord(at: 5)) == .none)
        var part = ReplayPartition()
        (part.topic, part.ranges) = (topic, [OffsetRange(2, 3)])
        var again = ReplayRecordsRequest()
        (again.group, again.partitions) = ("q", [part])
        #expect(try person.ask(again).error == .none)
        // It is with the group again already.
        #expect(try person.ask(again).records == 0)
        var cancel = CancelReplayRequest()
        (cancel.group, cancel.partitions) = ("q", [GroupPlace(topic: topic, partition: 0)])
        #expect(try person.ask(cancel).error == .none)

        let events = try bench.wait(for: "records.taken-back")
        #expect(bench.count(of: "letters.assigned", in: events) == 2)
        #expect(bench.count(of: "letters.commented", in: events) == 1)
        #expect(bench.count(of: "letters.edited", in: events) == 1)
        for kind in [
            "letters.assigned", "letters.commented", "letters.edited", "records.replayed",
            "records.taken-back",
        ] {
            let event = try last(kind, events)
            #expect(event["by"] == "person" && event["topic"] == "t", "\(kind)")
            #expect(event["client"] == "tool", "\(kind)")
        }
        #expect(bench.count(of: "records.replayed", in: events) == 1)
        let commented = try last("letters.commented", events)
        #expect(commented["from"] == 1 && commented["to"] == 2)
        try bench.harness.stop()
    }

    @Test func `nothing is told before it is durable`() throws {
        let files = FaultyFileSystem()
        let bench = try EventBench(files: files)
        _ = try bench.harness.makeTopic(bench.client)
        try RawMember(bench.client, 1).join()
        _ = try bench.wait(for: "member.joined")
        let gate = Latch()
        files.set { $0.gate = gate }
        let late = RawMember(try bench.harness.hello(), 2)
        var join = JoinGroupRequest()
        (join.group, join.member, join.sessionMilliseconds) = ("g", late.id, 30_000)
        join.topics = [TopicNameItem("t")]
        try late.client.send(try join.frame(correlation: 5))
        // It is in `$groups`, and not on the disk.
        var describe = DescribeGroupRequest()
        describe.group = "g"
        #expect(try eventually { try bench.client.ask(describe).members.count == 2 })
        for _ in 0..<200 {
            let joined = try bench.events().filter { $0["type"] == "member.joined" }
            #expect(joined.count == 1)
            if joined.count > 1 { break }
        }
        gate.arrive()
        _ = try late.client.receive(JoinGroupReply.self)
        _ = try bench.wait { $0.filter { $0["type"] == "member.joined" }.count == 2 }
        try bench.harness.stop()
    }

    @Test func `what finds no room is counted, and the topic says how much is missing`() throws {
        var limits = PendingEvents.Limits()
        limits.weightMax = 10
        let bench = try EventBench(limits: limits) { $0.eventsPauseNanoseconds = 2_000_000_000 }
        _ = try bench.harness.makeTopic(bench.client)
        var create = CreateGroupRequest()
        create.group = "g"
        #expect(try bench.client.ask(create).error == .none)
        let before = try bench.wait(for: "group.created").count
        for _ in 0..<20 {
            try bench.pause("g", true)
            try bench.pause("g", false)
        }
        let events = try bench.wait {
            let missed = bench.count(of: "events.missed", in: $0)
            return $0.filter { $0["type"] != "events.missed" }.count - before + Int(missed) == 40
        }
        let missed = try last("events.missed", events)
        #expect(missed["reason"] == "full" && missed["group"] == "" && missed["by"] == "broker")
        #expect(bench.sink.lines.contains { $0.contains("GROUP_EVENTS_DROPPED") })
        let metrics = PrometheusText.render(bench.harness.registry).split(separator: "\n")
        let dropped = bench.count(of: "events.missed", in: events)
        #expect(dropped > 0 && metrics.contains("martlet_group_events_dropped_total \(dropped)"))
        try bench.harness.stop()
    }

    @Test func `an event lists no more partitions than it may`() throws {
        var limits = PendingEvents.Limits()
        limits.partitionsMax = 3
        let bench = try EventBench(limits: limits)
        _ = try bench.harness.makeTopic(bench.client, partitions: 5)
        let member = RawMember(bench.client, 1)
        try member.join()
        try member.waitForChange()
        #expect(member.owned.count == 5)
        let assigned = try last("partitions.assigned", try bench.wait(for: "partitions.assigned"))
        #expect(assigned["partitions"]?.arrayValue?.count == 3 && assigned["count"] == 5)
        try bench.harness.stop()
    }

    @Test func `a topic that takes nothing holds up no group`() throws {
        var limits = PendingEvents.Limits()
        limits.weightMax = 10
        let bench = try EventBench(limits: limits)
        try RawMember(bench.client, 1).join(["t"])
        _ = try bench.wait(for: "member.joined")
        bench.harness.broker.engine.topic(named: "$group-events")?.goOffline(.broken("a test"))
        for _ in 0..<20 {
            try bench.pause("g", true)
            try bench.pause("g", false)
        }
        for code in ["GROUP_EVENTS_NOT_WRITTEN", "GROUP_EVENTS_DROPPED"] {
            #expect(eventually { bench.sink.lines.contains { $0.contains(code) } })
        }
        try bench.harness.stop()
    }

    @Test func `what a full disk did not take is written when there is room again`() throws {
        let files = FaultyFileSystem()
        let bench = try EventBench(files: files) { $0.eventsPauseNanoseconds = 1_000_000_000 }
        let queue = try RawLetters(bench.client)
        _ = try bench.wait(for: "member.joined")
        let topic = try #require(bench.topic)
        try bench.pause("q", true)
        files.set { ($0.writePath, $0.writeCode) = ("\(topic)", ENOSPC) }
        #expect(
            eventually { bench.sink.lines.contains { $0.contains("GROUP_EVENTS_NOT_WRITTEN") } })
        files.set { $0.writeCode = 0 }
        try queue.waitForRoom()
        let events = try bench.wait(for: "group.paused")
        #expect(!events.contains { $0["type"] == "events.missed" })
        try bench.harness.stop()
    }

    @Test func `a storm over one group is a few events that count`() throws {
        let bench = try EventBench { $0.eventsPauseNanoseconds = 1_000_000_000 }
        let topic = try bench.harness.makeTopic(bench.client)
        _ = try bench.client.produce(topic, makeBatch(2_000))
        let queue = try RawLetters(bench.client)
        let delivered = try #require(try queue.receive(2_000).first)
        #expect(delivered.range.to == 2_000)
        for start in stride(from: Int64(0), to: 2_000, by: 500) {
            let failed = (start..<start + 500).map {
                queue.failed(delivered, $0, verb: 6, "Bad", "never")
            }
            #expect(try queue.send(failed).allSatisfy { $0 == .none })
        }
        let kind = "records.dead-lettered"
        let events = try bench.wait { bench.count(of: kind, in: $0) == 2_000 }
        let dead = events.filter { $0["type"]?.stringValue == kind }
        #expect(dead.count < 40 && dead.last?["to"] == 2_000)
        try bench.harness.stop()
    }

    @Test func `anybody may read the topic, and nobody may write, change or delete it`() throws {
        let bench = try EventBench()
        try RawMember(bench.client, 1).join(["t"])
        let events = try bench.wait(for: "member.joined")
        let topic = try #require(bench.topic)
        #expect(try bench.client.produce(topic, makeBatch()).error == .notAuthorized)
        #expect(try bench.deleteRecords(topic, below: 1) == .notAuthorized)
        var delete = DeleteTopicRequest()
        delete.id = topic
        #expect(try bench.client.ask(delete).error == .notAuthorized)
        var alter = AlterTopicRequest()
        (alter.id, alter.changes) = (topic, [TopicSettingChange("retention.ms", "-1")])
        #expect(try bench.client.ask(alter).error == .notAuthorized)
        #expect(try bench.events() == events)
        var list = ListTopicsRequest()
        #expect(!(try bench.client.ask(list).topics.contains { $0.name == "$group-events" }))
        list.includeInternal = true
        let listed = try bench.client.ask(list).topics.first { $0.name == "$group-events" }
        #expect(listed?.partitions == 1 && listed?.isInternal == true)
        try bench.harness.stop()
    }

    @Test func `what was told is there after a restart, as the configuration keeps it`() throws {
        let directory = try TemporaryDirectory("events")
        var bench = try EventBench(directory)
        try RawMember(bench.client, 1).join(["t"])
        let before = try bench.wait(for: "member.joined")
        try bench.pause("g", true)
        try bench.harness.stop()

        bench = try EventBench(directory) {
            $0.configuration.storage.groupEventsRetentionMilliseconds = 60_000
        }
        let after = try bench.events()
        #expect(Array(after.prefix(before.count)) == before)
        // An end in order loses nothing, and says nothing.
        #expect(after.last?["type"] == "group.paused")
        #expect(!after.contains { $0["type"] == "events.missed" })
        try bench.pause("g", false)
        _ = try bench.wait(for: "group.resumed")
        let settings = bench.harness.broker.engine.topic(named: "$group-events")?.settings
        #expect(settings?.retentionMilliseconds == 60_000)
        #expect(settings?.retentionBytes == 256 << 20)
        try bench.harness.stop()

        bench = try EventBench(directory) { $0.configuration.storage.groupEvents = false }
        try bench.pause("g", true)
        #expect(!(try bench.events().contains { $0["type"] == "breaker.opened" }))
        try bench.harness.stop()
    }
}
