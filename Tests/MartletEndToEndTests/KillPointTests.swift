import Glibc
import MartletSystem
import MartletTestSupport
import Testing

/// The real broker, killed before one call after the other (fault matrix, row 2).
@Suite(.serialized) struct KillPointTests {
    /// What a life of the broker got acknowledged.
    private struct Life {
        var topic: [UInt8]?
        var batches: Int64 = 0
    }

    @Test(arguments: [FaultShim.Call.sync, .rename, .write])
    func `row 2: killed at any call while topics, segments and marks change, nothing is lost`(
        call: FaultShim.Call
    ) throws {
        let large = try GoldenBatch.large()
        let records = RawPeer.nextOffset(behind: large)
        // Every so many, from another one on in each run.
        let stride: Int64 = call == .write ? 5 : 4
        let first = Int64.random(in: 0..<stride)
        var point = first
        var kills = 0
        while true {
            let folder = try TemporaryDirectory("killpoint")
            let shim = try FaultShim(in: folder)
            let (life, wasKilled) = try Self.live(folder, shim, call, at: point, large)
            // The same call kills the recovery too, then a whole one follows.
            try shim.fail(call, FaultShim.kill, path: "/data", skip: point / 4)
            try Self.tryToStart(folder, shim)
            let next = try RunningBroker(in: folder)
            let peer = try RawPeer(to: next.listen)
            if let topic = life.topic {
                let all = try peer.drain(topic)
                #expect(RawPeer.nextOffset(behind: all) >= life.batches * records, "point \(point)")
                #expect(all.count % large.count == 0, "point \(point): whole batches only")
            }
            #expect(next.end() == .exited(0), "point \(point)")
            guard wasKilled else { break }
            kills += 1
            point += stride
        }
        Console.line("kill points: \(kills) of \(call), every \(stride) from \(first) on")
        #expect(kills >= 2)
    }

    /// A life with everything in it that changes files, killed at a call if there are so many.
    private static func live(
        _ folder: TemporaryDirectory, _ shim: FaultShim, _ call: FaultShim.Call, at point: Int64,
        _ batch: [UInt8]
    ) throws -> (Life, wasKilled: Bool) {
        let broker = try RunningBroker(in: folder, environment: shim.environment)
        let peer = try RawPeer(to: broker.listen)
        try shim.fail(call, FaultShim.kill, path: "/data", skip: point)
        var life = Life()
        let settings = [("segment.bytes", "65536"), ("batch.bytes.max", "65536")]
        let changes = settings.flatMap { RawBytes.string($0.0) + RawBytes.string($0.1) }
        for name in ["kept", "deleted"] {
            let create =
                RawBytes.string(name) + RawBytes.integer(Int32(1)) + RawBytes.integer(UInt32(2))
                + changes + [0]
            guard var reply = peer.request(10, create), reply.error == 0 else { continue }
            let topic = reply.fields.take(16)
            if name == "kept" { life.topic = topic }
            for _ in 0..<4 {
                let reply = peer.request(20, RawPeer.produce(batch, to: topic))
                guard let reply, RawPeer.outcome(reply) == 0 else { continue }
                if name == "kept" { life.batches += 1 }
            }
            if name == "deleted" { _ = peer.request(11, topic) }
        }
        let ending = broker.end()
        return (life, ending == .killed(signal: SIGKILL))
    }

    /// A start that may be killed at any point of its recovery.
    private static func tryToStart(_ folder: TemporaryDirectory, _ shim: FaultShim) throws {
        let child = try ChildProcess(
            Programs.daemon,
            [
                "--data", folder.path("data"), "--listen=127.0.0.1:0", "--admin", "127.0.0.1:0",
            ], environment: Programs.environment.merging(shim.environment) { $1 })
        if child.waitForErrorOutput("SERVING") { child.kill() }
        _ = child.wait()
    }
}
