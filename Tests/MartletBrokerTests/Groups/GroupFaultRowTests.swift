import MartletBroker
import MartletFormat
import MartletTestSupport
import MartletWire
import Testing

/// The faults of groups by their numbers in docs/TESTING.md, over the wire with the real broker.
@Suite struct GroupFaultRowTests {
    @Test func `F-46 who dies in a hand-over is removed, and the others get all`() throws {
        let harness = try BrokerHarness()
        _ = try harness.makeTopic(try harness.hello(), partitions: 4)
        // The old owner has heard what it is to give up, and never does.
        let old = RawMember(try harness.hello(), 1)
        try old.join(session: 1_000)
        try old.waitForChange()
        let before = old.owned
        #expect(before.count == 4)
        let new = RawMember(try harness.hello(), 2)
        try new.join()
        try old.waitForChange()
        #expect(old.owned.count == 2)
        while new.owned.count < 4 { try #require(try new.waitForChange() == .none) }
        #expect(Self.epochs(new.owned) == Self.epochs(before).mapValues { $0 + 1 })
        // The new one was given its part, and never hears of it.
        let silent = RawMember(try harness.hello(), 3)
        try silent.join(session: 1_000)
        try new.waitForChange()
        let kept = Self.epochs(new.owned)
        #expect(kept.count == 2)
        let leaving = Self.epochs(before).keys.filter { kept[$0] == nil }
        let all = before.map { partition in
            var partition = partition
            partition.owned.epoch += 1
            return partition
        }
        try new.beat(released: all.filter { leaving.contains($0.owned.partition) })
        while new.owned.count < 4 { try #require(try new.waitForChange() == .none) }
        let former = Self.epochs(before)
        for (partition, epoch) in Self.epochs(new.owned) {
            #expect(epoch == (former[partition] ?? 0) + (kept[partition] == nil ? 3 : 1))
        }
        try harness.stop()
    }

    @Test func `F-47 a commit of who has lost the partition is refused and changes nothing`()
        throws
    {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        _ = try client.produce(try harness.makeTopic(client), makeBatch(9))
        let late = RawMember(try harness.hello(), 1)
        try late.join(session: 1_000)
        try late.waitForChange()
        let had = try #require(late.owned.first)
        #expect(try late.commit(had, 5) == .none)
        // It stands still for longer than its session.
        let owner = RawMember(try harness.hello(), 2)
        try owner.join(instance: "seat")
        while owner.owned.isEmpty { try #require(try owner.waitForChange() == .none) }
        #expect(try late.commit(had, 9) == .fencedMember)
        #expect(try RawMember(try harness.hello(), 3).commit(had, 9) == .fencedMember)
        #expect(try owner.commit(had, 9) == .staleMemberEpoch)
        // Another takes its seat.
        let former = try #require(owner.owned.first)
        let heir = RawMember(try harness.hello(), 4)
        try heir.join(instance: "seat")
        while heir.owned.isEmpty { try #require(try heir.waitForChange() == .none) }
        #expect(try owner.commit(former, 9) == .fencedMember)
        #expect(try heir.commit(former, 9) == .staleMemberEpoch)
        #expect(heir.owned.first?.committed.offset == 5)
        try harness.stop()
    }

    @Test func `F-48 of two that think they own a partition one commits`() throws {
        let harness = try BrokerHarness()
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(3))
        let first = RawMember(try harness.hello(), 1)
        try first.join(session: 1_000)
        try first.waitForChange()
        let had = try #require(first.owned.first)
        #expect(try first.fetch(had, from: 0).recordsLength > 0)
        let second = RawMember(try harness.hello(), 2)
        try second.join()
        while second.owned.isEmpty { try #require(try second.waitForChange() == .none) }
        let has = try #require(second.owned.first)
        // What the first was handed both handle; only one of them says so.
        #expect(try second.fetch(has, from: 0).recordsLength > 0)
        #expect(try second.commit(has, 1) == .none)
        #expect(try first.commit(had, 3) == .fencedMember)
        #expect(try first.fetch(had, from: 0).error == .fencedMember)
        // Nor when it joins again and keeps what it believes.
        try first.join()
        #expect(try first.commit(had, 3) == .staleMemberEpoch)
        #expect(try second.commit(has, 2) == .none)
        try harness.stop()
    }

    private static func epochs(_ partitions: [AssignedPartition]) -> [Int32: Int32] {
        Dictionary(uniqueKeysWithValues: partitions.map { ($0.owned.partition, $0.owned.epoch) })
    }
}
