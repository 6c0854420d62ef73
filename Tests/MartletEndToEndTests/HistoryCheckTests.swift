import MartletJSON
import MartletSystem
import MartletTestSupport
import Testing

/// The checker of `martlet-verify history` on histories that are written by hand: for each thing that
/// it looks at there is one in which that does not hold.
@Suite struct HistoryCheckTests {
    /// What one process wrote, in order.
    private struct Process {
        let kind: String
        let lines: [JSONObject]

        init(_ kind: String, _ lines: JSONObject...) {
            self.kind = kind
            self.lines = lines
        }
    }

    private struct Case {
        let violates: String
        let processes: [Process]

        init(_ violates: String, _ processes: Process...) {
            self.violates = violates
            self.processes = processes
        }
    }

    // MARK: - Lines

    private static func line(
        _ operation: String, _ phase: String? = nil, _ facts: JSONObject
    )
        -> JSONObject
    {
        var line: JSONObject = ["op": .string(operation)]
        if let phase { line["ph"] = .string(phase) }
        for member in facts.members { line[member.key] = member.value }
        return line
    }

    private static func sent(_ value: String) -> JSONObject {
        line("send", "invoke", ["v": .string(value)])
    }

    private static func acked(_ value: String, at offset: Int64) -> JSONObject {
        line("send", "ok", ["v": .string(value), "k": 0, "off": .integer(offset)])
    }

    private static func drained(_ value: String, at offset: Int64) -> JSONObject {
        line("drain", nil, ["v": .string(value), "k": 0, "off": .integer(offset)])
    }

    private static func begun(_ value: String, at offset: Int64) -> JSONObject {
        line("begin", nil, ["v": .string(value), "k": 0, "gen": 1, "off": .integer(offset)])
    }

    private static func assigned(_ member: String, epoch: Int64) -> JSONObject {
        line("assign", nil, ["m": .string(member), "k": 0, "gen": .integer(epoch), "off": 0])
    }

    private static func commit(_ phase: String, epoch: Int64, to offset: Int64) -> JSONObject {
        line(
            "commit", phase,
            ["n": 1, "k": 0, "gen": .integer(epoch), "off": .integer(offset)])
    }

    /// Of one record.
    private static func delivered(
        _ delivery: Int64, _ offset: Int64, lane: Int64 = 0, asked: Int64 = 1_000_000_000
    ) -> JSONObject {
        line(
            "deliver", nil,
            [
                "k": 0, "d": .integer(delivery), "lane": .integer(lane), "off": .integer(offset),
                "to": .integer(offset + 1), "asked": .integer(asked),
            ])
    }

    private static func settled(_ phase: String, _ verb: String, _ offset: Int64 = 0) -> JSONObject
    {
        line(
            "settle", phase,
            [
                "k": 0, "d": 1, "n": 1, "lane": 0, "f": .string(verb), "off": .integer(offset),
                "to": .integer(offset + 1),
            ])
    }

    private static func accounts(_ group: String, to end: Int64, sum: Int64) -> JSONObject {
        line(
            "accounts", nil,
            [
                "n": 1, "m": .string(group), "k": 0, "off": 0, "to": .integer(end), "log": 0,
                "sum": .integer(sum),
            ])
    }

    private static func deed(_ what: String, _ group: String = "") -> JSONObject {
        line("nemesis", nil, ["f": .string(what), "m": .string(group)])
    }

    private static let replay: JSONObject = ["k": 0, "off": 0, "to": 1]

    // MARK: - Cases

    private static let log = [
        Case("lost-acked", Process("producer", sent("1:0"), acked("1:0", at: 0))),
        Case("read-then-gone", Process("producer", sent("1:0"), acked("1:0", at: 0))),
        Case("unhandled", Process("producer", sent("1:0"), acked("1:0", at: 0))),
        Case(
            "ack-offset",
            Process("producer", sent("1:0"), acked("1:0", at: 0), drained("1:0", at: 1))),
        Case(
            "duplicate",
            Process("producer", sent("1:0"), drained("1:0", at: 0), drained("1:0", at: 1))),
        Case(
            "failed-visible",
            Process(
                "producer", sent("1:0"), line("send", "fail", ["v": "1:0"]), drained("1:0", at: 0))
        ),
        Case(
            "offset-conflict",
            Process(
                "producer", sent("1:0"), sent("1:1"), acked("1:0", at: 0), drained("1:1", at: 0))),
        Case("phantom", Process("driver", drained("1:0", at: 0))),
        Case(
            "order-producer",
            Process(
                "producer", sent("1:0"), sent("1:1"), drained("1:1", at: 0), drained("1:0", at: 1))
        ),
        Case(
            "hw-monotone",
            Process(
                "driver", accounts("notify", to: 9, sum: 9), accounts("notify", to: 8, sum: 8))),
        Case("liveness", Process("producer", sent("1:0"), line("end", nil, [:]))),
        Case(
            "resource",
            Process(
                "driver", line("resource", nil, ["fds": 20, "bytes": 1_000]),
                line("resource", nil, ["fds": 20_000, "bytes": 1_000]))),
    ]

