import MartletFormat
import MartletSystem
import MartletTestSupport
import Synchronization
import Testing

@testable import MartletStorage

/// What a partition remembers of its producers is bounded, and outlives a restart.
@Suite struct ProducerTableTests {
    private func append(
        _ log: PartitionLog, _ producer: Int64, _ sequence: Int32
    ) throws
        -> AppendOutcome
    {
        try log.appendNow(
            batch(["\(producer) \(sequence)"], producer: producer, epoch: 0, sequence: sequence))
    }

    private func snapshots(_ log: PartitionLog) throws -> [Int64] {
        try PosixFileSystem().list(log.directory).compactMap { name in
            guard case .producers(let offset)? = LogFileNames.parse(name) else { return nil }
            return offset
        }
    }

    @Test func `those that were silent for longest are forgotten, also over a restart`() throws {
        let limit = 16
        let folder = try TemporaryDirectory()
        let clock = ManualClock()
        for round in 0..<2 {
            let harness = try StorageHarness(folder.path, PosixFileSystem(), clock: clock) {
                $0.partitionProducersMax = limit
            }
            let log = try #require(try harness.topic("t").partition(0))
            if round == 0 {
                for producer in 0..<Int64(100) {
                    guard case .appended = try append(log, producer, 0) else {
                        Issue.record("producer \(producer) not taken")
                        return
                    }
                    clock.advance(nanoseconds: 1_000_000)
                    let count = log.appender.withLock { $0.producers.producers.count }
                    #expect(count <= limit)
                }
            }
            // The newest are known, the same answer as before; the oldest are as if expired.
            guard case .duplicate(let receipt) = try append(log, 99, 0),
                case .refused(.unknownProducer) = try append(log, 3, 1)
            else {
                Issue.record("round \(round): not judged by what is remembered")
                return
            }
            #expect(receipt.baseOffset == 99)
            let known = log.appender.withLock { $0.producers.producers.keys.sorted() }
            #expect(known == Array((100 - Int64(known.count))..<100) && known.count >= limit / 2)
            try harness.engine.close()
        }
    }

    @Test func `producers replayed from a log are forgotten in the order of their batches`() throws
    {
        let folder = try TemporaryDirectory()
        let clock = ManualClock()
        for round in 0..<2 {
            // Never closed: the second one finds no snapshot.
            let harness = try StorageHarness(
                folder.path, PosixFileSystem(), clock: clock
            ) { $0.partitionProducersMax = round == 0 ? 1000 : 8 }
            let log = try #require(try harness.topic("t").partition(0))
            if round == 0 {
                for producer in 0..<Int64(50) { _ = try append(log, 49 - producer, 0) }
                log.flush()
                continue
            }
            guard case .duplicate(let receipt) = try append(log, 0, 0),
                case .refused(.unknownProducer) = try append(log, 40, 1)
            else {
                Issue.record("the newest were not kept")
                return
            }
            #expect(receipt.baseOffset == 49)
        }
    }

    @Test func `the largest table that is kept can be read back`() throws {
        var table = ProducerTable()
        let newest = Int64(LogLimits.producersMax)
        for producer in 0..<newest {
            table.producers[producer] = ProducerState(
                epoch: 0,
                batches: (0..<Int32(ProducerState.windowCount)).map {
                    ProducedBatch(
                        baseSequence: $0, lastSequence: $0, baseOffset: producer,
                        nextOffset: producer + 1, leaderEpoch: 0)
                }, lastAppendTime: producer)
        }
        let one = batch(["one more"], producer: newest, epoch: 0, sequence: 0)
        let header = try RecordBatch.validateForAppend(one.bytes)
        var next = table
        next.record(header, appendTime: newest)
        #expect(next.producers.count <= LogLimits.producersMax)
        #expect(next.producers[0] == nil && next.producers[newest - 1] != nil)
        let folder = try TemporaryDirectory()
        let disk = PosixFileSystem()
        try ProducerSnapshot.write(
            table, offset: 7, keeping: [], syncs: false, directory: folder.path, disk)
        let read = try ProducerSnapshot.load(
            directory: folder.path, from: 0, to: 7, gaps: [], disk)
        #expect(read.table == table && read.isFile)
    }

    @Test func `a snapshot below the durable end stays until the next one is below it`() throws {
        let folder = try TemporaryDirectory()
        let clock = ManualClock()
        let flush = ManualExecutor(clock: clock)
        defer { flush.forgetJobs() }
        let harness = try StorageHarness(
            folder.path, PosixFileSystem(), clock: clock, flush: flush)
        let log = try #require(try harness.topic("t").partition(0))
        _ = try append(log, 7, 0)
        flush.runAll()
        #expect(try log.keepProducers(below: 1))
        #expect(try snapshots(log) == [1])
        _ = try append(log, 7, 1)
        #expect(try !log.keepProducers(below: 2))
        for sequence in Int32(2)..<6 {
            _ = try append(log, 7, sequence)
            log.writeSnapshot()
            #expect(try snapshots(log).contains(1))
            #expect(try !log.keepProducers(below: 2))
        }
        flush.runAll()
        #expect(try log.keepProducers(below: 2))
        for sequence in Int32(6)..<9 {
            _ = try append(log, 7, sequence)
            log.writeSnapshot()
        }
        #expect(try snapshots(log) == [2, 8, 9])
    }
}
