import MartletFormat
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

@Suite struct CompactionTests {
    @Test func `the newest value of each key stays, in order, at its offset`() throws {
        let folder = TemporaryFolder()
        let path = folder.path
        let settings = ["segment.bytes": "65536", "cleanup.policy": "compact"]
        let filler = String(repeating: "x", count: 500)
        var last: [String: (Int64, String)] = [:]
        do {
            let harness = try StorageHarness(path, PosixFileSystem())
            let log = try #require(try harness.topic("t", settings: settings).partition(0))
            for round in 0..<1000 {
                let key = "key-\(round % 37)"
                let value = "\(round)-\(filler)"
                guard case .appended(let receipt) = try log.appendNow(batch([value], key: key))
                else {
                    Issue.record("not appended")
                    return
                }
                last[key] = (receipt.baseOffset, value)
            }
            let before = log.view.bytes
            harness.engine.tick()
            #expect(log.view.bytes < before / 3)
            try check(log, last)
        }
        let harness = try StorageHarness(path, PosixFileSystem())
        let log = try #require(try harness.topic("t").partition(0))
        try check(log, last)
        #expect(log.view.logEnd == 1000)
        guard case .appended(let receipt) = try log.appendNow(batch(["new"], key: "key-0")) else {
            Issue.record("not appended after compaction")
            return
        }
        #expect(receipt.baseOffset == 1000)
    }

