import MartletFormat
import Testing

@testable import MartletGroups

/// What records mean for those who look at groups from outside.
@Suite struct EventTests {
    private let orders = TopicShape("orders", 4)
    private let id = MemberID(1)

    private func harness() throws -> GroupHarness {
        var harness = GroupHarness()
        harness.topics([orders])
        harness.take(
            try harness.coordinator.join(
                "g", id, .wanting(), .queue(from: .earliest), at: harness.now))
        return harness
    }

    private func hold(
        _ harness: inout GroupHarness, _ record: GroupRecord, _ cause: GroupCause = .member
    ) -> [GroupEvent] {
        harness.take([record], by: cause)
        return harness.events
    }

    @Test func `a breaker and its times are told, and who moved it`() throws {
        var harness = try harness()
        let open = hold(&harness, .breaker(group: "g", .open(since: 5, until: 9)))
        #expect(open.map(\.kind) == [.breakerOpened] && open.map(\.by) == [.policy])
        #expect(open.first?.from == 5 && open.first?.to == 9)
        let half = hold(&harness, .breaker(group: "g", .halfOpen(since: 9)), .time(harness.now))
        #expect(half.map(\.kind) == [.breakerHalfOpen] && half.map(\.by) == [.policy])
        let closed = hold(&harness, .breaker(group: "g", .closed), .person(client: "cli"))
        #expect(closed.map(\.kind) == [.breakerClosed] && closed.map(\.by) == [.person])
        #expect(closed.first?.client == "cli")
    }

    @Test func `the work itself is no event`() throws {
        var harness = try harness()
        let queue = QueueID.flow(TopicPartition(orders.id, 0))
        for change in [
            QueueChange.began(at: 0), .acked([0..<5]), .attempted([6..<7], times: 1),
            .delayed([7..<8], due: 9),
        ] {
            #expect(hold(&harness, .queue(group: "g", queue, change)).isEmpty)
        }
    }

    @Test func `what expired is counted once, and nothing when nothing did`() throws {
        var harness = try harness()
        let queue = QueueID.flow(TopicPartition(orders.id, 0))
        _ = hold(&harness, .queue(group: "g", queue, .began(at: 0)))
        _ = hold(&harness, .queue(group: "g", queue, .acked([0..<3])))
        let gone = hold(&harness, .queue(group: "g", queue, .expired(below: 10)), .broker)
        #expect(gone.map(\.kind) == [.recordsExpired] && gone.map(\.count) == [7])
        #expect(gone.first?.to == 10 && gone.first?.partitions == [0])
        #expect(hold(&harness, .queue(group: "g", queue, .expired(below: 10)), .broker).isEmpty)
    }

    @Test func `ends of the row of offsets are no trap`() throws {
        var harness = try harness()
        let queue = QueueID.flow(TopicPartition(orders.id, 0))
        let parked = ParkedRecord(at: 1, isKey: false)
        let event = hold(&harness, .queue(group: "g", queue, .parked(.max, parked)))
        #expect(event.first?.from == .max && event.first?.to == .max)
        let lane = QueueID.replay(TopicPartition(orders.id, 0))
        let again = hold(&harness, .queue(group: "g", lane, .reopened([0..<Int64.max])))
        #expect(again.map(\.kind) == [.recordsReplayed] && again.first?.count == .max)
    }

    @Test func `a reset of many partitions is one event for a topic`() throws {
        var harness = try harness()
        func restarts(_ count: Int32) -> GroupRecord {
            .restarted(
                group: "g", (0..<count).map { QueueRestart(TopicPartition(orders.id, $0), at: 7) })
        }
        let few = hold(&harness, restarts(2), .person(client: "cli"))
        #expect(few.map(\.partitions) == [[0], [1]] && few.allSatisfy { $0.to == 7 })
        let many = hold(&harness, restarts(2_000), .person(client: "cli"))
        #expect(many.map(\.count) == [2_000] && many.first?.partitions.count == 2_000)
        #expect(many.first?.to == nil && many.first?.by == .person)
    }
}
