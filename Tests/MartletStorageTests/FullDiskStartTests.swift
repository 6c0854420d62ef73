import Glibc
import MartletFormat
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// An unclean start on a full disk serves readers.
@Suite struct FullDiskStartTests {
    private static let written = ["durability": "written"]

    /// A broker that appended one record and was killed.
    private static func kill(_ folder: TemporaryDirectory, _ settings: [String: String]) throws {
        let harness = try StorageHarness(folder.path, PosixFileSystem())
        let log = try #require(try harness.topic("t", settings: settings).partition(0))
        _ = try log.appendNow(batch(["kept"]))
        log.flush()
    }

    private static func fill(_ disk: HookedFileSystem, _ part: String, times: Int = .max) {
        let left = Mutex(times)
        disk.set { call, path in
            guard call == .open, path.contains(part) else { return 0 }
            return left.withLock { left in
                guard left > 0 else { return 0 }
                left -= 1
                return ENOSPC
            }
        }
    }

    private static func home(_ folder: TemporaryDirectory) -> String {
        "\(folder.path)/topics/\(TopicID(high: 1, low: 1))/0"
    }

    private func log(_ harness: StorageHarness) throws -> PartitionLog {
        let topic = try #require(harness.engine.topic(named: "t"))
        #expect(topic.isOnline)
        return try #require(topic.partition(0))
    }

    private func expectReadOnly(_ harness: StorageHarness) throws {
        #expect(harness.engine.startReport.events.contains { $0.kind == .readOnly })
        let log = try log(harness)
        #expect(try log.values().map(\.1) == ["kept"])
        harness.engine.tick()
        guard case .refused(.diskFull) = try log.appendNow(batch(["new"])) else {
            Issue.record("appended behind what is not on disk")
            return
        }
        #expect(harness.engine.context.failed == nil)
    }

    /// A start on a full disk that gets its space while it runs: it takes a record, at `offset`, and
    /// both records are there behind the next two starts.
    private func expectRecovery(
        _ folder: TemporaryDirectory, full part: String, stops: Bool, at offset: Int64? = nil
    ) throws {
        let disk = HookedFileSystem()
        Self.fill(disk, part)
        do {
            let harness = try StorageHarness(folder.path, disk)
            try expectReadOnly(harness)
            let log = try log(harness)
            let end = log.view.logEnd
            // Opened with what is not cut in it.
            log.beWarm()
            disk.set(nil)
            harness.engine.tick()
            guard case .appended(let receipt) = try log.appendNow(batch(["new"])) else {
                Issue.record("not appended although there is room")
                return
            }
            #expect(receipt.baseOffset == offset ?? end)
            log.flush()
            #expect(try log.values().map(\.1) == ["kept", "new"])
            if stops { try harness.engine.close() }
        }
        for _ in 0..<2 {
            let harness = try StorageHarness(folder.path, disk)
            let report = harness.engine.startReport
            #expect(report.isClean == stops && report.events.allSatisfy { $0.kind == .gap })
            #expect(try log(harness).values().map(\.1) == ["kept", "new"])
            if stops { try harness.engine.close() }
        }
    }