    /// What is left of it would keep the disk full: the next run waits for appends, which a full disk
    /// refuses.
    @Test(arguments: [".log.tmp", ".producers.tmp"])
    func `what a full disk has no room for leaves nothing behind`(_ part: String) throws {
        let folder = TemporaryFolder()
        let disk = FullMarksFileSystem(part)
        let clock = ManualClock()
        let harness = try StorageHarness(folder.path, disk, clock: clock)
        let settings = ["segment.bytes": "65536", "cleanup.policy": "compact"]
        let topic = try harness.topic("t", settings: settings)
        let log = try #require(topic.partition(0))
        let filler = String(repeating: "x", count: 500)
        for round in 0..<200 {
            _ = try log.appendNow(batch(["\(round)-\(filler)"], key: "key-\(round % 7)"))
        }
        let before = log.view.bytes
        disk.isFull.store(true, ordering: .relaxed)
        clock.advance(seconds: 2)
        harness.engine.tick()
        let names = try disk.list("\(folder.path)/topics/\(topic.id)/0")
        #expect(names.filter { $0.hasSuffix(".tmp") } == [])
        if part == ".log.tmp" { #expect(log.view.bytes == before) }
        disk.isFull.store(false, ordering: .relaxed)
        for round in 0..<200 {
            _ = try log.appendNow(batch(["\(round)-\(filler)"], key: "key-\(round % 7)"))
        }
        clock.advance(seconds: 2)
        harness.engine.tick()
        #expect(log.view.bytes < before)
        try harness.engine.close()
    }

    /// The last records were tombstones, and their time is over: nothing lies before the end.
    @Test func `where compaction took the last records, the log ends and nothing is damaged`()
        throws
    {
        let folder = TemporaryFolder()
        let clock = ManualClock()
        let settings = ["cleanup.policy": "compact", "tombstone.retention.ms": "0"]
        do {
            let harness = try StorageHarness(folder.path, PosixFileSystem(), clock: clock)
            let log = try #require(try harness.topic("t", settings: settings).partition(0))
            #expect(!log.wasCompacted)
            for tombstone in [tombstone("gone"), batch(["stays"], key: "k"), tombstone("gone")] {
                _ = try log.appendNow(tombstone)
            }
            log.closeSegment()
            clock.advance(seconds: 1)
            harness.engine.tick()
            #expect(log.wasCompacted)
            #expect(try log.values().map(\.0) == [1])
            #expect(try ends(of: log, at: 2) == [3, 3])
            try harness.engine.close()
        }
        let harness = try StorageHarness(folder.path, PosixFileSystem(), clock: clock)
        let log = try #require(try harness.topic("t").partition(0))
        #expect(log.wasCompacted)
        #expect(try ends(of: log, at: 2) == [3, 3])
        // As after a start that found the empty segment behind it gone.
        log.state.withLock { state in
            guard state.segments.count == 2, let end = state.segments[0].end else { return }
            state.segments.removeLast()
            let place = LogEnd(end, in: state.segments[0])
            (state.appended, state.durable, state.visible) = (place, place, place)
            state.cursors.forget()
        }
        #expect(log.state.withLock { $0.segments.map(\.generation) } == [1])
        #expect(try ends(of: log, at: 2) == [3, 3])
        #expect(log.view.damaged.isEmpty)
    }

    private func tombstone(_ key: String) -> ByteSlab {
        let slab = ByteSlab(capacity: 256)
        let builder = RecordBatchBuilder(slab: slab)
        let bytes = Array(key.utf8)
        _ = unsafe builder.append(
            key: bytes.span.bytes, value: nil, headers: [], timestamp: 1_000)
        _ = builder.finish()
        return slab
    }

    /// Where the log ends, from both ways to read it from the disk.
    private func ends(of log: PartitionLog, at offset: Int64) throws -> [Int64?] {
        let outcomes = [
            try log.planFromDisk(from: offset, maxBytes: 1 << 20),
            try log.verifiedRead(from: offset, maxBytes: 1 << 20),
        ]
        return outcomes.map { outcome in
            if case .atEnd(let view) = outcome { view.highWatermark } else { nil }
        }
    }

    private func check(_ log: PartitionLog, _ last: [String: (Int64, String)]) throws {
        let values = try log.values()
        #expect(values.map(\.0) == values.map(\.0).sorted())
        for (offset, value) in last.values {
            #expect(values.contains { $0.0 == offset && $0.1 == value })
        }
    }

    @Test func `what the key map has no room for stays, also a tombstone`() throws {
        let folder = TemporaryFolder()
        let disk = PosixFileSystem()
        let harness = try StorageHarness(folder.path, disk)
        let settings = ["cleanup.policy": "compact"]
        let log = try #require(try harness.topic("t", settings: settings).partition(0))
        for (key, value) in [("k", "alive"), ("other", "x"), ("k", nil)] as [(String, String?)] {
            guard case .appended = try log.appendNow(record(key, value)) else {
                Issue.record("not appended")
                return
            }
        }
        let segment = try #require(log.state.withLock { $0.segments.first })
        let end = try #require(log.appender.withLock { $0.files?.tracker.end })
        segment.seal(end)
        var compaction = Compaction(
            settings: TopicSettings(), segments: [segment], limit: 3, tombstoneHorizon: .max)
        compaction.keyBytesMax = 1
        let newest = try compaction.newest()
        #expect(newest.end == 1)
        let target = try disk.open(folder.path + "/rewritten", .createNew)
        #expect(try compaction.rewrite(segment, newest, producers: [], into: target) == 0)
    }

    private func record(_ key: String, _ value: String?) -> ByteSlab {
        let slab = ByteSlab(capacity: 4096)
        let builder = RecordBatchBuilder(slab: slab)
        let (keyBytes, valueBytes) = (Array(key.utf8), Array((value ?? "").utf8))
        _ = unsafe builder.append(
            key: keyBytes.span.bytes, value: value == nil ? nil : valueBytes.span.bytes,
            headers: [], timestamp: 1_000)
        _ = builder.finish(producerID: -1, producerEpoch: -1, baseSequence: -1)
        return slab
    }

    @Test func `more keys than fit in memory are compacted run by run`() throws {
        let folder = TemporaryFolder()
        let settings = ["segment.bytes": "65536", "cleanup.policy": "compact"]
        let filler = String(repeating: "x", count: 500)
        let harness = try StorageHarness(folder.path, PosixFileSystem()) {
            $0.compactionKeyBytes = 3_000
        }
        let log = try #require(try harness.topic("t", settings: settings).partition(0))
        var last: [String: (Int64, String)] = [:]
        for round in 0..<1_200 {
            let key = "key-\(round % 300)"
            let value = "\(round)-\(filler)"
            guard case .appended(let receipt) = try log.appendNow(batch([value], key: key)) else {
                Issue.record("not appended")
                return
            }
            last[key] = (receipt.baseOffset, value)
        }
        for _ in 0..<60 { harness.engine.tick() }
        try check(log, last)
        let limit = try #require(log.state.withLock { $0.segments.last?.base })
        #expect(log.appender.withLock { $0.compactedTo } == limit)
        let below = try log.values().filter { $0.0 < limit }
        #expect(below.count <= 300, "\(below.count) records of 300 keys")
    }

    @Test func `a segment is not compacted before a mark is in the next one`() throws {
        let folder = TemporaryFolder()
        let clock = ManualClock()
        let flush = ManualExecutor(clock: clock, label: "flush")
        let inline = InlineExecutor()
        var options = StorageOptions(dataDirectory: folder.path)
        options.diskFreeLow = 0
        options.diskFreeHigh = 0
        options.diskReserve = 0
        let engine = try StorageEngine.open(
            options, fileSystem: PosixFileSystem(), clock: clock,
            executors: StorageExecutors(
                flush: [flush], readers: [inline], housekeeping: inline, marks: inline,
                failure: inline))
        let settings = ["segment.bytes": "65536", "cleanup.policy": "compact"]
        let topic = try engine.createTopic(
            name: "t", partitions: 1, settings: settings, id: TopicID(high: 1, low: 1))
        let log = try #require(topic?.partition(0))
        let filler = String(repeating: "x", count: 500)
        // All of the first segment is on disk when an append rolls; the second segment is not.
        for round in 0..<200 where log.state.withLock({ $0.segments.count }) == 1 {
            flush.runAll()
            _ = try log.appendNow(batch(["\(round)-\(filler)"], key: "key"))
        }
        func generation() -> UInt32? { log.state.withLock { $0.segments.first?.generation } }
        #expect(log.state.withLock { $0.segments.last?.base == $0.durable.offset })
        engine.tick()
        #expect(generation() == 0)
        flush.runAll()
        engine.tick()
        #expect(generation() == 1)
        try engine.close()
    }

    @Test func `a record without a key is refused`() throws {
        let folder = TemporaryFolder()
        let harness = try StorageHarness(folder.path, PosixFileSystem())
        let topic = try harness.topic("t", settings: ["cleanup.policy": "compact"])
        let log = try #require(topic.partition(0))
        guard case .refused(.nullKey) = try log.appendNow(batch(["v"])) else {
            Issue.record("a null key was taken")
            return
        }
    }

    @Test func `compaction leaves alone what is not what was written`() throws {
        let folder = TemporaryFolder()
        let disk = PosixFileSystem()
        let settings = ["segment.bytes": "65536", "cleanup.policy": "compact"]
        let filler = String(repeating: "x", count: 500)
        do {
            let harness = try StorageHarness(folder.path, disk)
            let log = try #require(try harness.topic("t", settings: settings).partition(0))
            for round in 0..<400 {
                _ = try log.appendNow(batch(["\(round)-\(filler)"], key: "key-\(round % 5)"))
            }
            try harness.engine.close()
        }
        // The leader epoch of the first batch: no checksum of a batch covers it.
        let name = LogFileNames.log(0, generation: 0)
        let path = "\(folder.path)/topics/\(TopicID(high: 1, low: 1))/0/\(name)"
        let epoch = ByteSlab(capacity: 1)
        epoch.append(UInt8(0x55))
        try disk.open(path, .readWrite).write(epoch, at: 15)
        let harness = try StorageHarness(folder.path, disk)
        let log = try #require(try harness.topic("t").partition(0))
        harness.engine.tick()
        #expect(log.state.withLock { $0.segments.allSatisfy { $0.generation == 0 } })
        var reader = DamageReader(log, isCompacted: true)
        reader.run(from: 0)
        #expect(reader.told.contains { $0.contains(0) })
        #expect(!reader.records.contains { $0.offset == 0 })
    }
}

extension PartitionLog {
    /// Begins a new segment, as the next append would that does not fit.
    func closeSegment() {
        prepareNextSegment()
        appender.withLock { appender in
            guard let prepared = appender.prepared else { return }
            roll(to: prepared, &appender)
        }
        flush()
    }
}
