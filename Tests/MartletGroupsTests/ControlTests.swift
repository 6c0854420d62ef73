import MartletFormat
import MartletTestSupport
import Testing

@testable import MartletGroups

/// Pause, resume and reset.
@Suite struct ControlTests {
    private static let orders = TopicShape("orders", 2)
    private let member = MemberID(1)

    /// A group with one member that owns both partitions.
    private func harness() -> GroupHarness {
        var harness = GroupHarness()
        harness.topics([Self.orders, TopicShape("payments", 1)])
        #expect(harness.join(member, .wanting()) == nil)
        #expect(harness.owned(member).count == 2)
        return harness
    }

    private func key(_ partition: Int32) -> TopicPartition {
        TopicPartition(Self.orders.id, partition)
    }

    private func state(_ harness: GroupHarness) throws -> GroupState {
        try #require(harness.coordinator.groups["g"]).state
    }

    @Test func `what is paused is given up in order, and granted to nobody until it is resumed`()
        throws
    {
        var harness = harness()
        let before = harness.owned(member)
        let place = PausePlace(topic: Self.orders.id, partition: 1)
        #expect(harness.pause([place]) == nil)
        #expect(harness.owned(member).keys.map(\.partition) == [0])
        // It finishes what it has begun.
        let epoch = try #require(before[key(1)])
        #expect(harness.commit(member, key(1), epoch: epoch, 7) == nil)
        harness.heartbeat(member, released: [(key(1), epoch)])
        #expect(try state(harness).partitions[key(1)]?.owner == nil)
        #expect(harness.commit(member, key(1), epoch: epoch, 8) == .paused)
        #expect(harness.join(MemberID(2), .wanting()) == nil)
        #expect(harness.owned(MemberID(2))[key(1)] == nil)
        harness.restart([Self.orders])
        #expect(try state(harness).paused == [place: harness.now.wall])
        #expect(try state(harness).partitions[key(1)]?.owner == nil)
        #expect(harness.resume([place]) == nil)
        let partition = try #require(try state(harness).partitions[key(1)])
        #expect(partition.owner != nil && partition.epoch == epoch + 1)
        #expect(partition.committed?.offset == 7)
    }

    @Test func `a member that does not give up what is paused loses it in time`() throws {
        var harness = harness()
        #expect(harness.pause() == nil)
        #expect(harness.owned(member).isEmpty)
        harness.advance(milliseconds: 5_001)
        harness.expire()
        #expect(try state(harness).partitions.allSatisfy { $0.value.owner == nil })
    }

    @Test func `to resume more ends what lies within, and less than is paused is refused`() throws {
        var harness = harness()
        let topic = PausePlace(topic: Self.orders.id, partition: -1)
        let part = PausePlace(topic: Self.orders.id, partition: 1)
        #expect(harness.pause([topic, part]) == nil)
        #expect(harness.resume([part]) != nil)
        #expect(harness.resume([topic]) == nil)
        #expect(try state(harness).paused.isEmpty)
        #expect(harness.pause([.group, part]) == nil)
        #expect(harness.resume([topic]) != nil)
        #expect(harness.resume() == nil)
        #expect(try state(harness).paused.isEmpty)
        #expect(
            harness.pause([PausePlace(topic: Self.orders.id, partition: 9)]) == .unknownPartition)
        #expect(
            harness.pause([PausePlace(topic: TopicShape("no", 1).id, partition: -1)])
                == .unknownTopic)
        #expect(harness.pause([PausePlace(topic: .zero, partition: 3)]) != nil)
        #expect(harness.pause(group: "other") == .unknownGroup)
    }

    @Test func `a deleted topic takes its pauses along`() throws {
        var harness = harness()
        #expect(harness.pause([PausePlace(topic: Self.orders.id, partition: -1)]) == nil)
        harness.topics([])
        harness.take(harness.coordinator.forget(Self.orders.id))
        #expect(try state(harness).paused.isEmpty && state(harness).partitions.isEmpty)
    }

    @Test func `a reset is refused where a member reads, unless it is forced or paused`() throws {
        var harness = harness()
        guard case .partitionInUse(let what) = harness.reset(key(0), 5) else {
            Issue.record("not refused")
            return
        }
        #expect(what == "partition 0 of orders")
        let epoch = try #require(harness.owned(member)[key(0)])
        #expect(harness.commit(member, key(0), epoch: epoch, 10) == nil)
        #expect(harness.reset(key(0), 5, isForced: true) == nil)
        // It is the member's again, under an epoch that no late commit has.
        let now = try #require(harness.owned(member)[key(0)])
        #expect(now > epoch + 1)
        #expect(harness.commit(member, key(0), epoch: epoch, 11) == .staleEpoch)
        #expect(try state(harness).partitions[key(0)]?.committed?.offset == 5)
        #expect(harness.pause() == nil)
        #expect(harness.reset(key(0), 6) == nil)
        #expect(harness.commit(member, key(0), epoch: now, 12) == .paused)
        #expect(try state(harness).partitions[key(0)]?.committed?.offset == 6)
    }

    @Test func `a plan that is out of date changes nothing`() throws {
        var harness = harness()
        #expect(harness.leave(member) == nil)
        #expect(harness.reset(key(0), expected: -1, 5) == nil)
        guard case .resetOutdated = harness.reset(key(0), expected: -1, 6) else {
            Issue.record("not refused")
            return
        }
        let resets = [(key(1), Int64(-1)), (key(0), 4)].map {
            Coordinator.Reset(partition: $0, expected: $1, offset: 1)
        }
        #expect(throws: GroupRefusal.self) {
            try harness.coordinator.reset("g", resets, isForced: false, at: harness.now)
        }
        #expect(harness.reset(key(0), expected: 5, 6) == nil)
        #expect(harness.reset(key(0), expected: 1, 7, isForced: true) == nil)
        #expect(harness.reset(key(7), 1) == .unknownPartition)
        #expect(harness.reset(key(0), -1) != nil)
    }
}
