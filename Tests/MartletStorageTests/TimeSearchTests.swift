import MartletFormat
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// Offsets by event time in a log with a damaged batch: nothing that may be what is looked for is
/// passed in silence.
@Suite struct TimeSearchTests {
    private static let id = TopicID(high: 1, low: 1)

    /// Ten records with the times 0, 1,000, 2,000 and so on, each in a batch of its own, the third of
    /// them damaged.
    private func damaged(
        _ folder: TemporaryDirectory, indexInterval: Int64
    ) throws -> (StorageHarness, PartitionLog) {
        let disk = PosixFileSystem()
        func open() throws -> (StorageHarness, PartitionLog) {
            let harness = try StorageHarness(folder.path, disk) {
                $0.indexIntervalBytes = indexInterval
            }
            return (harness, try #require(try harness.topic("t", id: Self.id).partition(0)))
        }
        var position: Int64 = 0
        do {
            let (harness, log) = try open()
            for number in 0..<10 {
                let slab = batch(["value \(number)"], time: Int64(number) * 1_000)
                if number < 3 { position += Int64(slab.count) }
                guard case .appended = try log.appendNow(slab) else {
                    Issue.record("not appended")
                    break
                }
            }
            try harness.engine.close()
        }
        let path = "\(folder.path)/topics/\(Self.id)/0/\(LogFileNames.log(0, generation: 0))"
        let rot = ByteSlab(capacity: 1)
        rot.append(UInt8(0xFF))
        try disk.open(path, .readWrite).write(rot, at: position - 2)
        return try open()
    }

    private func expect(
        _ log: PartitionLog, at time: Int64, _ offset: Int64?, _ found: Int64?,
        _ location: SourceLocation = #_sourceLocation
    ) throws {
        let answer = try log.offset(forTime: time)
        #expect(
            answer?.offset == offset && answer?.time == found,
            "time \(time) gives \(String(describing: answer))", sourceLocation: location)
    }

    @Test func `damage that may hold the time is answered, not passed`() throws {
        let folder = try TemporaryDirectory("times")
        let (harness, log) = try damaged(folder, indexInterval: 64 << 10)
        try expect(log, at: 1_000, 1, 1_000)
        try expect(log, at: 1_001, 2, -1)
        try expect(log, at: 7_500, 2, -1)
        try expect(log, at: 9_001, 2, -1)
        log.skip([2..<3])
        try expect(log, at: 1_001, 3, 3_000)
        try expect(log, at: 7_500, 8, 8_000)
        try expect(log, at: 9_001, nil, nil)
        _ = try log.deleteRecords(before: 3)
        try expect(log, at: 0, 3, 3_000)
        try harness.engine.close()
    }

    @Test func `what is deleted is not read for a search`() throws {
        let folder = try TemporaryDirectory("times")
        let disk = CountingFileSystem()
        let harness = try StorageHarness(folder.path, disk)
        let log = try #require(try harness.topic("t", id: Self.id).partition(0))
        let filler = String(repeating: "x", count: 10_000)
        for number in 0..<200 {
            _ = try log.appendNow(batch([filler], time: Int64(number) * 1_000))
        }
        _ = try log.deleteRecords(before: 190)
        #expect(log.view.segments == 1)
        disk.bytes.store(0, ordering: .relaxed)
        try expect(log, at: 0, 190, 190_000)
        try expect(log, at: 195_000, 195, 195_000)
        try expect(log, at: 200_000, nil, nil)
        let read = disk.bytes.load(ordering: .relaxed)
        #expect(read < 600_000, "\(read) bytes")
        try harness.engine.close()
    }

    @Test func `damage before the place that the index names is none of the search's`() throws {
        let folder = try TemporaryDirectory("times")
        let (harness, log) = try damaged(folder, indexInterval: 1)
        try expect(log, at: 1_001, 2, -1)
        try expect(log, at: 2_001, 3, 3_000)
        try expect(log, at: 7_500, 8, 8_000)
        try expect(log, at: 9_001, nil, nil)
        try harness.engine.close()
    }
}

/// The machine's file system, which counts what is read of log files.
private final class CountingFileSystem: ForwardingFileSystem {
    let base = PosixFileSystem()
    let bytes = Atomic<Int>(0)

    func open(_ path: String, _ mode: FileOpenMode) throws(SystemError) -> any File {
        let file = try base.open(path, mode)
        return path.hasSuffix(".log") ? CountingFile(file, self) : file
    }
}

private final class CountingFile: ForwardingFile {
    let base: any File
    private let owner: CountingFileSystem

    init(_ base: any File, _ owner: CountingFileSystem) {
        self.base = base
        self.owner = owner
    }

    func read(
        into buffer: UnsafeMutableRawBufferPointer, at position: Int64
    ) throws(SystemError) -> Int {
        let count = unsafe try base.read(into: buffer, at: position)
        owner.bytes.add(count, ordering: .relaxed)
        return count
    }
}
