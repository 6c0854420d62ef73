import Glibc
import MartletJSON
import MartletSystem
import MartletTestSupport
import Testing

/// Each `kill -9` of a `written` topic leaves a gap.
@Suite struct ManyGapsTests {
    @Test func `a written topic is read whole after more kills than one answer names`() throws {
        var bench = try ToolBench("many-gaps")
        try bench.run("topic", "create", "t", "--set", "durability=written")
        let count = 20
        try bench.run("group", "create", "g", "--topic", "t")
        try bench.run("group", "create", "q", "--queue", "earliest", "--topic", "t")
        for number in 0..<count {
            try bench.run("produce", "t", input: "\(number)\n")
            #expect(bench.broker.end(SIGKILL) == .killed(signal: SIGKILL))
            bench = try ToolBench(bench)
        }
        let read = try bench.run("tail", "t", "--from", "earliest", "-e", "-o", "raw")
        #expect(read.output.split(separator: "\n").map(String.init) == (0..<count).map { "\($0)" })
        #expect(
            read.errors.split(separator: "\n").count { $0.contains("hold no records") } == count)
        // Offsets without records are no lag.
        let groups = try JSONValue(parsing: bench.run("group", "list", "-o", "json").output)
        #expect(groups.arrayValue?.first?["lag"] == .integer(Int64(count)))
        let verified = try JSONValue(
            parsing: bench.run("topic", "verify", "t", "-o", "json").output)
        let partition = try #require(verified.arrayValue?.first)
        #expect(partition["records"] == .integer(Int64(count)))
        #expect(partition["damaged"] == [])
        #expect(partition["gaps"]?.arrayValue?.count == count, "\(JSONWriter.text(partition))")
        try expectHandled(count, bench)
    }

    /// A queue is handed the records and nothing else: its accounts say how many there are.
    private func expectHandled(_ count: Int, _ bench: ToolBench) throws {
        let member = try bench.start(
            ["doomed-member", bench.broker.listen.description, "q", "t"], program: Programs.verify)
        var queue: JSONValue?
        #expect(
            try eventually(seconds: 30) {
                let group = try JSONValue(
                    parsing: bench.run("group", "describe", "q", "-o", "json").output)
                queue = group["queues"]?.arrayValue?.first
                return queue?["acked"] == .integer(Int64(count)) && group["lag"] == .integer(0)
            }, "\(queue.map { JSONWriter.text($0) } ?? "none")")
        #expect(queue?["ready"] == .integer(0) && queue?["expired"] == .integer(0))
        #expect(member.ending == nil)
    }
}
