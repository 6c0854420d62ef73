import Glibc
import MartletSystem
import MartletTestSupport
import Testing

/// A record that ends each process that handles it.
@Suite struct PoisonTests {
    @Test func `a record that kills its process at once is set aside, and nothing is left over`()
        throws
    {
        let bench = try ToolBench("poison")
        try bench.run("topic", "create", "t", "--partitions", "1")
        try bench.run("produce", "t", "-K", ":", input: "a:1\nb:2\nbad:poison\nc:3\nd:4\n")
        try bench.run("group", "create", "q", "--queue", "earliest")
        let words = ["doomed-member", bench.broker.listen.description, "q", "t"]
        var kills = 0
        var letters = ""
        while letters.isEmpty, kills < 8 {
            let member = try bench.start(words, program: Programs.verify)
            #expect(
                try eventually {
                    letters = try bench.run("dlq", "list", "q", "--key", "bad", "-o", "name").output
                    return member.ending != nil || !letters.isEmpty
                })
            guard letters.isEmpty else { break }
            #expect(member.ending == .killed(signal: SIGKILL), "\(member.errorOutput)")
            kills += 1
        }
        // The first start may have ended the process before the broker could hear of it.
        #expect((3...4).contains(kills), "it took \(kills)")
        let letter = try bench.run("dlq", "list", "q", "--key", "bad", "-o", "json").output
            .filter { !$0.isWhitespace }
        #expect(letter.contains("\"attempts\":3"), "\(letter)")
        // Whatever was begun beside it each time may have gone the same way; nothing is left over.
        let last = try bench.start(words, program: Programs.verify)
        #expect(
            try eventually(seconds: 20) {
                let group = try bench.run("group", "describe", "q", "-o", "json").output
                    .filter { !$0.isWhitespace }
                return group.contains("\"inFlight\":0,\"ready\":0") && group.contains("\"lag\":0")
            })
        #expect(last.ending == nil)
    }

    @Test(arguments: ["serial", "perKey"])
    func `a record of a stream that kills each of its owners is set aside, and no other`(
        _ handling: String
    ) throws {
        let bench = try ToolBench("poison-\(handling)")
        try bench.run("topic", "create", "t", "--partitions", "1")
        let records = (1...9).map { "k\($0):\($0)\n" } + ["bad:poison\n"]
        let more = (10...30).map { "k\($0 % 7):\($0)\n" }
        try bench.run("produce", "t", "-K", ":", input: (records + more).joined())
        try bench.run("group", "create", "g")
        let words = ["doomed-member", bench.broker.listen.description, "g", "t", handling]
        var kills = 0
        var done: Set<Int> = []
        func isDone() throws -> Bool {
            let group = try bench.run("group", "describe", "g", "-o", "json").output
                .filter { !$0.isWhitespace }
            return group.contains("\"committed\":31")
        }
        var isOver = false
        while !isOver, kills < 8 {
            let member = try bench.start(words, program: Programs.verify)
            #expect(
                try eventually(seconds: 30) {
                    isOver = try isDone()
                    return isOver || member.ending != nil
                })
            done.formUnion(member.output.split(separator: "\n").compactMap { Int($0) })
            guard !isOver else { break }
            #expect(member.ending == .killed(signal: SIGKILL), "\(member.errorOutput)")
            kills += 1
        }
        #expect(done == Set(1...30))
        // The first owner was not suspected yet.
        #expect(kills == 4)
        let letters = try bench.run("dlq", "list", "g", "-o", "json").output
            .filter { !$0.isWhitespace }
        #expect(letters.contains("\"attempts\":3") && letters.contains("\"offset\":9"))
        let names = try bench.run("dlq", "list", "g", "-o", "name").output
        #expect(names.split(separator: "\n").count == 1, "\(letters)")
    }
}
