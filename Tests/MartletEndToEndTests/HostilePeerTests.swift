import Glibc
import MartletSystem
import MartletTestSupport
import Testing

/// Peers that take and give nothing back, against the real broker (fault matrix, rows 26 to 36).
@Suite(.serialized) struct RealHostilePeerTests {
    /// A broker that takes thousands of connections from this machine.
    private static func start(
        _ folder: TemporaryDirectory, _ lines: String, wrapper: [String] = []
    ) throws -> RunningBroker {
        let file = folder.path("martlet.conf")
        let rates = "connection.rate.max = 100000/s\nconnection.rate.per.address.max = 100000/s\n"
        try RunningBroker.write(
            "[log]\nlevel = debug\n[listener]\nconnections.per.address.max = 4000\n\(rates)\(lines)",
            to: file)
        return try RunningBroker(in: folder, ["--config", file], wrapper: wrapper)
    }

    @Test func `row 30: a length bomb on a thousand connections holds almost no memory`() throws {
        let folder = try TemporaryDirectory("bomb")
        let broker = try Self.start(folder, "memory.bytes.max = 48MiB\n")
        let good = try RawPeer(to: broker.listen)
        let before = try broker.residentBytes()
        // All say hello while there is memory for it.
        var bombs = try (0..<1_000).map { _ in try RawPeer(to: broker.listen) }
        for (number, bomb) in bombs.enumerated() {
            // 16 MiB are announced; nothing of it comes, or so much that memory runs out.
            let bytes = number < 500 ? 0 : 128 << 10
            bomb.sendRaw(RawBytes.integer(UInt32(16 << 20)) + [UInt8](repeating: 7, count: bytes))
        }
        while try broker.metric("martlet_broker_memory_pauses_total") == 0 {}
        let after = try broker.residentBytes()
        Console.line(
            "length bomb: \(before >> 10) KiB before, \(after >> 10) KiB with 1,000 of them")
        // 1,000 times 16 MiB would be 16 GiB.
        #expect(after - before < 128 << 20)
        bombs = []
        #expect(good.ping())
        #expect(broker.end() == .exited(0))
    }

