import MartletFormat
import MartletSystem
import MartletTestSupport
import Testing

@testable import MartletStorage

/// Rot in batches that nobody reads is found in time.
@Suite struct ScrubberTests {
    private static let minute: Int64 = 60_000

    /// A log of several segments and the harness that a manual clock moves.
    private func filled(
        _ path: String, _ clock: ManualClock, interval: Int64
    ) throws -> (StorageHarness, PartitionLog) {
        let harness = try StorageHarness(path, PosixFileSystem(), clock: clock) {
            $0.scrubMilliseconds = interval
            $0.scrubBytesPerSecondMax = 128 << 10
        }
        let topic = try harness.topic(
            "t", settings: ["segment.bytes": "65536", "batch.bytes.max": "65536"])
        let log = try #require(topic.partition(0))
        let value = String(repeating: "x", count: 3_000)
        for _ in 0..<200 where log.view.segments < 9 {
            guard case .appended = try log.appendNow(batch([value])) else {
                Issue.record("not appended")
                break
            }
        }
        return (harness, log)
    }

    /// Changes one byte in the middle of the third segment.
    private func rot(_ folder: TemporaryDirectory) throws {
        let files = PosixFileSystem()
        let topics = "\(folder.path("data"))/topics"
        let topic = try #require(try files.list(topics).first)
        let logs = try files.list("\(topics)/\(topic)/0").filter { $0.hasSuffix(".log") }.sorted()
        let file = try files.open("\(topics)/\(topic)/0/\(try #require(logs[safe: 2]))", .readWrite)
        let byte = ByteSlab(capacity: 1)
        byte.append(UInt8(ascii: "y"))
        try file.write(byte, at: 30_000)
    }

    @Test func `rot that nobody reads is found within the interval, in bounded steps`() throws {
        let folder = try TemporaryDirectory("scrub")
        let clock = ManualClock()
        let (harness, log) = try filled(folder.path("data"), clock, interval: Self.minute)
        try rot(folder)
        #expect(log.view.damaged.isEmpty)
        var rounds = 0
        while log.view.damaged.isEmpty, rounds < 60 {
            clock.advance(seconds: 1)
            harness.engine.tick()
            rounds += 1
        }
        #expect(log.view.damaged.count == 1)
        // 128 KiB a second at most, and the third segment begins behind 128 KiB.
        #expect(rounds > 1 && rounds < 60)
        // The next passes know of it, and go on behind it.
        for _ in 0..<200 {
            clock.advance(seconds: 1)
            harness.engine.tick()
        }
        #expect(log.view.damaged.count == 1)
        try harness.engine.close()
    }

    @Test func `without an interval nothing is read; it can be set while it runs`() throws {
        let folder = try TemporaryDirectory("scruboff")
        let clock = ManualClock()
        let (harness, log) = try filled(folder.path("data"), clock, interval: -1)
        try rot(folder)
        for _ in 0..<100 {
            clock.advance(seconds: 1)
            harness.engine.tick()
        }
        #expect(log.view.damaged.isEmpty)
        harness.engine.scrubber.set(
            intervalMilliseconds: Self.minute, bytesPerSecondMax: 1 << 20)
        for _ in 0..<60 {
            clock.advance(seconds: 1)
            harness.engine.tick()
        }
        #expect(log.view.damaged.count == 1)
        try harness.engine.close()
    }

    @Test func `sound logs stay sound while they grow, shrink and are deleted`() throws {
        let folder = try TemporaryDirectory("scrubbusy")
        let clock = ManualClock()
        let (harness, log) = try filled(folder.path("data"), clock, interval: Self.minute)
        let other = try harness.topic("gone", id: TopicID(high: 2, low: 2))
        for round in 0..<300 {
            clock.advance(seconds: 1)
            harness.engine.tick()
            guard case .appended = try log.appendNow(batch(["\(round)"])) else {
                Issue.record("not appended")
                return
            }
            if round == 40 { try harness.engine.deleteTopic(other.id) }
            if round == 90 { _ = try log.deleteRecords(before: log.view.logEnd / 2) }
        }
        #expect(log.view.damaged.isEmpty)
        try harness.engine.close()
    }
}

extension Array {
    fileprivate subscript(safe index: Int) -> Element? {
        indices.contains(index) ? self[index] : nil
    }
}
