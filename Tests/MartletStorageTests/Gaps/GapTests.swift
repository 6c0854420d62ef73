import MartletFormat
import MartletSystem
import MartletTestSupport
import Testing

@testable import MartletStorage

/// A `written` topic over several unclean stops: offsets that were reserved are never given, and
/// what stands behind them is served.
@Suite struct GapTests {
    private let folder = TemporaryFolder()
    private let disk = PosixFileSystem()
    private let block = 2 * PartitionLog.reserveBlock
    private var firstSegment: String {
        let topic = "\(folder.path)/topics/\(TopicID(high: 1, low: 1))"
        return "\(topic)/0/\(LogFileNames.log(0, generation: 0))"
    }
    /// What a kill leaves after a record at `2 * block`.
    private var lastGap: String { "gap \(2 * block + 1) to \(3 * block)" }

    @Test func `a batch behind gaps that follow each other is served`() throws {
        try writeFirst()
        do {
            let (harness, log) = try open()
            #expect(log.view.gaps == [1..<block])
            // A block more is reserved, and nothing is appended before the broker is killed.
            log.reserveOffsets()
            withExtendedLifetime(harness) {}
        }
        for round in 1...2 {
            let (harness, log) = try open()
            if round == 1 {
                #expect(log.view.gaps == [1..<block, block..<(2 * block)])
                try append("second", to: log, at: 2 * block)
            }
            let data = ["data 0 to 1", "data 1 to \(2 * block + 1)"]
            #expect(try Self.verified(log) == data + (round == 1 ? [] : [lastGap]))
            #expect(try log.values().map(\.1) == ["first", "second"])
            #expect(!log.hasOpenDamage)
            withExtendedLifetime(harness) {}
        }
    }

    @Test func `more gaps than one answer names are told in several`() throws {
        let rounds = 2 * PartitionLog.gapsMax + 3
        try writeFirst()
        for round in 1..<rounds {
            let (harness, log) = try open()
            try append("\(round)", to: log, at: Int64(round) * block)
            log.flush()
            withExtendedLifetime(harness) {}
        }
        let (harness, log) = try open()
        let values = ["first"] + (1..<rounds).map { "\($0)" }
        let gaps = (0..<rounds).map { Int64($0) * block + 1..<Int64($0 + 1) * block }
        for maxBytes in [1 << 20, 200] {
            var reader = ClientReader(log, maxBytes: maxBytes)
            reader.run()
            #expect(reader.problems == [] && reader.damaged == [])
            #expect(reader.records.map(\.value) == values)
            #expect(reader.gaps == gaps)
            #expect(reader.most <= PartitionLog.gapsMax)
        }
        var offset: Int64 = 0
        while case .data(let plan) = try log.verifiedRead(from: offset, maxBytes: 1 << 20) {
            #expect(plan.gaps.count <= PartitionLog.gapsMax)
            // All that it crosses are named.
            #expect(plan.gaps == gaps.filter { $0.overlaps(offset..<plan.nextOffset) })
            offset = plan.nextOffset
        }
        #expect(offset == log.view.highWatermark - block + 1)
        withExtendedLifetime(harness) {}
    }

    @Test func `unclean stops that follow each other are one gap for readers`() throws {
        try writeFirst()
        for _ in 0..<(PartitionLog.gapsMax + 2) {
            let (harness, log) = try open()
            log.reserveOffsets()
            withExtendedLifetime(harness) {}
        }
        let (harness, log) = try open()
        #expect(log.view.gaps.count > PartitionLog.gapsMax)
        let end = log.view.highWatermark
        try append("last", to: log, at: end)
        var reader = ClientReader(log)
        reader.run()
        #expect(reader.problems == [] && reader.records.map(\.value) == ["first", "last"])
        #expect(reader.gaps == [1..<end])
        withExtendedLifetime(harness) {}
    }

    @Test func `what is missing before a gap is told alike at every start`() throws {
        try writeFirst()
        try disk.open(firstSegment, .readWrite).truncate(to: 0)
        for _ in 0..<3 {
            let (harness, log) = try open()
            #expect(try Self.verified(log) == ["damaged 0 to 1", "gap 1 to \(block)"])
            #expect(log.view.damaged == [0..<1])
            withExtendedLifetime(harness) {}
        }
    }