    private static let stream = [
        Case("order-poll", Process("serial", assigned("a", epoch: 1), begun("1:1", at: 1))),
        Case(
            "key-order",
            Process("key", assigned("a", epoch: 1), begun("1:0", at: 0), begun("1:1", at: 1))),
        Case(
            "double-owner", Process("serial", assigned("a", epoch: 1)),
            Process("serial", assigned("b", epoch: 1))),
        Case("commit-ahead", Process("serial", commit("invoke", epoch: 1, to: 5))),
        Case(
            "stale-commit",
            Process(
                "serial", assigned("a", epoch: 2), commit("invoke", epoch: 1, to: 0),
                commit("ok", epoch: 1, to: 0))),
        Case(
            "commit-monotone",
            Process(
                "serial", assigned("a", epoch: 1), commit("invoke", epoch: 1, to: 5),
                commit("ok", epoch: 1, to: 5), line("committed", "invoke", ["n": 1]),
                line("committed", "ok", ["n": 1, "k": 0, "off": 3]))),
        Case(
            "parked-order",
            Process(
                "producer", sent("1:0"), sent("1:1"), acked("1:0", at: 0), acked("1:1", at: 1)),
            Process("parking", begun("1:1", at: 1))),
        Case("group-progress", Process("driver", line("end", nil, ["f": "3 left"]))),
        Case("member-ended", Process("driver", line("ended", nil, ["f": "no words"]))),
    ]

    private static let queues = [
        Case("double-lease", Process("queue", delivered(1, 0), delivered(2, 0))),
        Case(
            "handled-once-after-ack",
            Process(
                "queue", delivered(1, 0), settled("invoke", "done"), settled("ok", "done"),
                delivered(2, 0, asked: 3_000_000_000))),
        Case("dead-letter-lost", Process("queue", delivered(1, 0), settled("ok", "failed"))),
        Case(
            "ack-of-dead",
            Process("queue", delivered(1, 0), settled("invoke", "done"), settled("ok", "done")),
            Process("driver", line("listed", nil, ["m": "notify", "k": 0, "off": 0]))),
        Case(
            "paused-grant", Process("driver", deed("pause", "notify")),
            Process("queue", delivered(1, 0, asked: 3_000_000_000))),
        Case("accounts", Process("driver", accounts("notify", to: 10, sum: 9))),
        Case(
            "queue-key-order",
            Process(
                "producer", sent("1:0"), sent("1:1"), acked("1:0", at: 0), acked("1:1", at: 1)),
            Process("ordered", delivered(1, 0), delivered(2, 1))),
        Case(
            "rescued", Process("passing", delivered(1, 0), settled("ok", "begin")),
            Process(
                "driver", line("committed", "invoke", ["n": 1]), accounts("late", to: 1, sum: 1))),
        Case("replay-stray", Process("queue", delivered(1, 0, lane: 1))),
        Case(
            "replay-lost",
            Process("driver", line("replay", "invoke", replay), line("replay", "ok", replay))),
    ]

    // MARK: - Tests

    private struct Checked {
        let ending: ChildProcess.Ending?
        /// What was found against each, by name.
        let found: [String: Int]
        let output: String
    }

    private static func check(_ processes: [Process]) throws -> Checked {
        let folder = try TemporaryDirectory("history")
        var files: [String] = []
        // One millisecond after the other, over all processes.
        var time: Int64 = 1_000_000_000
        for (number, process) in processes.enumerated() {
            var bytes: [UInt8] = []
            for var object in [line("start", nil, ["f": .string(process.kind)])] + process.lines {
                object["t"] = .integer(time)
                time += 1_000_000
                JSONWriter.append(.object(object), to: &bytes)
                bytes.append(10)
            }
            let file = folder.path("\(number).jsonl")
            try RunningBroker.write(String(decoding: bytes, as: UTF8.self), to: file)
            files.append(file)
        }
        let run = try Programs.run(Programs.verify, ["history-check"] + files)
        var found: [String: Int] = [:]
        for line in run.output.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count >= 4, words[0].hasSuffix(":"), words[2] == "in",
                let count = Int(words[1])
            else { continue }
            found[String(words[0].dropLast())] = count
        }
        return Checked(ending: run.ending, found: found, output: run.output)
    }

    @Test
    func `for everything that the history checker looks at there is a history that it refuses`()
        throws
    {
        let cases = Self.log + Self.stream + Self.queues
        for one in cases {
            let checked = try Self.check(one.processes)
            #expect(checked.ending == .exited(1), "\(one.violates): \(checked.output)")
            #expect(
                checked.found[one.violates] ?? 0 > 0, "\(one.violates): \(checked.output)")
            // What is printed is all that there is.
            #expect(Set(cases.map(\.violates)) == Set(checked.found.keys))
        }
    }

    @Test func `a history in which nothing happened proves nothing`() throws {
        let checked = try Self.check([])
        #expect(checked.ending == .exited(2) && checked.output.hasSuffix("INCONCLUSIVE\n"))
        let silent = try Self.check([Process("driver"), Process("producer"), Process("queue")])
        #expect(silent.ending == .exited(2) && silent.output.contains("never looked at: accounts"))
        #expect(silent.found.values.allSatisfy { $0 == 0 })
    }
}
