import Glibc
import MartletJSON
import MartletSystem
import MartletTestSupport
import Testing

/// `martlet` as people and scripts use it, against a real broker.
@Suite struct ToolTests {
    private let bench: ToolBench

    init() throws { bench = try ToolBench("tool") }

    private func lines(_ text: String) -> [String] {
        text.split(separator: "\n").map(String.init)
    }

    @Test func `what is produced is read in every form`() throws {
        try bench.run("topic", "create", "t", "--partitions", "1")
        try bench.run(
            "produce", "t", "-K", ":", "-H", "source=test", input: "k1:one\nk2:two\nno key\n")
        try bench.run(
            "produce", "t", "--format", "jsonl",
            input: #"{"key":"k3","value":{"n":1},"headers":{"a":"b"},"timestamp":5}"# + "\n")
        let raw = try bench.run("tail", "t", "--from", "earliest", "-e", "-o", "raw").output
        #expect(lines(raw) == ["one", "two", "no key", #"{"n":1}"#])
        let document = try JSONValue(
            parsing: bench.run("tail", "t", "--from", "earliest", "-o", "json").output)
        let records = try #require(document.arrayValue)
        #expect(records.map { $0["key"]?.stringValue } == ["k1", "k2", nil, "k3"])
        let jsonLines = lines(try bench.run("tail", "t", "--from", "earliest", "-e").output)
        #expect(try jsonLines.map { try JSONValue(parsing: $0) } == records)
        let table = lines(try bench.run("tail", "t", "-n", "2", "-o", "table").output)
        #expect(table.count == 3 && table[0].hasPrefix("TIME"))
        let format = "%p %o %k %v %h{source}\\n"
        let custom = try bench.run("tail", "t", "--from", "1", "-c", "1", "--format", format).output
        #expect(custom == "0 1 k2 two test\n")
        let last = try bench.run("tail", "t", "--from", "-1", "-e", "-o", "raw").output
        #expect(last == "{\"n\":1}\n")
        let empty = try bench.run("tail", "t", "--from", "latest", "-e", "-o", "json").output
        #expect(try JSONValue(parsing: empty).arrayValue?.isEmpty == true)
        // What was read can be written again.
        try bench.run("topic", "create", "again")
        let copy = jsonLines.joined(separator: "\n")
        try bench.run("produce", "again", "--format", "jsonl", input: copy)
        #expect(
            try bench.run("tail", "again", "--from", "earliest", "-e", "-o", "raw").output == raw)
    }

    @Test func `a bad line is named and what came before it is written`() throws {
        try bench.run("topic", "create", "t", "--partitions", "2")
        let torn = try bench.run(
            "produce", "t", "--format", "jsonl", input: "{\"value\":\"1\"}\n{\"value\":\n",
            expect: 2)
        #expect(torn.errors.hasPrefix("martlet: line 2, column "))
        let unknown = try bench.run(
            "produce", "t", "--format", "jsonl", input: "{\"value\":\"2\"}\n\n{\"kee\":\"x\"}\n",
            expect: 2)
        #expect(unknown.errors == "martlet: line 3: unknown field 'kee'; did you mean 'key'?\n")
        let nowhere = try bench.run(
            "produce", "t", "--format", "jsonl", input: "{\"value\":\"3\",\"partition\":7}\n",
            expect: 3)
        #expect(nowhere.errors.contains("partition 7"))
        let read = try bench.run("tail", "t", "--from", "earliest", "-e", "-o", "raw").output
        #expect(lines(read).sorted() == ["1", "2"])
    }

    @Test func `the first record that is refused ends the input`() throws {
        try bench.run("topic", "create", "t", "--set", "cleanup=compact", "--partitions", "1")
        for flags in [[], ["-v", "-o", "json"]] {
            let child = try bench.start(["produce", "t", "-K", ":"] + flags)
            // Its input stays open. Without a key nothing can be kept of the second.
            try child.write("k:1\nno key\n")
            #expect(child.wait() == .exited(4), "\(child.errorOutput)")
            #expect(child.errorOutput.contains(" not\n"), "\(child.errorOutput)")
            #expect(child.errorOutput.contains("(INVALID_RECORD)"))
            if !flags.isEmpty {
                #expect(try JSONValue(parsing: child.output).arrayValue != nil)
            }
        }
    }

