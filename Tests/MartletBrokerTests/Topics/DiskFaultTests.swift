import Glibc
import MartletBroker
import MartletConfiguration
import MartletFormat
import MartletStorage
import MartletSystem
import MartletTestSupport
import MartletWire
import Testing

/// What clients see when the disk is full, slow or broken.
@Suite struct DiskFaultTests {
    /// And what tells that it would end now.
    private static func mortalBroker(
        _ files: FaultyFileSystem
    ) throws -> (harness: BrokerHarness, ended: Latch) {
        let ended = Latch()
        let harness = try BrokerHarness(setUp: {
            $0.fileSystem = files
            $0.onFatal = { _ in ended.arrive() }
        })
        return (harness, ended)
    }

    @Test func `F-11 a failed sync answers STORAGE_FAILED and ends the broker`() throws {
        let files = FaultyFileSystem()
        let (harness, ended) = try Self.mortalBroker(files)
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        #expect(try client.produce(topic, makeBatch()).error == .none)
        files.set { $0.syncCode = EIO }
        let failed = try client.produce(topic, makeBatch())
        #expect(failed.error == .storageFailed && failed.error.outcome == .unknown)
        #expect(ended.wait(seconds: 30))
        // Nothing is acknowledged any more, also when the disk seems to work again.
        files.set { $0.syncCode = 0 }
        #expect(try client.produce(topic, makeBatch()).error == .storageFailed)
        #expect(throws: StorageError.self) { try harness.stop() }
    }

    /// A disk that fails one file often holds up another first.
    @Test func `F-11 a failed sync ends the broker also while a write hangs`() throws {
        let files = FaultyFileSystem()
        let (harness, ended) = try Self.mortalBroker(files)
        // One after the other: each has a loop of its own.
        let (client, other) = (try harness.hello(), try harness.hello())
        let stuck = try harness.makeTopic(client, "stuck")
        let failing = try harness.makeTopic(client, "failing")
        for topic in [stuck, failing] {
            #expect(try client.produce(topic, makeBatch()).error == .none)
        }
        let (reached, mayGoOn) = (Latch(), Latch())
        defer { mayGoOn.arrive() }
        files.set {
            $0.writePath = "\(stuck)"
            $0.stuckWrite = (reached, mayGoOn)
        }
        try client.send(try produceFrame(stuck, [makeBatch()]))
        #expect(reached.wait())
        files.set { $0.syncCode = EIO }
        #expect(try other.produce(failing, makeBatch()).error == .storageFailed)
        #expect(ended.wait(seconds: 20))
        mayGoOn.arrive()
        #expect(throws: StorageError.self) { try harness.stop() }
    }