    @Test func `a gap that has no room on disk keeps its topic readable`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        try Self.kill(folder, Self.written)
        Self.fill(disk, "topic.meta.tmp")
        var ends: [Int64] = []
        for _ in 0..<2 {
            let harness = try StorageHarness(folder.path, disk)
            ends.append(try log(harness).view.logEnd)
            try expectReadOnly(harness)
            try harness.engine.close()
        }
        disk.set(nil)
        let harness = try StorageHarness(folder.path, disk)
        ends.append(try log(harness).view.logEnd)
        #expect(ends == [ends[0], ends[0], ends[0]] && ends[0] > PartitionLog.reserveBlock)
        guard case .appended(let receipt) = try log(harness).appendNow(batch(["new"])) else {
            Issue.record("not appended although there is room")
            return
        }
        #expect(receipt.baseOffset == ends[0])
    }

    @Test func `the reserve makes room for a gap`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        try Self.kill(folder, Self.written)
        Self.fill(disk, "topic.meta.tmp", times: 1)
        let harness = try StorageHarness(folder.path, disk)
        guard case .appended = try log(harness).appendNow(batch(["new"])) else {
            Issue.record("not appended although there is room")
            return
        }
    }

    /// Leaves 100 bytes that are no batch behind the log.
    private static func tear(
        _ folder: TemporaryDirectory, _ disk: HookedFileSystem
    ) throws -> any File {
        let path = "\(home(folder))/\(LogFileNames.log(0, generation: 0))"
        let torn = ByteSlab(capacity: 100)
        for _ in 0..<100 { torn.append(UInt8(0x55)) }
        let file = try disk.open(path, .readWrite)
        try file.write(torn, at: try file.size())
        return file
    }

    @Test func `a torn tail that cannot be copied is not cut, and readers are served`() throws {
        let folder = try TemporaryDirectory()
        let disk = HookedFileSystem()
        try Self.kill(folder, [:])
        let file = try Self.tear(folder, disk)
        let size = try file.size()
        Self.fill(disk, ".torn-")
        for _ in 0..<2 {
            let harness = try StorageHarness(folder.path, disk)
            try expectReadOnly(harness)
            try harness.engine.close()
            #expect(try file.size() == size)
        }
        disk.set(nil)
        let harness = try StorageHarness(folder.path, disk)
        #expect(harness.engine.startReport.events.contains { $0.kind == .tornTail })
        guard case .appended(let receipt) = try log(harness).appendNow(batch(["new"])) else {
            Issue.record("not appended although there is room")
            return
        }
        #expect(receipt.baseOffset == 1)
        #expect(try log(harness).values().map(\.1) == ["kept", "new"])
    }

    @Test(arguments: [false, true])
    func `a topic whose gap had no room takes records once there is some`(stops: Bool) throws {
        let folder = try TemporaryDirectory()
        try Self.kill(folder, Self.written)
        try expectRecovery(folder, full: "topic.meta.tmp", stops: stops)
    }

    @Test(arguments: [false, true])
    func `a log whose torn tail had no room takes records once there is some`(stops: Bool) throws {
        let folder = try TemporaryDirectory()
        try Self.kill(folder, [:])
        _ = try Self.tear(folder, HookedFileSystem())
        try expectRecovery(folder, full: ".torn-", stops: stops, at: 1)
        #expect(try PosixFileSystem().list(Self.home(folder)).count { $0.contains(".torn-") } == 1)
    }

    /// A broker that was killed, and what it wrote: two segments, of which no mark and no index tells.
    private static func killOverTwoSegments(_ folder: TemporaryDirectory) throws -> [String] {
        let values = (0..<3).map { String(repeating: "\($0)", count: 30_000) }
        do {
            let harness = try StorageHarness(folder.path, PosixFileSystem())
            let topic = try harness.topic("t", settings: ["segment.bytes": "65536"])
            let log = try #require(topic.partition(0))
            for value in values { _ = try log.appendNow(batch([value])) }
            log.flush()
            #expect(log.view.segments == 2)
        }
        let disk = PosixFileSystem()
        for (directory, end) in [(folder.path, ".log"), (home(folder), ".index")] {
            for name in try disk.list(directory) where name.hasSuffix(end) {
                try disk.removeFile("\(directory)/\(name)")
            }
        }
        return values
    }

    @Test(arguments: [false, true])
    func `a torn tail inside the log is cut once there is room`(restarts: Bool) throws {
        let folder = try TemporaryDirectory()
        let values = try Self.killOverTwoSegments(folder)
        let disk = HookedFileSystem()
        let size = try Self.tear(folder, disk).size() - 100
        Self.fill(disk, ".torn-")
        var harness = try StorageHarness(folder.path, disk)
        #expect(harness.engine.startReport.events.contains { $0.kind == .readOnly })
        #expect(try log(harness).values().map(\.1) == values)
        harness.engine.tick()
        if restarts { try harness.engine.close() }
        disk.set(nil)
        if restarts { harness = try StorageHarness(folder.path, disk) }
        harness.engine.tick()
        #expect(try log(harness).values().map(\.1) == values)
        guard case .appended = try log(harness).appendNow(batch(["new"])) else {
            Issue.record("not appended although there is room")
            return
        }
        let name = LogFileNames.log(0, generation: 0)
        let names = try disk.list(Self.home(folder))
        #expect(try disk.status("\(Self.home(folder))/\(name)")?.size == size)
        #expect(names.count { $0.contains(".torn-") } == 1)
        try harness.engine.close()
    }
}
