import MartletFormat
import MartletSystem
import MartletTelemetry
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// Topics with `deduplication.window.ms`: no message is stored twice within the window.
@Suite struct MessageIDTests {
    private static let window: Int64 = 600_000
    fileprivate static let settings = ["deduplication.window.ms": String(window)]

    private let folder = TemporaryFolder()
    private let clock = ManualClock()

    private func open(
        _ settings: [String: String] = Self.settings,
        change: (inout StorageOptions) -> Void = { _ in }
    ) throws -> (harness: StorageHarness, log: PartitionLog) {
        let harness = try StorageHarness(
            folder.path, PosixFileSystem(), clock: clock, change: change)
        return (harness, try #require(try harness.topic("t", settings: settings).partition(0)))
    }

    @Test func `a message is stored once within the window, whoever sends it`() throws {
        let (harness, log) = try open()
        #expect(try log.send(["a", "b"], producer: 1, sequence: 0).places == [0, 1])
        // Another producer, one without an id, and the first one in a batch of its own.
        #expect(try log.send(["b"], producer: 2, sequence: 0).places == [1])
        #expect(try log.send(["a"]).places == [0])
        #expect(try log.send(["c", "a"], producer: 1, sequence: 2).places == [4, 0])
        #expect(try log.values().map(\.1) == ["a", "b", "c"])
        #expect(try log.values().map(\.0) == [0, 1, 4])
        #expect(harness.engine.context.metrics.duplicateMessages.value == 3)
    }

    @Test func `records without an id are stored, however often they come`() throws {
        let (_, log) = try open()
        for _ in 0..<2 {
            for slab in [batch(["v"]), identified(["v"], ids: [""]), identified(["v"], ids: [nil])]
            {
                guard case .appended(let receipt) = try log.appendNow(slab) else {
                    Issue.record("not appended")
                    return
                }
                #expect(receipt.duplicates.isEmpty)
            }
        }
        #expect(try log.values().count == 6)
    }

    @Test func `without the setting an id means nothing`() throws {
        let (_, log) = try open([:])
        #expect(try log.send(["a", "a"]).places == [0, 1])
        #expect(try log.send(["a"]).places == [2])
        #expect(log.appender.withLock { $0.messageIDs == nil })
    }

    @Test func `of two copies in one batch the first is stored`() throws {
        let (_, log) = try open()
        #expect(try log.send(["a", "b", "a", "a", "c", "b"]).places == [0, 1, 0, 0, 4, 1])
        #expect(try log.values().map(\.0) == [0, 1, 4])
        #expect(log.view.logEnd == 6)
    }

    /// The batch is in the log without records: its offsets and sequences count.
    @Test func `a batch of duplicates alone keeps its sequences, also over a restart`() throws {
        var (harness, log) = try open()
        #expect(try log.send(["a", "b"], producer: 1, sequence: 0).places == [0, 1])
        #expect(try log.send(["b", "a"], producer: 2, sequence: 0).places == [1, 0])
        #expect(try log.send(["c"], producer: 2, sequence: 2).places == [4])
        try harness.engine.close()
        (harness, log) = try open()
        #expect(try log.send(["d"], producer: 2, sequence: 3).places == [5])
        #expect(try log.send(["b", "a"], producer: 2, sequence: 0).isRepeat)
        #expect(try log.values().map(\.1) == ["a", "b", "c", "d"])
    }

    @Test func `a retry of a batch is told where its records are, not where they would have been`()
        throws
    {
        var (harness, log) = try open()
        _ = try log.send(["a"], producer: 1, sequence: 0)
        let first = try log.send(["b", "a", "c"], producer: 2, sequence: 0)
        #expect(first.places == [1, 0, 3])
        for _ in 0..<2 {
            let again = try log.send(["b", "a", "c"], producer: 2, sequence: 0)
            #expect(again.isRepeat)
            #expect(again.places == [1, 0, 3])
            try harness.engine.close()
            (harness, log) = try open()
        }
        // Nobody knows any more which of them were stored then.
        clock.advance(milliseconds: Self.window)
        harness.engine.tick()
        #expect(try log.send(["z"], producer: 3, sequence: 0).places == [4])
        #expect(try log.send(["b", "a", "c"], producer: 2, sequence: 0).places == [-1, -1, -1])
        #expect(try log.send(["a"], producer: 3, sequence: 1).places == [5])
        // What was appended since is not where the first one is.
        #expect(try log.send(["b", "a", "c"], producer: 2, sequence: 0).places == [-1, -1, -1])
    }

    @Test func `a message is stored again once its window is over, and not before`() throws {
        let (_, log) = try open()
        #expect(try log.send(["a"]).places == [0])
        clock.advance(milliseconds: Self.window - 1)
        // A duplicate begins no new window.
        #expect(try log.send(["a"]).places == [0])
        clock.advance(milliseconds: 1)
        #expect(try log.send(["a"]).places == [2])
    }

    @Test(arguments: [-10 * 86_400_000, -1_800_000, 1_800_000, 10 * 86_400_000])
    func `a clock that is set lets no duplicate in while the broker runs`(by shift: Int64) throws {
        let (_, log) = try open()
        #expect(try log.send(["a"]).places == [0])
        clock.setWall(milliseconds: clock.wallMilliseconds() + shift)
        #expect(try log.send(["b"]).places == [1])
        clock.advance(milliseconds: Self.window - 1)
        #expect(try log.send(["a", "b"]).places == [0, 1])
        clock.advance(milliseconds: 1)
        #expect(try log.send(["b", "a"]).places == [4, 5])
    }

    @Test func `an id that is too long is refused, and names its record`() throws {
        let (_, log) = try open()
        let long = String(repeating: "x", count: MessageID.bytesMax)
        #expect(try log.send([long]).places == [0])
        guard
            case .refused(.messageIDTooLong(let index, let bytes)) = try log.appendNow(
                identified(["v", "w"], ids: ["v", long + "x"]))
        else {
            Issue.record("taken")
            return
        }
        #expect(index == 1)
        #expect(bytes == MessageID.bytesMax + 1)
        #expect(log.view.logEnd == 1)
        #expect(try log.send(["v"]).places == [1])
    }

    // MARK: - Restarts

    @Test(arguments: [true, false])
    func `a restart forgets nothing of the window`(isClean: Bool) throws {
        for round in 0..<3 {
            let (harness, log) = try open(change: { $0.indexIntervalBytes = 200 })
            for number in 0..<40 {
                let id = "\(round)-\(number)"
                let receipt = try log.send([id])
                #expect(receipt.isNew)
                clock.advance(milliseconds: 1_000)
            }
            for number in 0..<40 {
                #expect(try !log.send(["\(round)-\(number)"]).isNew)
                if round > 0 { #expect(try !log.send(["\(round - 1)-\(number)"]).isNew) }
            }
            if isClean { try harness.engine.close() }
        }
        #expect(try open().log.values().count == 120)
    }

    @Test func `what has left the window before a restart is not read again`() throws {
        var (harness, log) = try open(change: { $0.indexIntervalBytes = 61 })
        for number in 0..<100 {
            _ = try log.send(["\(number)"])
            clock.advance(milliseconds: Self.window / 50)
        }
        try harness.engine.close()
        (harness, log) = try open()
        #expect(try log.send(["new"]).isNew)
        let count = log.appender.withLock { $0.messageIDs?.count ?? 0 }
        #expect((50...53).contains(count), "\(count)")
        // The index does not know each record's own time: a few are kept longer, none shorter.
        for number in 51..<100 { #expect(try !log.send(["\(number)"]).isNew) }
        for number in 0..<47 { #expect(try log.send(["\(number)"]).isNew) }
        clock.advance(milliseconds: Self.window)
        #expect(try log.send(["99"]).isNew)
    }

    @Test(arguments: [-10 * 86_400_000, -1_800_000, 0, 10 * 86_400_000])
    func `a clock that is set while the broker is down lets no duplicate in early`(
        by shift: Int64
    ) throws {
        var (harness, log) = try open()
        #expect(try log.send(["a"]).places == [0])
        harness.engine.tick()
        clock.advance(milliseconds: 1_000)
        #expect(try log.send(["b"]).places == [1])
        try harness.engine.close()
        clock.setWall(milliseconds: clock.wallMilliseconds() + shift)
        (harness, log) = try open()
        #expect(try log.send(["a", "b"]).places == [0, 1])
        clock.advance(milliseconds: Self.window - 1_001)
        #expect(try log.send(["a", "b"]).places == [0, 1])
        clock.advance(milliseconds: Self.window)
        #expect(try log.send(["a", "b"]).places == [6, 7])
    }

    /// The log of a clock that was wrong for a while: either way round nothing comes in early.
    @Test(arguments: [-10 * 86_400_000, 10 * 86_400_000])
    func `a clock that was wrong for a while lets no duplicate in after a restart`(
        by shift: Int64
    ) throws {
        var (harness, log) = try open()
        #expect(try log.send(["before"]).isNew)
        clock.advance(milliseconds: 1_000)
        clock.setWall(milliseconds: clock.wallMilliseconds() + shift)
        #expect(try log.send(["wrong"]).isNew)
        clock.advance(milliseconds: 1_000)
        clock.setWall(milliseconds: clock.wallMilliseconds() - shift)
        #expect(try log.send(["after"]).isNew)
        try harness.engine.close()
        (harness, log) = try open()
        for id in ["before", "wrong", "after"] { #expect(try !log.send([id]).isNew, "\(id)") }
        clock.advance(milliseconds: Self.window - 3_000)
        try harness.engine.close()
        (harness, log) = try open()
        for id in ["before", "wrong", "after"] { #expect(try !log.send([id]).isNew, "\(id)") }
    }

    // MARK: - The setting

    @Test func `switched on, the window counts from what is in the log`() throws {
        let (harness, log) = try open([:])
        _ = try log.send(["a"])
        try harness.set("deduplication.window.ms", "1000")
        #expect(try log.send(["a"]).places == [0])
        try harness.set("deduplication.window.ms", nil)
        #expect(try log.send(["a"]).places == [2])
        #expect(harness.engine.context.messageIDs.bytes == 0)
    }

    @Test func `what comes while the window is off, as its ids are read, is not forgotten`() throws
    {
        var settings = Self.settings
        settings["segment.bytes"] = "65536"
        let disk = HookedFileSystem()
        func open() throws -> (harness: StorageHarness, log: PartitionLog) {
            let harness = try StorageHarness(folder.path, disk, clock: clock)
            return (harness, try #require(try harness.topic("t", settings: settings).partition(0)))
        }
        var (harness, log) = try open()
        let filler = String(repeating: "x", count: 3_000)
        for number in 0..<50 { _ = try log.send(["\(number)"], filler: filler) }
        try harness.engine.close()
        (harness, log) = try open()
        let oldest = "/\(LogFileNames.log(0, generation: 0))"
        let meanwhile = Mutex<Bool?>(nil)
        disk.set { [harness, log] _, path in
            let isReading = log.appender.withLock { $0.files != nil && $0.messageIDs == nil }
            guard path.hasSuffix(oldest), isReading else { return 0 }
            disk.set(nil)
            let isNew = try? harness.withWindowOff { try log.send(["race"]).isNew }
            meanwhile.withLock { $0 = isNew }
            return 0
        }
        #expect(try !log.send(["0"]).isNew)
        #expect(meanwhile.withLock { $0 } == true)
        #expect(try !log.send(["race"]).isNew)
    }

    @Test func `a longer window finds again what had left the shorter one`() throws {
        let (harness, log) = try open(["deduplication.window.ms": "1000"]) {
            $0.indexIntervalBytes = 61
        }
        _ = try log.send(["a"])
        clock.advance(milliseconds: 5_000)
        harness.engine.tick()
        _ = try log.send(["b"])
        try harness.set("deduplication.window.ms", "60000")
        #expect(try log.send(["a", "b"]).places == [0, 1])
        try harness.set("deduplication.window.ms", "1000")
        #expect(try log.send(["a", "b"]).places == [4, 1])
    }

    @Test func `dead letters and the broker's own topics have no window`() throws {
        var metadata = TopicMetadata(id: TopicID(high: 1, low: 1), name: "g.dlq", partitions: 1)
        metadata.overrides = Self.settings
        #expect(try metadata.settings(over: .init()).deduplicationWindowMilliseconds == 0)
        var defaults = TopicSettings()
        defaults.deduplicationWindowMilliseconds = 1_000
        metadata = TopicMetadata(id: TopicID(high: 1, low: 1), name: "$groups", partitions: 1)
        #expect(try metadata.settings(over: defaults).deduplicationWindowMilliseconds == 0)
    }

    // MARK: - Memory

    @Test func `when ids fill their memory new ones are refused, and none is forgotten early`()
        throws
    {
        let room = 10
        let (harness, log) = try open(change: {
            $0.messageIDBytesMax = room * (MessageIDWindow.overhead + 2)
        })
        for number in 10..<(10 + room) { #expect(try log.send(["\(number)"]).isNew) }
        guard case .refused(.tooManyMessageIDs) = try log.appendNow(identified(["99"])) else {
            Issue.record("taken above the limit")
            return
        }
        // What needs no room is taken.
        #expect(try !log.send(["10"]).isNew)
        guard case .appended = try log.appendNow(batch(["no id"])) else {
            Issue.record("a record without an id is refused")
            return
        }
        clock.advance(milliseconds: Self.window)
        #expect(try log.send(["99"]).isNew)
        #expect(harness.engine.context.messageIDs.bytes == MessageIDWindow.overhead + 2)
    }

    @Test func `a partition that nobody writes to gives its memory back`() throws {
        let (harness, log) = try open()
        _ = try log.send((0..<100).map { "\($0)" })
        #expect(harness.engine.context.messageIDs.bytes > 100 * MessageIDWindow.overhead)
        clock.advance(milliseconds: Self.window)
        harness.engine.tick()
        #expect(harness.engine.context.messageIDs.bytes == 0)
        _ = try log.send(["a"])
        try harness.engine.deleteTopic(log.topicID)
        #expect(harness.engine.context.messageIDs.bytes == 0)
    }

    @Test func `a window that has no room after a restart is refused until it has`() throws {
        var (harness, log) = try open()
        _ = try log.send((10..<30).map { "\($0)" })
        try harness.engine.close()
        (harness, log) = try open(change: {
            $0.messageIDBytesMax = 10 * (MessageIDWindow.overhead + 2)
        })
        for _ in 0..<3 {
            guard case .refused(.tooManyMessageIDs) = try log.appendNow(identified(["10"])) else {
                Issue.record("taken although nobody knows the window")
                return
            }
            #expect(harness.engine.context.messageIDs.bytes == 0)
            clock.advance(milliseconds: 1_000)
        }
        clock.advance(milliseconds: Self.window)
        harness.engine.tick()
        #expect(try log.send(["10"]).isNew)
    }

    @Test func `many ids come and go in order, exactly`() throws {
        var window = MessageIDWindow()
        var freed = 0
        for number in 0..<20_000 {
            window.take(Array("\(number)".utf8), offset: Int64(number), time: Int64(number))
            if number % 100 == 99 { freed += window.expire(upTo: Int64(number - 1_000)) }
        }
        #expect(window.count == 1_000)
        #expect(window.bytes == 1_000 * (5 + MessageIDWindow.overhead))
        // Again, and the older one leaves without it.
        window.take(Array("19999".utf8), offset: 20_000, time: 30_000)
        freed += window.expire(upTo: 29_999)
        #expect(window.count == 1)
        freed += window.expire(upTo: 30_000)
        #expect(window.count == 0)
        #expect(window.bytes == 0)
    }

    // MARK: - What else takes records

    @Test func `what retention, deletion and compaction would take is known after a restart`()
        throws
    {
        var settings = Self.settings
        settings["segment.bytes"] = "65536"
        settings["retention.ms"] = "1"
        var (harness, log) = try open(settings)
        let filler = String(repeating: "x", count: 3_000)
        for number in 0..<100 {
            _ = try log.send(["\(number)"], filler: filler)
            clock.advance(milliseconds: 10)
        }
        harness.engine.tick()
        _ = try log.deleteRecords(before: -1)
        #expect(log.view.logStart == 100)
        #expect(try log.values().isEmpty)
        try harness.engine.close()
        (harness, log) = try open(settings)
        harness.engine.tick()
        for number in 0..<100 { #expect(try !log.send(["\(number)"]).isNew) }
        for _ in 0..<3 {
            clock.advance(milliseconds: Self.window)
            harness.engine.tick()
        }
        #expect(log.state.withLock { $0.segments.count } == 1)
    }

    @Test func `the size that a topic may have counts for more than its window`() throws {
        var settings = Self.settings
        settings["segment.bytes"] = "65536"
        settings["retention.bytes"] = "131072"
        let (harness, log) = try open(settings)
        let filler = String(repeating: "x", count: 3_000)
        for number in 0..<200 { _ = try log.send(["\(number)"], filler: filler) }
        harness.engine.tick()
        #expect(log.state.withLock { $0.segments.count } <= 4)
        // As long as the broker runs they are known all the same.
        for number in 0..<200 { #expect(try !log.send(["\(number)"]).isNew) }
    }

    @Test func `compaction waits for the window`() throws {
        var settings = Self.settings
        settings["segment.bytes"] = "65536"
        settings["cleanup.policy"] = "compact"
        var (harness, log) = try open(settings)
        let filler = String(repeating: "x", count: 3_000)
        for number in 0..<60 { _ = try log.send(["\(number)"], key: "k", filler: filler) }
        harness.engine.tick()
        try harness.engine.close()
        (harness, log) = try open(settings)
        harness.engine.tick()
        for number in 0..<60 { #expect(try !log.send(["\(number)"], key: "k").isNew) }
        clock.advance(milliseconds: Self.window + 1)
        harness.engine.tick()
        #expect(log.wasCompacted)
        // Thinned and compacted, it is still read.
        #expect(try log.values().last?.0 == 59)
    }

    @Test func `damage costs the ids in it and no others`() throws {
        var (harness, log) = try open()
        var middle: Int64 = 0
        for number in 0..<9 {
            if number == 4 { middle = log.view.bytes }
            _ = try log.send(["\(number)"], filler: "filler")
        }
        let path = log.state.withLock { $0.segments[0].log.path }
        try harness.engine.close()
        let file = try PosixFileSystem().open(path, .readWrite)
        let rot = ByteSlab(capacity: 4)
        rot.append(UInt32(0xDEAD_BEEF))
        try file.write(rot, at: middle + Int64(RecordBatch.headerBytes) + 2)
        (harness, log) = try open()
        for number in 0..<9 {
            #expect(try log.send(["\(number)"]).isNew == (number == 4), "\(number)")
        }
    }
}

// MARK: - Sending

/// What became of records that a test sent.
private struct Sent {
    /// Where each of them is.
    let places: [Int64]
    /// The batch was there already.
    let isRepeat: Bool
    /// None of them was.
    let isNew: Bool
}

extension PartitionLog {
    /// Sends records whose ids are their values (and begin them, with a filler).
    fileprivate func send(
        _ ids: [String], key: String? = nil, filler: String = "", producer: Int64 = -1,
        sequence: Int32 = -1
    ) throws -> Sent {
        let slab = identified(
            ids.map { $0 + filler }, ids: ids, key: key, producer: producer,
            epoch: producer < 0 ? -1 : 0, sequence: sequence)
        var isRepeat = false
        let receipt: AppendReceipt
        switch try appendNow(slab) {
        case .appended(let new): receipt = new
        case .duplicate(let old): (receipt, isRepeat) = (old, true)
        case .refused(let refusal): throw StorageError(.limitReached, "\(refusal)")
        case .later: throw StorageError(.limitReached, "later")
        }
        var places = ids.indices.map { receipt.baseOffset + Int64($0) }
        for duplicate in receipt.duplicates { places[Int(duplicate.index)] = duplicate.offset }
        return Sent(
            places: places, isRepeat: isRepeat, isNew: !isRepeat && receipt.duplicates.isEmpty)
    }
}

extension StorageHarness {
    /// Off, and then as it was.
    fileprivate func withWindowOff<R>(_ body: () throws -> R) throws -> R {
        let key = "deduplication.window.ms"
        try set(key, nil)
        let result = try body()
        try set(key, MessageIDTests.settings[key])
        return result
    }

    fileprivate func set(_ key: String, _ value: String?) throws {
        let id = try #require(engine.topic(named: "t")).id
        _ = try engine.alterTopic(id, changes: [(key, value)], validateOnly: false)
    }
}

/// A batch whose records have their values as message ids, or others; nil: a header without a value.
func identified(
    _ values: [String], ids: [String?]? = nil, key: String? = nil, producer: Int64 = -1,
    epoch: Int16 = -1, sequence: Int32 = -1
) -> ByteSlab {
    let slab = ByteSlab(capacity: 4096 + values.reduce(0) { $0 + $1.utf8.count * 2 + 256 })
    let builder = RecordBatchBuilder(slab: slab)
    let keyBytes = key.map { Array($0.utf8) } ?? []
    for (index, value) in values.enumerated() {
        let bytes = Array(value.utf8)
        let id = ids.map { $0[index] } ?? value
        _ = unsafe builder.append(
            key: key == nil ? nil : keyBytes.span.bytes, value: bytes.span.bytes,
            headers: [
                ("other", Array("o".utf8)),
                ("\(MessageID.header)", id.map { Array($0.utf8) }),
            ],
            timestamp: 1_000 + Int64(index))
    }
    _ = builder.finish(producerID: producer, producerEpoch: epoch, baseSequence: sequence)
    return slab
}
