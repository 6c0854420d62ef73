import MartletJSON
import MartletSystem
import MartletTestSupport
import Testing

/// A record of a queue that rots on the disk, with a real member.
@Suite struct QueueDamageTests {
    /// Changes a bit of the record with this value, wherever it lies.
    private static func damage(_ value: String, in folder: TemporaryDirectory) throws {
        let files = PosixFileSystem()
        let topics = folder.path("data/topics")
        for topic in try files.list(topics) {
            let partition = "\(topics)/\(topic)/0"
            guard let names = try? files.list(partition) else { continue }
            for name in names where name.hasSuffix(".log") {
                let file = try files.open("\(partition)/\(name)", .readWrite)
                var bytes = [UInt8](repeating: 0, count: 4_096)
                let count = try unsafe bytes.withUnsafeMutableBytes { buffer throws(SystemError) in
                    try unsafe file.read(into: buffer, at: 0)
                }
                guard let found = bytes.prefix(count).firstRange(of: Array(value.utf8)) else {
                    continue
                }
                let changed = [bytes[found.lowerBound] ^ 0x10]
                try unsafe changed.span.withUnsafeBytes { bytes throws(SystemError) in
                    try unsafe file.write(bytes, at: Int64(found.lowerBound))
                }
                return
            }
        }
        Issue.record("no record has the value \(value)")
    }

    @Test func `a rotten record of a queue stays with nobody, and all others are handled`() throws {
        let bench = try ToolBench("queue-damage")
        try bench.run("topic", "create", "t", "--partitions", "1")
        for value in ["first", "second", "third"] {
            try bench.run("produce", "t", input: value + "\n")
        }
        try bench.run("group", "create", "q", "--queue", "earliest", "--topic", "t")
        try Self.damage("second", in: bench.folder)
        let member = try bench.start(
            ["doomed-member", bench.broker.listen.description, "q", "t"], program: Programs.verify)
        func line() throws -> JSONValue? {
            let group = try JSONValue(
                parsing: bench.run("group", "describe", "q", "-o", "json").output)
            return group["queues"]?.arrayValue?.first
        }
        #expect(try eventually(seconds: 30) { try line()?["acked"] == .integer(2) })
        #expect(try line()?["lag"] == .integer(1) && line()?["dead"] == .integer(0))
        // The broker knows of it by the member, and hands it to nobody again.
        let topic = try JSONValue(
            parsing: bench.run("topic", "describe", "t", "-o", "json").output)
        #expect(
            topic["partitions"]?.arrayValue?.first?["damaged"]?.arrayValue?.count == 1,
            "\(JSONWriter.text(topic))")
        // What comes later is handled, too.
        try bench.run("produce", "t", input: "fourth\n")
        #expect(try eventually(seconds: 30) { try line()?["acked"] == .integer(3) })
        try bench.run(
            "topic", "skip-damage", "t", "-p", "0", "--from", "1", "--to", "2", "--execute")
        #expect(try eventually(seconds: 60) { try line()?["lag"] == .integer(0) })
        #expect(try line()?["acked"] == .integer(3) && line()?["expired"] == .integer(0))
        #expect(member.ending == nil, "\(member.errorOutput)")
    }
}
