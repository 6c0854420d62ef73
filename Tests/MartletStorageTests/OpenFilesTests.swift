import Glibc
import MartletFormat
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// Few descriptors: how many partitions hold, and what is put off when there is none.
@Suite struct OpenFilesTests {
    private static let value = String(repeating: "x", count: 25_000)
    /// Two batches fill a segment, and the next one is prepared behind the first.
    private static let small = ["segment.bytes": "65536"]

    /// Descriptors of this process for files of a folder.
    private static func openFiles(in folder: TemporaryDirectory) throws -> Int {
        let target = ByteSlab(capacity: 4096)
        return try PosixFileSystem().list("/proc/self/fd").count { name in
            target.clear()
            unsafe target.fill { space in
                guard let start = space.baseAddress else { return 0 }
                let text = unsafe start.assumingMemoryBound(to: CChar.self)
                return max(0, unsafe readlink("/proc/self/fd/\(name)", text, space.count))
            }
            let path = unsafe target.bytes.withUnsafeBytes {
                unsafe String(decoding: $0, as: UTF8.self)
            }
            return path.hasPrefix(folder.path) && path.contains("/topics/")
        }
    }

    /// How many more opens of paths with `part` fail; all of them when it is `Int.max`.
    private static func starve(
        _ disk: HookedFileSystem, _ call: HookedFileSystem.Call, _ part: String, times: Int
    ) {
        let left = Mutex(times)
        disk.set { asked, path in
            guard asked == call, path.contains(part) else { return 0 }
            return left.withLock { left in
                guard left > 0 else { return 0 }
                left -= left == .max ? 0 : 1
                return EMFILE
            }
        }
    }

    private func append(_ log: PartitionLog, _ value: String = value) throws -> Int64? {
        switch try log.appendNow(batch([value])) {
        case .appended(let receipt): return receipt.baseOffset
        case .refused(.noDescriptors): return nil
        case .duplicate, .refused, .later:
            Issue.record("neither appended nor put off")
            return nil
        }
    }

    /// Who is slow to sync what partitions have, when they are to close their files.
    @Test(arguments: [Durability.durable, .written], [false, true])
    func `partitions that are written in turn hold no more files than the limit`(
        durability: Durability, flushHangs: Bool
    ) throws {
        let limit = 32
        let folder = try TemporaryDirectory()
        let clock = ManualClock()
        let housekeeping = ManualExecutor(clock: clock)
        let flush = ManualExecutor(clock: clock)
        // A job that waits holds its partition, and the partition the executors.
        defer {
            clock.forgetTimers()
            for executor in [housekeeping, flush] { executor.forgetJobs() }
        }
        let harness = try StorageHarness(
            folder.path, PosixFileSystem(), clock: clock, flush: flushHangs ? flush : nil,
            housekeeping: housekeeping
        ) { $0.openFilesMax = limit }
        let topic = try harness.topic(
            "t", partitions: 200,
            settings: ["durability": "\(durability)"].merging(Self.small) { old, _ in old })
        var most = 0
        for round in 0..<3 {
            for log in topic.partitions {
                var outcome = try log.appendNow(batch(["\(round)", Self.value]))
                for _ in 0..<8 {
                    guard case .later = outcome else { break }
                    housekeeping.runAll()
                    outcome = try log.appendNow(batch(["\(round)", Self.value]))
                }
                guard case .appended = outcome else {
                    Issue.record("not appended: \(outcome)")
                    return
                }
                housekeeping.runAll()
                most = max(most, try Self.openFiles(in: folder))
            }
        }
        // What is at work has its two files and two prepared ones; one directory stays open.
        #expect(most <= limit + 5, "\(most) open files")
        flush.runAll()
        for log in topic.partitions {
            let values = try log.values().map(\.1).filter { $0 != Self.value }
            #expect(values == ["0", "1", "2"])
        }
        try harness.engine.close()
        let again = try StorageHarness(folder.path, PosixFileSystem(), clock: clock)
        #expect(again.engine.startReport.isClean && again.engine.startReport.events.isEmpty)
        for log in try again.topic("t").partitions { #expect(log.view.logEnd == 6) }
    }

    @Test(arguments: [false, true])
    func `where the process has fewer than the limit, what was read before gives way`(
        verifies: Bool
    ) throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let clock = ManualClock()
        let count: Int32 = 20
        do {
            let harness = try StorageHarness(folder.path, disk, clock: clock)
            for log in try harness.topic("t", partitions: count).partitions {
                #expect(try append(log) == 0)
            }
            try harness.engine.close()
        }
        let harness = try StorageHarness(folder.path, disk, clock: clock)
        harness.engine.context.files.relieve(.max / 2)
        let before = try Self.openFiles(in: folder)
        let refusals = Mutex(0)
        disk.set { call, path in
            guard call == .open, path.contains("/topics/") else { return 0 }
            guard (try? Self.openFiles(in: folder)) ?? 0 >= before + 8 else { return 0 }
            refusals.withLock { $0 += 1 }
            return EMFILE
        }
        for log in try harness.topic("t").partitions {
            guard case .data = try log.answer(from: 0, maxBytes: 1, verifies: verifies) else {
                Issue.record("nothing was read")
                return
            }
        }
        #expect(refusals.withLock { $0 } > 0)
        disk.set(nil)
        try harness.engine.close()
    }

