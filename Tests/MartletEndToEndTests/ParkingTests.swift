import Glibc
import MartletSystem
import MartletTestSupport
import Testing

/// A key that fails for good in a stream group, over members and a broker that are killed.
@Suite struct ParkingTests {
    private static let badKey = "k2"

    private static func records(_ offsets: Range<Int>) -> String {
        offsets.map { "k\($0 % 5):\($0)\n" }.joined()
    }

    /// Offsets that the member has told, in order.
    private static func done(_ member: ChildProcess) -> [(key: String, offset: Int)] {
        member.output.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard words.count == 3, words[0] == "done", let offset = Int(words[2]) else {
                return nil
            }
            return (String(words[1]), offset)
        }
    }

    private static func describe(_ bench: ToolBench) throws -> String {
        try bench.run("group", "describe", "g", "-o", "json").output.filter { !$0.isWhitespace }
    }

    /// Runs a member until so much is left, and kills it.
    private static func handle(
        _ bench: ToolBench, failing badKey: String?, left: Int
    ) throws -> [(key: String, offset: Int)] {
        let words = ["failing-member", bench.broker.listen.description, "g", "t"]
        let member = try bench.start(
            words + (badKey.map { [$0] } ?? []), program: Programs.verify)
        var group = ""
        #expect(
            try eventually(seconds: 30) {
                group = try describe(bench)
                return group.contains("\"lag\":\(left),")
            }, "\(member.errorOutput) \(group)")
        #expect(member.ending == nil)
        member.kill(SIGKILL)
        _ = member.wait()
        return done(member)
    }

    @Test func `a parked key waits over kills of members and broker, and comes in order once`()
        throws
    {
        var bench = try ToolBench("parking")
        try bench.run("topic", "create", "t", "--partitions", "1")
        try bench.run("group", "create", "g")
        try bench.run("group", "policy", "g", "--attempts", "1", "--then", "park-key")
        var seen: [(key: String, offset: Int)] = []
        for life in 0..<3 {
            let end = (life + 1) * 50
            try bench.run("produce", "t", "-K", ":", input: Self.records(life * 50..<end))
            seen += try Self.handle(bench, failing: Self.badKey, left: end / 5)
            #expect(seen.map(\.offset).sorted() == (0..<end).filter { $0 % 5 != 2 }, "\(life)")
            #expect(try Self.describe(bench).contains("\"parked\":1"))
            #expect(bench.broker.end(SIGKILL) == .killed(signal: SIGKILL))
            bench = try ToolBench(bench)
        }
        let parked = try bench.run("group", "parked", "g", "-o", "name").output
        #expect(parked == "t:0:2\n")
        try bench.run("group", "release", "g", "t:0:2")
        let last = try Self.handle(bench, failing: nil, left: 0)
        #expect(last.map(\.offset) == (0..<150).filter { $0 % 5 == 2 })
    }
}