    @Test func `Ctrl-C ends a produce with what was read sent and counted`() throws {
        try bench.run("topic", "create", "t", "--partitions", "1")
        let child = try bench.start(["produce", "t", "-v", "-o", "json"])
        // The receipts come before the input ends.
        try child.write("a\n")
        #expect(child.waitForOutput("\"offset\":0"))
        try child.write("b\nc without an end")
        #expect(child.waitForOutput("\"offset\":1"))
        child.kill(SIGINT)
        #expect(child.wait() == .exited(1))
        #expect(
            child.errorOutput == "martlet: interrupted: 2 records acknowledged, 0 not\n")
        #expect(try JSONValue(parsing: child.output).arrayValue?.count == 2)
        let read = try bench.run("tail", "t", "--from", "earliest", "-e", "-o", "raw").output
        #expect(read == "a\nb\n")
    }

    @Test func `a trim that one partition refuses tells what became of each`() throws {
        try bench.run("topic", "create", "t", "--partitions", "2")
        try bench.run("produce", "t", "-p", "0", input: "a\nb\nc\n")
        try bench.run("produce", "t", "-p", "1", input: "a\n")
        let dry = try bench.run("topic", "trim", "t", "--before", "2", "--dry-run", "-o", "json")
        #expect(
            try JSONValue(parsing: dry.output).arrayValue?.map { $0["after"]?.integerValue }
                == [2, 0])
        #expect(
            dry.errors == "partition 1 would be refused: it ends at 1\ndry run: nothing was done\n")
        let (output, errors) = try bench.run(
            "topic", "trim", "t", "--before", "2", "--yes", "-o", "json", expect: 3)
        let rows = try #require(try JSONValue(parsing: output).arrayValue)
        #expect(rows.map { $0["after"]?.integerValue } == [2, 0])
        #expect(rows.map { $0["error"]?.stringValue } == [nil, "OFFSET_OUT_OF_RANGE"])
        #expect(errors.contains("martlet: partition 1 is not trimmed\n"))
    }

    @Test func `a follower of a broker that is not there is told`() throws {
        let child = try bench.start(["tail", "t", "-f", "--server", "127.0.0.1:1"])
        #expect(child.wait(seconds: 40) == .exited(7), "\(child.errorOutput)")
    }

    @Test func `errors have their exit codes and one line each`() throws {
        #expect(try bench.run("--version").output == bench.run("version").output)
        try bench.run("topic", "create", "t")
        for (words, code, text) in [
            (["topic", "create", "t"], 6, "--if-not-exists"),
            (["tail", "nosuch"], 3, "martlet topic list"),
            (["topic", "describe", "tt"], 3, "did you mean 't'?"),
            (["tail", "t", "--from", "9"], 3, "partition 0 ends at 0 (OFFSET_OUT_OF_RANGE)"),
            (["topic", "add-partitions", "t", "3"], 2, "did you mean '--total 3'?"),
            (["topic", "lits"], 2, "did you mean 'list'?"),
            (["tail", "t", "--from", "soon"], 2, "@TIME"),
            (["topic", "delete", "t"], 2, "--yes"),
            (["topic", "set", "t", "retenton.time=1d"], 2, "did you mean 'retention.time'?"),
            (["topic", "add-partitions", "t", "--total", "1", "--dry-run"], 2, "1 partition"),
            (["status", "--server", "127.0.0.1:1"], 7, "is martletd running there?"),
            (["status", "--server", "no.such.invalid:1"], 7, "its name does not resolve"),
            (["dump", "segment", "/nosuch"], 3, "/nosuch"),
        ] as [([String], Int32, String)] {
            let child = try bench.start(words)
            child.closeInput()
            #expect(child.wait() == .exited(code), "\(words): \(child.errorOutput)")
            #expect(child.errorOutput.contains(text), "\(words): \(child.errorOutput)")
            #expect(lines(child.errorOutput).count == 1)
            #expect(child.output.isEmpty)
        }
    }

    @Test func `JSON is JSON, and without asking for it people get text`() throws {
        try bench.run("topic", "create", "t", "--partitions", "2")
        try bench.run("produce", "t", input: "a\n")
        for words in [
            ["topic", "list"], ["topic", "describe", "t"], ["topic", "verify", "t"],
            ["offsets", "t"], ["status"], ["doctor"], ["help", "errors"],
        ] {
            let child = try bench.start(words + ["-o", "json"])
            #expect(child.wait() == .exited(0))
            #expect(throws: Never.self) { _ = try JSONValue(parsing: child.output) }
            #expect(!child.errorOutput.contains("martlet:"), "\(child.errorOutput)")
            let plain = try bench.start(words)
            #expect(plain.wait() == .exited(0))
            #expect(!plain.output.hasPrefix("{") && !plain.output.hasPrefix("["))
            #expect(!plain.output.utf8.contains(0x1B), "no colour where no terminal is")
        }
    }

    @Test func `a reader that goes away ends it quietly`() throws {
        try bench.run("topic", "create", "t")
        let many = (0..<50_000).map { "line \($0)\n" }.joined()
        try bench.run("produce", "t", input: many)
        for flags in ["-e", "-f"] {
            let script =
                "\"$MARTLET\" tail t --from earliest \(flags) -o raw | head -n 1; "
                + "echo \"${PIPESTATUS[*]}\""
            let child = try bench.start(["-c", script], program: "/bin/bash")
            #expect(child.wait() == .exited(0))
            #expect(child.output == "line 0\n0 0\n")
            #expect(child.errorOutput.isEmpty, "\(child.errorOutput)")
        }
    }

    @Test func `a group goes on where its last reader ended`() throws {
        try bench.run("topic", "create", "t", "--partitions", "1")
        try bench.run("produce", "t", input: (0..<10).map { "\($0)\n" }.joined())
        for start in [0, 4] {
            let words = ["tail", "t", "--group", "g", "--from", "earliest", "-o", "raw"]
            let child = try bench.start(words + ["-c", "4"])
            #expect(child.wait() == .exited(0), "\(child.errorOutput)")
            #expect(lines(child.output) == (start..<start + 4).map { "\($0)" })
        }
        let group = try JSONValue(parsing: bench.run("group", "describe", "g", "-o", "json").output)
        #expect(group["lag"]?.integerValue == 2)
        #expect(group["partitions"]?.arrayValue?.first?["committed"]?.integerValue == 8)
        #expect((group["lagSeconds"]?.doubleValue ?? -1) >= 0)
        #expect((group["headroomSeconds"]?.doubleValue ?? 0) > 600_000)
        #expect(group["partitions"]?.arrayValue?.first?["headroomBytes"] == .null)
        #expect(try bench.run("group", "list", "-o", "name").output == "g\n")
        try bench.run("group", "describe", "g")
        try bench.run("group", "create", "g", expect: 6)
        let member = try bench.start(["tail", "t", "--group", "g"])
        #expect(member.waitForErrorOutput("reading t/0"))
        let dry = try bench.run("group", "delete", "g", "--dry-run").errors
        #expect(dry.contains("it would be refused: it has 1 member: stop it first"))
        let refused = try bench.run("group", "delete", "g", "--yes", expect: 4).errors
        #expect(refused.contains("the group has 1 member; stop it first"))
        member.kill(SIGINT)
        #expect(member.wait() == .exited(0))
        try bench.run("group", "delete", "g", "--yes")
        try bench.run("group", "describe", "g", expect: 3)
        try bench.run("tail", "t", "--group", "g", "--until", "end", expect: 2)
    }

    @Test func `a check of a group's lag ends as monitoring systems want it`() throws {
        func check(_ words: String..., expect code: Int32) throws -> String {
            let child = try bench.start(["check", "group-lag"] + words)
            child.closeInput()
            #expect(child.wait() == .exited(code), "\(words): \(child.errorOutput)")
            return child.output
        }
        #expect(
            try check("g", "--warn", "1", expect: 3).hasPrefix("LAG UNKNOWN: there is no group 'g'")
        )
        #expect(try check("g", "--warm", "1", expect: 3).isEmpty)
        try bench.run("topic", "create", "t", "--partitions", "1")
        try bench.run("produce", "t", input: "a\nb\nc\n")
        let child = try bench.start(["tail", "t", "--group", "g", "--from", "earliest", "-c", "1"])
        #expect(child.wait() == .exited(0), "\(child.errorOutput)")
        let fine = try check("g", "--warn", "2", "--crit", "9", "--warn-headroom", "1h", expect: 0)
        #expect(fine.hasPrefix("LAG OK: group g is 2 records behind, the oldest "))
        #expect(fine.contains(", without members | lag=2;2;9;0 age=") && fine.hasSuffix(";0\n"))
        #expect(fine.contains(" headroom=") && fine.contains("s;3600:;;0"))
        #expect(try check("g", "--warn", "1", "--crit", "9", expect: 1).contains("LAG WARNING"))
        #expect(try check("g", "--warn", "0", "--crit", "1", expect: 2).contains("LAG CRITICAL"))
        #expect(try check("g", "--crit-headroom", "30d", expect: 2).contains("LAG CRITICAL"))
        // With a unit or without.
        let headroom = "\(30 * 86_400)"
        #expect(try check("g", "--warn-headroom", headroom, expect: 1).contains("LAG WARNING"))
        let ages = try check("g", "--warn-seconds", "900", "--crit-seconds", "5h", expect: 0)
        #expect(ages.contains("s;900;18000;0"))
        #expect(try check("g", "--crit-seconds", "soon", expect: 3).isEmpty)
        #expect(try check("g", "--crit-seconds=-1", expect: 3).isEmpty)
        // Whatever else is wrong, the group is named once.
        let away = try bench.start([
            "check", "group-lag", "g", "--server", "127.0.0.1:1", "--connect-timeout", "100ms",
        ])
        #expect(away.wait() == .exited(3))
        #expect(away.output.hasPrefix("LAG UNKNOWN: group g: No broker answers"))
    }

    @Test func `a topic that is kept until it is consumed says who holds it`() throws {
        try bench.run(
            "topic", "create", "t", "--partitions", "1", "--set", "retention.mode=until-consumed")
        try bench.run("group", "create", "g")
        let text = try bench.run("topic", "describe", "t").output
        #expect(text.contains("consumed: partition 0, up to 0, held by group g"))
        let json = try JSONValue(parsing: bench.run("topic", "describe", "t", "-o", "json").output)
        #expect(json["partitions"]?[0]?["heldBy"]?.stringValue == "g")
        let dry = try bench.run(
            "topic", "set", "t", "retention.mode=limits", "--dry-run", expect: 2)
        #expect(dry.errors == "dry run: nothing was done\n")
        try bench.run("topic", "set", "t", "retention.mode=limits")
        #expect(try !bench.run("topic", "describe", "t").output.contains("held by"))
        try bench.run("topic", "set", "t", "retention.mode=sometimes", expect: 2)
    }

    @Test func `a group is paused, reset by a plan, and goes on there`() throws {
        try bench.run("topic", "create", "t", "--partitions", "1")
        try bench.run("produce", "t", input: (0..<10).map { "\($0)\n" }.joined())
        let tail = ["tail", "t", "--group", "g", "--from", "earliest", "-o", "raw"]
        #expect(try bench.start(tail + ["-c", "6"]).wait() == .exited(0))
        try bench.run("group", "pause", "g", "--topic", "t:0")
        let paused = try JSONValue(
            parsing: bench.run("group", "describe", "g", "-o", "json").output)
        #expect(paused["pauses"]?.arrayValue?.first?["topic"]?.stringValue == "t")
        #expect(paused["partitions"]?.arrayValue?.first?["isPaused"] == .boolean(true))
        let reset = ["group", "reset", "g"]
        try bench.run("group", "reset", "g", "--to", "earliest", expect: 2)
        try bench.run("group", "reset", "g", "-t", "t", expect: 2)
        try bench.run("group", "reset", "g", "-t", "t:4", "--to", "3", expect: 3)
        let shown = try bench.run("group", "reset", "g", "-t", "t", "--to", "4711")
        #expect(shown.output.contains("4711 is above the log's end"))
        #expect(shown.errors.contains("dry run"))
        let child = try bench.start(reset + ["-t", "t:0", "--shift", "-2", "-o", "json"])
        #expect(child.wait() == .exited(0), "\(child.errorOutput)")
        let plan = child.output
        let line = try JSONValue(parsing: plan)["plan"]?[0]
        #expect(line?["from"]?.integerValue == 6 && line?["to"]?.integerValue == 4)
        // Nothing was done yet; the plan is kept, and given back.
        try bench.run("group", "reset", "g", "--plan", "-", input: plan)
        try bench.run("group", "reset", "g", "--plan", "-", "--execute", input: plan)
        let again = try bench.run(
            "group", "reset", "g", "--plan", "-", "--execute", input: plan, expect: 6)
        #expect(again.errors.contains("RESET_OUTDATED"))
        try bench.run("group", "resume", "g")
        let rest = try bench.start(tail + ["-c", "6"])
        #expect(rest.wait() == .exited(0), "\(rest.errorOutput)")
        #expect(lines(rest.output) == (4..<10).map { "\($0)" })
    }

    @Test func `Ctrl-C ends a tail in order`() throws {
        try bench.run("topic", "create", "t")
        try bench.run("produce", "t", input: "a\n")
        let child = try bench.start(["tail", "t", "--from", "earliest", "-f", "-o", "json"])
        #expect(child.waitForOutput("\"a\""))
        child.kill(SIGINT)
        #expect(child.wait() == .exited(0))
        #expect(try JSONValue(parsing: child.output).arrayValue?.count == 1)
        #expect(child.errorOutput.isEmpty, "\(child.errorOutput)")
    }

    @Test func `the doctor knows the disk, its syncs and odd settings`() throws {
        try bench.run("topic", "create", "t")
        try bench.run("produce", "t", input: "a\n")
        let report = try JSONValue(parsing: bench.run("doctor", "-o", "json").output)
        let figures = report["figures"]?.arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
        for name in ["disk.available", "sync.mean", "sync.p99.below", "process.descriptors"] {
            #expect(figures.contains(name), "no figure \(name)")
        }
        let odd = try TemporaryDirectory("odd")
        let lenient = try RunningBroker(
            in: odd, environment: ["MARTLET_TOPIC_DURABILITY": "written"])
        let server = lenient.listen.description
        let text = try bench.run("doctor", "--server", server).output
        #expect(text.contains("(written-by-default)"))
        #expect(text.contains("last start: nothing had to be put right"))
        try bench.run("doctor", "--strict", "--server", server, expect: 2)
    }

    @Test func `bash completes commands, values and topics`() throws {
        let script = """
            source <("$MARTLET" completion bash)
            ask() {
                COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); line="$*"; COMP_LINE="${line// : /:}"
                _martlet martlet
                echo "${COMPREPLY[*]}"
            }
            ask martlet topic cr
            ask martlet produce t --acks dur
            ask martlet t cr
            ask martlet tail t --format ''
            ask martlet tail -n 5 na
            ask martlet topic set other na
            ask martlet group describe cr
            ask martlet dlq show c
            ask martlet dlq show crew na
            ask martlet check group-lag cr
            ask martlet tail named --group cr
            ask martlet g pause crew --topic na
            ask martlet replay --to crew -t na
            ask martlet group create c
            ask martlet tail named --group = cr
            ask martlet produce t --acks =
            ask martlet -s "${MARTLET_SERVER%:*}" : "${MARTLET_SERVER#*:}" t describe na
            server="$MARTLET_SERVER"; unset MARTLET_SERVER
            ask martlet -s "$server" t describe na
            """
        try expectCompletion(
            ["bash", "-c", script],
            """
            create
            durable
            create

            named

            crew
            crew

            crew
            crew
            named
            named

            crew
            none written durable
            named
            named

            """)
    }

    /// Outside of a line that is edited its `compgen` does not filter.
    @Test func `zsh completes commands, values and topics`() throws {
        let script = """
            autoload -U compinit; compinit -u -D
            source <("$MARTLET" completion zsh)
            ask() {
                emulate -L ksh
                COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"
                _martlet
                print -r -- "${COMPREPLY[*]}"
            }
            ask martlet tail t -o ''
            ask martlet -s "$MARTLET_SERVER" t describe na | tr ' ' '\\n' | tail -n 1
            ask martlet dlq list cr | tr ' ' '\\n' | tail -n 1
            ask martlet tail named --group cr
            """
        try expectCompletion(
            ["zsh", "-f", "-c", script], "table json jsonl raw\nnamed\ncrew\ncrew\n")
    }

    @Test func `fish completes commands, values and topics, and files where one is wanted`() throws
    {
        let script = """
            source ("$MARTLET" completion fish | psub)
            set -l here (mktemp -d)
            mkdir $here/folder
            cd $here
            for line in 'topic cr' 'tail t -o ' 'tail --from ' 'bench disk --data '
                complete -C "martlet $line" | cut -f 1
            end
            set -l server $MARTLET_SERVER
            set -e MARTLET_SERVER
            complete -C "martlet -s $server t describe na"
            complete -C "martlet -s $server g describe cr"
            complete -C "martlet -s $server replay --to cr" | cut -f 1
            complete -C "martlet -s $server group reset crew --topic na" | cut -f 1
            rm -r $here
            """
        try expectCompletion(
            ["fish", "--no-config", "-c", script],
            "create\njson\njsonl\nraw\ntable\nearliest\nlatest\nfolder/\nnamed\ncrew\ncrew\nnamed\n"
        )
    }

    /// With a topic called `named`, a group called `crew`, and `martlet` on the path.
    private func expectCompletion(_ shell: [String], _ expected: String) throws {
        try bench.run("topic", "create", "named")
        try bench.run("group", "create", "crew")
        let path = "PATH=\"$(dirname \"$MARTLET\"):$PATH\" exec \"$@\""
        let child = try bench.start(["-c", path, "sh"] + shell, program: "/bin/sh")
        #expect(child.wait() == .exited(0), "\(child.errorOutput)")
        #expect(child.output == expected, "\(child.errorOutput)")
    }
}