    @Test func `a want of descriptors is told once, and that it is over`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let clock = ManualClock()
        let sink = LogCapture()
        let harness = try StorageHarness(
            folder.path, disk, clock: clock,
            logger: Logger(label: "test", level: .notice, sink: sink))
        let topic = try harness.topic("t", partitions: 3)
        func told() -> [String] { sink.codes.filter { $0.hasPrefix("DESCRIPTORS_") } }
        for want in 1...2 {
            Self.starve(disk, .open, ".log", times: .max)
            for _ in 0..<5 {
                for log in topic.partitions { #expect(try append(log) == nil) }
                clock.advance(milliseconds: 300)
                harness.engine.tick()
            }
            #expect(told().count == 2 * want - 1)
            disk.set(nil)
            clock.advance(seconds: 9)
            harness.engine.tick()
            #expect(told().count == 2 * want - 1)
            clock.advance(seconds: 2)
            harness.engine.tick()
            #expect(told().count == 2 * want)
        }
        let one = ["DESCRIPTORS_SHORT", "DESCRIPTORS_BACK"]
        #expect(told() == one + one)
        for log in topic.partitions { #expect(try append(log) == 0) }
    }

    /// Once is not enough: what is open for readers goes, and it is tried again.
    @Test(arguments: [2, Int.max])
    func `a partition that cannot open its files is there again by itself`(times: Int) throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let clock = ManualClock()
        do {
            let harness = try StorageHarness(folder.path, disk, clock: clock)
            _ = try append(try #require(try harness.topic("t").partition(0)))
            try harness.engine.close()
        }
        for part in [".log", ".index"] {
            let harness = try StorageHarness(folder.path, disk, clock: clock)
            let log = try #require(try harness.topic("t").partition(0))
            let end = log.view.logEnd
            harness.engine.context.files.relieve(.max / 2)
            Self.starve(disk, .open, part, times: times)
            #expect(try append(log) == nil)
            #expect(try append(log) == nil)
            clock.advance(nanoseconds: 300_000_000)
            if times == .max {
                #expect(try append(log) == nil)
                disk.set(nil)
                clock.advance(nanoseconds: 300_000_000)
            }
            #expect(try append(log) == end)
            #expect(harness.engine.context.failed == nil && log.view.state == .online)
            try harness.engine.close()
        }
    }

    @Test(
        arguments: [
            (HookedFileSystem.Call.open, "prepared.log"), (.open, "prepared.index"),
            (.openDirectory, "/0"),
        ], [1, Int.max])
    func `a next segment that cannot be made puts producers off`(
        place: (call: HookedFileSystem.Call, part: String), times: Int
    ) throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let clock = ManualClock()
        let harness = try StorageHarness(folder.path, disk, clock: clock)
        let log = try #require(try harness.topic("t", settings: Self.small).partition(0))
        var next: Int64 = 0
        while log.view.segments < 2 {
            #expect(try append(log) == next)
            next += 1
        }
        Self.starve(disk, place.call, place.part, times: times)
        var refusals = 0
        while log.view.segments < 4 {
            if let offset = try append(log) {
                #expect(offset == next)
                next += 1
                continue
            }
            refusals += 1
            if refusals == 3 { disk.set(nil) }
            clock.advance(nanoseconds: 300_000_000)
            harness.executor.fireTimers(upTo: .max)
        }
        #expect(refusals == (times == 1 ? 1 : 3))
        #expect(harness.engine.context.failed == nil)
        #expect(try log.values().count == Int(next))
        try harness.engine.close()
    }

