import MartletFormat
import Testing

@testable import MartletGroups

/// What a group is to read although it never has: its lag counts there, and records wait for it.
@Suite struct WantedTests {
    private let first = MemberID(1)
    private let second = MemberID(2)

    /// Partitions of which nothing is known but that the group wants them.
    private func untouched(_ harness: GroupHarness) throws -> [TopicPartition] {
        try harness.coordinator.describe("g").partitions
            .filter { $0.epoch == 0 && $0.committed == nil }.map(\.partition)
    }

    private func keys(_ name: String, _ partitions: Range<Int32>) -> [TopicPartition] {
        partitions.map { TopicPartition(TopicShape(name, 1).id, $0) }
    }

    /// After a crash, and from a snapshot, the same holds.
    private func expect(
        _ wanted: [TopicPartition], _ harness: inout GroupHarness, _ shapes: [TopicShape],
        _ location: SourceLocation = #_sourceLocation
    ) throws {
        #expect(try untouched(harness) == wanted.sorted(), sourceLocation: location)
        var restored = Coordinator(limits: GroupLimits(), incarnation: 9)
        for record in harness.coordinator.snapshot() { restored.replay(record) }
        #expect(
            restored.groups["g"]?.state == harness.coordinator.groups["g"]?.state,
            sourceLocation: location)
        harness.restart(shapes)
        #expect(try untouched(harness) == wanted.sorted(), sourceLocation: location)
    }

    @Test func `what comes while nobody is in the group is wanted by who was there last`() throws {
        var harness = GroupHarness()
        harness.topics([TopicShape("pay.a", 1), TopicShape("orders", 1)])
        harness.join(first, .wanting(["pay.*"]))
        harness.join(second, .wanting(["orders"]))
        #expect(try untouched(harness).isEmpty)
        harness.leave(second)
        harness.advance(milliseconds: 10_000)
        #expect(harness.expire().ended.map(\.member) == [first])
        let later = [
            TopicShape("pay.a", 2), TopicShape("orders", 3), TopicShape("pay.b", 1),
            TopicShape("other", 1), TopicShape("pay.g.dlq", 1), TopicShape("g.dlq", 1),
        ]
        harness.topics(later)
        let wanted = keys("pay.a", 1..<2) + keys("orders", 1..<3) + keys("pay.b", 0..<1)
        try expect(wanted, &harness, later)
        // Who comes says anew what the group wants.
        harness.join(MemberID(3), .wanting(["other"]))
        #expect(try untouched(harness).isEmpty)
    }

    @Test func `members that are replaced leave nothing behind that nobody wants`() throws {
        var harness = GroupHarness()
        harness.join(first, .wanting(["old"]))
        harness.join(second, .wanting(["old"]))
        harness.leave(first)
        harness.join(MemberID(3), .wanting(["new"]))
        harness.leave(second)
        harness.join(MemberID(4), .wanting(["new"]))
        harness.leave(MemberID(3))
        harness.leave(MemberID(4))
        let shapes = [TopicShape("old", 1), TopicShape("new", 1)]
        harness.topics(shapes)
        try expect(keys("new", 0..<1), &harness, shapes)
    }

    @Test func `what comes while the group stands still is wanted too`() throws {
        var harness = GroupHarness()
        harness.join(first, .wanting(["pay.*"]))
        harness.pause()
        let shapes = [TopicShape("pay.a", 2)]
        harness.topics(shapes)
        try expect(keys("pay.a", 0..<2), &harness, shapes)
        #expect(try harness.coordinator.describe("g").partitions.allSatisfy(\.isPaused))
        harness.resume()
        #expect(try untouched(harness).isEmpty)
    }

    @Test func `a group that is made for topics wants them before anybody comes`() throws {
        var harness = GroupHarness()
        let shapes = [TopicShape("orders", 2), TopicShape("other", 1)]
        harness.topics(shapes)
        harness.take(
            try harness.coordinator.create("g", wanted: Subscription(["ord*"]), at: harness.now))
        try expect(keys("orders", 0..<2), &harness, shapes)
        let many = Subscription((0..<101).map { "t\($0)" })
        #expect(throws: GroupRefusal.self) {
            try harness.coordinator.create("h", wanted: many, at: harness.now)
        }
    }

    @Test(arguments: [QueueStart.earliest, .latest])
    func `a queue's partition is there before anybody asked for its records`(
        _ start: QueueStart
    ) throws {
        var harness = GroupHarness()
        let shapes = [TopicShape("orders", 2)]
        harness.topics(shapes)
        harness.take(
            try harness.coordinator.join(
                "g", first, .wanting(), .queue(from: start), at: harness.now))
        try expect(keys("orders", 0..<2), &harness, shapes)
        let lines = try harness.coordinator.describe("g").partitions
        #expect(lines.allSatisfy { $0.beginsAtEnd == (start == .latest) })
        let key = keys("orders", 1..<2)[0]
        // A queue that begins with what comes needs nothing that is there.
        #expect(harness.coordinator.lowMark(key)?.offset == (start == .earliest ? 0 : nil))
        harness.take([.queue(group: "g", .flow(key), .began(at: 7))])
        #expect(harness.coordinator.lowMark(key)?.offset == 7)
        try expect(keys("orders", 0..<1), &harness, shapes)
        #expect(
            try harness.coordinator.describe("g").partitions.map(\.partition.partition) == [0, 1])
    }

    @Test func `a topic that comes while nobody is in the group waits for it`() throws {
        var harness = GroupHarness()
        harness.topics([TopicShape("pay.a", 1)])
        harness.join(first, .wanting(["pay.*"]))
        harness.leave(first)
        harness.topics([TopicShape("pay.a", 1), TopicShape("pay.b", 1), TopicShape("other", 1)])
        let mark = try #require(harness.coordinator.lowMark(keys("pay.b", 0..<1)[0]))
        #expect(mark == (0, "g"))
        #expect(harness.coordinator.lowMark(keys("other", 0..<1)[0]) == nil)
    }

    @Test func `what many wanted comes back from a snapshot in parts`() throws {
        var harness = GroupHarness()
        for part in 0..<3 {
            let names = (0..<900).map { "t\(part).\($0)" }
            harness.join(MemberID(UInt64(part + 1)), .wanting(names))
        }
        for part in 0..<3 { harness.leave(MemberID(UInt64(part + 1))) }
        #expect(harness.coordinator.groups["g"]?.state.departed.terms.count == 2_700)
        try expect([], &harness, [])
    }
}
