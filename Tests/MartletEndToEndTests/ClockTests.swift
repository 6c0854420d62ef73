import Glibc
import MartletSystem
import MartletTestSupport
import Testing

/// Wall clocks that jump, and stops with readers waiting (fault matrix, rows 18 and 20).
@Suite struct ClockTests {
    private static let day: Int64 = 86_400

    /// The broker's wall clock, as a ping tells it.
    private static func wall(_ peer: RawPeer) throws -> Int64 {
        var reply = try #require(peer.request(2, []))
        return reply.fields.integer(Int64.self)
    }

    @Test func `row 20: the wall clock jumps by hours and days, and nothing is lost or closed`()
        throws
    {
        let folder = try TemporaryDirectory("clock")
        let shim = try FaultShim(in: folder)
        let broker = try RunningBroker(in: folder, environment: shim.environment)
        let peer = try RawPeer(to: broker.listen)
        // Records older than an hour would go at the next look, if the jump were believed.
        let topic = try peer.createTopic(
            "timed",
            settings: [
                ("retention.ms", "3600000"), ("segment.bytes", "65536"),
                ("batch.bytes.max", "65536"),
            ])
        let batch = try GoldenBatch.large()
        let fields = RawPeer.produce(batch, to: topic)
        let before = try Self.wall(peer)
        var count = 0
        for seconds in [0, 3_600, Self.day, -3_600, 3_650 * Self.day, -Self.day, 0] {
            try shim.moveClock(seconds: seconds)
            let now = try Self.wall(peer)
            #expect(now - before >= (seconds - 60) * 1_000, "the jump must be real")
            #expect(now - before < (seconds + 600) * 1_000)
            for _ in 0..<3 {
                #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0)
                count += 1
            }
            // A fetch that waits is answered by the monotonic clock, neither at once nor never.
            let end = try peer.endOffset(of: topic)
            let waited = try #require(
                peer.request(21, RawPeer.fetch(topic, from: end, wait: 50)))
            #expect(waited.error == 0)
            // Three looks of housekeeping, each of which applies retention.
            let looks = try broker.metric("martlet_storage_housekeeping_rounds_total")
            while try broker.metric("martlet_storage_housekeeping_rounds_total") < looks + 2 {
                sched_yield()
            }
            #expect(try peer.drain(topic).count == count * batch.count, "after \(seconds) s")
        }
        #expect(broker.end() == .exited(0))

        // Started in the wrong decade, it does not throw away what is young either.
        try shim.moveClock(seconds: 3_650 * Self.day)
        let next = try RunningBroker(in: folder, environment: shim.environment)
        let later = try RawPeer(to: next.listen)
        #expect(try later.drain(topic).count == count * batch.count)
        #expect(next.end() == .exited(0))
    }

    @Test func `row 18: a stop answers fetches that wait`() throws {
        let folder = try TemporaryDirectory("parked")
        let broker = try RunningBroker(in: folder)
        let first = try RawPeer(to: broker.listen)
        let topic = try first.createTopic("quiet")
        let peers = try (0..<50).map { _ in try RawPeer(to: broker.listen) }
        for peer in peers {
            for _ in 0..<4 { peer.send(21, RawPeer.fetch(topic, from: 0, wait: 60_000)) }
            // Requests of one connection are taken in order: behind the ping, all wait.
            #expect(peer.ping())
        }
        broker.child.kill(SIGTERM)
        for peer in peers {
            for _ in 0..<4 {
                let reply = try #require(peer.receive(), "cut off without an answer")
                #expect(reply.operation == 0x8015)
                #expect(reply.error == 0 || reply.error == RawPeer.shuttingDown)
            }
            #expect(peer.receive() == nil)
        }
        // The bound is the product's promise, and far above what it takes.
        #expect(broker.child.wait(seconds: 10) == .exited(0), "\(broker.log)")
        #expect(!broker.log.contains("DRAIN_CUT_SHORT"))
    }
}