    @Test(arguments: [1, Int.max])
    func `a segment that cannot get its name is synced later`(times: Int) throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let clock = ManualClock()
        let flush = ManualExecutor(clock: clock)
        let harness = try StorageHarness(folder.path, disk, clock: clock, flush: flush)
        let log = try #require(try harness.topic("t", settings: Self.small).partition(0))
        while log.view.segments < 2 {
            _ = try append(log)
            if log.view.segments < 2 { flush.runAll() }
        }
        let end = log.view.logEnd
        let probe = DurabilityProbe()
        log.whenDurable(end, probe)
        Self.starve(disk, .openDirectory, "/0", times: times)
        flush.runAll()
        #expect(!probe.isDurable && log.view.durableEnd < end)
        harness.executor.fireTimers(upTo: 200_000_000)
        flush.runAll()
        if times == .max {
            #expect(!probe.isDurable)
            #expect(throws: StorageError.self) { try harness.engine.close() }
            disk.set(nil)
            harness.executor.fireTimers(upTo: 200_000_000)
            flush.runAll()
        }
        #expect(probe.isDurable && log.view.durableEnd == end)
        #expect(harness.engine.context.failed == nil)
    }

    /// It gets its name no more, for its directory is gone.
    @Test func `a segment without a name goes with its topic, and nothing else does`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let clock = ManualClock()
        let flush = ManualExecutor(clock: clock)
        let harness = try StorageHarness(folder.path, disk, clock: clock, flush: flush)
        let topic = try harness.topic("t", settings: Self.small)
        let log = try #require(topic.partition(0))
        while log.view.segments < 2 {
            _ = try append(log)
            if log.view.segments < 2 { flush.runAll() }
        }
        let probe = DurabilityProbe()
        log.whenDurable(log.view.logEnd, probe)
        Self.starve(disk, .openDirectory, "/0", times: .max)
        try harness.engine.deleteTopic(topic.id)
        disk.set(nil)
        harness.executor.fireTimers(upTo: 200_000_000)
        flush.runAll()
        #expect(harness.engine.context.failed == nil)
        // Who waited is told.
        #expect(probe.answers.withLock { $0.count } == 1 && !probe.isDurable)
        try harness.engine.close()
    }

    @Test func `a topic that is deleted while its next segment is made leaves no file open`() throws
    {
        let folder = try TemporaryDirectory()
        let disk = SlowDirectories()
        let harness = try StorageHarness(folder.path, disk)
        let engine = harness.engine
        let topic = try harness.topic("t", settings: Self.small)
        disk.set {
            do {
                try engine.deleteTopic(topic.id)
            } catch {
                Issue.record("not deleted: \(error)")
            }
        }
        let log = try #require(topic.partition(0))
        for _ in 0..<2 { _ = try append(log) }
        #expect(engine.topics().isEmpty)
        #expect(try Self.openFiles(in: folder) == 0)
        try engine.close()
    }

    @Test func `a topic that is made or deleted without descriptors is there, or is not`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        let harness = try StorageHarness(folder.path, disk)
        let kept = try harness.topic("kept")
        _ = try append(try #require(kept.partition(0)))
        disk.set { call, _ in call == .open || call == .openDirectory ? EMFILE : 0 }
        #expect(throws: StorageError.self) {
            try harness.topic("t", id: TopicID(high: 2, low: 2))
        }
        #expect(throws: StorageError.self) {
            try harness.engine.addPartitions(kept.id, total: 3)
        }
        try harness.engine.deleteTopic(kept.id)
        disk.set(nil)
        #expect(harness.engine.context.failed == nil)
        _ = try harness.topic("t", id: TopicID(high: 3, low: 3))
        try harness.engine.close()
        let again = try StorageHarness(folder.path, disk)
        #expect(again.engine.topics().map(\.id) == [TopicID(high: 3, low: 3)])
    }
}

/// The machine's file system, except that something else happens, once, while a partition's directory
/// is synced.
private final class SlowDirectories: ForwardingFileSystem {
    let base = PosixFileSystem()
    private let meanwhile = Mutex<(@Sendable () -> Void)?>(nil)

    func set(_ body: @escaping @Sendable () -> Void) { meanwhile.withLock { $0 = body } }

    func openDirectory(_ path: String) throws(SystemError) -> any OpenDirectory {
        SlowDirectory(base: try base.openDirectory(path), isPartition: path.hasSuffix("/0")) {
            self.meanwhile.withLock { body in
                defer { body = nil }
                return body
            }?()
        }
    }
}

private struct SlowDirectory: OpenDirectory {
    let base: any OpenDirectory
    let isPartition: Bool
    let meanwhile: @Sendable () -> Void

    func sync() throws(SystemError) {
        if isPartition { meanwhile() }
        try base.sync()
    }
}
