import Glibc
import MartletSystem
import MartletTestSupport
import Testing

/// `martlet backup` and `martlet restore`, with a broker that runs meanwhile.
@Suite struct BackupTests {
    @Test func `a backup of a running broker is restored to where it was`() throws {
        let folder = try TemporaryDirectory("backup")
        let broker = try RunningBroker(in: folder)
        let peer = try RawPeer(to: broker.listen)
        let topic = try peer.createTopic("kept")
        let fields = RawPeer.produce(try GoldenBatch.single(), to: topic)
        for _ in 0..<10 {
            #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0)
        }

        let backup = folder.path("monday")
        let made = try Programs.run(
            Programs.tool, ["backup", folder.path("data"), backup, "-o", "json"])
        #expect(made.ending == .exited(0), "\(made.errors)")
        #expect(made.output.contains("\"topics\":"))
        for _ in 0..<5 {
            #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0)
        }
        #expect(broker.end(SIGKILL) == .killed(signal: SIGKILL))

        let elsewhere = try TemporaryDirectory("restored")
        for round in ["first", "second"] {
            let place = try TemporaryDirectory(round)
            let done = try Programs.run(
                Programs.tool, ["restore", backup, place.path("data")])
            #expect(done.ending == .exited(0), "\(done.errors)")
            let restored = try RunningBroker(in: place)
            let reader = try RawPeer(to: restored.listen)
            #expect(try reader.endOffset(of: topic) == 10)
            #expect(RawPeer.outcome(try #require(reader.request(20, fields))) == 0)
            #expect(restored.end() == .exited(0))
        }
        // What a restored broker writes is not in the backup, and the original knows nothing of it.
        let again = try RunningBroker(in: folder)
        #expect(try RawPeer(to: again.listen).endOffset(of: topic) == 15)
        #expect(again.end() == .exited(0))

        let refused = try Programs.run(Programs.tool, ["restore", backup, folder.path("data")])
        #expect(refused.ending == .exited(1))
        #expect(refused.errors.contains("is not empty"))
        let stranger = try Programs.run(
            Programs.tool, ["backup", elsewhere.path, elsewhere.path("copy")])
        #expect(stranger.ending == .exited(1))
        #expect(stranger.errors.contains("no Martlet data directory"))
    }
}
