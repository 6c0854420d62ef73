import Dispatch
import Glibc
import MartletTestSupport
import Synchronization
import Testing

/// What happens to producers when the process or its limits are touched (rows 11, 14, 18 and 19).
@Suite struct LoadTests {
    /// What a producer has seen of its requests.
    struct Tally {
        var acknowledged = 0
        var refused = 0
        var unknown = 0
    }

    /// Produces one record after the other, `inFlight` at a time, until it is refused or cut off.
    private static func pump(_ peer: RawPeer, _ fields: [UInt8], inFlight: Int) -> Tally {
        var tally = Tally()
        var open = 0
        var isRefused = false
        while true {
            while open < inFlight, !isRefused {
                peer.send(20, fields)
                open += 1
            }
            guard open > 0 else { return tally }
            guard let reply = peer.receive() else {
                tally.unknown += open
                return tally
            }
            open -= 1
            if RawPeer.outcome(reply) == 0 {
                tally.acknowledged += 1
            } else {
                tally.refused += 1
                isRefused = true
            }
        }
    }

    @Test func `row 18: SIGTERM under load answers what is open and ends in order`() throws {
        let folder = try TemporaryDirectory("load")
        let broker = try RunningBroker(in: folder)
        let topic = try RawPeer(to: broker.listen).createTopic("load")
        let fields = RawPeer.produce(try GoldenBatch.single(), to: topic)
        let total = Mutex(Tally())
        let done = DispatchGroup()
        let peers = try (0..<4).map { _ in try RawPeer(to: broker.listen) }
        for peer in peers {
            // A queue of its own: the shared ones have a thread for each core.
            DispatchQueue(label: "producer").async(group: done) {
                let tally = Self.pump(peer, fields, inFlight: 8)
                total.withLock {
                    $0.acknowledged += tally.acknowledged
                    $0.refused += tally.refused
                    $0.unknown += tally.unknown
                }
            }
        }
        while try broker.metric("martlet_broker_records_in_total") < 500 {}
        #expect(broker.end(SIGTERM) == .exited(0), "\(broker.log)")
        done.wait()
        let tally = total.withLock { $0 }
        print("SIGTERM under load: \(tally)")
        #expect(tally.acknowledged >= 500 - peers.count * 8)
        #expect(tally.refused >= peers.count, "each is told that it is stopping")
        // On a crowded machine a producer may ask again only after it was given up as quiet.
        #expect(tally.unknown <= 8, "what was open is answered")

        let next = try RunningBroker(in: folder)
        #expect(next.log.contains("clean-start=true recovery-events=0"), "\(next.log)")
        #expect(try RawPeer(to: next.listen).endOffset(of: topic) == Int64(tally.acknowledged))
    }

    @Test func `row 19: a broker that stood still loses nothing`() throws {
        let folder = try TemporaryDirectory("stop")
        let broker = try RunningBroker(in: folder)
        let peer = try RawPeer(to: broker.listen)
        let topic = try peer.createTopic("still")
        let fields = RawPeer.produce(try GoldenBatch.single(), to: topic)
        for round in 1...3 {
            broker.child.kill(SIGSTOP)
            peer.send(20, fields)
            broker.child.kill(SIGCONT)
            #expect(RawPeer.outcome(try #require(peer.receive())) == 0)
            #expect(try peer.endOffset(of: topic) == Int64(round))
        }
        #expect(broker.end() == .exited(0))
    }

