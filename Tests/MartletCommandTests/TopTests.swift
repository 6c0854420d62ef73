import MartletConfiguration
import MartletJSON
import Testing

@testable import MartletClient
@testable import martlet

/// What `martlet top` makes of two looks, and how it shows it.
@Suite struct TopTests {
    private static let a0 = TopicPartition("a", 0)
    private static let a1 = TopicPartition("a", 1)
    private static let b0 = TopicPartition("b", 0)

    private static func look(
        seconds: Double, ends: [TopicPartition: Int64] = [:], groups: [GroupFigures] = [],
        topics: [String] = ["a", "b"], recordsIn: UInt64 = 0, startedAt: Int64 = 1,
        isWritable: Bool = true
    ) -> TopLook {
        let status = BrokerStatus(
            version: "0.1.0", startedAt: startedAt, uptime: .seconds(5), pid: 7,
            isCleanStart: true, isWritable: isWritable, reason: isWritable ? "" : "full\u{1B}[2J",
            leaderEpoch: 1, topics: 2, partitions: 3, connections: 1, recordsIn: recordsIn,
            bytesIn: recordsIn * 10, bytesOut: 0, diskTotal: 1 << 30, diskAvailable: 1 << 20,
            dataBytes: 0)
        return TopLook(
            at: Int64(seconds * 1e9), time: 1_769_083_200_000, status: status,
            topics: topics.map {
                TopicListing(
                    id: "", name: $0, partitions: 2, durability: .durable, isInternal: false,
                    isOnline: true, bytes: 1_536)
            }, ends: ends, groups: groups, groupsLeftOut: 0)
    }

    private static func group(
        _ name: String, lag: Int64 = 0, time: Int64 = 0, headroom: Int64? = nil, members: Int = 1,
        isPaused: Bool = false, isQueue: Bool = false, parked: Int64 = 0, dead: Int64 = 0,
        pausedParts: [String] = [], breaker: GroupBreaker.State = .closed,
        done: [TopicPartition: Int64] = [:]
    ) -> GroupFigures {
        GroupFigures(
            name: name, isQueue: isQueue, members: members, lag: lag, lagTime: time,
            headroom: headroom, headroomBytes: nil, inFlight: 0, delayed: 0,
            parked: parked, dead: dead, breaker: breaker, isPaused: isPaused,
            pausedParts: pausedParts, done: done)
    }

    @Test func `rates are differences over the time between two looks`() throws {
        let before = Self.look(
            seconds: 10, ends: [Self.a0: 100, Self.b0: 5],
            groups: [
                Self.group("g", lag: 50, done: [Self.a0: 50, Self.b0: 5]),
                Self.group("back", lag: 0, done: [Self.a0: 100]),
            ], recordsIn: 105)
        let now = Self.look(
            seconds: 12, ends: [Self.a0: 300, Self.a1: 999, Self.b0: 5],
            groups: [
                Self.group("g", lag: 190, done: [Self.a0: 110, Self.b0: 5, Self.a1: 7]),
                Self.group("back", lag: 200, done: [Self.a0: 20]),
                Self.group("new", lag: 3, done: [Self.a0: 300]),
            ], recordsIn: 305)
        let view = TopView(now, since: before)
        #expect(view.seconds == 2 && view.rates.recordsIn == 100 && view.rates.bytesIn == 1_000)
        // A partition that is new tells no rate yet: it may be old and only seen now.
        #expect(view.topics.map(\.name) == ["a", "b"])
        #expect(view.topics.map(\.rateIn) == [100, 0] && view.topics.map(\.rateOut) == [30, 0])
        func find(_ name: String) throws -> TopView.Group {
            try #require(view.groups.first { $0.figures.name == name })
        }
        #expect(try find("g").doneRate == 30 && find("g").lagRate == 70)
        #expect(try find("back").doneRate == 0, "what was set back was not handled")
        #expect(try find("new").doneRate == nil && find("new").lagRate == nil)
        let first = TopView(now, since: nil)
        #expect(first.seconds == nil && first.rates.recordsIn == nil)
        #expect(first.topics.allSatisfy { $0.rateIn == nil && $0.rateOut == nil })
        #expect(first.groups.allSatisfy { $0.doneRate == nil && $0.lagRate == nil })
    }

    @Test func `a restart between two looks makes no rate of counters that began anew`() {
        let before = Self.look(seconds: 1, ends: [Self.a0: 5], recordsIn: 1_000)
        let now = Self.look(seconds: 2, ends: [Self.a0: 9], recordsIn: 4, startedAt: 99)
        let view = TopView(now, since: before)
        #expect(view.rates.recordsIn == nil && view.rates.bytesOut == nil)
        #expect(view.topics.first?.rateIn == 4, "ends of logs outlive it")
    }

