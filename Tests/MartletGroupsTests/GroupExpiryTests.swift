import MartletFormat
import Testing

@testable import MartletGroups

/// Groups that nobody comes back to go after their time, and no others.
@Suite struct GroupExpiryTests {
    private let member = MemberID(1)
    private let shapes = [TopicShape("orders", 1)]
    private let key = TopicPartition(TopicShape("orders", 1).id, 0)
    private static let day: Int64 = 86_400_000

    private func harness() -> GroupHarness {
        var limits = GroupLimits()
        limits.groupExpiryMilliseconds = Self.day
        var harness = GroupHarness(limits: limits)
        harness.topics(shapes)
        return harness
    }

    /// A group that somebody was in, and nobody is.
    private func left() -> GroupHarness {
        var harness = harness()
        harness.join(member, .wanting())
        harness.commit(member, key, epoch: 1, 7)
        harness.leave(member)
        return harness
    }

    private func isThere(_ harness: GroupHarness) -> Bool {
        harness.coordinator.groups["g"] != nil
    }

    @Test func `a group goes when nobody was in it for its time, and not sooner`() {
        var harness = left()
        let since = harness.now.wall
        harness.advance(milliseconds: Self.day - 1)
        #expect(harness.expire().groups.isEmpty && isThere(harness))
        harness.advance(milliseconds: 1)
        let expiry = harness.expire()
        #expect(expiry.groups.map(\.name) == ["g"] && expiry.groups.map(\.emptySince) == [since])
        #expect(expiry.records == [.deleted(group: "g")] && !isThere(harness))
        #expect(harness.expire().groups.isEmpty)
    }

    @Test func `it is due by itself, and looked at as often as the clock may be set`() throws {
        var harness = left()
        // A broker with nothing else to do looks at what is due next, and then again.
        var looks = 0
        while isThere(harness), looks < 100 {
            let due = try #require(harness.coordinator.nextDeadline)
            harness.advance(milliseconds: (due - harness.now.monotonic) / 1_000_000)
            harness.expire()
            looks += 1
        }
        // An hour each, and what was due of the member at first.
        #expect((24...26).contains(looks))
    }

    @Test func `a group with a member never goes, and a join in between begins anew`() {
        var harness = left()
        harness.advance(milliseconds: Self.day - 1)
        harness.join(member, .wanting())
        for _ in 0..<40_000 / 100 {
            harness.advance(milliseconds: 9_000)
            harness.heartbeat(member)
            harness.expire()
        }
        harness.advance(milliseconds: 5_000)
        harness.heartbeat(member)
        #expect(isThere(harness))
        harness.leave(member)
        harness.advance(milliseconds: Self.day - 1)
        harness.expire()
        #expect(isThere(harness))
        harness.advance(milliseconds: 1)
        harness.expire()
        #expect(!isThere(harness))
    }

    @Test func `who was taken for dead leaves a group that goes too`() {
        var harness = harness()
        harness.join(member, .wanting())
        harness.advance(milliseconds: 10_000)
        #expect(harness.expire().ended.count == 1)
        harness.advance(milliseconds: Self.day - 1)
        harness.expire()
        #expect(isThere(harness))
        harness.advance(milliseconds: 1)
        harness.expire()
        #expect(!isThere(harness))
    }

    @Test(arguments: [false, true])
    func `a restart in between begins nothing anew`(_ fromSnapshot: Bool) {
        var harness = left()
        harness.advance(milliseconds: Self.day - 1)
        if fromSnapshot {
            let snapshot = harness.coordinator.snapshot()
            let now = harness.now
            harness = self.harness()
            harness.now = now
            harness.take(snapshot)
        } else {
            harness.restart(shapes)
        }
        harness.expire()
        #expect(isThere(harness))
        harness.advance(milliseconds: 1)
        harness.expire()
        #expect(!isThere(harness))
    }

    @Test func `a group made by its name stays, also after its members`() throws {
        var harness = harness()
        harness.take(try harness.coordinator.create("g", at: harness.now))
        harness.join(member, .wanting())
        harness.leave(member)
        harness.restart(shapes)
        harness.advance(milliseconds: 400 * Self.day)
        harness.expire()
        #expect(isThere(harness))
    }

    @Test func `without a time no group goes`() {
        var harness = GroupHarness()
        harness.topics(shapes)
        harness.join(member, .wanting())
        harness.leave(member)
        #expect(harness.coordinator.nextDeadline == nil || harness.expire().groups.isEmpty)
        harness.advance(milliseconds: 400 * Self.day)
        #expect(harness.expire().groups.isEmpty && isThere(harness))
    }

    /// What somebody is still to see to.
    enum Holding: CaseIterable {
        case letter, parked, replay, pause, policy, untilConsumed
    }

    @Test(arguments: Holding.allCases)
    func `what somebody is still to see to holds it`(_ holding: Holding) throws {
        var harness = left()
        var policy = FailurePolicy()
        policy.attemptsMax += 1
        var held: [GroupRecord] = []
        var freed: [GroupRecord] = []
        switch holding {
        case .letter:
            let letter = Letter(
                number: 1, origin: RecordPlace(.flow(key), 3), reason: .permanent, attempts: 1,
                deaths: 1, diedAt: 0)
            let failure = HandlerFailure(.permanent, kind: "k", text: "", at: 0)
            let resolved = LetterEntry(
                .resolved, number: 2, letter: 1, origin: letter.origin,
                trail: FailureTrail(first: failure, last: failure), at: 0)
            let topic = TopicPartition(TopicShape("g.dlq", 1).id, 0)
            held = [.letter(group: "g", .restored(letter))]
            freed = [
                .letter(group: "g", .entry(resolved)),
                .letter(group: "g", .stored(2, in: topic, at: 0)),
            ]
        case .parked:
            held = [.queue(group: "g", .flow(key), .parked(3, ParkedRecord(at: 0, isKey: false)))]
            freed = [.queue(group: "g", .flow(key), .released([3..<4]))]
        case .replay:
            held = [.queue(group: "g", .replay(key), .reopened([3..<4]))]
            freed = [.queue(group: "g", .replay(key), .acked([3..<4]))]
        case .pause:
            held = [.paused(group: "g", .group, at: 0)]
            freed = [.resumed(group: "g", .group)]
        case .policy:
            held = [.policy(group: "g", policy)]
            freed = [.policy(group: "g", FailurePolicy())]
        case .untilConsumed: break
        }
        harness.take(held)
        if holding == .untilConsumed {
            harness.topics([
                TopicShape(
                    name: "orders", id: key.topic, partitions: 1, isUntilConsumed: true)
            ])
        }
        harness.advance(milliseconds: 2 * Self.day)
        #expect(harness.expire().groups.isEmpty && isThere(harness))
        harness.take(freed)
        if holding == .untilConsumed { harness.topics(shapes) }
        // It is looked at again soon, whatever else there is to do.
        harness.advance(milliseconds: 60_000)
        #expect(try #require(harness.coordinator.nextDeadline) <= harness.now.monotonic)
        #expect(harness.expire().groups.map(\.name) == ["g"])
    }
}