    @Test func `row 26: a peer that never reads is closed; others are served, little is held`()
        throws
    {
        let folder = try TemporaryDirectory("noread")
        let broker = try Self.start(folder, "write.timeout = 1s\n")
        let good = try RawPeer(to: broker.listen)
        let topic = try good.createTopic("t")
        let batch = try GoldenBatch.large()
        for _ in 0..<100 {
            let reply = try #require(good.request(20, RawPeer.produce(batch, to: topic)))
            #expect(RawPeer.outcome(reply) == 0)
        }
        let before = try broker.residentBytes()
        let idle = try broker.descriptorCount()
        let greedy = try (0..<10).map { _ in
            try RawPeer(to: broker.listen, receiveBufferBytes: 4_096)
        }
        // 2 GiB of answers.
        for peer in greedy {
            for _ in 0..<200 { peer.send(21, RawPeer.fetch(topic, from: 0, maxBytes: 1 << 20)) }
            #expect(good.ping())
        }
        while try broker.descriptorCount() > idle { #expect(good.ping()) }
        broker.expectLog("reason=write-timeout")
        #expect(try broker.residentBytes() - before < 128 << 20)
        #expect(try good.fetch(topic, from: 0).error == 0)
        #expect(broker.end() == .exited(0))
        withExtendedLifetime(greedy) {}
    }

    @Test func `row 35: a flood is closed at the door, and the admin listener answers`() throws {
        let folder = try TemporaryDirectory("flood")
        // The limits as they are shipped: 256 from one address, 20 a second.
        let broker = try RunningBroker(in: folder)
        let good = try RawPeer(to: broker.listen)
        let before = try broker.residentBytes()
        var flood: [BlockingConnection] = []
        for number in 0..<2_000 {
            flood.append(try BlockingConnection(to: broker.listen))
            if number % 500 == 0 { #expect(try broker.get("/readyz").body == "ready\n") }
        }
        #expect(good.ping())
        #expect(try broker.residentBytes() - before < 64 << 20)
        #expect(try broker.metric("martlet_broker_connections") <= 256)
        flood = []
        #expect(good.ping())
        #expect(broker.end() == .exited(0))
    }

    @Test func `row 36: who says hello byte by byte, or never, is closed`() throws {
        let folder = try TemporaryDirectory("loris")
        let broker = try Self.start(folder, "hello.timeout = 300ms\n")
        let good = try RawPeer(to: broker.listen)
        let slow = try (0..<100).map { _ in try BlockingConnection(to: broker.listen) }
        for (number, peer) in slow.enumerated() {
            peer.send([UInt8](repeating: 0, count: number % 4))
        }
        for peer in slow { #expect(peer.readToEnd().isEmpty) }
        #expect(good.ping())
        #expect(broker.end() == .exited(0))
    }

    @Test func `row 27: a peer behind a dead link is closed, and its descriptor is free again`()
        throws
    {
        guard geteuid() == 0 else {
            return Console.skipped("half-open", "needs root for a network of its own")
        }
        let folder = try TemporaryDirectory("halfopen")
        let broker = try Self.start(
            folder, "idle.timeout = 1s\n",
            wrapper: [
                "/usr/bin/unshare", "-n", "/bin/sh", "-c", "ip link set lo up; exec \"$@\"", "sh",
            ])
        let idle = try broker.descriptorCount()
        // Peers inside that network: they say hello and then only wait.
        let peers = try ChildProcess(
            "/usr/bin/nsenter",
            [
                "-t", "\(broker.child.id)", "-n", "/usr/bin/python3", "-c", Self.quietPeers,
                "\(broker.listen.port)", "10", RawPeer.helloFrame.hex,
            ])
        #expect(peers.waitForOutput("open"), "\(peers.errorOutput)")
        #expect(try broker.descriptorCount() >= idle + 10)
        let down = try Programs.run(
            "/usr/bin/nsenter",
            ["-t", "\(broker.child.id)", "-n", "ip", "link", "set", "lo", "down"])
        try #require(down.ending == .exited(0), "\(down.errors)")
        // Nothing that these peers do reaches the broker any more, nor their end.
        while try broker.descriptorCount() > idle { sched_yield() }
        broker.expectLog("reason=idle")
        #expect(broker.end() == .exited(0))
        peers.kill()
    }

    private static let quietPeers = """
        import socket, sys
        peers = []
        for _ in range(int(sys.argv[2])):
            peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
            peer.sendall(bytes.fromhex(sys.argv[3]))
            peer.recv(16)
            peers.append(peer)
        print("open", flush=True)
        sys.stdin.read()
        """

    @Test func `the admin listener survives slow and huge requests`() throws {
        let folder = try TemporaryDirectory("adminattack")
        let broker = try Self.start(
            folder, "[admin]\nrequest.timeout = 300ms\nconnections.max = 8\n")
        let good = try RawPeer(to: broker.listen)
        let before = try broker.residentBytes()
        for round in 0..<5 {
            let slow = try (0..<20).map { _ in try BlockingConnection(to: broker.admin) }
            for (number, peer) in slow.enumerated() {
                switch number % 4 {
                case 0: peer.send("GET /metrics HT")
                case 1: peer.send("GET /" + String(repeating: "a", count: 200_000))
                case 2: peer.send([UInt8](repeating: 0, count: 9_000))
                default: break
                }
            }
            #expect(good.ping(), "round \(round)")
            for peer in slow {
                let answer = peer.readToEnd()
                #expect(answer.isEmpty || answer.hasPrefix("HTTP/1.1 4"), "\(answer.prefix(80))")
            }
        }
        #expect(try Self.readiness(broker.admin).hasSuffix("\r\n\r\nready\n"))
        #expect(try broker.residentBytes() - before < 32 << 20)
        #expect(broker.end() == .exited(0))
    }

    /// The place of a peer may be free a moment after that peer has heard the end: who comes in
    /// between is sent away without an answer.
    private static func readiness(_ admin: SocketAddress) throws -> String {
        for _ in 0..<1_000 {
            let peer = try BlockingConnection(to: admin)
            peer.send("GET /readyz HTTP/1.1\r\nHost: martlet\r\n\r\n")
            let answer = peer.readToEnd()
            if !answer.isEmpty { return answer }
        }
        return ""
    }
}
