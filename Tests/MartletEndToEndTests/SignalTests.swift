import Glibc
import MartletTestSupport
import Testing

/// What signals do (fault matrix, rows 18 and 19).
@Suite struct SignalTests {
    @Test func `row 18: an idle broker ends in order`() throws {
        for signal in [SIGTERM, SIGINT] {
            let folder = try TemporaryDirectory("term")
            let broker = try RunningBroker(in: folder)
            let idle = try BlockingConnection(to: broker.listen)
            #expect(broker.end(signal) == .exited(0), "\(broker.log)")
            #expect(broker.log.contains("STOPPED: stopped in order"))
            #expect(idle.readToEnd().isEmpty)

            let next = try RunningBroker(in: folder)
            #expect(next.log.contains("clean-start=true recovery-events=0"), "\(next.log)")
        }
    }

    @Test func `a second signal ends it at once`() throws {
        let folder = try TemporaryDirectory("twice")
        let broker = try RunningBroker(in: folder)
        // A peer that was just there is waited for, so the first signal alone takes its time.
        let peer = try RawPeer(to: broker.listen)
        #expect(peer.ping())
        // Stopped, both arrive before it can act on the first.
        broker.child.kill(SIGSTOP)
        broker.child.kill(SIGTERM)
        broker.child.kill(SIGINT)
        broker.child.kill(SIGCONT)
        let ending = broker.child.wait()
        #expect(ending == .killed(signal: SIGINT) || ending == .killed(signal: SIGTERM))
        broker.expectLog("STOP_CUT_SHORT")
        #expect(try RunningBroker(in: folder).end() == .exited(0))
    }

    @Test func `SIGHUP reloads what can be reloaded`() throws {
        let folder = try TemporaryDirectory("reload")
        let file = folder.path("martlet.conf")
        try RunningBroker.write("[log]\nlevel = info\n", to: file)
        let broker = try RunningBroker(in: folder, ["--config", file])

        try RunningBroker.write(
            "[log]\nlevel = debug\n[listener]\nidle.timeout = 5m\n[storage]\nio.queues = 7\n",
            to: file)
        broker.child.kill(SIGHUP)
        broker.expectLog("RELOADED: the configuration was read again changes=2")
        #expect(broker.log.contains("key=\"[log] level\" before=info after=debug"))
        #expect(broker.log.contains("key=\"[listener] idle.timeout\" before=10m after=5m"))
        #expect(broker.log.contains("RESTART_NEEDED"))
        #expect(broker.log.contains("key=\"[storage] io.queues\""))

        // With the new level in force, lines below it are silent.
        try RunningBroker.write("[log]\nlevel = error\n", to: file)
        broker.child.kill(SIGHUP)
        broker.expectLog("before=debug after=error")
        try RunningBroker.write("[log]\nlevel = lout\n", to: file)
        broker.child.kill(SIGHUP)
        broker.expectLog("RELOAD_FAILED")
        #expect(broker.log.contains("\(file):2: [log] level"))
        #expect(try broker.get("/readyz").status == 200)
        #expect(broker.end() == .exited(0))
        #expect(!broker.log.contains("STOPPED"), "a notice, and the level is error")
    }

    @Test func `SIGHUP without a file changes nothing`() throws {
        let folder = try TemporaryDirectory("nofile")
        let broker = try RunningBroker(in: folder)
        broker.child.kill(SIGHUP)
        broker.expectLog("NOTHING_TO_RELOAD")
        #expect(broker.end() == .exited(0))
    }

    @Test func `row 19: signals that must not hurt`() throws {
        let folder = try TemporaryDirectory("harmless")
        let broker = try RunningBroker(in: folder)
        for signal in [SIGPIPE, SIGXFSZ, SIGSTOP, SIGCONT, SIGPIPE] {
            broker.child.kill(signal)
        }
        #expect(try broker.get("/readyz").body == "ready\n")
        #expect(broker.end() == .exited(0))
    }
}
