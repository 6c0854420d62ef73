import Glibc
import MartletTestSupport
import Testing

/// A broker that the system refuses memory, addresses and threads (fault matrix, row 15).
@Suite(.serialized) struct MemoryTests {
    /// Crashes are what happens here; nobody reads their stacks.
    private static let quiet = ["SWIFT_BACKTRACE": "enable=no"]

    /// What the load came to.
    private struct Load {
        var acknowledged: Int64 = 0
        var refusals = 0
        var isServed = true
        var topic: [UInt8] = []
    }

    @Test func `row 15: at its memory limit it answers or ends, and keeps what it acknowledged`()
        throws
    {
        let idle = try Self.idleBytes("--as", "VmSize:")
        var ended = 0
        for room in [-8, 12, 48] {
            let folder = try TemporaryDirectory("memory")
            let limit = idle + room << 20
            let child = try Self.start(folder, "--as", limit)
            let serves = child.waitForErrorOutput("SERVING")
            var load = Load()
            if serves {
                // From here on, one signal ends it whether it still serves or not.
                let broker = try RunningBroker(serving: child, in: folder)
                load = try Self.load(broker)
            }
            child.kill(SIGTERM)
            let ending = child.wait(seconds: 12)
            #expect(ending != nil, "\(room) MiB: it does not end")
            child.kill(SIGKILL)
            // A trap is allowed, but not that it is stuck until the time for stopping is over.
            #expect(!child.errorOutput.contains("STOP_CUT_SHORT"), "\(room) MiB: it was stuck")
            if ending != .exited(0) { ended += 1 }
            Console.line(
                "row 15: \(room) MiB of room: \(load.acknowledged) acknowledged, "
                    + "\(load.refusals) refused, served to the end: \(load.isServed), "
                    + "\(ending.map { "\($0)" } ?? "hangs")")
            if load.acknowledged > 0 { try Self.expectAll(folder, load) }
        }
        #expect(ended > 0, "the limit was never met")
    }

    // MARK: - Below the limit

    @Test(arguments: [("--as", "VmSize:"), ("--data", "VmData:")])
    func `row 15: under a limit it serves whatever peers send, and stops in order`(
        option: String, size: String
    ) throws {
        let limit = try Self.idleBytes(option, size) + Self.roomBytes
        let folder = try TemporaryDirectory("limited")
        let child = try Self.start(folder, option, limit)
        try Self.attack(try RunningBroker(serving: child, in: folder))
    }

    @Test func `row 15: in a small control group it serves whatever peers send`() throws {
        guard let group = try ControlGroup(bytes: Self.roomBytes) else {
            return Console.skipped(
                "control-group", "needs root and control groups with the memory controller")
        }
        let folder = try TemporaryDirectory("group")
        let child = try Self.start(folder, wrapper: group.wrapper)
        try Self.attack(try RunningBroker(serving: child, in: folder))
    }

    /// Where no such group can be made, at least its file can be shown to the broker.
    @Test func `row 15: the limit of a control group bounds what peers may hold`() throws {
        guard geteuid() == 0 else {
            return Console.skipped("control-group-file", "needs root to lay a file over /sys")
        }
        let folder = try TemporaryDirectory("groupfile")
        let script = """
            mount -t tmpfs none /sys/fs/cgroup
            echo \(Self.roomBytes) > /sys/fs/cgroup/memory.max
            exec "$@"
            """
        let child = try Self.start(
            folder, wrapper: ["/usr/bin/unshare", "-m", "/bin/sh", "-e", "-c", script, "sh"])
        let broker = try RunningBroker(serving: child, in: folder)
        broker.expectLog("limit=\"control group\"")
        #expect(try broker.metric("martlet_broker_memory_max_bytes") <= Double(Self.roomBytes / 2))
        #expect(broker.end() == .exited(0))
    }

