import MartletFormat
import MartletJSON
import MartletStorage
import MartletTelemetry
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker

/// Groups are named before retention takes what they have not handled.
@Suite(.timeLimit(.minutes(3))) struct HeadroomTests {
    private static let minute: Int64 = 60_000
    private let clock = ManualClock()

    @Test(
        arguments: [
            (left: 1_000, level: nil), (left: 999, level: .low), (left: 100, level: .low),
            (left: 99, level: .critical), (left: 0, level: .critical), (left: -1, level: nil),
        ] as [(left: Int64, level: Headroom.Level?)])
    func `retention by size is near with a tenth left, and very near with a hundredth`(
        _ example: (left: Int64, level: Headroom.Level?)
    ) {
        var line = GroupPartitionLine()
        line.headroomBytes = example.left
        let found = Headroom([line], retentionBytes: 10_000)
        #expect(found?.level == example.level)
        #expect(found.map(\.cause) == example.level.map { _ in .size })
        #expect(Headroom([line], retentionBytes: -1) == nil)
    }

    @Test func `the worst of a topic's partitions counts, and all that are short are named`() {
        let lines = [(2, -1), (90 * Self.minute, -1), (-1, 500), (-1, 9_000)].enumerated().map {
            number, left in
            var line = GroupPartitionLine()
            line.owned.partition = Int32(number)
            (line.headroomMilliseconds, line.headroomBytes) = (Int64(left.0), Int64(left.1))
            (line.lag, line.lagMilliseconds) = (10, 100 * Self.minute)
            return line
        }
        let found = Headroom(lines, retentionBytes: 10_000)
        #expect(found?.level == .critical && found?.cause == .age && found?.left == 2)
        #expect(found?.partitions == [0, 1, 2] && found?.records == 30)
    }

    @Test func `a group that retention comes near to is named once, and when it is over`() throws {
        let bench = try EventBench(clock: clock)
        let topic = try bench.harness.makeTopic(bench.client, settings: retention(6 * 60))
        var create = CreateGroupRequest()
        create.group = "g"
        #expect(try bench.client.ask(create).error == .none)
        try bench.reset("g", topic, to: 0)
        _ = try bench.client.produce(topic, makeBatch(3))
        let watch = bench.harness.broker.services.headroom
        watch.look()
        clock.advance(seconds: 7 * 3_600)
        for _ in 0..<2 { watch.look() }
        var alter = AlterTopicRequest()
        alter.id = topic
        alter.changes = retention(30).map { TopicSettingChange($0.0, $0.1) }
        #expect(try bench.client.ask(alter).error == .none)
        for _ in 0..<2 { watch.look() }
        try bench.reset("g", topic, to: 3)
        for _ in 0..<2 { watch.look() }

        let events = try bench.wait(for: "headroom.back").filter {
            $0["type"]?.stringValue?.hasPrefix("headroom") == true
        }
        #expect(
            events.map { $0["type"]?.stringValue } == [
                "headroom.low", "headroom.critical", "headroom.back",
            ])
        for event in events.prefix(2) {
            #expect(event["group"]?.stringValue == "g" && event["topic"]?.stringValue == "t")
            #expect(event["count"] == 3 && event["partitions"] == [0])
            #expect(event["reason"]?.stringValue == "age" && event["by"]?.stringValue == "broker")
        }
        for code in ["GROUP_HEADROOM_LOW", "GROUP_ABOUT_TO_LOSE", "GROUP_HEADROOM_BACK"] {
            let said = bench.sink.lines.filter { $0.contains(code) }
            #expect(said.count == 1)
            #expect(said.allSatisfy { $0.contains("group=g") && $0.contains("topic=t") })
        }
        try bench.harness.stop()
        watch.look()
        #expect(!bench.sink.lines.contains { $0.contains("GROUP_EVENTS_DROPPED") })
    }

    private func retention(_ minutes: Int64) -> [(String, String)] {
        [("retention.ms", "\(minutes * Self.minute)")]
    }
}
