import Glibc
import MartletSystem
import MartletTestSupport
import Testing

/// Files that changed while the broker was down (fault matrix, rows 4 to 9).
@Suite(.serialized) struct DamagedFileTests {
    /// A topic of several segments, stopped in order.
    private struct Stored {
        let topic: [UInt8]
        let home: String
        let batches: Int
        /// What readers saw before the damage.
        let all: [UInt8]
    }

    private static func fill(
        _ folder: TemporaryDirectory, _ name: String = "stored", end: CInt = SIGTERM
    ) throws -> Stored {
        let broker = try RunningBroker(in: folder)
        let peer = try RawPeer(to: broker.listen)
        let topic = try peer.createTopic(
            name, settings: [("segment.bytes", "131072"), ("batch.bytes.max", "65536")])
        let fields = RawPeer.produce(try GoldenBatch.large(), to: topic)
        for _ in 0..<12 { #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0) }
        let all = try peer.drain(topic)
        let ending = broker.end(end)
        #expect(ending == (end == SIGTERM ? .exited(0) : .killed(signal: end)))
        return Stored(
            topic: topic, home: folder.path("data/topics/\(topic.hex)"), batches: 12, all: all)
    }

    /// Files of partition 0 with this ending, in order of their offsets.
    private static func files(_ stored: Stored, _ ending: String) throws -> [String] {
        try PosixFileSystem().list("\(stored.home)/0").filter { $0.hasSuffix(ending) }.sorted()
            .map { "\(stored.home)/0/\($0)" }
    }

    private static func change(_ path: String, at position: Int64? = nil) throws {
        let file = try PosixFileSystem().open(path, .readWrite)
        let place = try position ?? file.size() / 2
        var byte = [UInt8](repeating: 0, count: 1)
        _ = try unsafe byte.withUnsafeMutableBytes { buffer throws(SystemError) in
            try unsafe file.read(into: buffer, at: place)
        }
        byte[0] ^= 0x10
        try unsafe byte.span.withUnsafeBytes { bytes throws(SystemError) in
            try unsafe file.write(bytes, at: place)
        }
    }

    @Test(arguments: ["deleted", "cut", "changed", "swapped", "zeroed"])
    func `row 7: indexes that are not right change no answer`(damage: String) throws {
        let folder = try TemporaryDirectory("index")
        let stored = try Self.fill(folder)
        let indexes = try Self.files(stored, ".index")
        try #require(indexes.count >= 3)
        let files = PosixFileSystem()
        for (number, path) in indexes.enumerated() {
            switch damage {
            case "deleted": try files.removeFile(path)
            case "cut": try files.open(path, .readWrite).truncate(to: 20)
            case "changed": try Self.change(path)
            case "swapped":
                guard number % 2 == 1 else { continue }
                let other = indexes[number - 1]
                try files.rename(path, to: path + ".x")
                try files.rename(other, to: path)
                try files.rename(path + ".x", to: other)
            default:
                let size = try files.open(path, .readWrite).size()
                try files.open(path, .readWrite).truncate(to: 0)
                try files.open(path, .readWrite).truncate(to: size)
            }
        }
        let broker = try RunningBroker(in: folder)
        let peer = try RawPeer(to: broker.listen)
        #expect(try peer.drain(stored.topic) == stored.all)
        #expect(!broker.log.contains("LOG_DAMAGED"), "\(broker.log)")
        #expect(broker.end() == .exited(0))
    }

    @Test func `row 5: a flipped bit in a closed segment costs its batch and nothing else`() throws
    {
        let folder = try TemporaryDirectory("flip")
        let stored = try Self.fill(folder)
        let logs = try Self.files(stored, ".log")
        try #require(logs.count >= 3)
        let batch = try GoldenBatch.large()
        // In the middle of the second batch of the first segment.
        try Self.change(logs[0], at: Int64(batch.count + batch.count / 2))
        let broker = try RunningBroker(in: folder)
        let peer = try RawPeer(to: broker.listen)
        let records = RawPeer.nextOffset(behind: batch)
        for number in 0..<Int64(stored.batches) {
            let part = try peer.fetch(stored.topic, from: number * records, verify: true)
            if number == 1 {
                #expect(part.error == RawPeer.corrupt)
                #expect(part.damaged == [records..<(2 * records)])
            } else {
                let at = Int(number) * batch.count
                #expect(part.batches.prefix(batch.count) == stored.all[at..<(at + batch.count)])
            }
        }
        #expect(try broker.get("/readyz").body.hasPrefix("degraded"))
        #expect(try broker.metric("martlet_storage_damaged_ranges_total") == 1)
        #expect(broker.end() == .exited(0))
    }

    @Test(arguments: [30, 61, 4_000])
    func `row 4: a torn end is cut off, kept aside, and costs nothing that was acknowledged`(
        junk: Int
    ) throws {
        let folder = try TemporaryDirectory("torn")
        let stored = try Self.fill(folder, end: SIGKILL)
        let last = try #require(try Self.files(stored, ".log").last)
        // Behind the last batch as the beginning of one more, with bytes that were never synced.
        let logs = try Self.files(stored, ".log").dropLast().map {
            try PosixFileSystem().open($0, .readOnly).size()
        }
        let end = Int64(stored.all.count) - logs.reduce(0, +)
        let file = try PosixFileSystem().open(last, .readWrite)
        try unsafe Array(stored.all.prefix(junk)).span.withUnsafeBytes {
            bytes throws(SystemError) in
            try unsafe file.write(bytes, at: end)
        }
        try file.truncate(to: end + Int64(junk))
        let broker = try RunningBroker(in: folder)
        let peer = try RawPeer(to: broker.listen)
        #expect(try peer.drain(stored.topic) == stored.all)
        let names = try PosixFileSystem().list("\(stored.home)/0")
        #expect(names.contains { $0.contains("torn-") }, "\(names) \(broker.log)")
        let fields = RawPeer.produce(try GoldenBatch.single(), to: stored.topic)
        #expect(RawPeer.outcome(try #require(peer.request(20, fields))) == 0)
        #expect(broker.end() == .exited(0))
    }

    @Test func `row 8: damaged producers and marks are made anew, and nothing is lost`() throws {
        let folder = try TemporaryDirectory("snapshot")
        let stored = try Self.fill(folder)
        let files = PosixFileSystem()
        for path in try Self.files(stored, ".producers") { try Self.change(path) }
        for name in try files.list(folder.path("data")) where name.hasPrefix("marks-") {
            try Self.change(folder.path("data/\(name)"), at: 40)
        }
        let broker = try RunningBroker(in: folder)
        #expect(try RawPeer(to: broker.listen).drain(stored.topic) == stored.all)
        #expect(broker.end() == .exited(0))
    }

    @Test(arguments: ["changed", "empty", "cut", "no file"])
    func `row 9: a topic whose metadata cannot be read is offline alone, its data untouched`(
        damage: String
    ) throws {
        let folder = try TemporaryDirectory("meta")
        let bad = try Self.fill(folder, "bad")
        let good = try Self.fill(folder, "good")
        let meta = "\(bad.home)/topic.meta"
        let original = try RunningBroker.contents(of: meta)
        switch damage {
        case "changed": try Self.change(meta)
        case "empty": try RunningBroker.write("", to: meta)
        case "cut": try RunningBroker.write(String(original.prefix(20)), to: meta)
        default: try PosixFileSystem().removeFile(meta)
        }
        var broker = try RunningBroker(in: folder)
        var peer = try RawPeer(to: broker.listen)
        #expect(try peer.drain(good.topic) == good.all)
        let error = try peer.fetch(bad.topic, from: 0).error
        #expect(error == RawPeer.storageError, "unknown would be a lie")
        let produce = RawPeer.produce(try GoldenBatch.single(), to: bad.topic)
        #expect(RawPeer.outcome(try #require(peer.request(20, produce))) == RawPeer.storageError)
        #expect(try broker.get("/readyz").body.hasPrefix("degraded"))
        #expect(broker.end() == .exited(0))

        // With the file back, everything is there.
        try RunningBroker.write(original, to: meta)
        broker = try RunningBroker(in: folder)
        peer = try RawPeer(to: broker.listen)
        #expect(try peer.drain(bad.topic) == bad.all)
        #expect(broker.end() == .exited(0))
    }
}
