import Glibc
import MartletSystem
import MartletTestSupport
import Testing

/// What happened to groups, as people see it.
@Suite struct GroupEventToolTests {
    /// Waits until the tool shows so many lines of the type.
    private func lines(
        _ bench: ToolBench, _ type: String, _ count: Int
    ) throws -> [Substring] {
        var found: [Substring] = []
        let isThere = try eventually(seconds: 30) {
            found = try bench.run("group", "events", "-o", "jsonl", "--type", type).output
                .split(separator: "\n")
            return found.count >= count
        }
        #expect(isThere && found.count == count, "\(found)")
        return found
    }

    @Test func `what was told of groups outlives a kill, and what may be missing is said`() throws {
        var bench = try ToolBench("events")
        try bench.run("topic", "create", "t", "--partitions", "1")
        try bench.run("group", "create", "g", "-t", "t")
        try bench.run("group", "pause", "g")
        let before = try lines(bench, "group.", 2)
        // A follower sees what comes.
        let follower = try bench.start([
            "group", "events", "g", "-f", "-o", "table", "--type", "group.resumed",
        ])
        try bench.run("group", "resume", "g")
        #expect(eventually(seconds: 30) { follower.output.contains("group.resumed") })
        #expect(follower.output.contains("client martlet-cli"))
        follower.kill(SIGINT)
        _ = follower.wait()
        #expect(bench.broker.end(SIGKILL) == .killed(signal: SIGKILL))
        bench = try ToolBench(bench)
        let missed = try lines(bench, "events.missed", 1)
        #expect(missed.allSatisfy { $0.contains("\"reason\":\"crash\"") })
        let after = try lines(bench, "group.", 3)
        #expect(Array(after.prefix(2)) == before)
        let tail = try bench.run("tail", "$group-events", "--from", "earliest", "-o", "jsonl")
        #expect(tail.output.split(separator: "\n").count == 4)
        #expect(tail.output.contains("\"key\":\"g\""))
        let other = try bench.run("group", "events", "h", "-o", "jsonl").output
        #expect(other.split(separator: "\n").count == 1)
    }
}
