import Glibc
import MartletJSON
import MartletTestSupport
import Testing

/// The same messages sent again over `kill -9`, by the tool.
@Suite struct MessageIDTests {
    private static func lines(_ numbers: Range<Int>) -> String {
        numbers.map { number in
            "{\"key\":\"k\",\"value\":\"\(number)\",\"headers\":{\"message-id\":\"m\(number)\"}}\n"
        }.joined()
    }

    @Test func `messages that a program sends again after kill -9 are stored once`() throws {
        var bench = try ToolBench("message-ids")
        try bench.run("topic", "create", "t", "--set", "deduplication.window=10m")
        let shown = try bench.run("topic", "describe", "t", "-o", "json").output
        #expect(shown.contains("600000"), "\(shown)")
        try bench.run("produce", "t", "--format", "jsonl", input: Self.lines(0..<50))
        for life in 1...3 {
            #expect(bench.broker.end(SIGKILL) == .killed(signal: SIGKILL))
            bench = try ToolBench(bench)
            let again = try bench.run(
                "produce", "t", "--format", "jsonl", input: Self.lines(0..<(50 + life * 10)))
            #expect(
                again.errors.contains(
                    "10 records written to t, \(40 + life * 10) duplicates left out"),
                "\(again.errors)")
        }
        let receipts = try bench.run(
            "produce", "t", "--format", "jsonl", "-v", "-o", "jsonl", input: Self.lines(3..<4))
        #expect(receipts.output.contains("\"offset\":3,"), "\(receipts.output)")
        #expect(receipts.output.contains("\"isDuplicate\":true"), "\(receipts.output)")
        let values = try bench.run("tail", "t", "--from", "earliest", "-e", "-o", "raw")
        #expect(
            values.output.split(separator: "\n").map(String.init) == (0..<80).map { "\($0)" })
        try bench.run("topic", "verify", "t")
        #expect(try bench.broker.metric("martlet_storage_duplicate_messages_total") == 71)
    }
}
