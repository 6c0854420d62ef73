import MartletFormat
import Testing

@testable import MartletGroups

/// Members of stream groups: who gets what, and how partitions pass from one to the next.
@Suite struct MembershipTests {
    private static let orders = TopicShape("orders", 4)
    private let first = MemberID(1)
    private let second = MemberID(2)

    private func harness() -> GroupHarness {
        var harness = GroupHarness()
        harness.topics([Self.orders])
        return harness
    }

    /// A harness in which the first member owns all, and the second has just joined.
    private func joined() -> GroupHarness {
        var harness = harness()
        harness.join(first, .wanting())
        _ = harness.owned(first)
        harness.join(second, .wanting())
        return harness
    }

    private func left(_ harness: GroupHarness) throws -> [(TopicPartition, Int32)] {
        let group = try harness.coordinator.describe("g")
        return group.partitions.filter(\.isLeaving).map { ($0.partition, $0.epoch) }
    }

    @Test func `the first member owns everything at once`() {
        var harness = harness()
        #expect(harness.join(first, .wanting()) == nil)
        #expect(harness.owned(first).count == 4)
        #expect(harness.changed == [MemberKey(group: "g", member: first)])
    }

    @Test func `a partition is handed over only once its owner gave it up`() throws {
        var harness = joined()
        #expect(harness.owned(first).count == 2)
        #expect(harness.owned(second).isEmpty)
        let leaving = try left(harness)
        #expect(leaving.count == 2)
        harness.heartbeat(first, released: [leaving[0]])
        #expect(harness.owned(second) == [leaving[0].0: leaving[0].1 + 1])
        harness.heartbeat(first, released: leaving)
        #expect(harness.owned(second).count == 2)
        #expect(harness.owned(first).count == 2)
    }

