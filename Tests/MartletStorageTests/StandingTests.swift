import MartletSystem
import MartletTestSupport
import Testing

@testable import MartletStorage

/// What is known of a record's age, and of how soon retention takes it.
@Suite struct StandingTests {
    private let clock = ManualClock()
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory("standing") }

    private func harness() throws -> StorageHarness {
        try StorageHarness(directory.path("data"), PosixFileSystem(), clock: clock)
    }

    /// A topic with three segments: one batch each, a minute apart.
    private func fill(_ harness: StorageHarness, _ settings: [String: String]) throws -> Topic {
        let topic = try harness.topic(
            "t",
            settings: settings.merging(["segment.bytes": "65536"]) { given, _ in given })
        let log = try #require(topic.partition(0))
        for _ in 0..<3 {
            guard
                case .appended = try log.appendNow(
                    batch([String(repeating: "x", count: 60_000)], time: clock.wallMilliseconds()))
            else {
                Issue.record("not appended")
                break
            }
            clock.advance(seconds: 60)
            harness.engine.tick()
        }
        #expect(log.view.segments == 3)
        return topic
    }

    @Test func `a record stands until its segment is too old`() throws {
        let harness = try harness()
        let topic = try fill(harness, ["retention.ms": "1000000"])
        let log = try #require(topic.partition(0))
        let start = clock.wallMilliseconds() - 180_000
        for offset in 0..<3 {
            let standing = try #require(
                try log.standingFromDisk(of: Int64(offset), topic.settings))
            #expect(standing.appendedBy == start + Int64(offset) * 60_000)
            #expect(standing.headroomMilliseconds == 1_000_000 - 180_000 + Int64(offset) * 60_000)
            #expect(standing.headroomBytes == nil)
            #expect(log.standing(of: Int64(offset), topic.settings) == standing)
        }
        #expect(log.standing(of: 3, topic.settings) == nil)
        // What it says is what happens.
        let left = try #require(log.standing(of: 0, topic.settings)?.headroomMilliseconds)
        for _ in 0..<left / 60_000 {
            clock.advance(seconds: 60)
            harness.engine.tick()
        }
        clock.advance(milliseconds: left % 60_000)
        harness.engine.tick()
        #expect(log.view.logStart == 0)
        #expect(log.standing(of: 0, topic.settings)?.headroomMilliseconds == 0)
        clock.advance(milliseconds: 1_000)
        harness.engine.tick()
        #expect(log.view.logStart == 1)
        try harness.engine.close()
    }

    @Test func `a record stands until so many bytes lie behind its segment`() throws {
        let harness = try harness()
        let topic = try fill(harness, ["retention.ms": "-1", "retention.bytes": "200000"])
        let log = try #require(topic.partition(0))
        let bytes = log.view.bytes / 3
        for offset in 0..<3 {
            let standing = try #require(log.standing(of: Int64(offset), topic.settings))
            #expect(standing.headroomMilliseconds == nil)
            #expect(standing.headroomBytes == 200_000 - Int64(2 - offset) * bytes)
        }
        try harness.engine.close()
    }

    @Test func `for ever is no headroom, and neither is compaction`() throws {
        let harness = try harness()
        let topic = try fill(harness, ["retention.ms": "-1"])
        let log = try #require(topic.partition(0))
        var settings = topic.settings
        #expect(log.standing(of: 0, settings)?.headroomMilliseconds == nil)
        settings.cleanup = .compact
        settings.retentionMilliseconds = 1
        #expect(log.standing(of: 0, settings)?.headroomMilliseconds == nil)
        try harness.engine.close()
    }
}