    @Test func `failing groups come first, then the slowest`() {
        let look = Self.look(
            seconds: 1,
            groups: [
                Self.group("fine"), Self.group("idle", members: 0),
                Self.group("late", lag: 1, time: 9_000), Self.group("behind", lag: 70, time: 2_000),
                Self.group("further", lag: 71, time: 2_000),
                Self.group("partly", lag: 0, time: 0, pausedParts: ["a"]),
                Self.group("paused", lag: 1, time: 5, isPaused: true, pausedParts: ["a"]),
                Self.group("broken", lag: 1, time: 5, isPaused: true, breaker: .open),
                Self.group("tried", lag: 1, time: 4, breaker: .halfOpen),
                Self.group("gone", lag: 1, time: 5, members: 0),
                Self.group("losing", lag: 1, time: 500, headroom: 400, members: 0),
                Self.group("near", lag: 1, time: 300, headroom: 400),
            ])
        let view = TopView(look, since: nil)
        #expect(
            view.groups.map(\.figures.name) == [
                "losing", "gone", "broken", "paused", "partly", "late", "further", "behind", "near",
                "tried", "fine", "idle",
            ])
        #expect(
            view.groups.prefix(6).map(\.trouble?.word) == [
                "losing", "no members", "breaker open", "paused", "paused in part", nil,
            ])
        let partly = TopJSON.value(view, "h:1")["groups"]?[4]
        #expect(partly?["isPaused"] == false && partly?["pausedParts"] == ["a"])
    }

    @Test func `as text`() {
        let before = Self.look(
            seconds: 1, ends: [Self.a0: 0],
            groups: [Self.group("q", lag: 10, time: 1, isQueue: true, done: [Self.a0: 1])])
        let now = Self.look(
            seconds: 3, ends: [Self.a0: 25],
            groups: [
                Self.group(
                    "q", lag: 2_034, time: 61_000, headroom: 3_600_000, isQueue: true,
                    parked: 3, dead: 7, done: [Self.a0: 2])
            ], recordsIn: 25, isWritable: false)
        let screen = TopScreen(view: TopView(now, since: before), server: "h:1")
        #expect(
            screen.text(rows: 1) == """
                h:1, 2026-01-22T12:00:00.000Z, up 5.000s, 1 connection, PRODUCERS REFUSED: \
                full\\u{1b}[2J
                in: 12.5 records/s, 125 B/s; out: 0 B/s, over 2.0s; disk: 1.0 MiB free

                GROUP  STATE    LAG   LAG/S  DONE/S    AGE  HEADROOM  MEMBERS  IN FLIGHT  DELAYED  PARKED  DEAD  HANDLER P99
                q      queue  2,034  +1,012     0.5  1m 1s     1h 0m        1          0        0       3     7            -

                TOPIC  IN/S  OUT/S  PARTITIONS     SIZE
                a      12.5    0.5           2  1.5 KiB
                ... and 1 more

                """)
        #expect(
            [nil, 0, 0.04, 99.94, 250.5, -3, 1e16].map(TopScreen.rate) == [
                "-", "0", "0.0", "99.9", "251", "-3.0", "-",
            ])
    }

    @Test(
        arguments: [
            (120, "GROUP LAG/S HANDLER"), (100, "GROUP LAG/S HEADROOM DEAD"),
            (80, "GROUP LAG HEADROOM PARKED DEAD"), (40, "GROUP LAG AGE"), (20, "GROUP LAG AGE"),
        ])
    func `where it has no room, columns that say nothing go first, and the lag stays`(
        _ width: Int, _ shown: String
    ) throws {
        let look = Self.look(
            seconds: 1,
            groups: [
                Self.group(
                    "q", lag: 2_034, time: 61_000, headroom: 3_600_000, isQueue: true, parked: 3,
                    dead: 7)
            ])
        let screen = TopScreen(view: TopView(look, since: nil), server: "h:1")
        let lines = screen.lines(width: width, height: 20, rows: nil, trouble: nil)
        let head = try #require(lines.first { $0.hasPrefix("GROUP") })
        for title in shown.split(separator: " ") { #expect(head.contains(title), "\(head)") }
        #expect(
            lines.contains {
                $0.hasPrefix("q ") && $0.contains("2,034") && Shown.width($0) <= width
            })
        #expect(head.contains("HANDLER") == (width == 120), "\(head)")
    }

    @Test func `it never needs more room than the terminal has, and uses what there is`() {
        for (groups, topics) in [(0, 0), (1, 1), (3, 40), (40, 3), (50, 50)] {
            let look = Self.look(
                seconds: 1, groups: (0..<groups).map { Self.group("group \($0)") },
                topics: (0..<topics).map { "topic \($0)" })
            let screen = TopScreen(view: TopView(look, since: nil), server: "h:1")
            let whole =
                screen.text(rows: nil).split(
                    separator: "\n", omittingEmptySubsequences: false
                ).count - 1
            for height in 1...60 {
                for trouble in [nil, "gone"] {
                    let lines = screen.lines(width: 20, height: height, rows: nil, trouble: trouble)
                    let wanted = whole + (trouble == nil ? 0 : 1)
                    #expect(lines.allSatisfy { Shown.width($0) <= 20 })
                    #expect(
                        height < 9 ? lines.count <= height : lines.count == min(height, wanted),
                        "\(groups) groups, \(topics) topics, \(height) lines: \(lines.count)")
                    #expect(trouble == nil || lines.first == "gone")
                }
            }
        }
    }

    @Test func `JSON of more than one look is no document`() throws {
        for (words, isFine) in [
            (["-o", "json"], false), (["-o", "json", "--once"], true), (["-o", "jsonl"], true),
            (["--interval", "1ms"], false),
        ] {
            guard case .run(let invocation) = try CommandTree.root.spec.parse(["top"] + words)
            else {
                Issue.record("it is help")
                continue
            }
            let context = CommandContext(
                invocation: invocation, environment: [:],
                output: Output(isTerminal: false, errorIsTerminal: false, width: nil))
            if isFine {
                _ = try TopRun(context)
            } else {
                #expect(throws: CommandLineError.self, "\(words)") { _ = try TopRun(context) }
            }
        }
    }
}