    @Test func `what is not given up is taken when its time is over`() throws {
        var harness = joined()
        let leaving = try left(harness)
        harness.advance(milliseconds: 4_999)
        #expect(harness.expire().overruns.isEmpty)
        #expect(harness.owned(second).isEmpty)
        #expect(harness.commit(first, leaving[0].0, epoch: leaving[0].1, 7) == nil)
        harness.advance(milliseconds: 1)
        let overruns = harness.expire().overruns
        #expect(Set(overruns.map(\.partition)) == Set(leaving.map(\.0)))
        #expect(overruns.allSatisfy { $0.member == first && $0.topic == "orders" })
        #expect(harness.owned(second).count == 2)
        #expect(harness.commit(first, leaving[0].0, epoch: leaving[0].1, 9) == .staleEpoch)
        #expect(
            harness.coordinator.groups["g"]?.state.partitions[leaving[0].0]?.committed?.offset == 7)
    }

    @Test func `who is taken for dead is not told to be slow as well`() {
        var harness = joined()
        harness.advance(milliseconds: 10_000)
        harness.heartbeat(second)
        let expiry = harness.expire()
        #expect(expiry.ended.map(\.member) == [first] && expiry.overruns.isEmpty)
    }

    @Test func `a member without heartbeats is taken for dead, and its work moves`() throws {
        var harness = harness()
        harness.join(first, .wanting())
        harness.advance(milliseconds: 5_000)
        harness.join(second, .wanting())
        harness.advance(milliseconds: 5_000)
        let expiry = harness.expire()
        #expect(expiry.ended == [.init(group: "g", member: first, isStuck: false)])
        #expect(harness.owned(second).count == 4)
        #expect(harness.heartbeat(first) == .fencedMember(reason: Coordinator.gone))
    }

    @Test func `a member whose application takes nothing is taken for stuck`() throws {
        var harness = harness()
        harness.join(first, .wanting(progress: 3_000))
        harness.advance(milliseconds: 2_000)
        harness.heartbeat(first, progress: 1)
        harness.advance(milliseconds: 2_000)
        #expect(harness.expire().ended.isEmpty)
        harness.heartbeat(first, progress: 1)
        harness.advance(milliseconds: 1_000)
        #expect(harness.expire().ended == [.init(group: "g", member: first, isStuck: true)])
        let partition = TopicPartition(Self.orders.id, 0)
        #expect(
            harness.commit(first, partition, epoch: 1, 5)
                == .fencedMember(reason: Coordinator.gone))
    }

    @Test func `who comes back under its instance id takes up its partitions`() {
        var harness = harness()
        harness.join(first, .wanting(instance: "a"))
        harness.join(second, .wanting(instance: "b"))
        harness.heartbeat(first, released: harness.owned(first).map { ($0.key, $0.value) })
        let before = harness.owned(first)
        let third = MemberID(3)
        harness.join(third, .wanting(instance: "a"))
        #expect(Set(harness.owned(third).keys) == Set(before.keys))
        #expect(harness.owned(third).allSatisfy { $0.value > before[$0.key] ?? .max })
        #expect(harness.heartbeat(first) == .fencedMember(reason: Coordinator.gone))
    }

    @Test func `new partitions and topics are picked up, by name and by pattern`() {
        var harness = harness()
        harness.join(first, .wanting(["orders", "pay*"]))
        let payments = TopicShape("payments", 2)
        let other = TopicShape("other", 3)
        harness.topics([TopicShape("orders", 6), payments, other, TopicShape("$pay", 1)])
        #expect(harness.owned(first).count == 8)
        #expect(harness.owned(first).keys.allSatisfy { $0.topic != other.id })
    }

    @Test func `a view keeps its number while it stays the same`() throws {
        var harness = harness()
        harness.join(first, .wanting())
        let before = try harness.coordinator.view("g", first)
        harness.heartbeat(first)
        harness.commit(first, TopicPartition(Self.orders.id, 0), epoch: 1, 3)
        let after = try harness.coordinator.view("g", first)
        #expect(before.revision == after.revision)
        #expect(after.owned[0].committed?.offset == 3)
        harness.join(second, .wanting())
        #expect(try harness.coordinator.view("g", first).revision > after.revision)
    }

    @Test func `after a restart members have their full time, and their partitions`() throws {
        var harness = joined()
        let before = try harness.coordinator.describe("g").partitions.map(\.epoch)
        harness.advance(milliseconds: 60_000)
        harness.restart([Self.orders])
        #expect(harness.expire().ended.isEmpty)
        #expect(try harness.coordinator.describe("g").partitions.map(\.epoch) == before)
        #expect(harness.heartbeat(first) == nil)
        harness.advance(milliseconds: 9_999)
        #expect(harness.heartbeat(second) == nil)
        harness.advance(milliseconds: 1)
        #expect(harness.expire().ended.map(\.member) == [first])
    }

    @Test func `a group with members cannot be deleted, nor its offsets set from outside`() {
        var harness = joined()
        let partition = TopicPartition(Self.orders.id, 0)
        #expect(harness.commit(nil, partition, epoch: 0, 3) == .groupNotEmpty(members: 2))
        #expect(throws: GroupRefusal.groupNotEmpty(members: 2)) {
            try harness.coordinator.delete("g")
        }
        harness.leave(first)
        harness.leave(second)
        #expect(harness.commit(nil, partition, epoch: 0, 3) == nil)
    }

    @Test func `a group whose making is lost keeps what came after`() throws {
        var harness = joined()
        let partition = TopicPartition(Self.orders.id, 0)
        let epoch = try #require(
            harness.owned(first)[partition] ?? harness.owned(second)[partition])
        let owner = harness.owned(first)[partition] == nil ? second : first
        #expect(harness.commit(owner, partition, epoch: epoch, 8) == nil)
        var damaged = Coordinator(limits: GroupLimits(), incarnation: 3)
        for record in harness.log.dropFirst() { damaged.replay(record) }
        let group = try damaged.describe("g")
        #expect(group.members.count == 2)
        #expect(group.partitions.contains { $0.committed?.offset == 8 })
    }

    @Test func `offsets are set only of what exists`() throws {
        var harness = harness()
        harness.take(try harness.coordinator.create("g", at: harness.now))
        let missing = TopicPartition(Self.orders.id, 4)
        #expect(harness.commit(nil, missing, epoch: 0, 1) == .unknownPartition)
        let invented = TopicPartition(TopicID(high: 5, low: 5), 0)
        #expect(harness.commit(nil, invented, epoch: 0, 1) == .unknownTopic)
    }

    @Test func `limits are held`() {
        var limits = GroupLimits()
        limits.membersMax = 1
        limits.groupsMax = 1
        var harness = GroupHarness(limits: limits)
        harness.join(first, .wanting())
        #expect(harness.join(second, .wanting()) != nil)
        #expect(harness.join(first, .wanting(), group: "other") != nil)
        var member = Member.wanting()
        member.sessionMilliseconds = 999
        #expect(harness.join(first, member) != nil)
        #expect(harness.join(first, .wanting([])) != nil)
    }

    /// Its answer was on its way when the broker was killed; or it was cut off for its session's
    /// time, and has let go of everything.
    @Test(arguments: [true, false])
    func `a member that may know nothing hears all that it has, then gives up`(restarts: Bool) {
        var harness = harness()
        harness.join(first, .wanting())
        if restarts {
            harness.restart([Self.orders])
            harness.join(second, .wanting())
        } else {
            _ = harness.owned(first)
            harness.join(second, .wanting())
            #expect(harness.owned(first).count == 2)
            harness.heartbeat(first, revision: 0)
        }
        let all = harness.owned(first)
        #expect(all.count == 4)
        #expect(harness.owned(second).isEmpty)
        harness.heartbeat(first)
        let kept = harness.owned(first)
        #expect(kept.count == 2)
        let released = all.filter { kept[$0.key] == nil }
        harness.heartbeat(first, released: released.map { ($0.key, $0.value) })
        #expect(Set(harness.owned(second).keys) == Set(released.keys))
    }

    @Test func `what a member never heard of it need not give up`() {
        var harness = GroupHarness()
        harness.topics([TopicShape("orders", 4)])
        let (first, second) = (MemberID(1), MemberID(2))
        harness.join(first, .wanting())
        harness.join(second, .wanting())
        #expect(harness.owned(first).count == 2 && harness.owned(second).count == 2)
        // What it heard it has to give up, and after a restart nobody knows what it heard.
        harness.join(MemberID(3), .wanting())
        #expect(harness.owned(MemberID(3)).isEmpty)
        harness.restart([TopicShape("orders", 4)])
        harness.join(MemberID(4), .wanting())
        #expect(harness.owned(MemberID(4)).isEmpty)
    }
}
