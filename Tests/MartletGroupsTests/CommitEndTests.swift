import MartletFormat
import Testing

@testable import MartletGroups

/// What nobody can have read nobody can have handled.
@Suite struct CommitEndTests {
    private static let orders = TopicShape("orders", 1)
    private let key = TopicPartition(orders.id, 0)
    private let member = MemberID(1)

    /// A group whose only member owns the partition; returns its epoch.
    private func owned() throws -> (harness: GroupHarness, epoch: Int32) {
        var harness = GroupHarness()
        harness.topics([Self.orders])
        #expect(harness.join(member, .wanting(["orders"])) == nil)
        return (harness, try #require(harness.owned(member)[key]))
    }

    @Test func `an offset above the end of its log is not committed`() throws {
        var (harness, epoch) = try owned()
        #expect(harness.commit(member, key, epoch: epoch, 5, end: 5) == nil)
        let refused = GroupRefusal.outsideLog(
            "offset 6 of partition 0 of orders lies above its end, 5")
        #expect(harness.commit(member, key, epoch: epoch, 6, end: 5) == refused)
        #expect(harness.commit(member, key, epoch: epoch, .max, end: 5) == refused.with(Int64.max))
        #expect(harness.coordinator.groups["g"]?.state.partitions[key]?.committed?.offset == 5)
        #expect(harness.commit(member, key, epoch: epoch, 6, end: 6) == nil)
    }

    @Test func `nothing above the end of its log is finished`() throws {
        var (harness, epoch) = try owned()
        #expect(harness.commit(member, key, epoch: epoch, 1, finished: [3..<5], end: 5) == nil)
        let refused = GroupRefusal.outsideLog(
            "offsets 4 to 5 of partition 0 of orders cannot be finished: its end is 5")
        #expect(
            harness.commit(member, key, epoch: epoch, 1, finished: [2..<3, 4..<6], end: 5)
                == refused)
        guard
            case .outsideLog = harness.commit(
                member, key, epoch: epoch, 1, finished: [2..<Int64.max], end: 5)
        else {
            Issue.record("taken")
            return
        }
        #expect(
            harness.coordinator.groups["g"]?.state.partitions[key]?.committed?.finished == [3..<5])
    }

    @Test func `who has lost the partition hears of that first`() throws {
        var (harness, epoch) = try owned()
        #expect(harness.commit(member, key, epoch: epoch - 1, 6, end: 5) == .staleEpoch)
        #expect(harness.commit(nil, key, epoch: 0, 6, end: 5) == .groupNotEmpty(members: 1))
    }

    @Test func `a group without members is not set above the end either`() throws {
        var (harness, _) = try owned()
        #expect(harness.leave(member) == nil)
        #expect(harness.commit(nil, key, epoch: 0, 5, end: 5) == nil)
        guard case .outsideLog = harness.commit(nil, key, epoch: 0, 6, end: 5) else {
            Issue.record("taken")
            return
        }
    }

    @Test func `where the log cannot be read a commit is taken`() throws {
        var (harness, epoch) = try owned()
        #expect(harness.commit(member, key, epoch: epoch, 6, end: nil) == nil)
    }
}

extension GroupRefusal {
    /// The same of another offset.
    fileprivate func with(_ offset: Int64) -> GroupRefusal {
        guard case .outsideLog(let text) = self else { return self }
        return .outsideLog(text.replacing("offset 6", with: "offset \(offset)"))
    }
}
