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

    @Test func `row 15: at its memory limit a signal ends it, and what it acknowledged is kept`()
        throws
    {
        let idle = try Self.idleAddressBytes()
        var ended = 0
        for room in [-8, 12, 48] {
            let folder = try TemporaryDirectory("memory")
            let limit = idle + room << 20
            let child = try Self.start(folder, limit)
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
            if ending != .exited(0) { ended += 1 }
            Console.line(
                "row 15: \(room) MiB of room: \(load.acknowledged) acknowledged, "
                    + "\(load.refusals) refused, served to the end: \(load.isServed), "
                    + "\(ending.map { "\($0)" } ?? "hangs")")
            if load.acknowledged > 0 { try Self.expectAll(folder, load) }
        }
        #expect(ended > 0, "the limit was never met")
    }

    /// The address space that an idle broker has when it must save on it.
    private static func idleAddressBytes() throws -> Int {
        let folder = try TemporaryDirectory("idle")
        let child = try start(folder, 64 << 30)
        let broker = try RunningBroker(serving: child, in: folder)
        let bytes = try broker.kibibytes("VmSize:") << 10
        #expect(broker.end() == .exited(0))
        return bytes
    }

    private static func start(_ folder: TemporaryDirectory, _ bytes: Int) throws -> ChildProcess {
        let file = folder.path("martlet.conf")
        try RunningBroker.write(
            "[listener]\nconnections.per.address.max = 4000\nmemory.bytes.max = 1GiB\n", to: file)
        return try RunningBroker.launch(
            in: folder, ["--config", file], limits: ["--as=\(bytes)", "--core=0"],
            environment: quiet)
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
