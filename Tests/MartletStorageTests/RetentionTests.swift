import MartletFormat
import MartletSystem
import MartletTestSupport
import Testing

@testable import MartletStorage

/// What age and size take away, and what they never touch.
@Suite struct RetentionTests {
    private static let value = String(repeating: "x", count: 30_000)
    private static let segment: Int64 = 65_536
    private let clock = ManualClock()

    private func open(
        _ folder: TemporaryDirectory, _ settings: [String: String]
    ) throws -> (StorageHarness, PartitionLog) {
        let harness = try StorageHarness(folder.path("data"), PosixFileSystem(), clock: clock)
        let small = ["segment.bytes": "\(Self.segment)"]
        let topic = try harness.topic("t", settings: settings.merging(small) { old, _ in old })
        return (harness, try #require(topic.partition(0)))
    }

    private func fill(_ log: PartitionLog, _ count: Int) throws {
        for _ in 0..<count {
            guard case .appended = try log.appendNow(batch([Self.value])) else {
                Issue.record("not appended")
                return
            }
        }
    }

    /// The bytes of every log file but the open one.
    private func sealed(_ log: PartitionLog) throws -> [String: [UInt8]] {
        let disk = PosixFileSystem()
        let names = try disk.list(log.directory).filter {
            $0.hasSuffix(".log") && $0 != LogFileNames.preparedLog
        }
        var files: [String: [UInt8]] = [:]
        for name in names.dropLast() {
            files[name] = try disk.contents(of: "\(log.directory)/\(name)", atMost: 1 << 20)
        }
        return files
    }

    @Test func `what is too old goes, and the log start moves`() throws {
        let folder = try TemporaryDirectory("age")
        let (harness, log) = try open(folder, ["retention.ms": "2000"])
        try fill(log, 9)
        clock.advance(seconds: 1)
        harness.engine.tick()
        #expect(log.view.logStart == 0)
        for _ in 0..<5 {
            clock.advance(seconds: 1)
            harness.engine.tick()
        }
        #expect(log.view.logStart == 9 && log.view.segments == 1)
        guard case .outOfRange(let view) = log.plan(from: 3, maxBytes: 1 << 20) else {
            Issue.record("what is gone is read")
            return
        }
        #expect(view.logStart == 9)
        try harness.engine.close()
    }

    /// Groups that need nothing.
    private final class IdleGroups: ConsumedMarks {
        func consumed(topic: TopicID, partition: Int32) -> ConsumedMark { .nobody }
        func release(topic: TopicID, partition: Int32, below target: Int64) -> Int64? { target }
        func released(topic: TopicID, partition: Int32, below offset: Int64) {}
    }

    @Test func `nothing goes before the groups are read that may need it`() throws {
        let folder = try TemporaryDirectory("asks")
        let harness = try StorageHarness(folder.path("data"), PosixFileSystem(), clock: clock) {
            $0.asksGroups = true
        }
        let settings = ["retention.ms": "2000", "segment.bytes": "\(Self.segment)"]
        let log = try #require(try harness.topic("t", settings: settings).partition(0))
        try fill(log, 9)
        func wait() {
            for _ in 0..<6 {
                clock.advance(seconds: 1)
                harness.engine.tick()
            }
        }
        wait()
        #expect(log.view.logStart == 0)
        let groups = IdleGroups()
        harness.engine.setConsumedMarks(groups)
        wait()
        #expect(log.view.logStart == 9)
        withExtendedLifetime(groups) {}
        try harness.engine.close()
    }

    @Test func `what is kept for ever is there after ten years, byte for byte`() throws {
        let folder = try TemporaryDirectory("ever")
        let (harness, log) = try open(folder, ["retention.ms": "-1", "retention.bytes": "-1"])
        try fill(log, 9)
        let before = try sealed(log)
        #expect(before.count > 3)
        for _ in 0..<(10 * 366) {
            clock.advance(seconds: 86_400)
            harness.engine.tick()
        }
        #expect(log.view.logStart == 0)
        try fill(log, 4)
        let after = try sealed(log)
        for (name, bytes) in before { #expect(after[name] == bytes, "\(name)") }
        #expect(try log.values().count == 13)
        try harness.engine.close()
    }

    @Test func `a partition keeps its bytes exact to one segment`() throws {
        let folder = try TemporaryDirectory("size")
        let limit: Int64 = 200_000
        let (harness, log) = try open(folder, ["retention.bytes": "\(limit)"])
        for _ in 0..<30 {
            try fill(log, 1)
            harness.engine.tick()
            let bytes = log.view.bytes
            #expect(bytes < limit + Self.segment)
            #expect(log.view.logStart == 0 || bytes >= limit)
        }
        #expect(log.view.logStart > 0)
        try harness.engine.close()
    }
}
