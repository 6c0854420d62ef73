import Glibc
import MartletSystem
import MartletTestSupport
import Testing

/// A disk that is full or fails, below the real broker (fault matrix, rows 2 and 10 to 13).
@Suite(.serialized) struct DiskFaultTests {
    private static let tight = """
        [storage]
        disk.free.low = 0
        disk.free.high = 1MiB
        disk.reserve = 1MiB
        [topic]
        segment.bytes = 1MiB
        batch.bytes.max = 100KiB
        """

    /// What a flush of many partitions rests on: after one `syncfs` each file is asked, and no sync of
    /// each is needed.
    @Test func `row 11: each file tells of its own failed write-back, once, without a sync`() throws
    {
        guard SmallDisk.isPossible else {
            return Console.skipped("write-back", "needs root to mount a file system")
        }
        let folder = try TemporaryDirectory("hollow")
        let disk = try HollowDisk(in: folder, bytes: 24 << 20)
        let files = PosixFileSystem()
        let whole = try files.open(disk.path + "/whole", .createNew)
        try Self.fill(whole, 4_096)
        try whole.sync()
        let lost = try files.open(disk.path + "/lost", .createNew)
        let other = try files.open(disk.path + "/lost", .readWrite)
        try Self.fill(lost, 40 << 20)
        // It may tell or not; that is why the files are asked.
        do { try whole.syncFileSystem() } catch { #expect(error.call == "syncfs") }
        try whole.checkWrites()
        #expect(throws: SystemError.self) { try lost.checkWrites() }
        #expect(throws: SystemError.self) { try other.checkWrites() }
        try lost.checkWrites()
    }

    private static func fill(_ file: any File, _ count: Int) throws {
        let bytes = [UInt8](repeating: 7, count: count)
        try unsafe bytes.withUnsafeBytes { try unsafe file.write($0, at: 0) }
    }

    @Test func `row 10: a disk that is really full refuses, keeps all, and recovers by itself`()
        throws
    {
        guard SmallDisk.isPossible else {
            return Console.skipped("full-disk", "needs root to mount a small file system")
        }
        let folder = try TemporaryDirectory("full")
        let disk = try SmallDisk(at: folder.path("data"), bytes: 16 << 20)
        let file = folder.path("martlet.conf")
        try RunningBroker.write(Self.tight, to: file)
        var broker = try RunningBroker(in: folder, ["--config", file])
        var peer = try RawPeer(to: broker.listen)
        let kept = try peer.createTopic("kept")
        let filling = try peer.createTopic("filling")
        let single = RawPeer.produce(try GoldenBatch.single(), to: kept)
        #expect(RawPeer.outcome(try #require(peer.request(20, single))) == 0)

        let large = try GoldenBatch.large()
        let fields = RawPeer.produce(large, to: filling)
        var taken = 0
        while taken * large.count < 32 << 20 {
            let outcome = RawPeer.outcome(try #require(peer.request(20, fields)))
            if outcome != 0 {
                #expect(outcome == RawPeer.diskFull)
                break
            }
            taken += 1
        }
        #expect(taken * large.count > 4 << 20)
        broker.expectLog("DISK_FULL")
        #expect(try broker.get("/readyz").body.hasPrefix("degraded: read-only"))
        #expect(try peer.drain(filling).count == taken * large.count)

        // Killed and started on the full disk, it serves what it has.
        #expect(broker.end(SIGKILL) == .killed(signal: SIGKILL))
        broker = try RunningBroker(in: folder, ["--config", file])
        peer = try RawPeer(to: broker.listen)
        #expect(try peer.drain(filling).count == taken * large.count)
        #expect(try peer.drain(kept).count == GoldenBatch.single().count)

        // What refuses producers lets topics be deleted, and that is all it takes.
        try peer.deleteTopic(filling)
        var outcome = RawPeer.diskFull
        while outcome == RawPeer.diskFull {
            outcome = RawPeer.outcome(try #require(peer.request(20, single)))
        }
        #expect(outcome == 0)
        #expect(try broker.get("/readyz").body == "ready\n")
        #expect(try peer.endOffset(of: kept) == 2)
        #expect(broker.end() == .exited(0))
        _ = disk
    }

    @Test(arguments: [
        (FaultShim.Call.sync, ".log"), (.sync, "/marks-"), (.write, "/marks-"), (.write, ".log"),
    ])
    func `row 11: a disk that fails under a produce ends the broker with 74`(
        call: FaultShim.Call, path: String
    ) throws {
        let folder = try TemporaryDirectory("eio")
        let shim = try FaultShim(in: folder)
        let broker = try RunningBroker(in: folder, environment: shim.environment)
        let peer = try RawPeer(to: broker.listen)
        let topic = try peer.createTopic("unlucky")
        let fields = RawPeer.produce(try GoldenBatch.single(), to: topic)
        for _ in 0..<5 { #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0) }
        try shim.fail(call, Int64(EIO), path: path, skip: 1)
        var acknowledged = 5
        var refused: [UInt16] = []
        while let reply = peer.request(20, fields) {
            if RawPeer.outcome(reply) != 0 {
                refused.append(RawPeer.outcome(reply))
            } else {
                #expect(refused.isEmpty, "acknowledged after the disk had failed")
                acknowledged += 1
            }
        }
        // Its outcome is unknown, or nothing of it was written because the disk had failed before.
        #expect(
            refused.allSatisfy { $0 == RawPeer.storageFailed || $0 == RawPeer.storageError })
        #expect(broker.child.wait() == .exited(74), "\(broker.log)")
        #expect(broker.log.contains("STORAGE_FAILED"))
        #expect(try shim.matched() >= 2)

        let next = try RunningBroker(in: folder)
        let end = try RawPeer(to: next.listen).endOffset(of: topic)
        #expect(end >= acknowledged && end <= acknowledged + 1)
        #expect(next.end() == .exited(0))
    }

    @Test(arguments: [(FaultShim.Call.rename, "/topics/"), (.sync, "/topics")])
    func `row 13: a rename or folder sync that fails ends the broker with 74`(
        call: FaultShim.Call, path: String
    ) throws {
        let folder = try TemporaryDirectory("rename")
        let shim = try FaultShim(in: folder)
        let broker = try RunningBroker(in: folder, environment: shim.environment)
        let peer = try RawPeer(to: broker.listen)
        let topic = try peer.createTopic("before")
        let fields = RawPeer.produce(try GoldenBatch.single(), to: topic)
        #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0)
        try shim.fail(call, Int64(EIO), path: path)
        let create =
            RawBytes.string("after") + RawBytes.integer(Int32(1)) + RawBytes.integer(UInt32(0))
            + [0]
        let reply = peer.request(10, create)
        #expect(reply?.error != 0, "it was not made, or nothing is known of it")
        #expect(broker.child.wait() == .exited(74), "\(broker.log)")

        let next = try RunningBroker(in: folder)
        let again = try RawPeer(to: next.listen)
        #expect(try again.endOffset(of: topic) == 1)
        #expect([0, 36].contains(try #require(again.request(10, create)).error))
        #expect(next.end() == .exited(0))
    }

    @Test func `row 12: a read that fails is told, others go on, and later it goes well`() throws {
        let folder = try TemporaryDirectory("readfault")
        let shim = try FaultShim(in: folder)
        let broker = try RunningBroker(in: folder, environment: shim.environment)
        let peer = try RawPeer(to: broker.listen)
        let good = try peer.createTopic("good")
        let bad = try peer.createTopic("bad")
        let batch = try GoldenBatch.single()
        for topic in [good, bad] {
            let fields = RawPeer.produce(batch, to: topic)
            #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0)
        }
        try shim.fail(.read, Int64(EIO), path: bad.hex)
        // What the disk cannot read is not in the page cache either.
        let home = folder.path("data/topics/\(bad.hex)/0")
        for name in try PosixFileSystem().list(home) where name.hasSuffix(".log") {
            try PosixFileSystem().open("\(home)/\(name)", .readOnly).dropCache(from: 0)
        }
        for _ in 0..<20 {
            #expect(try peer.fetch(bad, from: 0).error == RawPeer.storageError)
            #expect(try peer.fetch(bad, from: 0, verify: true).error == RawPeer.storageError)
            #expect(try peer.fetch(good, from: 0).batches.count == batch.count)
        }
        #expect(try broker.metric("martlet_broker_read_failures_total") == 40)
        broker.expectLog("READ_FAILED")
        try shim.heal()
        #expect(try peer.fetch(bad, from: 0).batches.count == batch.count)
        #expect(!broker.log.contains("LOG_DAMAGED"), "a disk that does not answer is not rot")
        #expect(broker.end() == .exited(0))
    }
}
