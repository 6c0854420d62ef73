import MartletFormat
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// What age takes away, and what a wrong clock does not (fault matrix, rows 20 and 41).
@Suite struct AgingTests {
    private static let hour: Int64 = 3_600_000

    @Test func `F-41 a producer that was silent too long is refused, never taken in silence`()
        throws
    {
        let folder = try TemporaryDirectory("expiry")
        let clock = ManualClock()
        let path = folder.path("data")
        func open() throws -> (StorageHarness, PartitionLog) {
            let harness = try StorageHarness(path, PosixFileSystem(), clock: clock) {
                $0.producerExpiryMilliseconds = Self.hour / 2
            }
            return (harness, try #require(try harness.topic("t").partition(0)))
        }
        func send(_ log: PartitionLog, _ sequence: Int32) throws -> AppendOutcome {
            try log.appendNow(batch(["v"], producer: 7, epoch: 0, sequence: sequence))
        }
        do {
            let (harness, log) = try open()
            for sequence in Int32(0)..<3 { _ = try send(log, sequence) }
            guard case .duplicate = try send(log, 2) else {
                Issue.record("a retry in time is known")
                return
            }
            try harness.engine.close()
        }
        clock.advance(seconds: 59 * 60)
        let (harness, log) = try open()
        guard case .refused(.unknownProducer) = try send(log, 3) else {
            Issue.record("taken although nothing is known of it")
            return
        }
        #expect(log.view.logEnd == 3)
        try harness.engine.close()
    }

    @Test func `a written topic is synced after the interval of the configuration`() throws {
        let folder = try TemporaryDirectory("interval")
        let harness = try StorageHarness(folder.path("data"), PosixFileSystem()) {
            $0.writtenSyncMilliseconds = 50
        }
        let topic = try harness.topic("t", settings: ["durability": "written"])
        let log = try #require(topic.partition(0))
        for _ in 0..<2 {
            guard case .appended = try log.appendNow(batch(["x"])) else {
                Issue.record("not appended")
                return
            }
            #expect(!log.state.withLock { $0.unsynced.isEmpty })
            harness.executor.fireTimers(upTo: 49_000_000)
            #expect(!log.state.withLock { $0.unsynced.isEmpty })
            harness.executor.fireTimers(upTo: 50_000_000)
            #expect(log.state.withLock { $0.unsynced.isEmpty })
        }
        try harness.engine.close()
    }

    @Test func `F-20 a clock that jumps ahead deletes nothing until it stood for an hour`() throws {
        let folder = try TemporaryDirectory("jump")
        let clock = ManualClock()
        let harness = try StorageHarness(folder.path("data"), PosixFileSystem(), clock: clock)
        let topic = try harness.topic(
            "t",
            settings: [
                "segment.bytes": "65536", "batch.bytes.max": "65536",
                "retention.ms": "\(24 * Self.hour)",
            ])
        let log = try #require(topic.partition(0))
        let value = String(repeating: "x", count: 30_000)
        for _ in 0..<8 {
            guard case .appended = try log.appendNow(batch([value])) else {
                Issue.record("not appended")
                return
            }
        }
        func wait(minutes: Int64) {
            for _ in 0..<minutes {
                clock.advance(seconds: 60)
                harness.engine.tick()
            }
        }
        let day = 24 * Self.hour
        clock.setWall(milliseconds: clock.wallMilliseconds() + 30 * day)
        wait(minutes: 50)
        #expect(log.view.logStart == 0, "nobody knows yet whether the clock is right")
        clock.setWall(milliseconds: clock.wallMilliseconds() - 30 * day)
        wait(minutes: 180)
        #expect(log.view.logStart == 0, "it was not")
        clock.setWall(milliseconds: clock.wallMilliseconds() - day)
        wait(minutes: 10)
        guard case .appended = try log.appendNow(batch(["back"])) else {
            Issue.record("an earlier wall clock stops nobody")
            return
        }
        #expect(log.view.logStart == 0 && log.view.logEnd == 9)
        clock.setWall(milliseconds: clock.wallMilliseconds() + 30 * day)
        wait(minutes: 70)
        #expect(log.view.logStart > 0, "it stood for an hour: now it is believed")
        try harness.engine.close()
    }

    @Test func `a clock that was wrong spoils one segment, also after a restart`() throws {
        let folder = try TemporaryDirectory("wrong")
        let clock = ManualClock()
        let value = String(repeating: "x", count: 30_000)
        func open() throws -> (StorageHarness, PartitionLog) {
            let harness = try StorageHarness(folder.path("data"), PosixFileSystem(), clock: clock)
            let topic = try harness.topic(
                "t",
                settings: ["segment.bytes": "65536", "retention.ms": "\(2 * Self.hour)"])
            return (harness, try #require(topic.partition(0)))
        }
        do {
            let (harness, log) = try open()
            _ = try log.appendNow(batch([value]))
            let right = clock.wallMilliseconds()
            clock.setWall(milliseconds: right + 300 * 24 * Self.hour)
            _ = try log.appendNow(batch([value]))
            clock.setWall(milliseconds: right)
            for _ in 0..<6 { _ = try log.appendNow(batch([value])) }
            #expect(log.view.segments > 3)
            try harness.engine.close()
        }
        let (harness, log) = try open()
        #expect(log.view.logStart == 0)
        for _ in 0..<180 {
            clock.advance(seconds: 60)
            harness.engine.tick()
        }
        #expect(log.view.logStart == 8 && log.view.segments == 1)
        try harness.engine.close()
    }

    private static func open(
        _ folder: TemporaryDirectory, _ clock: ManualClock, _ settings: [String: String]
    ) throws -> (StorageHarness, PartitionLog) {
        let harness = try StorageHarness(folder.path("data"), PosixFileSystem(), clock: clock)
        let topic = try harness.topic("t", settings: settings)
        return (harness, try #require(topic.partition(0)))
    }

    private static func append(
        _ log: PartitionLog, _ clock: ManualClock, after hours: Int64 = 0
    )
        throws
    {
        clock.advance(seconds: hours * 3600)
        guard case .appended = try log.appendNow(batch(["v"])) else {
            Issue.record("not appended")
            return
        }
    }

    private static func wait(_ harness: StorageHarness, _ clock: ManualClock, hours: Int64) {
        for _ in 0..<hours {
            clock.advance(seconds: 3600)
            harness.engine.tick()
        }
    }

    @Test(arguments: [false, true])
    func `a segment goes in time once the clock has passed a wrong one`(restarts: Bool) throws {
        let folder = try TemporaryDirectory("passed")
        let clock = ManualClock()
        let day = 24 * Self.hour
        let settings = ["retention.ms": "\(12 * day)", "segment.ms": "\(30 * day)"]
        var (harness, log) = try Self.open(folder, clock, settings)
        let right = clock.wallMilliseconds()
        try Self.append(log, clock)
        clock.setWall(milliseconds: right + 10 * day)
        try Self.append(log, clock)
        clock.setWall(milliseconds: right)
        try Self.append(log, clock)
        #expect(log.view.segments == 2)
        if restarts {
            try harness.engine.close()
            (harness, log) = try Self.open(folder, clock, settings)
        }
        Self.wait(harness, clock, hours: 5 * 24)
        try Self.append(log, clock)
        Self.wait(harness, clock, hours: 7 * 24 - 1)
        #expect(log.view.logStart == 0)
        Self.wait(harness, clock, hours: 2)
        #expect(log.view.logStart == 2, "its wrong time is two days old")
        try harness.engine.close()
    }

    @Test func `a clock that was behind takes nothing too early`() throws {
        let folder = try TemporaryDirectory("behind")
        let clock = ManualClock()
        let (harness, log) = try Self.open(
            folder, clock, ["retention.ms": "\(24 * Self.hour)"])
        let right = clock.wallMilliseconds()
        try Self.append(log, clock)
        clock.setWall(milliseconds: right - 2 * 24 * Self.hour)
        try Self.append(log, clock)
        clock.setWall(milliseconds: right)
        try Self.append(log, clock)
        #expect(log.view.segments == 2)
        Self.wait(harness, clock, hours: 23)
        #expect(log.view.logStart == 0)
        Self.wait(harness, clock, hours: 2)
        #expect(log.view.logStart == 3)
        try harness.engine.close()
    }

    @Test(arguments: [false, true])
    func `a segment's age outlives the broker`(stops: Bool) throws {
        let folder = try TemporaryDirectory("age")
        let clock = ManualClock()
        let settings = ["segment.ms": "\(24 * Self.hour)"]
        for run in 0..<3 {
            let (harness, log) = try Self.open(folder, clock, settings)
            try Self.append(log, clock)
            try Self.append(log, clock, after: 9)
            #expect(log.view.segments == (run < 2 ? 1 : 2))
            if stops { try harness.engine.close() } else { log.flush() }
            clock.advance(seconds: 3600)
        }
    }

    @Test func `a first record from a wrong clock keeps no segment open`() throws {
        let folder = try TemporaryDirectory("ahead")
        let clock = ManualClock()
        let right = clock.wallMilliseconds()
        for run in 0..<2 {
            let (harness, log) = try Self.open(folder, clock, ["segment.ms": "\(Self.hour)"])
            if run == 0 { clock.setWall(milliseconds: right + Self.hour / 2) }
            try Self.append(log, clock)
            #expect(log.view.segments == 1)
            clock.setWall(milliseconds: right)
            if run == 1 {
                try Self.append(log, clock, after: 1)
                #expect(log.view.segments == 2)
            }
            try harness.engine.close()
        }
    }
}