    @Test func `row 19: a file size limit is a full disk and not the end`() throws {
        let folder = try TemporaryDirectory("fsize")
        let broker = try RunningBroker(in: folder, limits: ["--fsize=3145728"])
        let peer = try RawPeer(to: broker.listen)
        let topic = try peer.createTopic("limited")
        let batch = try GoldenBatch.large()
        let fields = RawPeer.produce(batch, to: topic)
        var written = 0
        var outcome: UInt16 = 0
        while outcome == 0, written * batch.count < 8 << 20 {
            outcome = RawPeer.outcome(try #require(peer.request(20, fields)))
            if outcome == 0 { written += 1 }
        }
        #expect(outcome == RawPeer.diskFull)
        #expect(written > 0)
        let end = try peer.endOffset(of: topic)
        #expect(end > 0, "readers go on")
        #expect(peer.ping())
        #expect(broker.end() == .exited(0))

        let next = try RunningBroker(in: folder)
        #expect(try RawPeer(to: next.listen).endOffset(of: topic) == end)
    }

    @Test func `row 10: below the free space that must be, readers go on; it recovers by itself`()
        throws
    {
        let folder = try TemporaryDirectory("space")
        let file = folder.path("martlet.conf")
        try RunningBroker.write("", to: file)
        let broker = try RunningBroker(in: folder, ["--config", file])
        let peer = try RawPeer(to: broker.listen)
        let topic = try peer.createTopic("space")
        let fields = RawPeer.produce(try GoldenBatch.single(), to: topic)
        #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0)

        // No disk has so much: the marks are reloaded while it runs.
        try RunningBroker.write(
            "[storage]\ndisk.free.low = 63TiB\ndisk.free.high = 64TiB\n", to: file)
        broker.child.kill(SIGHUP)
        broker.expectLog("DISK_FULL: producers are refused")
        #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == RawPeer.diskFull)
        #expect(try peer.endOffset(of: topic) == 1)
        let ready = try broker.get("/readyz")
        #expect(ready.status == 200)
        #expect(ready.body.hasPrefix("degraded: read-only"))
        #expect(try broker.metric("martlet_broker_writable") == 0)

        try RunningBroker.write("", to: file)
        broker.child.kill(SIGHUP)
        broker.expectLog("DISK_SPACE_BACK")
        #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0)
        #expect(try broker.get("/readyz").body == "ready\n")
        #expect(broker.end() == .exited(0))
    }

    @Test func `row 14: without descriptors those who are there are served`() throws {
        let folder = try TemporaryDirectory("emfile")
        let file = folder.path("martlet.conf")
        try RunningBroker.write("", to: file)
        let broker = try RunningBroker(
            in: folder, ["--config", file], limits: ["--nofile=64:64"])
        let peer = try RawPeer(to: broker.listen)
        let topic = try peer.createTopic("tight")
        let fields = RawPeer.produce(try GoldenBatch.single(), to: topic)
        #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0)

        // A limit below what is open makes the next accept and the next open fail for certain.
        try limitDescriptors(of: broker, to: 3)
        var flood = try (0..<200).map { _ in try BlockingConnection(to: broker.listen) }
        broker.expectLog("NO_DESCRIPTORS")
        #expect(peer.ping())
        #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0)
        try RunningBroker.write("[log]\nlevel = error\n", to: file)
        broker.child.kill(SIGHUP)
        broker.expectLog("RELOAD_FAILED")
        #expect(broker.log.contains("Too many open files"))
        #expect(peer.ping())

        try limitDescriptors(of: broker, to: 64)
        flood.removeAll()
        broker.child.kill(SIGHUP)
        broker.expectLog("RELOADED")
        #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0)
        #expect(try peer.endOffset(of: topic) == 3)
        #expect(broker.end() == .exited(0))
    }

    private func limitDescriptors(of broker: RunningBroker, to count: Int) throws {
        let run = try Programs.run(
            Programs.limits, ["--pid", "\(broker.child.id)", "--nofile=\(count):64"])
        try #require(run.ending == .exited(0), "\(run.errors)")
    }

    @Test func `row 11: a failed sync is told to who waits, and ends it with 74`() throws {
        let folder = try TemporaryDirectory("fsync")
        let broker = try RunningBroker(in: folder)
        let peer = try RawPeer(to: broker.listen)
        let topic = try peer.createTopic("unlucky")
        let fields = RawPeer.produce(try GoldenBatch.single(), to: topic)
        for _ in 0..<10 {
            #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0)
        }
        let calls = "fdatasync,fsync,syncfs"
        let strace = try ChildProcess(
            "/usr/bin/strace",
            [
                "-f", "-p", "\(broker.child.id)", "-e", "trace=\(calls)", "-e",
                "inject=\(calls):error=EIO",
            ])
        #expect(strace.waitForErrorOutput("attached"), "\(strace.errorOutput)")
        let reply = peer.request(20, fields)
        #expect(reply.map(RawPeer.outcome) == RawPeer.storageFailed)
        #expect(broker.child.wait() == .exited(74), "\(broker.log)")
        #expect(broker.log.contains("STORAGE_FAILED"))

        let next = try RunningBroker(in: folder)
        #expect(next.log.contains("clean-start=false"))
        let end = try RawPeer(to: next.listen).endOffset(of: topic)
        #expect(end == 10 || end == 11, "the outcome of the last one is unknown")
        #expect(next.end() == .exited(0))
    }
}
