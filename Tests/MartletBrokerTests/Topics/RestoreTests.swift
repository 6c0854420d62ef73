import MartletFormat
import MartletSystem
import MartletTestSupport
import MartletWire
import Testing

@testable import MartletBroker
@testable import MartletStorage

/// What a restored broker must not give again.
@Suite struct RestoreTests {
    private static let now: Int64 = 1_800_000_000_000

    /// Registers a producer on a start of its own.
    private func register(_ directory: TemporaryDirectory) throws -> Int64 {
        let harness = try BrokerHarness(directory: directory)
        let id = try harness.hello().ask(InitProducerRequest()).producerID
        try harness.stop()
        return id
    }

    private func restore(
        _ backup: String, _ directory: TemporaryDirectory, at milliseconds: Int64
    ) throws {
        _ = try Backup.restore(
            backup, to: directory.path("data"), PosixFileSystem(), wallMilliseconds: milliseconds)
    }

    @Test func `ids of producers from after the backup are not given by a restored broker`() throws
    {
        let original = try TemporaryDirectory("original")
        let backup = original.path("backup")
        let before = try register(original)
        _ = try Backup(from: original.path("data"), to: backup, PosixFileSystem(), links: true)
            .run()
        let after = try register(original)
        var given = [before, after]
        // Twice from one backup: what the first one gave is not given by the second.
        for round in Int64(0)..<2 {
            let place = try TemporaryDirectory("restored")
            try restore(backup, place, at: Self.now + round)
            for _ in 0..<3 { given.append(try register(place)) }
        }
        #expect(Set(given).count == given.count, "\(given)")
        #expect(given[2] == Self.now * 256)
        #expect(given == given.sorted())
    }

    @Test func `a copy is restored that no broker was started on`() throws {
        let original = try TemporaryDirectory("original")
        let backup = original.path("backup")
        _ = try register(original)
        _ = try Backup(from: original.path("data"), to: backup, PosixFileSystem(), links: true)
            .run()
        let (first, second) = (try TemporaryDirectory("first"), try TemporaryDirectory("second"))
        try restore(backup, first, at: Self.now)
        try restore(first.path("data"), second, at: Self.now + 1)
        // What is never given is said once, without a word of the copy between.
        let topics = "\(second.path("data"))/topics"
        let gaps = try PosixFileSystem().list(topics).flatMap { topic in
            let path = "\(topics)/\(topic)/topic.meta"
            let bytes = try PosixFileSystem().contents(of: path, atMost: 1 << 20)
            return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
                .filter { $0.hasPrefix("gap ") }
        }
        #expect(gaps == ["gap 0 1 \((Self.now + 1) * 256)"])
        #expect(try register(second) == (Self.now + 1) * 256)
    }

    @Test func `a producer from before the backup is known to a restored broker`() throws {
        let original = try TemporaryDirectory("original")
        let backup = original.path("backup")
        let id = try register(original)
        _ = try Backup(from: original.path("data"), to: backup, PosixFileSystem(), links: true)
            .run()
        let place = try TemporaryDirectory("restored")
        try restore(backup, place, at: Self.now)
        let harness = try BrokerHarness(directory: place)
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        let known = try client.produce(topic, makeBatch(producerID: id, epoch: 0, sequence: 0))
        #expect(known.error == .none)
        let unknown = try client.produce(
            topic, makeBatch(producerID: id + 1, epoch: 0, sequence: 0))
        #expect(unknown.error == .unknownProducer)
        try harness.stop()
    }

    /// Also of a backup without a single producer, and by a clock that nobody has.
    @Test(arguments: [Int64.min, 0, now, .max])
    func `a restore at any time starts`(time: Int64) throws {
        let original = try TemporaryDirectory("original")
        let backup = original.path("backup")
        try BrokerHarness(directory: original).stop()
        _ = try Backup(from: original.path("data"), to: backup, PosixFileSystem(), links: true)
            .run()
        let place = try TemporaryDirectory("restored")
        try restore(backup, place, at: time)
        #expect(try register(place) >= 0)
    }
}