    /// Whatever else changes topics waits behind it.
    @Test func `records of many partitions are deleted with one sync of the marks`() throws {
        let files = FaultyFileSystem()
        let harness = try BrokerHarness(setUp: { $0.fileSystem = files })
        let client = try harness.hello()
        let topic = try harness.makeTopic(client, partitions: 50)
        for partition in 0..<Int32(50) {
            #expect(try client.produce(topic, makeBatch(3), partition: partition).error == .none)
        }
        var request = DeleteRecordsRequest()
        for partition in 0..<Int32(52) {
            for before in [Int64(1), 2] {
                var entry = DeleteRecordsEntry()
                entry.topic = topic
                entry.partition = partition
                entry.before = before
                request.entries.append(entry)
            }
        }
        let before = files.marksSyncs
        let results = try client.ask(request).results
        // What flushes left for later is synced in the background meanwhile, at most once.
        #expect(files.marksSyncs - before <= 2)
        #expect(!results.prefix(100).contains { $0.error != .none || $0.logStart != 2 })
        #expect(
            results.dropFirst(100).map { $0.error } == Array(repeating: .unknownPartition, count: 4)
        )
        try harness.stop()
    }

    @Test func `F-11 a failed sync ends the broker also while a sync of the marks hangs`() throws {
        let files = FaultyFileSystem()
        let (harness, ended) = try Self.mortalBroker(files)
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        let (reached, mayGoOn) = (Latch(), Latch())
        defer { mayGoOn.arrive() }
        files.set { $0.stuckMarks = (reached, mayGoOn) }
        // Its mark is synced in the background, soon.
        #expect(try client.produce(topic, makeBatch()).error == .none)
        #expect(reached.wait())
        files.set { $0.syncCode = EIO }
        #expect(try client.produce(topic, makeBatch()).error == .storageFailed)
        #expect(ended.wait(seconds: 20))
        files.set { $0.stuckMarks = nil }
        mayGoOn.arrive()
        #expect(throws: StorageError.self) { try harness.stop() }
    }

    @Test func `F-10 a full disk refuses producers in the open, readers go on`() throws {
        let files = FaultyFileSystem()
        let harness = try BrokerHarness(setUp: { $0.fileSystem = files })
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        #expect(try client.produce(topic, makeBatch(2)).error == .none)
        files.set { $0.writeCode = ENOSPC }
        let refused = try client.produce(topic, makeBatch())
        #expect(refused.error == .diskFull && refused.error.outcome == .notWritten)
        let status = try client.ask(StatusRequest())
        #expect(!status.writable && !status.reason.isEmpty)
        #expect(try client.ask(DoctorRequest()).findings.first?.code == "read-only")
        let read = try fetch(client, fetchRequest(topic, from: 0))
        #expect(read.reply.partitions.first?.highWatermark == 2)
        try harness.stop()
    }

    @Test func `F-12 a read that fails is an error of that fetch, others go on`() throws {
        let files = FaultyFileSystem()
        let harness = try BrokerHarness(setUp: { $0.fileSystem = files })
        let client = try harness.hello()
        let topic = try harness.makeTopic(client)
        _ = try client.produce(topic, makeBatch(2, bytes: 50_000))
        files.set { $0.readCode = EIO }
        let failed = try fetch(client, fetchRequest(topic, from: 0)).reply
        #expect(failed.partitions.first?.error == .storageError)
        #expect(try client.ask(PingRequest()).error == .none)
        #expect(try client.produce(topic, makeBatch()).error == .none)
        files.set { $0.readCode = 0 }
        let read = try fetch(client, fetchRequest(topic, from: 0))
        #expect(read.reply.partitions.first?.error == ErrorCode.none)
        #expect(read.attachment.count > 100_000)
        try harness.stop()
    }

    @Test func `F-16 a slow disk holds back only who waits for it`() throws {
        let files = FaultyFileSystem()
        let harness = try BrokerHarness(setUp: { $0.fileSystem = files })
        let client = try harness.hello()
        let other = try harness.hello()
        let topic = try harness.makeTopic(client)
        #expect(try client.produce(topic, makeBatch()).error == .none)
        let gate = Latch()
        files.set { $0.gate = gate }
        try client.send(try produceFrame(topic, [makeBatch()], correlation: 5, timeout: 100))
        try client.send(try produceFrame(topic, [makeBatch()], correlation: 6))
        #expect(try other.ask(PingRequest()).error == .none)
        #expect(try other.ask(StatusRequest()).error == .none)
        #expect(
            try fetch(other, fetchRequest(topic, from: 0)).reply.partitions.first?
                .highWatermark == 1)
        let late = try client.receive(ProduceReply.self)
        #expect(late.correlation == 5)
        #expect(late.reply.results.first?.error == .requestTimedOut)
        gate.arrive()
        let done = try client.receive(ProduceReply.self)
        #expect(done.correlation == 6 && done.reply.results.first?.error == ErrorCode.none)
        try harness.stop()
    }

    @Test func `too many un-synced bytes pause the producer, and nothing is lost`() throws {
        let files = FaultyFileSystem()
        let harness = try BrokerHarness(
            configure: { $0.storage.unsyncedDurablePartitionBytesMax = 8 << 20 },
            setUp: { $0.fileSystem = files })
        let client = try harness.hello()
        let other = try harness.hello()
        let topic = try harness.makeTopic(client)
        let gate = Latch()
        files.set { $0.gate = gate }
        let batch = makeBatch(1, bytes: 1_000_000)
        var sent: UInt64 = 0
        while sent < 12 {
            try client.send(try produceFrame(topic, [batch], correlation: sent))
            sent += 1
        }
        #expect(try other.ask(PingRequest()).error == .none)
        gate.arrive()
        files.set { $0.gate = nil }
        for number in 0..<sent {
            let (correlation, reply, _) = try client.receive(ProduceReply.self)
            #expect(correlation == number)
            #expect(reply.results.first?.baseOffset == Int64(number))
        }
        try harness.stop()
    }

    @Test func `F-18 stopping answers what is open and refuses what comes`() throws {
        let files = FaultyFileSystem()
        // One queue: when one connection was told to end, all were.
        let harness = try BrokerHarness(
            configure: { $0.storage.ioQueues = 1 }, setUp: { $0.fileSystem = files })
        let client = try harness.hello()
        let reader = try harness.hello()
        let topic = try harness.makeTopic(client)
        // A log opens its files for its first batch and puts that one off meanwhile; the batch that
        // is open when the broker stops must be one that was appended.
        #expect(try client.produce(topic, makeBatch()).error == .none)
        let gate = Latch()
        files.set { $0.gate = gate }
        try client.send(try produceFrame(topic, [makeBatch()], correlation: 1))
        try reader.send(try fetchRequest(topic, from: 1, wait: 25_000).frame(correlation: 2))
        #expect(try harness.hello().ask(PingRequest()).error == .none)
        let stopped = Latch()
        let broker = harness.broker
        SerialQueue(label: "stopper").execute {
            do {
                try broker.stop()
            } catch {
                Issue.record("\(error)")
            }
            stopped.arrive()
        }
        // The parked fetch is answered at once, empty.
        let (correlation, parked, _) = try reader.receive(FetchReply.self)
        #expect(correlation == 2 && parked.partitions.first?.recordsLength == 0)
        try client.send(try produceFrame(topic, [makeBatch()], correlation: 3))
        gate.arrive()
        let frames = try client.receiveUntilClosed()
        let replies = try frames.map { frame in
            try ProduceReply.decode(frame.payload, 0..<frame.payload.count, version: 1).message
        }
        #expect(Set(frames.map(\.header.correlation)) == [1, 3])
        #expect(replies.contains { $0.results.first?.error == ErrorCode.none })
        #expect(replies.contains { $0.error == .shuttingDown })
        #expect(stopped.wait(seconds: 30))
        let again = try BrokerHarness(directory: harness.directory)
        #expect(again.broker.startReport.isClean)
        try again.stop()
    }

    private func fetch(
        _ client: RawClient, _ request: FetchRequest
    ) throws -> (correlation: UInt64, reply: FetchReply, attachment: ByteSlab) {
        try client.send(try request.frame(correlation: 77))
        return try client.receive(FetchReply.self)
    }
}