    @Test func `a reader who may pass damage before a gap passes both`() throws {
        try writeFirst()
        try disk.open(firstSegment, .readWrite).truncate(to: 0)
        let (harness, log) = try open()
        log.skip([0..<1])
        #expect(try Self.verified(log) == ["gap 0 to \(block)"])
        #expect(log.view.damaged == [])
        withExtendedLifetime(harness) {}
    }

    @Test func `a gap below the log start is kept as long as its segment`() throws {
        try writeFirst()
        do {
            let (harness, log) = try open()
            #expect(try log.deleteRecords(before: block) == block)
            log.reserveOffsets()
            withExtendedLifetime(harness) {}
        }
        for round in 1...2 {
            // The first of these starts has one gap more to keep in the topic's metadata.
            let (harness, log) = try open()
            if round == 1 { try append("second", to: log, at: 2 * block) }
            let data = ["data \(block) to \(2 * block + 1)"]
            #expect(try Self.verified(log) == data + (round == 1 ? [] : [lastGap]))
            withExtendedLifetime(harness) {}
        }
    }

    @Test(arguments: [8, 16, 66])
    func `damage behind a gap is that of its batch alone`(rotten: Int64) throws {
        try writeFirst()
        let (harness, log) = try open()
        try append("second", to: log, at: block)
        log.flush()
        try rot(at: Int64(batch(["first"]).count) + rotten)
        #expect(
            try Self.verified(log) == [
                "data 0 to 1", "gap 1 to \(block)", "damaged \(block) to \(block + 1)",
            ])
        #expect(log.view.damaged == [block..<(block + 1)])
        withExtendedLifetime(harness) {}
    }

    @Test(arguments: [8, 16, 66])
    func `damage in the first batch, behind a gap, is that of its batch alone`(
        rotten: Int64
    ) throws {
        do {
            let harness = try StorageHarness(folder.path, disk)
            let topic = try harness.topic("t", settings: ["durability": "written"])
            try #require(topic.partition(0)).reserveOffsets()
        }
        let (harness, log) = try open()
        try append("first", to: log, at: block)
        log.flush()
        try rot(at: rotten)
        #expect(
            try Self.verified(log) == [
                "gap 0 to \(block)", "damaged \(block) to \(block + 1)",
            ])
        #expect(log.view.damaged == [block..<(block + 1)])
        withExtendedLifetime(harness) {}
    }

    // MARK: Helpers

    /// One record that is on disk, and a broker that is killed then.
    private func writeFirst() throws {
        let harness = try StorageHarness(folder.path, disk)
        let topic = try harness.topic("t", settings: ["durability": "written"])
        let log = try #require(topic.partition(0))
        try append("first", to: log, at: 0)
        log.flush()
        withExtendedLifetime(harness) {}
    }

    private func rot(at place: Int64) throws {
        let wrong = ByteSlab(capacity: 1)
        wrong.append(UInt8(0x55))
        try disk.open(firstSegment, .readWrite).write(wrong, at: place)
    }

    private func open() throws -> (StorageHarness, PartitionLog) {
        let harness = try StorageHarness(folder.path, disk)
        return (harness, try #require(try harness.topic("t").partition(0)))
    }

    private func append(_ value: String, to log: PartitionLog, at offset: Int64) throws {
        guard case .appended(let receipt) = try log.appendNow(batch([value])) else {
            Issue.record("\(value) is not appended")
            return
        }
        #expect(receipt.baseOffset == offset)
    }

    /// What a reader who has everything checked is given, from the log start on.
    private static func verified(_ log: PartitionLog) throws -> [String] {
        var result: [String] = []
        var offset = log.view.logStart
        while offset < log.view.highWatermark {
            let next: Int64
            switch try log.verifiedRead(from: offset, maxBytes: 1) {
            case .data(let plan):
                next = plan.nextOffset
                result.append("data \(offset) to \(next)")
            case .gap(let range, _):
                next = range.upperBound
                result.append("gap \(offset) to \(next)")
            case .corrupt(let ranges, _):
                next = try #require(ranges.first { $0.contains(offset) }).upperBound
                result.append("damaged \(offset) to \(next)")
            case .atEnd, .lost, .outOfRange, .needsDisk, .needsVerification, .offline:
                Issue.record("nothing to read at \(offset)")
                return result
            }
            offset = next
        }
        return result
    }
}
