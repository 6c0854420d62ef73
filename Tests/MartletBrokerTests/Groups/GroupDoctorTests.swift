import MartletFormat
import MartletGroups
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// What `martlet doctor` says of groups.
@Suite struct GroupDoctorTests {
    private static let hour: Int64 = 3_600_000

    private let clock = ManualClock()

    private func findings(_ client: RawClient) throws -> [String: DoctorFinding] {
        let findings = try client.ask(DoctorRequest()).findings
        return Dictionary(findings.map { ($0.code, $0) }, uniquingKeysWith: { first, _ in first })
    }

    private func harness() throws -> BrokerHarness {
        try BrokerHarness(setUp: { $0.takeJumpingClock(clock) })
    }

    private func leave(_ member: RawMember) throws {
        var request = LeaveGroupRequest()
        request.group = member.group
        request.member = member.id
        #expect(try member.client.ask(request).error == .none)
    }

    @Test func `a group that works is nothing to speak of`() throws {
        let harness = try harness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        let member = RawMember(client, 1)
        try member.join()
        try member.waitForChange()
        _ = try client.produce(topic, makeBatch(2))
        let found = try findings(client)
        #expect(found.keys.allSatisfy { !$0.contains("group") && !$0.contains("letter") })
        let reply = try client.ask(DoctorRequest())
        #expect(reply.figures.first { $0.name == "groups" }?.value == 1)
        try harness.stop()
    }

    @Test func `dead letters, an open breaker and a policy that stops are named`() throws {
        let harness = try harness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(3))
        let queue = try RawLetters(client)
        let delivered = try #require(try queue.receive().first)
        #expect(try queue.fail(delivered, 0, verb: 6, "Broken", "it is") == .none)
        clock.advance(seconds: 7_200)
        #expect(try queue.fail(delivered, 1, verb: 6, "Broken", "it is") == .none)
        var policy = FailurePolicy()
        policy.last = .pause
        var set = SetFailurePolicyRequest()
        set.group = "q"
        set.policy = FailurePolicyItem(policy)
        #expect(try client.ask(set).error == .none)
        var breaker = SetBreakerRequest()
        breaker.group = "q"
        breaker.isOpen = true
        #expect(try client.ask(breaker).error == .none)
        let found = try findings(client)
        let letters = try #require(found["dead-letters"])
        #expect(letters.severity == 1)
        #expect(letters.text == "2 dead letters of group q wait, the oldest for 2h 0m")
        #expect(letters.advice.contains("martlet dlq list q"))
        #expect(try #require(found["breaker-open"]).text.contains("group q"))
        #expect(try #require(found["breaker-open"]).text.contains("somebody opened it"))
        #expect(try #require(found["group-without-dead-letters"]).text.contains("group q"))
        try harness.stop()
    }

    @Test func `a group that stands still or that nobody is in is named`() throws {
        let harness = try harness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        let member = RawMember(client, 1)
        try member.join()
        try member.waitForChange()
        try leave(member)
        #expect(try findings(client)["group-unread"] == nil)
        _ = try client.produce(topic, makeBatch(5))
        var pause = PauseGroupRequest()
        pause.group = "g"
        pause.isPaused = true
        pause.places = [GroupPlace()]
        #expect(try client.ask(pause).error == .none)
        clock.advance(seconds: 61)
        let found = try findings(client)
        #expect(
            try #require(found["group-unread"]).text
                == "nobody is in group g, and 5 records wait for it")
        #expect(
            try #require(found["group-paused"]).text
                == "group g stands still in 1 place, for up to 1m 1s")
        try harness.stop()
    }

    @Test(
        arguments: [
            (parksKey: [false], "1 record of group g is parked, for up to 1h 0m"),
            (
                parksKey: [true, false],
                "2 records of group g are parked, for up to 1h 0m; "
                    + "later records of 1 key wait behind"
            ),
            (
                parksKey: [true, true],
                "2 records of group g are parked, for up to 1h 0m; "
                    + "later records of 2 keys wait behind"
            ),
        ], [GroupKind.stream, .queue(from: .earliest, order: .byKey)])
    func `what is parked is named, in streams and in queues, with what to do`(
        _ example: (parksKey: [Bool], text: String), _ kind: GroupKind
    ) throws {
        var coordinator = Coordinator(limits: GroupLimits(), incarnation: 1)
        coordinator.replay(.created(group: "g", at: 0, kind))
        for (partition, isKey) in example.parksKey.enumerated() {
            let queue = QueueID.flow(TopicPartition(TopicID(high: 1, low: 1), Int32(partition)))
            let parked = ParkedRecord(at: Self.hour * Int64(1 + partition), isKey: isKey)
            coordinator.replay(.queue(group: "g", queue, .began(at: 0)))
            coordinator.replay(.queue(group: "g", queue, .parked(7, parked)))
        }
        var examination = GroupExamination(now: 2 * Self.hour)
        examination.examine(
            try coordinator.describe(
                "g", at: Now(wall: 0, monotonic: 0)), [], [])
        let found = try #require(examination.findings.first { $0.code == "parked-records" })
        #expect(found.severity == 1)
        #expect(found.text == example.text)
        #expect(found.advice.contains("`martlet group parked g`"))
        #expect(found.advice.contains("`martlet group release g --all`"))
    }

    @Test(
        arguments: [
            (headroom: 12 * hour, lag: 13 * hour, severity: nil),
            (headroom: 12 * hour - 1, lag: 13 * hour, severity: 1),
            (headroom: hour, lag: 13 * hour, severity: 1),
            (headroom: hour - 1, lag: 13 * hour, severity: 2),
            (headroom: 0, lag: 13 * hour, severity: 2),
            // It keeps up, and its topic keeps nothing for long.
            (headroom: hour - 1, lag: 1, severity: nil),
            (headroom: -1, lag: 13 * hour, severity: nil),
        ] as [(headroom: Int64, lag: Int64, severity: UInt8?)])
    func `what retention is about to take is named before it is taken`(
        _ example: (headroom: Int64, lag: Int64, severity: UInt8?)
    ) throws {
        var coordinator = Coordinator(limits: GroupLimits(), incarnation: 1)
        coordinator.replay(.created(group: "g", at: 0))
        var line = GroupPartitionLine()
        line.headroomMilliseconds = example.headroom
        line.lagMilliseconds = example.lag
        line.lag = 1
        var examination = GroupExamination(now: 0)
        let lines = [GroupPartitionLine(), line]
        let shortage = Headroom(lines, retentionBytes: -1)
        examination.examine(
            try coordinator.describe(
                "g", at: Now(wall: 0, monotonic: 0)), lines, [shortage].compactMap(\.self))
        let found = examination.findings.first { $0.code == "group-headroom" }
        #expect(found?.severity == example.severity)
        #expect(found?.text.contains("group g") != false)
    }

    @Test func `of many groups the first are named, and the rest counted`() throws {
        let harness = try harness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(1))
        for number in 0..<25 {
            var create = CreateGroupRequest()
            create.group = "g\(number)"
            create.topics = [TopicNameItem("t")]
            #expect(try client.ask(create).error == .none)
        }
        let all = try client.ask(DoctorRequest()).findings.filter { $0.code == "group-unread" }
        #expect(all.count == 21)
        #expect(all.contains { $0.text == "the same of 5 more groups" })
        try harness.stop()
    }
}
