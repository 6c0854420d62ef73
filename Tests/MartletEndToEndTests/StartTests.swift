import MartletJSON
import MartletSystem
import MartletTestSupport
import Testing

/// Command line, configuration and the ready file.
@Suite struct StartTests {
    @Test func `the ready file tells where it serves`() throws {
        let folder = try TemporaryDirectory("ready")
        try RunningBroker.write("{\"listen\":\"of an earlier run\"}", to: folder.path("ready"))
        let broker = try RunningBroker(in: folder)
        let value = try JSONValue(parsing: broker.readyText)
        #expect(value.objectValue?.keys == ["listen", "admin", "pid"])
        #expect(value["pid"]?.integerValue == Int64(broker.child.id))
        #expect(broker.listen.port != 0)
        #expect(broker.admin.port != 0)
        #expect(try broker.get("/readyz").status == 200)
        let names = try PosixFileSystem().list(folder.path)
        #expect(names == ["data", "ready"], "nothing else is left beside it")
    }

    @Test func `the banner names what matters`() throws {
        let folder = try TemporaryDirectory("banner")
        let broker = try RunningBroker(
            in: folder,
            environment: [
                "MARTLET_LISTENER_ALLOW_ANONYMOUS": "true", "MARTLET_LOG_FORMAT": "json",
            ])
        let first = try #require(broker.log.split(separator: "\n").first)
        let line = try JSONValue(parsing: first)
        #expect(line["code"]?.stringValue == "STARTING")
        #expect(line["message"]?.stringValue?.hasPrefix("martletd ") == true)
        #expect(line["fields"]?["data"]?.stringValue == folder.path("data"))
        #expect(line["fields"]?["format"]?.stringValue == "martlet-data 1")
        #expect(!broker.log.contains("OPEN_LISTENER"), "both listeners are on loopback")
    }

    @Test func `an open listener is named at the start`() throws {
        let folder = try TemporaryDirectory("open")
        let refused = try Programs.run(
            Programs.daemon, ["--listen", "0.0.0.0:0", "--data", folder.path("data")])
        #expect(refused.ending == .exited(78))
        #expect(refused.errors.contains("allow-anonymous = true"))

        let child = try ChildProcess(
            Programs.daemon,
            ["--listen", "0.0.0.0:0", "--admin=127.0.0.1:0", "--data", folder.path("data")],
            environment: Programs.environment.merging(["MARTLET_LISTENER_ALLOW_ANONYMOUS": "true"])
            {
                $1
            })
        #expect(child.waitForErrorOutput("SERVING"))
        #expect(child.errorOutput.contains("warning martletd OPEN_LISTENER"))
        #expect(child.errorOutput.contains("listener=listener address=0.0.0.0:0"))
    }

    @Test func `usage errors end with 64`() throws {
        for words in [["--no-such-flag"], ["--listen"], ["--data", "a", "--data", "b"], ["word"]] {
            let run = try Programs.run(Programs.daemon, words)
            #expect(run.ending == .exited(64), "\(words)")
            #expect(run.errors.split(separator: "\n").count == 1, "\(run.errors)")
            #expect(run.errors.contains("martletd --help"))
        }
    }

    @Test func `help and version go to standard output`() throws {
        let help = try Programs.run(Programs.daemon, ["--help"])
        #expect(help.ending == .exited(0))
        for flag in ["--config", "--data", "--listen", "--admin", "--ready-file", "--check"] {
            #expect(help.output.contains(flag))
        }
        let version = try Programs.run(Programs.daemon, ["--version"])
        #expect(version.ending == .exited(0))
        #expect(version.output.hasPrefix("martletd "))
    }

    @Test func `row 22: a wrong configuration is told with line and nearest key`() throws {
        let folder = try TemporaryDirectory("config")
        let file = folder.path("martlet.conf")
        try RunningBroker.write(
            """
            [listener]
            idle.timout = 5m
            hello.timeout = 5 parsecs
            [storrage]
            data = /nowhere
            """, to: file)
        for flags in [["--config", file], ["--config=\(file)", "--check"]] {
            let run = try Programs.run(Programs.daemon, flags + ["--data", folder.path("data")])
            #expect(run.ending == .exited(78))
            #expect(run.errors.contains("\(file):2: unknown key 'idle.timout'"))
            #expect(run.errors.contains("did you mean 'idle.timeout'?"))
            #expect(run.errors.contains("\(file):3: [listener] hello.timeout"))
            #expect(run.errors.contains("did you mean 'storage'?"))
            #expect(run.output.isEmpty)
        }
        let names = try PosixFileSystem().list(folder.path)
        #expect(names == ["martlet.conf"], "nothing was touched")
    }

    @Test func `a configuration that cannot be read ends with 78`() throws {
        let run = try Programs.run(Programs.daemon, ["--config", "/no/such/martlet.conf"])
        #expect(run.ending == .exited(78))
        #expect(run.errors.contains("/no/such/martlet.conf"))
    }

    @Test func `check prints what is in force and where it comes from`() throws {
        let folder = try TemporaryDirectory("check")
        let file = folder.path("martlet.conf")
        try RunningBroker.write("[log]\nlevel = warning\n", to: file)
        let run = try Programs.run(
            Programs.daemon, ["--check", "--config", file, "--listen", "127.0.0.1:1234"],
            environment: ["MARTLET_LISTENER_IDLE_TIMEOUT": "90s"])
        #expect(run.ending == .exited(0))
        #expect(run.errors.isEmpty)
        let lines = run.output.split(separator: "\n").map {
            $0.split(separator: " ", omittingEmptySubsequences: true).joined(separator: " ")
        }
        #expect(lines.contains("level = warning # \(file):2"))
        #expect(lines.contains("listen = 127.0.0.1:1234 # --listen"))
        #expect(
            lines.contains(
                "idle.timeout = 90s # environment variable MARTLET_LISTENER_IDLE_TIMEOUT"))
        #expect(lines.contains("durability = durable # default"))
        // What it prints is a configuration again.
        let copy = folder.path("copy.conf")
        try RunningBroker.write(run.output, to: copy)
        #expect(
            try Programs.run(Programs.daemon, ["--check", "--config", copy]).ending == .exited(0))
    }

    @Test func `a port that is taken is told with its address`() throws {
        let folder = try TemporaryDirectory("port")
        let broker = try RunningBroker(in: folder)
        let run = try Programs.run(
            Programs.daemon,
            [
                "--data", folder.path("other"), "--listen", broker.listen.description,
                "--admin", "127.0.0.1:0",
            ])
        #expect(run.ending == .exited(78))
        #expect(run.errors.contains("cannot listen on \(broker.listen)"))
    }

    @Test func `a ready file that cannot be written ends it`() throws {
        let folder = try TemporaryDirectory("noready")
        let run = try Programs.run(
            Programs.daemon,
            [
                "--data", folder.path("data"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
                "--ready-file", "/no/such/folder/ready",
            ])
        #expect(run.ending == .exited(64))
        #expect(run.errors.contains("READY_FILE_FAILED"))
    }
}