    @Test func `row 15: what it does when it serves needs no further thread`() throws {
        let folder = try TemporaryDirectory("threads")
        let broker = try RunningBroker(in: folder)
        let good = try RawPeer(to: broker.listen)
        // Every queue has done something.
        #expect(try broker.get("/readyz").status == 200)
        let before = try broker.threads()
        let batch = try GoldenBatch.large()
        for round in 0..<20 {
            let topic = try good.createTopic("t\(round)")
            let peers = try (0..<16).map { _ in try RawPeer(to: broker.listen) }
            for peer in peers {
                peer.send(20, RawPeer.produce(batch, to: topic))
                peer.send(21, RawPeer.fetch(topic, from: 0, wait: 5, verify: true))
            }
            #expect(try broker.get("/metrics").status == 200)
            for peer in peers { #expect(peer.receive() != nil && peer.receive() != nil) }
            try good.deleteTopic(topic)
        }
        #expect(try broker.threads().subtracting(before).isEmpty)
        #expect(broker.end() == .exited(0))
    }

    private static let roomBytes = 192 << 20

    /// Peers that send twice as much as there is memory for; one that is served all the while.
    private static func attack(_ broker: RunningBroker) throws {
        broker.expectLog("MEMORY_LIMITED")
        let good = try RawPeer(to: broker.listen)
        let topic = try good.createTopic("t")
        let batch = try GoldenBatch.large()
        var hostile: [RawPeer] = []
        for number in 0..<1_500 {
            let peer = try RawPeer(to: broker.listen)
            // A frame of 16 MiB of which so much comes that a slab of 256 KiB is taken.
            peer.sendRaw(
                RawBytes.integer(UInt32(16 << 20)) + [UInt8](repeating: 7, count: 128 << 10))
            hostile.append(peer)
            if number % 100 == 0 { #expect(good.ping()) }
        }
        while try broker.metric("martlet_broker_memory_pauses_total") == 0 {}
        // Memory is taken from those who do not go on.
        for _ in 0..<10 {
            let reply = try #require(good.request(20, RawPeer.produce(batch, to: topic)))
            #expect(RawPeer.outcome(reply) == 0)
        }
        var fetched = try good.fetch(topic, from: 0, verify: true)
        while fetched.error == RawPeer.tooManyRequests {
            fetched = try good.fetch(topic, from: 0, verify: true)
        }
        #expect(fetched.error == 0 && !fetched.batches.isEmpty)
        #expect(try broker.get("/readyz").body == "ready\n")
        withExtendedLifetime(hostile) {}
        #expect(broker.end() == .exited(0))
    }

    // MARK: - Steps

    /// What an idle broker has of something when it must save on it.
    private static func idleBytes(_ option: String, _ size: String) throws -> Int {
        let folder = try TemporaryDirectory("idle")
        let child = try start(folder, option, 64 << 30)
        let broker = try RunningBroker(serving: child, in: folder)
        let bytes = try broker.kibibytes(size) << 10
        #expect(broker.end() == .exited(0))
        return bytes
    }

    private static func start(
        _ folder: TemporaryDirectory, _ option: String, _ bytes: Int
    ) throws -> ChildProcess {
        try start(folder, limits: ["\(option)=\(bytes)", "--core=0"])
    }

    /// A broker that is told to take far more than there is.
    private static func start(
        _ folder: TemporaryDirectory, limits: [String] = [], wrapper: [String] = []
    ) throws -> ChildProcess {
        let file = folder.path("martlet.conf")
        try RunningBroker.write(
            "[listener]\nconnections.per.address.max = 4000\nmemory.bytes.max = 1GiB\n", to: file)
        return try RunningBroker.launch(
            in: folder, ["--config", file], limits: limits, wrapper: wrapper, environment: quiet)
    }

    /// Takes memory in every way there is until the broker has no more, and counts what it
    /// acknowledged.
    private static func load(_ broker: RunningBroker) throws -> Load {
        var load = Load()
        guard let good = RawPeer(ifServed: broker.listen), let topic = good.topicIfMade("t") else {
            load.isServed = false
            return load
        }
        load.topic = topic
        let batch = try GoldenBatch.large()
        var hostile: [RawPeer] = []
        for round in 0..<25 {
            guard good.topicIfMade("fill-\(round)", partitions: 40) != nil else {
                load.refusals += 1
                break
            }
            for _ in 0..<8 {
                guard let peer = RawPeer(ifServed: broker.listen) else { break }
                peer.sendRaw(
                    RawBytes.integer(UInt32(16 << 20)) + [UInt8](repeating: 7, count: 128 << 10))
                hostile.append(peer)
            }
            guard let reply = good.request(20, RawPeer.produce(batch, to: topic)) else { break }
            if RawPeer.outcome(reply) == 0 { load.acknowledged += 1 } else { load.refusals += 1 }
        }
        load.isServed = RawPeer(ifServed: broker.listen)?.ping() ?? false
        withExtendedLifetime(hostile) {}
        return load
    }

    /// Every batch that was acknowledged is there again.
    private static func expectAll(_ folder: TemporaryDirectory, _ load: Load) throws {
        let broker = try RunningBroker(in: folder)
        let batches = try RawPeer(to: broker.listen).drain(load.topic)
        #expect(batches.count >= Int(load.acknowledged) * (try GoldenBatch.large().count))
        #expect(broker.end() == .exited(0))
    }
}

/// A control group with so much memory, for one process; it goes with its last reference.
private final class ControlGroup {
    private let folder: String

    /// Nil where none can be made.
    init?(bytes: Int) throws {
        for (root, limit) in [
            ("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ] {
            // A folder like any other has none.
            guard unsafe access("\(root)/cgroup.procs", F_OK) == 0 else { continue }
            let folder = "\(root)/martlet-test-\(getpid())"
            guard unsafe mkdir(folder, 0o755) == 0 else { continue }
            if unsafe access("\(folder)/\(limit)", F_OK) == 0 {
                try RunningBroker.write("\(bytes)\n", to: "\(folder)/\(limit)")
                self.folder = folder
                return
            }
            unsafe rmdir(folder)
        }
        return nil
    }

    deinit { unsafe rmdir(folder) }

    /// Puts the program that it becomes into the group.
    var wrapper: [String] {
        ["/bin/sh", "-e", "-c", "echo $$ > \(folder)/cgroup.procs; exec \"$@\"", "sh"]
    }
}
